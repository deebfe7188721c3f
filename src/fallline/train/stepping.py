"""Stepping: training by an optimizer, a step for each batch, many steps in one engine call."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.data.batches import epoch_order
from fallline.engines.engine import Engine, Loop, LoopResult
from fallline.nn.layer import Layer
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.train.events import BatchProgress
from fallline.train.examples import Examples
from fallline.train.feeding import Feed
from fallline.train.judging import Judging, never
from fallline.train.model import Model
from fallline.train.nonfinite import first_nonfinite
from fallline.train.replay import Replay
from fallline.train.step import Step

SECONDS_PER_CALL = 0.1  # what an engine call is to last: it returns for progress and Ctrl-C
LARGEST_CALL = 100_000  # steps
GROWTH = 8  # times as many steps as in the call before, at most: the first steps tell little of the speed
Order = Callable[[int], np.ndarray]  # epoch -> the rows in their order
LOOKED_AT = 100  # steps whose rates tell whether they follow the length of a run
KEYS = 4096  # steps whose numbers and random keys are computed together


@dataclass(frozen=True)
class Round:
    """The weights after an epoch (0: before the first one), and what the epoch itself found, as columns of a row.

    weights  every leaf of the network that is judged and kept by path, in the order of `leaves(network)`
    facts    columns of the history
    trained  the leaves of the network that is trained; None where the two are the same
    """

    epoch: int
    weights: dict[str, Any]
    facts: dict[str, Any]
    trained: dict[str, Any] | None = None


@dataclass
class Place:
    """How far the rounds have come: after `done` steps of an epoch.

    carry    the arrays after these steps;  rate  of the last one
    totals, norms  what the steps of this epoch recorded, one array a call
    """

    carry: Sequence[Any]
    epoch: int = 0
    done: int = 0
    rate: float = 0.0
    totals: list[np.ndarray] = field(default_factory=list)
    norms: list[np.ndarray] = field(default_factory=list)


@dataclass
class Stepping:
    """The rounds of an optimizer.

    engine    what computes the steps, with its options
    losses    the losses of the finished epochs, which a schedule may watch
    halted    whether the rounds are to end at once, wherever they are
    most_steps  no call goes beyond this step of the run
    shuffle   whether epochs have orders of their own, or a function epoch -> order of the rows that repeats itself
    judges_start  whether the rounds begin with epoch 0, the untrained network
    own_means  whether every batch is a mean of its own, see step.py; "train_loss" is then the mean of J over the rows,
               and small batches are filled up with a row of weight 0, so that few sizes are compiled
    batches   steps in one epoch
    failure   why a value that is not finite ended the rounds;  reason  why they ended otherwise, "" after the last one
    """

    optimizer: Optimizer
    model: Model
    train: Examples
    penalties: tuple[Any, ...]
    epochs: int
    seed: int
    engine: Engine
    batch_size: int
    shuffle: bool | Order = True
    losses: Sequence[float] = ()
    halted: Callable[[], bool] = never
    most_steps: int = sys.maxsize
    judges_start: bool = True
    own_means: bool = False

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, len(self.train))
        self.batches = -(-len(self.train) // self.batch_size)
        given = self.penalties, None if self.own_means else self.batch_size, self.engine
        self._given = self.optimizer
        self.optimizer = self._given.for_run(len(self.train) / self.batch_size, self.epochs)
        self.step = Step(self.model.network, self.model.loss, self.optimizer, *given)
        self.state = self.step.start(self.model.network)
        self.key = new_key(self.seed)
        self.steps_done = 0
        self.place = Place(self.step.carried(self.model.network, self.state))
        self.failure = self.reason = ""
        self._steps = 1  # of the next engine call, at most
        self._loops: dict[int, Loop] = {}  # by batch size
        self._numbered: tuple[int, np.ndarray, np.ndarray] = 0, np.zeros(0), np.zeros(0)
        self._feed, self._weight = self._feed_of(self.train), self._weight_of(self.train.w)

    def _feed_of(self, train: Examples) -> Feed:
        """The rows for the engine. Behind the statistics of a batch, which are buffers, no batch is filled up."""
        return Feed(train, self.batch_size, fills=self.own_means and not self.step.buffers)

    def rounds(self) -> Iterator[BatchProgress | Round]:
        """Epoch 0 and then every epoch, with the progress inside it; what was taken up goes on with its own epoch."""
        if not (self.place.epoch or self.judges_start):
            self.place = Place(self.place.carry, epoch=1)
        if not self.place.epoch:
            untrained = self._untrained(self.place.carry)
            if untrained is None:
                return
            self.place = Place(self.place.carry, epoch=1)
            yield self._round(0, untrained)
        replay = Replay(self._call, self.place.carry)
        for epoch in range(self.place.epoch, self.epochs + 1):
            if epoch > self.place.epoch:
                self.place = Place(self.place.carry, epoch)
            for indices in self._calls(epoch, self.place.done):
                loss = self._advance(replay, indices)
                if loss is None:
                    return
                yield BatchProgress(epoch, self.place.done, self.batches, loss)
            yield self.round()

    def _advance(self, replay: Replay, indices: np.ndarray) -> float | None:
        """The next steps; the mean loss of the last one, or None for a value that is not finite."""
        place, scanned = self.place, self._scanned(len(indices))
        replay.note(indices, scanned)
        result = self._call(place.carry, indices, scanned)
        watched, losses, norm = result.records
        rows = np.full(len(losses), indices.shape[1])
        if self.own_means:
            rows = self._feed.counts(indices[: len(losses)])
            losses = losses * rows
        if not math.isfinite(watched[-1]):
            failed = result.steps - 1
            where = f"in epoch {place.epoch}, batch {place.done + result.steps}"
            self.failure = self._explain(replay.before(failed), [s[failed] for s in scanned], indices[failed], where)
            return None
        place.carry = result.carry
        replay.done(place.carry)
        place.totals.append(losses)
        place.norms.append(norm)
        place.done += result.steps
        self.steps_done += result.steps
        return float(losses[-1]) / int(rows[-1])

    def round(self) -> Round:
        """The weights now, and what the steps of this epoch found, also of one that is not over."""
        place, weight = self.place, self._weight
        if place.done < self.batches:
            rows = self._order(place.epoch)[: place.done * self.batch_size]
            weight = self._weight_of(self.train.w[rows])
        facts = _facts(place.rate, _sum(place.norms) / place.done, _sum(place.totals) / weight)
        return self._round(place.epoch, facts)

    def _weight_of(self, w: np.ndarray) -> float:
        """What the recorded losses of these rows add up over."""
        return float(len(w)) if self.own_means else _sum([w])

    @property
    def network(self) -> Layer:
        """The network that is judged and kept."""
        return self.step.evaluated_network

    def _round(self, epoch: int, facts: dict[str, Any]) -> Round:
        carry = self.place.carry
        trained = self.step.weights(carry)
        return Round(epoch, self.step.evaluated(trained, carry, self.state), facts, trained)

    def kept(self) -> dict[str, Any]:
        """The place as plain data and arrays; `take_up` undoes it."""
        place = self.place
        return {
            "epoch": place.epoch,
            "done": place.done,
            "rate": place.rate,
            "carry": [] if self.failure else list(place.carry),
            "totals": list(place.totals),
            "norms": list(place.norms),
        }

    def take_up(self, kept: dict[str, Any]) -> None:
        """Goes on from a place that was kept."""
        self.place = Place(**{**kept, "carry": kept["carry"] or self.place.carry})
        self.steps_done = max(0, kept["epoch"] - 1) * self.batches + kept["done"]

    def go_on(self, train: Examples, leaves: Sequence[Any], batch_size: int, shuffle: bool | Order) -> None:
        """One more epoch, on other rows and from other parameters and buffers; the optimizer's arrays stay.

        Only where every batch is a mean of its own, as no program then knows the batch size.
        """
        self.batch_size, self.shuffle = min(batch_size, len(train)), shuffle
        self.train, self._feed, self._weight = train, self._feed_of(train), self._weight_of(train.w)
        self.batches = -(-len(train) // self.batch_size)
        self.epochs = self.place.epoch + 1
        self.place = Place([*leaves, *self.place.carry[len(leaves) :]], self.place.epoch + 1)

    def follows_length(self, before: int) -> bool:
        """Whether the steps that are done would have been others in a run of `before` epochs."""
        if self._given.for_run(len(self.train) / self.batch_size, before) != self.optimizer:
            return True
        if isinstance(self.optimizer.schedule, (int, float)):
            return False
        at = partial(self.optimizer.rate_at, steps_per_epoch=self.batches, history=self.losses)
        steps = {int(step) for step in np.linspace(0, max(0, self.steps_done - 1), LOOKED_AT)}
        return any(at(step, epochs=before) != at(step, epochs=self.epochs) for step in steps)

    def _order(self, epoch: int) -> np.ndarray:
        if callable(self.shuffle):
            return self.shuffle(epoch)
        return epoch_order(len(self.train), seed=self.seed, epoch=epoch, shuffle=self.shuffle)

    def _calls(self, epoch: int, done: int = 0) -> Iterator[np.ndarray]:
        """The batches after `done` steps, in groups of equal size, one engine call each: (steps, batch) row numbers."""
        order = self._feed.whole(self._order(epoch))
        whole = len(order) // self.batch_size
        full = order[: whole * self.batch_size].reshape(whole, self.batch_size)
        at = done
        while at < whole:
            most = min(max(1, self.most_steps - self.steps_done), self._feed.most_steps or LARGEST_CALL)
            group = full[at : at + min(self._steps, most)]
            at += len(group)
            yield self._feed.filled(group)
        if at < self.batches:
            yield self._feed.filled(order[None, whole * self.batch_size :])

    def train_on(self, indices: np.ndarray, carry: Sequence[Any]) -> LoopResult:
        """The next steps in one engine call."""
        return self._call(carry, indices, self._scanned(len(indices)))

    def _call(self, carry: Sequence[Any], indices: np.ndarray, scanned: Sequence[np.ndarray]) -> LoopResult:
        """One engine call. What it took says how many steps the next one may have."""
        steps, rows = indices.shape
        if rows not in self._loops:
            self._loops[rows] = self.step.loop(self.state, *self._batch_specs(rows))
        start = time.perf_counter()
        result = self._loops[rows](carry, scanned, *self._feed.given(indices))
        seconds = time.perf_counter() - start
        if rows == self._feed.size(self.batch_size):
            fitting = min(LARGEST_CALL, result.steps * SECONDS_PER_CALL / max(seconds, 1e-9))
            self._steps = max(1, int(min(fitting, max(self._steps, GROWTH * steps))))
        return result

    def _scanned(self, steps: int) -> list[np.ndarray]:
        """Learning rate, step number (from 1) and random key of each of the next steps."""
        first, numbers, keys = self._numbered
        at = self.steps_done - first
        if at < 0 or at + steps > len(numbers):
            at, counted = 0, np.arange(self.steps_done + 1, self.steps_done + 1 + max(steps, KEYS))
            numbers, keys = counted.astype(self.train.w.dtype), step_keys(self.key, counted)
            self._numbered = self.steps_done, numbers, keys
        rates = self._rates(self.steps_done, steps)
        self.place.rate = float(rates[-1])
        return [rates.astype(self.train.w.dtype), numbers[at : at + steps], keys[at : at + steps]]

    def _rates(self, first: int, steps: int) -> np.ndarray:
        """The learning rates of steps counted from 0."""
        rate = self.optimizer.schedule
        if isinstance(rate, (int, float)):
            return np.full(steps, float(rate))
        epochs = max(1, self.epochs)  # the rate of an untrained network is that of a first step
        at = partial(self.optimizer.rate_at, steps_per_epoch=self.batches, epochs=epochs, history=self.losses)
        return np.array([at(step) for step in range(first, first + steps)])

    def _batch_specs(self, rows: int) -> tuple[Any, Spec, Spec]:
        """The Specs of a batch of that many rows."""
        data = (self.train.x, self.train.y, self.train.w)
        return map_leaves(lambda _, leaf: Spec((rows, *leaf.shape[1:]), leaf.dtype), data)

    def _untrained(self, carry: Sequence[Any]) -> dict[str, Any] | None:
        """The facts of epoch 0: the loss on all rows, and the gradient of the first batch; None when halted."""
        result = self.train_on(next(self._calls(1))[:1], carry)
        exact = self.engine.with_options(threads=self.engine.threads)
        network = self.model.network
        judged = Judging(network, self.model.loss, self.train, exact).look(leaves(network), self.halted)
        return None if judged is None else _facts(self.place.rate, float(result.records[2][0]), judged.loss)

    def _explain(self, carry: Sequence[Any], scanned: list[Any], rows: np.ndarray, where: str) -> str:
        """Runs the failed step once more, node by node, from the arrays before it."""
        batch = self.train.take(rows[rows < len(self.train)])
        program = self.step.program(self.state, batch.x, batch.y, batch.w)
        culprit = first_nonfinite(program, [*carry, *scanned, *batch.arrays], program.outputs[-2])
        if culprit is None:
            return f"the loss is not finite {where} of {self.batches}"
        return f"a value that is not finite appeared {where} of {self.batches}, {culprit}: {culprit.cause}"


def _facts(rate: float, norm: float, loss: float) -> dict[str, Any]:
    return {"learning_rate": rate, "gradient_norm": norm, "train_loss": loss}


def _sum(parts: Sequence[np.ndarray]) -> float:
    """The sum of all entries. They are added up together, so its bits do not tell how steps were grouped into calls."""
    return float((parts[0] if len(parts) == 1 else np.concatenate(parts)).sum(dtype=np.float64))
