"""Stepping: training by an optimizer, a step for each batch, many steps in one engine call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.data.batches import batch_indices
from fallline.engines.engine import Loop, LoopResult, get_engine
from fallline.nn.layer import Layer
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.train.events import BatchProgress
from fallline.train.examples import Examples
from fallline.train.model import Model, mean_loss, score_rows
from fallline.train.nonfinite import first_nonfinite
from fallline.train.step import Step

SECONDS_PER_CALL = 0.2  # an engine call returns this often, for progress and Ctrl-C
LARGEST_CALL = 100_000  # steps


@dataclass(frozen=True)
class Round:
    """The network after an epoch (0: before the first one), and what the epoch itself found, as columns of a row."""

    epoch: int
    network: Layer
    facts: dict[str, Any]


@dataclass
class Stepping:
    """The rounds of an optimizer.

    losses    the losses of the finished epochs, which a schedule may watch
    batches   steps in one epoch
    failure   why a value that is not finite ended the rounds;  reason  why they ended otherwise, "" after the last one
    """

    optimizer: Optimizer
    model: Model
    train: Examples
    penalties: tuple[Any, ...]
    epochs: int
    seed: int
    batch_size: int
    shuffle: bool = True
    losses: Callable[[], Sequence[float]] = tuple

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, len(self.train))
        self.batches = -(-len(self.train) // self.batch_size)
        engine = get_engine(self.model.engine)
        self.step = Step(self.model.network, self.model.loss, self.optimizer, self.penalties, self.batch_size, engine)
        self.key = new_key(self.seed)
        self.steps_done = 0
        self.failure = self.reason = ""
        self._chunk = 8
        self._loops: dict[int, Loop] = {}  # by batch size
        self._weight = _sum([self.train.w])

    def rounds(self) -> Iterator[BatchProgress | Round]:
        """Epoch 0 and then every epoch, with the progress inside it."""
        network = self.model.network
        state = self.optimizer.init(leaves(network, "param"))
        carry = self.step.carried(network, state)
        yield Round(0, network, self._untrained(carry, state))
        for epoch in range(1, self.epochs + 1):
            totals, norms, done = [], [], 0
            for indices in self._calls(epoch):
                result = self.train_on(indices, carry, state)
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
            rate = float(self._rates(self.steps_done - 1, 1)[0])
            yield Round(epoch, network, _facts(rate, _sum(norms) / done, _sum(totals) / self._weight))

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

    def train_on(self, indices: np.ndarray, carry: list[Any], state: dict[str, Any]) -> LoopResult:
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
        losses, epochs = self.losses(), max(1, self.epochs)  # the rate of an untrained network is that of a first step
        at = range(first, first + steps)
        return np.array(
            [self.optimizer.rate_at(s, steps_per_epoch=self.batches, epochs=epochs, history=losses) for s in at]
        )

    def _batch_specs(self, rows: int) -> tuple[Any, Spec, Spec]:
        """The Specs of a batch of that many rows."""
        data = (self.train.x, self.train.y, self.train.w)
        return map_leaves(lambda _, leaf: Spec((rows, *leaf.shape[1:]), leaf.dtype), data)

    def _untrained(self, carry: list[Any], state: dict[str, Any]) -> dict[str, Any]:
        """The facts of epoch 0: the loss on all rows, and the gradient of the first batch."""
        result = self.train_on(next(self._calls(1))[:1], carry, state)
        scores = score_rows(self.model.network, self.train.x, self.model.engine)
        loss = mean_loss(self.model, scores, self.train.y, self.train.w)
        return _facts(float(self._rates(0, 1)[0]), float(result.records[2][0]), loss)

    def _explain(self, carry: list[Any], state: dict[str, Any], indices: np.ndarray, failed: int, where: str) -> str:
        """Runs the steps before the failed one again, then that one node by node."""
        if failed > 0:
            carry = self.train_on(indices[:failed], carry, state).carry
        batch = self.train.take(indices[failed])
        program = self.step.program(state, batch.x, batch.y, batch.w)
        scanned = [s[failed] for s in self._scanned(failed + 1)]
        culprit = first_nonfinite(program, [*carry, *scanned, *batch.arrays], program.outputs[-2])
        if culprit is None:
            return f"the loss is not finite {where} of {self.batches}"
        return f"a value that is not finite appeared {where} of {self.batches}, {culprit}: {culprit.cause}"


def _facts(rate: float, norm: float, loss: float) -> dict[str, Any]:
    return {"learning_rate": rate, "gradient_norm": norm, "train_loss": loss}


def _sum(parts: Sequence[np.ndarray]) -> float:
    """The sum of all entries. They are added up together, so its bits do not tell how steps were grouped into calls."""
    return float(np.concatenate(parts).sum(dtype=np.float64))
