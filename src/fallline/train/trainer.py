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

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.listing import Listing
from fallline.core.tree import leaves, with_leaves
from fallline.core.warn import warn_user
from fallline.engines.engine import Engine, get_engine
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.solver import Solver
from fallline.train.events import Consumer, Ended, EpochEnded, Started, Stop, tell
from fallline.train.examples import Examples
from fallline.train.history import History
from fallline.train.judging import Judging
from fallline.train.metrics import METRICS, column_name
from fallline.train.model import Model, metrics_of
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
    engine      what computes the steps, with its options; None is the model's engine
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
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self.metrics = tuple(dict.fromkeys(METRICS[m].name for m in (*self.metrics, *self._watched_metric())))
        self.trail = Trail(self.keep_path)
        self.running = self.engine or get_engine(self.model.engine)
        self._params = list(leaves(self.model.network, "param"))
        self._losses: list[float] = []  # of the finished epochs, for schedules
        self._interrupted = False
        self.way = self._way()

    def _way(self) -> Stepping | Solving:
        """What moves the weights."""
        given = self.model, self.train, self.penalties, self.epochs, self.seed, self.running
        if isinstance(self.optimizer, Solver):
            return Solving(self.optimizer, *given)
        if isinstance(self.optimizer, Optimizer):
            return Stepping(self.optimizer, *given, self.batch_size, self.shuffle, self._losses, self._is_interrupted)
        raise ConfigError(f"{self.optimizer!r} is neither an Optimizer nor a Solver: make it a subclass of one")

    def run(self) -> Fit:
        """Trains to the end and returns what is left."""
        judge = self._judge()
        consumers = [*self.consumers, *([self.early_stopping.watch()] if self.early_stopping else [])]
        best: tuple[int, dict[str, Any]] = (0, {})
        stopped = None
        with self._interrupts():
            for event, weights in self._events():
                if weights is not None:
                    self.history.append(event.row)
                    if judge is None or judge.note(event.row):
                        best = event.row["epoch"], weights
                stopped = tell(consumers, event)
                if stopped is not None or self._interrupted:
                    break
        if self._interrupted and not len(self.history):  # before there is anything to keep
            raise KeyboardInterrupt
        failure = self.way.failure
        ended, reason = self._ending(stopped)
        tell(self.consumers, Ended(reason, best[0]))
        if failure and len(self.history) == 1:
            raise NonFiniteError(failure)
        if failure:
            warn_user(f"{failure}; the weights of epoch {best[0]} are kept", RuntimeWarning)
        row_weights = None if (self.train.w == 1).all() else self.train.w
        model = replace(self.model, network=with_leaves(self.way.network, best[1]) if best[1] else self.model.network)
        return Fit(model, self.history, reason, best[0], ended, self.trail.path, self.penalties, row_weights)

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

    def _events(self) -> Iterator[tuple[Any, dict[str, Any] | None]]:
        """Every event, with the end of an epoch its weights."""
        yield Started(self.epochs, self.way.batches, len(self.train), len(self.validation or ())), None
        for found in self.way.rounds():
            if not isinstance(found, Round):
                yield found, None
                continue
            row = self._row(found)
            if row is None:
                return
            if found.epoch:
                self._losses.append(row["train_loss" if self.validation is None else "validation_loss"])
            yield EpochEnded(row), found.weights

    def _row(self, found: Round) -> dict[str, Any] | None:
        """One row of the history: what the epoch itself found, how the way turned, and what the weights are worth.

        None when Ctrl-C came in between.
        """
        row: dict[str, Any] = {"epoch": found.epoch}
        trained = found.weights if found.trained is None else found.trained
        turn = self.trail.note([trained[path] for path in self._params])
        for name, value in found.facts.items():
            row[name] = value
            if name == "gradient_norm" and turn is not None:
                row["direction"] = turn
        rows, prefix = (self.train, "train") if self.validation is None else (self.validation, "validation")
        if rows is self.train and not self.metrics:
            return row
        judged = self._judging.look(found.weights, self._is_interrupted)
        if judged is None:
            return None
        if rows is self.validation:
            row["validation_loss"] = judged.loss
        if self.metrics:
            metrics = metrics_of(self.model, judged.scores, rows.y, rows.w, self.metrics)
            row |= {f"{prefix}_{name}": value for name, value in metrics.items()}
        return row

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
