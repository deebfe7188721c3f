"""Fallline, through the pieces that `fit` is made of: a network, a Step, and its loop over batches."""

from __future__ import annotations

from typing import Any

import numpy as np

import fallline as fl
from benchmarks.contestants import Contestant, Trainer
from benchmarks.workloads import LEARNING_RATE, Workload
from fallline.data.batches import epoch_order
from fallline.engines.engine import Engine, get_engine
from fallline.ops.random import new_key, step_keys
from fallline.train.step import Step

DROPPED_KEY = 3  # the seed of the dropout


def engine_of(name: str, precision: str, threads: int) -> Engine:
    """The engine on one thread, or on as many of this process's cores as it finds worth their while."""
    engine = get_engine(name)
    forced = 1 if threads == 1 and not engine.threads_refused() else None
    return engine.with_options(threads=forced, precision=precision)


def network(workload: Workload, dtype: Any = np.float32) -> fl.Layer:
    """The filled network with the workload's starting weights."""
    layers: list[fl.Layer] = []
    for units in workload.hidden:
        layers += [fl.Dense(units), fl.ReLU() if workload.activation == "relu" else fl.Tanh()]
        layers += [fl.BatchNorm()] if workload.norm else []
        layers += [fl.Dropout(workload.dropout)] if workload.dropout else []
    recipe = fl.Sequential(*layers, fl.Dense(workload.outputs))
    built = recipe.build(fl.spec((workload.batch, workload.inputs), dtype), np.random.default_rng(0))
    dense = [i for i, layer in enumerate(recipe.layers) if isinstance(layer, fl.Dense)]
    arrays: dict[str, np.ndarray] = {}
    for i, (W, b) in zip(dense, workload.weights(), strict=True):
        arrays |= {f"layers.{i}.W": W.astype(dtype), f"layers.{i}.b": b.astype(dtype)}
    return fl.with_leaves(built, arrays)


class Training:
    """A compiled loop with its table and its starting arrays."""

    def __init__(self, workload: Workload, engine: Engine, dtype: Any = np.float32):
        self.workload, self.dtype = workload, dtype
        x, y = workload.data()
        float_y = workload.outputs == 1
        self.data = [x.astype(dtype), y.astype(dtype) if float_y else y, np.ones(workload.rows, dtype)]
        self.network = network(workload, dtype)
        loss = fl.BinaryCrossEntropy() if float_y else fl.CategoricalCrossEntropy()
        self.optimizer = fl.Adam(LEARNING_RATE)
        self.step = Step(self.network, loss, self.optimizer, (), workload.batch, engine)
        self.state = self.optimizer.init(fl.leaves(self.network, "param"))
        self.start = self.step.carried(self.network, self.state)
        self.carry: Any = self.start
        self.key = new_key(DROPPED_KEY)
        self.epochs_done = 0

    @property
    def specs(self) -> list[fl.Spec]:
        return [fl.Spec((self.workload.batch, *a.shape[1:]), a.dtype) for a in self.data]

    def build(self) -> Training:
        """Compiles the loop."""
        self.loop = self.step.loop(self.state, *self.specs)
        return self

    def steps(self, indices: np.ndarray) -> Any:
        """The loop's result for these row numbers, (steps, batch); the next call goes on from there."""
        result = self.loop(self.carry, self.scanned(len(indices)), self.data, indices)
        self.carry = result.carry
        return result

    def scanned(self, count: int) -> list[np.ndarray]:
        """Learning rate, number and random key of the first steps."""
        numbers = np.arange(1, count + 1)
        return [np.full(count, LEARNING_RATE, self.dtype), numbers.astype(self.dtype), step_keys(self.key, numbers)]

    def reset(self) -> None:
        """Back to the starting arrays."""
        self.carry = self.start

    def run(self) -> None:
        """The epochs of one run, each with a shuffle of its own."""
        w = self.workload
        scanned = self.scanned(w.steps)
        at = 0
        for epochs in w.calls():
            orders = [epoch_order(w.rows, seed=1, epoch=self.epochs_done + e)[: w.full_rows] for e in epochs]
            indices = (orders[0] if len(orders) == 1 else np.concatenate(orders)).reshape(-1, w.batch)
            stop = at + len(indices)
            result = self.loop(self.carry, [values[at:stop] for values in scanned], self.data, indices)
            self.carry = result.carry
            if result.steps != len(indices):
                raise FloatingPointError(f"{w.name}: the loss is not finite after {at + result.steps} steps")
            at = stop
        self.epochs_done += w.epochs

    def in_order(self, count: int) -> np.ndarray:
        """Row numbers of the first `count` steps without a shuffle, (count, batch)."""
        w = self.workload
        return np.resize(np.arange(w.full_rows), (count, w.batch))

    def gradient(self) -> np.ndarray:
        """The gradient of one batch at the starting weights, in one vector: Adam's m is (1 - beta1) of it."""
        rows = self.workload.clear_rows() if self.workload.is_plain else self.in_order(1)[0]
        result = self.steps(rows[None, :])
        _, state = self.step.restored(result.carry, self.state)
        share = np.asarray(1.0 - self.optimizer.beta1, self.dtype).astype(np.float64)
        parts = [a.ravel() for name, a in state.items() if name.startswith("m:")]
        return np.concatenate(parts).astype(np.float64) / share

    def losses(self, count: int) -> list[float]:
        """The mean loss of the batch in each of the first steps."""
        return [float(total) / self.workload.batch for total in self.steps(self.in_order(count)).records[1]]


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    precision = contestant.precision
    dtype = np.float64 if precision == "float64" else np.float32
    training = Training(workload, engine_of(engine, precision, threads), dtype).build()
    return Trainer(training.run, workload.steps, training.reset)


def gradient_error(workload: Workload, contestant: Contestant, threads: int, engine: str) -> float:
    """‖g - g64‖ / ‖g64‖ of one step, g64 in float64 by the reference engine."""
    precision = contestant.precision
    dtype = np.float64 if precision == "float64" else np.float32
    found = Training(workload, engine_of(engine, precision, threads), dtype).build().gradient()
    exact = Training(workload, get_engine("numpy"), np.float64).build().gradient()
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def losses(workload: Workload, contestant: Contestant, threads: int, engine: str, count: int) -> list[float]:
    """The losses of the first steps, rows in order, from the workload's starting weights."""
    return Training(workload, engine_of(engine, contestant.precision, threads)).build().losses(count)
