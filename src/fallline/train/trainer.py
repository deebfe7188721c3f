"""Trainer: the one training loop. It yields events; progress, early stopping and callbacks are their consumers."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.listing import Listing
from fallline.core.tree import leaves, with_leaves
from fallline.core.warn import warn_user
from fallline.engines.engine import Engine, get_engine
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.solver import Solver
from fallline.train.checkpoint import Checkpoints
from fallline.train.events import BatchProgress, Consumer, Ended, EpochEnded, Started, Stop, tell
from fallline.train.examples import Examples
from fallline.train.history import History
from fallline.train.judging import Judging
from fallline.train.metrics import METRICS, column_name
from fallline.train.model import Model, metrics_of
from fallline.train.solving import Solving
from fallline.train.stepping import Order, Round, Stepping
from fallline.train.stopping import Best, EarlyStopping, StepLimit, StoppingRule, rules_in
from fallline.train.trail import Trail

Ending = Literal["epochs", "stopped", "solved", "failed", "interrupted"]


@dataclass
class Fit:
    """What training leaves: the model with its best weights, the history, and why training ended.

    reason      why training ended, in words
    best_epoch  the epoch whose weights the model has: the best on the validation rows, the last without them
    ended       what ended it: "epochs" (all of them are done), "stopped" (a stopping rule or a callback), "solved" (a
                solver had no more to do), "failed" (a value that is not finite) or "interrupted" (Ctrl-C)
    penalties   what was added to the mean loss;  row_weights  of the training rows, (n,), None where all count the same
    path        with keep_path=True the weights of every epoch, (epochs + 1, n_weights) float64, row 0 the untrained
                ones, each row in the order of `leaves(network, "param")`
    restarts    with restarts=n the losses of all starts, of which this is the best
    optimizer   what moved the weights
    sharing     share of the rows that judged, and the seed that chose them; None where there was no such share
    """

    model: Model
    history: History
    reason: str
    best_epoch: int
    ended: Ending = "epochs"
    path: np.ndarray | None = field(default=None, repr=False)
    penalties: tuple[Any, ...] = field(default=(), repr=False)
    row_weights: np.ndarray | None = field(default=None, repr=False)
    restarts: Listing | None = field(default=None, repr=False)
    optimizer: Minimizer | None = field(default=None, repr=False)
    sharing: tuple[Any, int] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Why training ended, what is kept of it, and where all starts led."""
        kept = next((row for row in self.history if row["epoch"] == self.best_epoch), {})
        losses = [f"{n.replace('_', ' ')} {kept[n]:.4g}" for n in ("train_loss", "validation_loss") if n in kept]
        told = (
            f"{self.reason}; the weights of epoch {self.best_epoch} are kept: {', '.join(losses) or 'no loss is known'}"
        )
        return told if self.restarts is None else f"{told}\n\n{self.restarts}"

    def save(self, path: str | Path) -> Path:
        """Writes the model file; see `Model.save`."""
        return self.model.save(path)


