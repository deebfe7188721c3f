"""Trainer: the one training loop. It yields events; progress, early stopping and callbacks are their consumers."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import NonFiniteError
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.data.batches import batch_indices
from fallline.engines.engine import Loop, LoopResult, get_engine
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.train.events import BatchProgress, Consumer, Ended, EpochEnded, Event, Started, Stop, tell
from fallline.train.examples import Examples
from fallline.train.history import History
from fallline.train.metrics import METRICS, column_name
from fallline.train.model import Model, mean_loss, metrics_of, score_rows
from fallline.train.nonfinite import first_nonfinite
from fallline.train.step import Step
from fallline.train.stopping import Best, EarlyStopping, StoppingRule

SECONDS_PER_CALL = 0.2  # an engine call returns this often, for progress and Ctrl-C
LARGEST_CALL = 100_000  # steps
INTERRUPTED = "interrupted"  # the reason of a training that Ctrl-C ended


@dataclass
class Fit:
    """What training leaves: the model with its best weights, the history, and why training ended.

    best_epoch  the epoch whose weights the model has: the best on the validation rows, the last without them
    """

    model: Model
    history: History
    reason: str
    best_epoch: int

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
    """

    model: Model
    optimizer: Optimizer
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

    def __post_init__(self) -> None:
        self.metrics = tuple(dict.fromkeys(METRICS[m].name for m in (*self.metrics, *self._watched_metric())))
        self.batch_size = min(self.batch_size, len(self.train))
        self.batches = -(-len(self.train) // self.batch_size)
        engine = get_engine(self.model.engine)
        self.step = Step(self.model.network, self.model.loss, self.optimizer, self.penalties, self.batch_size, engine)
        self.key = new_key(self.seed)
        self.steps_done = 0
        self.failure = ""  # why a value that is not finite ended training
        self._chunk = 8
        self._loops: dict[int, Loop] = {}  # by batch size
        self._weight = _sum([self.train.w])
        self._interrupted = False

    def run(self) -> Fit:
        """Trains to the end and returns what is left."""
        judge = self._judge()
        consumers = [*self.consumers, *([self.early_stopping.watch()] if self.early_stopping else [])]
        best: tuple[int, Model] = (0, self.model)
        reason = f"all {self.epochs} epochs are done"
        with self._interrupts():
            for event in self._events():
                if isinstance(event, EpochEnded):
                    self.history.append(event.row)
                    if judge is None or judge.better(event.row):
                        best = event.row["epoch"], self.model
                    if judge is not None:
                        judge.note(event.row)
                stop = tell(consumers, event) or (Stop(INTERRUPTED) if self._interrupted else None)
                if stop is not None:
                    reason = stop.reason
                    break
        tell(self.consumers, Ended(self.failure or reason, best[0]))
        if self.failure and len(self.history) == 1:
            raise NonFiniteError(self.failure)
        if self.failure:
            warnings.warn(f"{self.failure}; the weights of epoch {best[0]} are kept", RuntimeWarning, stacklevel=3)
        return Fit(best[1], self.history, self.failure or reason, best[0])

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
        network = self.model.network
        yield Started(self.epochs, self.batches, len(self.train), len(self.validation or ()))
        state = self.optimizer.init(leaves(network, "param"))
        carry = self.step.carried(network, state)
        yield EpochEnded(self._first_row(carry, state))
        for epoch in range(1, self.epochs + 1):
            totals, norms, done = [], [], 0
            for indices in self._calls(epoch):
                result = self._train(indices, carry, state)
                watched, losses, norm = result.records
                if not math.isfinite(watched[-1]):
                    self.failure = self._explain(
                        carry, state, indices, result.steps - 1, f"in epoch {epoch}, batch {done + result.steps}"
                    )
                    return
                carry = result.carry
                totals.append(losses)
                norms.append(norm)
                done += result.steps
                self.steps_done += result.steps
                yield BatchProgress(epoch, done, self.batches, float(losses[-1]) / indices.shape[1])
            network, state = self.step.restored(carry, state)
            self.model = replace(self.model, network=network)
            rate = float(self._rates(self.steps_done - 1, 1)[0])
            yield EpochEnded(self._row(epoch, rate, _sum(norms) / done, _sum(totals) / self._weight))

    def _calls(self, epoch: int) -> Iterator[np.ndarray]:
        """The epoch's batches in groups of equal batch size, each group one engine call: (steps, batch) row numbers."""
        listed = batch_indices(len(self.train), self.batch_size, seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        full = [b for b in listed if len(b) == self.batch_size]
        at = 0
        while at < len(full):
            group = np.stack(full[at : at + self._chunk])
            at += len(group)
            yield group
        for short in listed[len(full) :]:
            yield short[None, :]

    def _train(self, indices: np.ndarray, carry: list[Any], state: dict[str, Any]) -> LoopResult:
        """The next steps in one engine call."""
        start = time.perf_counter()
        rows = indices.shape[1]
        if rows not in self._loops:
            self._loops[rows] = self.step.loop(state, *self._batch_specs(rows))
        result = self._loops[rows](carry, self._scanned(len(indices)), self.train.arrays, indices)
        seconds = time.perf_counter() - start
        self._chunk = max(1, min(LARGEST_CALL, int(self._chunk * min(4.0, SECONDS_PER_CALL / max(seconds, 1e-9)))))
        return result

    def _scanned(self, steps: int) -> list[np.ndarray]:
        """Learning rate, step number (from 1) and random key of each of the next steps."""
        numbers = np.arange(self.steps_done + 1, self.steps_done + 1 + steps)
        dtype = self.train.w.dtype
        return [self._rates(self.steps_done, steps).astype(dtype), numbers.astype(dtype), step_keys(self.key, numbers)]

    def _rates(self, first: int, steps: int) -> np.ndarray:
        """The learning rates of steps counted from 0."""
        rate = self.optimizer.learning_rate
        if isinstance(rate, (int, float)):
            return np.full(steps, float(rate))
        column = "validation_loss" if self.validation is not None else "train_loss"
        losses = tuple(self.history[column][1:]) if len(self.history) > 1 else ()
        at = range(first, first + steps)
        return np.array(
            [self.optimizer.rate_at(s, steps_per_epoch=self.batches, epochs=self.epochs, history=losses) for s in at]
        )

    def _batch_specs(self, rows: int) -> tuple[Any, Spec, Spec]:
        """The Specs of a batch of that many rows."""
        data = (self.train.x, self.train.y, self.train.w)
        return map_leaves(lambda _, leaf: Spec((rows, *leaf.shape[1:]), leaf.dtype), data)

    def _first_row(self, carry: list[Any], state: dict[str, Any]) -> dict[str, Any]:
        """Epoch 0, the untrained network: its loss on all rows, and the gradient of the first batch."""
        result = self._train(next(self._calls(1))[:1], carry, state)
        scores = score_rows(self.model.network, self.train.x, self.model.engine)
        loss = mean_loss(self.model, scores, self.train.y, self.train.w)
        return self._row(0, float(self._rates(0, 1)[0]), float(result.records[2][0]), loss)

    def _row(self, epoch: int, rate: float, norm: float, train_loss: float) -> dict[str, Any]:
        row = {"epoch": epoch, "learning_rate": rate, "gradient_norm": norm, "train_loss": train_loss}
        judged = self.validation or (self.train if self.metrics else None)
        if judged is None:
            return row
        scores = score_rows(self.model.network, judged.x, self.model.engine)
        prefix = "validation" if self.validation else "train"
        if self.validation is not None:
            row["validation_loss"] = mean_loss(self.model, scores, judged.y, judged.w)
        found = metrics_of(self.model, scores, judged.y, judged.w, self.metrics)
        return row | {f"{prefix}_{name}": value for name, value in found.items()}

    def _explain(self, carry: list[Any], state: dict[str, Any], indices: np.ndarray, failed: int, where: str) -> str:
        """Runs the steps before the failed one again, then that one node by node."""
        if failed > 0:
            carry = self._train(indices[:failed], carry, state).carry
        batch = self.train.take(indices[failed])
        program = self.step.program(state, batch.x, batch.y, batch.w)
        scanned = [s[failed] for s in self._scanned(failed + 1)]
        culprit = first_nonfinite(program, [*carry, *scanned, *batch.arrays], program.outputs[-2])
        if culprit is None:
            return f"the loss is not finite {where} of {self.batches}"
        return f"a value that is not finite appeared {where} of {self.batches}, {culprit}: {culprit.cause}"

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


def _sum(parts: Sequence[np.ndarray]) -> float:
    """The sum of all entries. They are added up together, so its bits do not tell how steps were grouped into calls."""
    return float(np.concatenate(parts).sum(dtype=np.float64))
