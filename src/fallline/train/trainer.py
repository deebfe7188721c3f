"""Trainer: the one training loop. It yields events; progress, early stopping and callbacks are their consumers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.listing import Listing
from fallline.core.warn import warn_user
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.solver import Solver
from fallline.train.events import Consumer, Ended, EpochEnded, Event, Started, Stop, tell
from fallline.train.examples import Examples
from fallline.train.history import History
from fallline.train.metrics import METRICS, column_name
from fallline.train.model import Model, mean_loss, metrics_of, score_rows
from fallline.train.solving import Solving
from fallline.train.stepping import Round, Stepping
from fallline.train.stopping import Best, EarlyStopping, StoppingRule
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

    def save(self, path: str | Path) -> Path:
        """Writes the model file; see `Model.save`."""
        return self.model.save(path)


@dataclass
class Trainer:
    """One run of training: what is trained, on what, for how long.

    model       the model with the starting weights
    train       rows to learn from;  validation  rows to judge by, or None
    metrics     what each epoch's row gets beside the losses ("accuracy", "auc" …)
    early_stopping  when to stop; an EarlyStopping also says by which column the best weights are chosen,
                otherwise it is the validation loss; without validation rows the last weights are kept
    optimizer   an Optimizer takes a step for each batch; of a Solver an epoch is one iteration on all rows
    keep_path   whether the Fit gets the weights of every epoch
    """

    model: Model
    optimizer: Minimizer
    train: Examples
    validation: Examples | None
    penalties: tuple[Any, ...] = ()
    epochs: int = 100
    batch_size: int = 64
    shuffle: bool = True
    seed: int = 0
    early_stopping: StoppingRule | None = None
    metrics: tuple[str, ...] = ()
    consumers: Sequence[Consumer] = ()
    history: History = field(default_factory=History)
    keep_path: bool = False

    def __post_init__(self) -> None:
        self.metrics = tuple(dict.fromkeys(METRICS[m].name for m in (*self.metrics, *self._watched_metric())))
        self.trail = Trail(self.keep_path)
        self.way = self._way()
        self._interrupted = False

    def _way(self) -> Stepping | Solving:
        """What moves the weights."""
        given = self.model, self.train, self.penalties, self.epochs, self.seed
        if isinstance(self.optimizer, Solver):
            return Solving(self.optimizer, *given)
        if isinstance(self.optimizer, Optimizer):
            return Stepping(self.optimizer, *given, self.batch_size, self.shuffle, self._losses)
        raise ConfigError(f"{self.optimizer!r} is neither an Optimizer nor a Solver: make it a subclass of one")

    def run(self) -> Fit:
        """Trains to the end and returns what is left."""
        judge = self._judge()
        consumers = [*self.consumers, *([self.early_stopping.watch()] if self.early_stopping else [])]
        best: tuple[int, Model] = (0, self.model)
        stopped = None
        with self._interrupts():
            for event in self._events():
                if isinstance(event, EpochEnded):
                    self.history.append(event.row)
                    if judge is None or judge.better(event.row):
                        best = event.row["epoch"], self.model
                    if judge is not None:
                        judge.note(event.row)
                stopped = tell(consumers, event)
                if stopped is not None or self._interrupted:
                    break
        failure = self.way.failure
        ended, reason = self._ending(stopped)
        tell(self.consumers, Ended(reason, best[0]))
        if failure and len(self.history) == 1:
            raise NonFiniteError(failure)
        if failure:
            warn_user(f"{failure}; the weights of epoch {best[0]} are kept", RuntimeWarning)
        weights = None if (self.train.w == 1).all() else self.train.w
        return Fit(best[1], self.history, reason, best[0], ended, self.trail.path, self.penalties, weights)

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
        if isinstance(self.early_stopping, EarlyStopping):
            return Best(self.early_stopping.metric, self.early_stopping.mode)
        return None if self.validation is None else Best("validation_loss")

    def _watched_metric(self) -> tuple[str, ...]:
        """The metric that early stopping needs in every row, unless it is a loss or another column."""
        watched = self.early_stopping.metric if isinstance(self.early_stopping, EarlyStopping) else ""
        name = column_name(watched).removeprefix("validation_").removeprefix("train_")
        return (name,) if name in METRICS else ()

    def _events(self) -> Iterator[Event]:
        yield Started(self.epochs, self.way.batches, len(self.train), len(self.validation or ()))
        for found in self.way.rounds():
            if isinstance(found, Round):
                self.model = replace(self.model, network=found.network)
                yield EpochEnded(self._row(found))
            else:
                yield found

    def _row(self, found: Round) -> dict[str, Any]:
        """One row of the history: what the epoch itself found, how the way turned, and what the weights are worth."""
        row: dict[str, Any] = {"epoch": found.epoch}
        for name, value in found.facts.items():
            row[name] = value
            if name == "gradient_norm" and (turn := self.trail.note(found.network)) is not None:
                row["direction"] = turn
        judged = self.validation or (self.train if self.metrics else None)
        if judged is None:
            return row
        scores = score_rows(found.network, judged.x, self.model.engine)
        prefix = "validation" if self.validation else "train"
        if self.validation is not None:
            row["validation_loss"] = mean_loss(self.model, scores, judged.y, judged.w)
        metrics = metrics_of(self.model, scores, judged.y, judged.w, self.metrics)
        return row | {f"{prefix}_{name}": value for name, value in metrics.items()}

    def _losses(self) -> Sequence[float]:
        """What a schedule may watch: the loss of each finished epoch, of the validation rows where there are any."""
        column = "validation_loss" if self.validation is not None else "train_loss"
        return tuple(self.history[column][1:]) if len(self.history) > 1 else ()

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