@dataclass
class Trainer:
    """One run of training: what is trained, on what, for how long.

    model       the model with the starting weights
    train       rows to learn from;  validation  rows to judge by, or None
    metrics     what each epoch's row gets beside the losses ("accuracy", "auc" …)
    early_stopping  when to stop; an EarlyStopping in it also says by which column the best weights are chosen,
                otherwise it is the validation loss; without validation rows the last weights are kept
    optimizer   an Optimizer takes a step for each batch; of a Solver an epoch is one iteration on all rows
    keep_path   whether the Fit gets the weights of every epoch
    checkpoints  where what is left of the run is kept, under the name `part`, and taken up from; None for nowhere
    engine      what computes the steps, with its options; None is the model's engine
    sharing     how the rows were shared out, for the Fit
    shuffle, judges_start, own_means  as in `Stepping`
    """

    model: Model
    optimizer: Minimizer
    train: Examples
    validation: Examples | None
    penalties: tuple[Any, ...] = ()
    epochs: int = 100
    batch_size: int = 64
    shuffle: bool | Order = True
    seed: int = 0
    early_stopping: StoppingRule | None = None
    metrics: tuple[str, ...] = ()
    consumers: Sequence[Consumer] = ()
    history: History = field(default_factory=History)
    keep_path: bool = False
    engine: Engine | None = None
    checkpoints: Checkpoints | None = None
    part: str = "fit"
    sharing: tuple[Any, int] | None = None
    judges_start: bool = True
    own_means: bool = False

    def __post_init__(self) -> None:
        self.metrics = tuple(dict.fromkeys(METRICS[m].name for m in (*self.metrics, *self._watched_metrics())))
        self.trail = Trail(self.keep_path)
        self.running = self.engine or get_engine(self.model.engine)
        self._params = list(leaves(self.model.network, "param"))
        self._losses: list[float] = []  # of the finished epochs, for schedules
        self._interrupted = False
        self._best: tuple[int, dict[str, Any]] = (0, {})
        self._over: tuple[Ending, str] | None = None
        self.way = self._way()

    def _way(self) -> Stepping | Solving:
        """What moves the weights."""
        given = self.model, self.train, self.penalties, self.epochs, self.seed, self.running
        if isinstance(self.optimizer, Solver):
            return Solving(self.optimizer, *given)
        if isinstance(self.optimizer, Optimizer):
            limits = [rule.steps for rule in rules_in(self.early_stopping) if isinstance(rule, StepLimit)]
            watched = self._losses, self._is_interrupted, min(limits, default=sys.maxsize)
            ways = self.judges_start, self.own_means
            return Stepping(self.optimizer, *given, self.batch_size, self.shuffle, *watched, *ways)
        raise ConfigError(f"{self.optimizer!r} is neither an Optimizer nor a Solver: make it a subclass of one")

    def run(self) -> Fit:
        """Trains to the end, from the start or from where a checkpoint was left, and returns what there is then."""
        return self._fit(*self._end())

    def _end(self) -> tuple[Ending, str]:
        """Trains to the end; what ended it, and the reason in words."""
        judge = self._judge()
        self._take_up(judge)
        rules = [self.early_stopping.watch(self.history)] if self.early_stopping else []
        if self._over is not None and self.checkpoints is not None and self.checkpoints.extended:
            self._over = self._over_again(rules)
        with self._interrupts():
            if self._over is None:
                self._over = self._ending(self._train(judge, [*self.consumers, *rules]))
            else:
                tell(self.consumers, self._started())
            if self.checkpoints is not None:
                self.checkpoints.parts[self.part] = self._kept()
            if self._over[0] == "stopped":
                self._judge_cut_epoch(judge)
        return self._over

    def go_on(
        self, train: Examples, leaves: Sequence[Any], batch_size: int, shuffle: bool | Order
    ) -> tuple[Ending, str]:
        """One more epoch, as of `Stepping.go_on`, with a history of its own; what compiled steps there are serve again.

        leaves  parameters and then buffers, in the order of `leaves(network, role)`; the new ones are in `way.place`
        returns  what ended the epoch, and the reason in words
        """
        assert isinstance(self.way, Stepping)
        self.train, self.history, self._over, self._interrupted = train, History(), None, False
        self._losses.clear()
        self.way.go_on(train, leaves, batch_size, shuffle)
        self.epochs = self.way.epochs
        return self._end()

    def _train(self, judge: Best | None, consumers: Sequence[Consumer]) -> Stop | None:
        """Shows every event to the consumers, until one of them or Ctrl-C stops training."""
        stopped = None
        for event, weights in self._events():
            if weights is not None:
                self._note(event.row, weights, judge)
            stopped = tell(consumers, event)
            if stopped is not None or self._interrupted:
                break
            if self.checkpoints is not None and len(self.history):
                self.checkpoints.offer(self.part, self._kept)
        if self._interrupted and not len(self.history):  # before there is anything to keep
            raise KeyboardInterrupt
        return stopped

    def _note(self, row: dict[str, Any], weights: dict[str, Any], judge: Best | None) -> None:
        """Takes in a row of the history, and its weights where they are the ones to keep."""
        self.history.append(row)
        if judge is None or judge.note(row):
            self._best = row["epoch"], weights

    def _judge_cut_epoch(self, judge: Best | None) -> None:
        """Where training was stopped inside an epoch: its row, so that its steps count as well."""
        if isinstance(self.way, Stepping) and self._last_epoch < self.way.place.epoch and self.way.place.done:
            found = self.way.round()
            row = self._row(found)
            if row is not None:
                self._note(row, found.weights, judge)
                tell(self.consumers, EpochEnded(row))

    def _fit(self, ended: Ending, reason: str) -> Fit:
        """What is left at the end."""
        best, weights = self._best
        tell(self.consumers, Ended(reason, best))
        if ended == "failed" and len(self.history) <= 1:
            raise NonFiniteError(reason)
        if ended == "failed":
            warn_user(f"{reason}; the weights of epoch {best} are kept", RuntimeWarning)
        row_weights = None if (self.train.w == 1).all() else self.train.w
        model = replace(self.model, network=with_leaves(self.way.network, weights) if weights else self.model.network)
        found = model, self.history, reason, best, ended, self.trail.path, self.penalties, row_weights
        return Fit(*found, optimizer=self.optimizer, sharing=self.sharing)

    def _kept(self) -> dict[str, Any]:
        """All that there is to know of the run now, as plain data and arrays; `_take_up` undoes it."""
        best, weights = self._best
        return {
            "epochs": self.epochs,
            "way": self.way.kept(),
            "history": list(self.history),
            "best": [best, list(weights.values())],
            "trail": self.trail.kept(),
            "over": self._over,
        }

    def _take_up(self, judge: Best | None) -> None:
        """Goes on from what the checkpoints hold, if they hold anything."""
        kept = None if self.checkpoints is None else self.checkpoints.parts.get(self.part)
        if kept is None:
            return
        self.way.take_up(kept["way"])
        self.trail.take_up(kept["trail"])
        self.history.rows[:] = kept["history"]
        for row in self.history:
            if judge is not None:
                judge.note(row)
            if row["epoch"]:
                self._losses.append(self._watched_loss(row))
        if kept["epochs"] != self.epochs:
            self._check_length(kept["epochs"])
        best, weights = kept["best"]
        self._best = best, dict(zip(leaves(self.way.network), weights, strict=True)) if weights else {}
        self._over = None if kept["over"] is None or kept["over"][0] == "interrupted" else kept["over"]

    def _check_length(self, before: int) -> None:
        """ConfigError where what was done in a run of `before` epochs would not have been done in this one."""
        if self.epochs < self._last_epoch:
            raise ConfigError(f"epochs={self.epochs}: {self._last_epoch} epochs are done already")
        if isinstance(self.way, Stepping) and self.way.follows_length(before):
            raise ConfigError(
                f"epochs={self.epochs}: the learning rate of {self.optimizer!r} follows the length of the run, which "
                f"was {before} epochs: start a new run"
            )

    def _over_again(self, rules: Sequence[Consumer]) -> tuple[Ending, str] | None:
        """What a run that had ended says under other limits: None where it goes on."""
        assert self._over is not None
        if self._over[0] in ("failed", "solved"):
            return self._over
        tell(rules, self._started())
        last: list[Any] = [EpochEnded(self.history[-1])]
        if isinstance(self.way, Stepping):
            last.append(BatchProgress(self.way.place.epoch, self.way.place.done, self.way.batches, math.nan))
        stops = [stop for stop in (tell(rules, event) for event in last) if stop is not None]
        return ("stopped", stops[0].reason) if stops else None

    @property
    def _last_epoch(self) -> int:
        """The last epoch of the history, -1 before there is one."""
        return self.history[-1]["epoch"] if len(self.history) else -1

    def _watched_loss(self, row: dict[str, Any]) -> float:
        """What schedules watch."""
        return row["train_loss" if self.validation is None else "validation_loss"]

    def _started(self) -> Started:
        sizes = len(self.train), len(self.validation or ())
        return Started(self.epochs, self.way.batches, *sizes, max(0, self._last_epoch), tuple(self.history))

    def _ending(self, stopped: Stop | None) -> tuple[Ending, str]:
        """What ended training, and the reason in words."""
        if self.way.failure:
            return "failed", self.way.failure
        if stopped is not None:
            return "stopped", stopped.reason
        if self._interrupted:
            return "interrupted", "interrupted"
        if self.way.reason:
            return "solved", self.way.reason
        return "epochs", f"all {self.epochs} epochs are done" if self.epochs else "no epoch was asked for"

    def _judge(self) -> Best | None:
        """What decides which epoch's weights are kept."""
        for rule in rules_in(self.early_stopping):
            if isinstance(rule, EarlyStopping):
                return Best(rule.metric, rule.mode)
        return None if self.validation is None else Best("validation_loss")

    def _watched_metrics(self) -> list[str]:
        """The metrics that stopping rules need in every row, beside losses and other columns."""
        watched = [getattr(rule, "metric", "") for rule in rules_in(self.early_stopping)]
        names = [column_name(metric).removeprefix("validation_").removeprefix("train_") for metric in watched]
        return [name for name in names if name in METRICS]

    def _events(self) -> Iterator[tuple[Any, dict[str, Any] | None]]:
        """Every event, with the end of an epoch its weights."""
        yield self._started(), None
        for found in self.way.rounds():
            if not isinstance(found, Round):
                yield found, None
                continue
            if found.epoch <= self._last_epoch:  # taken up: its row is there
                continue
            row = self._row(found)
            if row is None:
                return
            if found.epoch:
                self._losses.append(self._watched_loss(row))
            yield EpochEnded(row), found.weights

    def _row(self, found: Round) -> dict[str, Any] | None:
        """One row of the history: what the epoch itself found, how the way turned, and what the weights are worth.

        None when Ctrl-C came in between.
        """
        measured: dict[str, Any] = {}
        rows, prefix = (self.train, "train") if self.validation is None else (self.validation, "validation")
        if rows is self.validation or self.metrics:
            judged = self._judging.look(found.weights, self._is_interrupted)
            if judged is None:
                return None
            if rows is self.validation:
                measured["validation_loss"] = judged.loss
            if self.metrics:
                metrics = metrics_of(self.model, judged.scores, rows.y, rows.w, self.metrics)
                measured |= {f"{prefix}_{name}": value for name, value in metrics.items()}
        row: dict[str, Any] = {"epoch": found.epoch}
        trained = found.weights if found.trained is None else found.trained
        turn = self.trail.note([trained[path] for path in self._params])
        for name, value in found.facts.items():
            row[name] = value
            if name == "gradient_norm" and turn is not None:
                row["direction"] = turn
        return row | measured

    @cached_property
    def _judging(self) -> Judging:
        """What judges the weights: in the full precision with which the model will predict."""
        exact = self.running.with_options(threads=self.running.threads)
        rows = self.train if self.validation is None else self.validation
        return Judging(self.way.network, self.model.loss, rows, exact)

    def _is_interrupted(self) -> bool:
        return self._interrupted

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """The first Ctrl-C ends training after the running engine call, the second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def note(*_: Any) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
