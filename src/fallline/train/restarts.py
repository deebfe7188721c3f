"""Restarts: training from several random starts, of which the best is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import leaves, with_leaves
from fallline.train.history import History
from fallline.train.model import Model
from fallline.train.trainer import Fit, Trainer

PART = "starts"  # of a checkpoint


@dataclass
class Standing:
    """What has come of the starts so far.

    seed  of the next start;  rows  (seed, train loss at the start, loss of the kept weights, their epoch) of each
    best  the best fit, with the loss `lowest`;  failure  why the first one failed that did
    """

    seed: int
    rows: list[tuple[int, float, float, int]] = field(default_factory=list)
    best: Fit | None = None
    lowest: float = math.nan
    failure: str = ""

    def add(self, fit: Fit, column: str) -> None:
        loss = loss_of_kept(fit, column)
        if self.best is None or (math.isnan(loss), loss) < (math.isnan(self.lowest), self.lowest):
            self.best, self.lowest = fit, loss
        self.rows.append((self.seed, float(fit.history["train_loss"][0]), loss, fit.best_epoch))

    def kept(self) -> dict[str, Any]:
        """As plain data and arrays; `taken_up` undoes it."""
        best = None
        if self.best is not None:
            network = list(leaves(self.best.model.network).values())
            best = {name: getattr(self.best, name) for name in _FACTS}
            best |= {"history": list(self.best.history), "network": network}
        return {"seed": self.seed, "rows": self.rows, "best": best, "failure": self.failure, "lowest": self.lowest}

    @classmethod
    def taken_up(cls, kept: dict[str, Any], trainer: Trainer) -> Standing:
        """What was kept of a run of this trainer."""
        best = kept["best"]
        if best is not None:
            best = dict(best)
            network = trainer.way.network
            found = dict(zip(leaves(network), best.pop("network"), strict=True))
            model = replace(trainer.model, network=with_leaves(network, found))
            best = Fit(model, History(best.pop("history")), penalties=trainer.penalties, **best)
        return cls(**{**kept, "best": best})


_FACTS = ("reason", "best_epoch", "ended", "path", "row_weights")  # of a Fit, that are data


def best_of_starts(trainer: Trainer, start: Callable[[int], Model], starts: int, *, filled: bool) -> Fit:
    """The best of some fits, which begin with the seeds seed, seed + 1, …; the rows of the two parts stay the same.

    The best is the one whose kept weights have the lowest validation loss, without validation rows train loss.
    trainer  of the first start;  start  seed -> model of the others;  filled  whether the network had weights before
    """
    if starts == 1:
        return trainer.run()
    if filled:
        raise ConfigError(f"restarts={starts} of a network that has its weights already: give a recipe, without them")
    parts = {} if trainer.checkpoints is None else trainer.checkpoints.parts
    standing = Standing.taken_up(parts[PART], trainer) if PART in parts else Standing(trainer.seed)
    column = "validation_loss" if trainer.validation is not None else "train_loss"
    for seed in range(standing.seed, trainer.seed + starts):
        try:
            first = seed == trainer.seed
            one = trainer if first else replace(trainer, model=start(seed), seed=seed, history=History())
            fit = one.run()
        except NonFiniteError as error:
            standing.failure = standing.failure or str(error)
        else:
            if not len(fit.history):  # a callback ended it before epoch 0: there is nothing to compare
                return fit
            if fit.ended == "interrupted":
                return _best(standing, fit, column)
            standing.add(fit, column)
        standing.seed = seed + 1
        parts.pop(trainer.part, None)
        parts[PART] = standing.kept()
    return _best(standing, None, column)


def _best(standing: Standing, interrupted: Fit | None, column: str) -> Fit:
    """The best of all, also of one that Ctrl-C ended, which the standing does not hold."""
    shown = replace(standing, rows=list(standing.rows))
    if interrupted is not None:
        shown.add(interrupted, column)
    if shown.best is None:
        raise NonFiniteError(shown.failure)
    return replace(shown.best, restarts=_listing(shown, column))


def loss_of_kept(fit: Fit, column: str) -> float:
    """The loss of the weights that the fit keeps."""
    row = next(row for row in fit.history if row["epoch"] == fit.best_epoch)
    return float(row.get(column, math.nan))


def _listing(standing: Standing, column: str) -> Listing:
    """One row for each start that ended with numbers."""
    name = column.replace("_", " ")
    seeds, begun, losses, epochs = (list(part) for part in zip(*standing.rows, strict=True))
    best = min(standing.rows, key=lambda row: (math.isnan(row[2]), row[2]))[0]
    columns: dict[str, Any] = {
        "seed": seeds,
        "start": begun,
        name: losses,
        "epoch": epochs,
        "": ["best" if seed == best else "" for seed in seeds],
    }
    return Listing(f"{len(seeds)} starts", columns, [""] * len(seeds), f"{name}: {spread_text(losses)}", 6)


def spread_text(values: Sequence[float]) -> str:
    """Best, worst and what lies between them, in words."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{number_text(low, 6)} at best, {number_text(high, 6)} at worst, a spread of {number_text(high - low, 3)}"
