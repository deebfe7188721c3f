"""The learning-rate finder: sweeps through all rates on one's own network and data, then trial runs at a few."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import records_in
from fallline.core.views import VIEWS
from fallline.data.batches import batch_indices
from fallline.engines.engine import Engine, get_engine
from fallline.losses.loss import Loss
from fallline.losses.penalties import L2
from fallline.nn.layer import Layer
from fallline.optim.optimizer import Optimizer
from fallline.optim.solver import as_minimizer
from fallline.optim.svrg import SVRG
from fallline.train.examples import Examples
from fallline.train.fit import batch_rows, start_model, training_rows, whole_number
from fallline.train.judging import Judging
from fallline.train.model import Model
from fallline.train.stepping import Stepping

MOST_JUDGES = 1000  # rows on which the loss is measured
LOST = 10.0  # times the first loss: the sweep ends
REGAINED = 0.25  # of the fall: from here on the loss rises again
SWEEPS, STARTS = 5, 3  # of the sweep, and of each trial run
TRIED = tuple(2.0**k for k in range(-4, 2))  # times the rate where the sweep was lowest
SHOWN = 12  # rows of a printed sweep


@dataclass(frozen=True, eq=False)
class RateReport:
    """What the sweeps and the trial runs found.

    rates       (steps,) the learning rate of each step of a sweep
    sweeps      (sweeps, steps) the loss after that step, NaN once it is lost;  losses  (steps,) their median
    start       the loss before
    lowest      the rate at which the sweeps were lowest;  diverges  the one from which on they rise again, or None
    trials      learning rate -> mean loss after a run at that rate
    suggestion  that of the best trial run; None where no run ended below the loss before, and `reason` says why
    """

    optimizer: Optimizer
    rates: np.ndarray
    sweeps: np.ndarray
    start: float
    lowest: float
    diverges: float | None
    trials: dict[float, float]

    @property
    def suggestion(self) -> float | None:
        best = min(self.trials, key=lambda rate: (math.isnan(self.trials[rate]), self.trials[rate]))
        return best if self.trials[best] < self.start else None

    @property
    def reason(self) -> str:
        """Why there is no suggestion; "" where there is one."""
        if self.suggestion is not None:
            return ""
        low, high = (number_text(end(self.trials), 2) for end in (min, max))
        lost = not any(math.isfinite(loss) for loss in self.trials.values())
        cure = "give a smaller low=" if lost else "give more steps=, or see what fl.diagnose says of network and data"
        end = "stayed finite" if lost else f"ended below the first loss, {number_text(self.start, 4)}"
        return f"no run of {len(self.rates)} steps at {low} to {high} {end}: {cure}"

    @property
    def losses(self) -> np.ndarray:
        median = np.median(np.where(np.isnan(self.sweeps), np.inf, self.sweeps), axis=0)
        return np.where(np.isfinite(median), median, np.nan)

    def table(self) -> Listing:
        """The sweep, some evenly spaced steps of it, and the trial runs."""
        losses = self.losses
        known = np.flatnonzero(np.isfinite(losses))
        marks = {self._place(self.lowest): "lowest"}
        if self.diverges is not None:
            marks |= {self._place(self.diverges): "rises again"}
        rows = np.linspace(0, known[-1], SHOWN).round().astype(int) if len(known) else known
        shown = sorted({*rows.tolist(), *marks})
        n, names = len(self.rates), ("suggestion", "")
        columns = {
            "learning rate": [*self.rates[shown].tolist(), *self.trials],
            "loss": [*losses[shown].tolist(), *self.trials.values()],
            "": [marks.get(i, "") for i in shown] + [names[rate != self.suggestion] for rate in self.trials],
        }
        groups = [f"one sweep of {n} steps through all rates"] * len(shown)
        groups += [f"{n} steps at one rate"] * len(self.trials)
        title = f"The learning rate of {type(self.optimizer).__name__}"
        return Listing(title, columns, groups, self._advice(), 4)

    def plot(self, path: str | Path | None = None) -> Any:
        """The loss over the rates as a matplotlib figure; written to a file when a path is given."""
        return VIEWS["learning_rate"](self, path)

    def _place(self, rate: float) -> int:
        """The step of the sweep with about that rate."""
        return int(np.abs(np.log(self.rates / rate)).argmin())

    def _advice(self) -> str:
        if self.suggestion is None:
            return f"no suggestion: {self.reason}"
        text = f"suggestion: learning_rate={number_text(self.suggestion, 2)}"
        if self.lowest >= self.rates[-2]:
            return f"{text}, but the sweep still falls at the highest rate: give a larger high="
        if self.lowest <= self.rates[1]:
            return f"{text}, but the sweep only rises: give a smaller low="
        return text

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"RateReport({self._advice()})"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def find_learning_rate(
    network: Layer,
    data: tuple[Any, Any],
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "sgd",
    batch_size: int | str = 64,
    l2: float = 0.0,
    low: float = 1e-5,
    high: float = 100.0,
    steps: int = 100,
    seed: int = 0,
    precision: str | None = "float32",
    engine: str | Engine = "auto",
) -> RateReport:
    """Looks for the learning rate to begin with.

    A sweep raises the rate from `low` to `high`, by the same factor at each of `steps` steps, and measures the loss of
    the same rows (up to 1000) after each: it falls faster and faster, then the steps become too long and it rises.
    Five sweeps from different starting weights say where the loss is lowest. Runs of `steps` steps at rates around
    that, 1/16 to 2 times as high, decide. It takes about 23 times `steps` steps in all.

    network, data, loss, batch_size, l2, seed, precision, engine  as in `fit`; the batch size matters: the larger the
               batch, the less noise limits the rate
    optimizer  the one to use later: "sgd", "adam", … A wrapper steps as in training; the loss is that of the weights
               which it trains, as an average of them would lag behind the rate
    source     the sweep: Smith 2017 (arXiv:1506.01186), section 3.3
    """
    method = as_minimizer(optimizer)
    if not isinstance(method, Optimizer):
        raise ConfigError(f"{method!r} is a solver and has no learning rate: give an optimizer, such as sgd")
    if any(isinstance(part, SVRG) for _, part in records_in(method)):
        raise ConfigError(f"{method!r} stands still in its first epoch: look for the rate of the optimizer inside it")
    if not 0 < low < high < math.inf:
        raise ConfigError(f"low={low}, high={high}: give 0 < low < high")
    steps, seed = whole_number("steps", steps, least=2), whole_number("seed", seed, least=0)
    train, _, target, chosen = training_rows(network, data, loss=loss, precision=precision or "float32", seed=seed)
    running = get_engine(engine)
    start = partial(start_model, network, train, chosen, target, running, strict=False)
    given = train, (L2(l2),) * bool(l2), running, batch_rows(batch_size, len(train))

    def runs(rate: Any, starts: int) -> list[_Run]:
        return [_Run(method.with_rate(rate), start(k), *given, seed=k) for k in range(seed, seed + starts)]

    rates = np.geomspace(low, high, steps)
    sweeps = runs(lambda step: float(rates[step]), SWEEPS)
    first = float(np.median([run.loss() for run in sweeps]))
    swept = np.stack([run.sweep(steps, first) for run in sweeps])
    lowest = float(np.exp(np.median(np.log(rates[swept.argmin(axis=1)]))))
    trials = {rate: np.mean([run.after(steps) for run in runs(rate, STARTS)]) for rate in np.multiply(TRIED, lowest)}
    return _report(method, rates, swept, first, lowest, trials)


class _Run:
    """Training from one start, with the loss of the same rows at any time; a loss that is lost is infinite."""

    def __init__(
        self, optimizer: Optimizer, model: Model, train: Examples, penalties: Any, engine: Engine, batch: int, *,
        seed: int,
    ):  # fmt: skip
        self.way = Stepping(optimizer, model, train, penalties, 1, seed, engine, batch)
        judges = train.take(np.random.default_rng(0).permutation(len(train))[:MOST_JUDGES])
        self.judging = Judging(model.network, model.loss, judges, engine.with_options(threads=engine.threads))
        self.carry: Sequence[Any] = self.way.step.carried(model.network, self.way.state)
        self.batches = self._batches()

    def loss(self) -> float:
        judged = self.judging.look(self.way.step.weights(self.carry))
        return judged.loss if judged and math.isfinite(judged.loss) else math.inf

    def after(self, steps: int) -> float:
        """The loss after so many steps."""
        indices = np.stack(list(islice(self.batches, steps)))
        result = self.way.train_on(indices, self.carry)
        self.carry = result.carry
        self.way.steps_done += steps
        return self.loss() if result.steps == steps else math.inf

    def sweep(self, steps: int, first: float) -> np.ndarray:
        """The loss after each step."""
        losses = np.full(steps, math.inf)
        for k in range(steps):
            losses[k] = self.after(1)
            if losses[k] > LOST * first:
                break
        return losses

    def _batches(self) -> Iterator[np.ndarray]:
        """Full batches without end, in a new order in each epoch."""
        for epoch in count(1):
            listed = batch_indices(len(self.way.train), self.way.batch_size, seed=self.way.seed, epoch=epoch)
            yield from (batch for batch in listed if len(batch) == self.way.batch_size)


def _report(
    method: Optimizer, rates: np.ndarray, swept: np.ndarray, first: float, lowest: float, trials: dict[Any, Any]
) -> RateReport:
    """The report, with the first rate beyond the lowest at which a quarter of the fall is lost again."""
    losses = np.median(swept, axis=0)
    risen = (rates > lowest) & (losses > losses.min() + REGAINED * max(first - losses.min(), 0.0))
    diverges = float(rates[np.argmax(risen)]) if risen.any() else None
    sweeps = np.where(np.isfinite(swept), swept, np.nan)
    return RateReport(method, rates, sweeps, first, lowest, diverges, {float(r): float(v) for r, v in trials.items()})


__all__ = ["RateReport", "find_learning_rate"]
