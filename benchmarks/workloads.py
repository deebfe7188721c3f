"""Workloads: networks, their synthetic tables, and the work in one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3
QUICK_ROWS = 640
MARGIN = 2e-5  # ten roundings of a float32 sum over a thousand products of about 1


@dataclass(frozen=True)
class Workload:
    """A dense network on a table of numbers, trained by Adam in shuffled full minibatches.

    rows     of the table;  inputs  columns;  outputs  1 for two classes, else the number of classes
    hidden   units of the hidden layers;  activation  after each of them: "relu" or "tanh"
    norm     batch norm after each activation;  dropout  rate of the dropout after that, 0 for none
    batch    rows in a step
    epochs   passes in one timed run;  per_call  how many of them are one call of an engine: after each call Python may
             look, as a training loop does that reports every epoch
    """

    name: str
    rows: int
    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    epochs: int = 1
    per_call: int = 1
    activation: str = "relu"
    norm: bool = False
    dropout: float = 0.0

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Workload:
        """A workload from the fields that came through JSON."""
        return cls(**{**fields, "hidden": tuple(fields["hidden"])})

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch

    @property
    def steps(self) -> int:
        """Steps in one timed run."""
        return self.epochs * self.steps_per_epoch

    def calls(self) -> Iterator[range]:
        """The epochs of each call of a run."""
        for first in range(0, self.epochs, self.per_call):
            yield range(first, min(first + self.per_call, self.epochs))

    @property
    def full_rows(self) -> int:
        """The rows of an epoch: those that fill whole batches."""
        return self.steps_per_epoch * self.batch

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.inputs, *self.hidden, self.outputs)

    @property
    def flops_per_step(self) -> int:
        """Of the matrix products alone: forward, weights' gradients, and inputs' gradients but for the first layer."""
        forward = sum(2 * a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        return self.batch * (3 * forward - 2 * self.sizes[0] * self.sizes[1])

    @property
    def bytes_per_step(self) -> int:
        """What a step must read from the table: inputs and targets of its rows in 4 bytes each."""
        return self.batch * 4 * (self.inputs + 1)

    @property
    def is_memory_bound(self) -> bool:
        """Without hidden layers a step does little more than fetch its rows."""
        return not self.hidden

    @property
    def is_plain(self) -> bool:
        """Nothing but dense layers and activations."""
        return not self.norm and not self.dropout

    def smooth(self) -> Workload:
        """The same with tanh and without dropout, so that rounding errors do not grow from step to step."""
        return replace(self, activation="tanh", dropout=0.0)

    def shortened(self) -> Workload:
        """A few rows of it, for trials of the benchmark itself."""
        rows = min(self.rows, max(QUICK_ROWS, 2 * self.batch))
        return replace(self, rows=rows, epochs=1)

    def in_calls(self, epochs: int) -> Workload:
        """The same with so many epochs in each call."""
        return replace(self, epochs=max(self.epochs, epochs), per_call=epochs)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x (rows, inputs) float32; y (rows,): 0 and 1 as float32, or codes of the classes as int32."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.rows, self.inputs), dtype=np.float32)
        scores = x @ rng.standard_normal((self.inputs, self.outputs), dtype=np.float32)
        if self.outputs == 1:
            return x, (scores[:, 0] > 0).astype(np.float32)
        return x, scores.argmax(axis=1).astype(np.int32)

    def clear_rows(self) -> np.ndarray:
        """Numbers of `batch` rows on which no ReLU of the untrained plain network is given a number close to 0.

        At 0 its slope jumps, so one rounding there changes the gradient by more than all other roundings together.
        """
        z = self.data()[0][: 4 * self.batch].astype(np.float64)
        clear = np.ones(len(z), bool)
        for W, b in self.weights()[:-1]:
            z = z @ W + b
            clear &= (np.abs(z) > MARGIN).all(axis=1)
            z = np.maximum(z, 0.0)
        return np.resize(np.flatnonzero(clear), self.batch)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Starting W (n_in, n_out) and b (n_out,) of each dense layer, float32.   source: He et al. 2015, eq. 10"""
        rng = np.random.default_rng(1)
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return [
            ((rng.standard_normal((a, b)) * np.sqrt(2.0 / a)).astype(np.float32), np.zeros(b, np.float32))
            for a, b in pairs
        ]


WORKLOADS = {
    w.name: w
    for w in (
        Workload("heart", 303, 20, (32, 16), 1, 32, epochs=20),
        Workload("digits", 1797, 64, (128, 64), 10, 64, epochs=5),
        Workload("mnist", 20_000, 784, (256, 128), 10, 128),
        Workload("logreg", 500_000, 100, (), 1, 256),
        Workload("wide", 8192, 1024, (1024, 1024), 10, 1024, epochs=2),
        Workload("digits-bn", 1797, 64, (128, 64), 10, 64, epochs=5, norm=True, dropout=0.2),
        Workload("mnist-bn", 20_000, 784, (256, 128), 10, 128, norm=True, dropout=0.2),
    )
}


def deep(depth: int, width: int = 64) -> Workload:
    """`depth` hidden layers of one width, on a digits-like table."""
    return Workload(f"depth {depth}", 1797, width, (width,) * depth, 10, 64)


def chosen(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The asked names, or all known ones; SystemExit that lists these for an unknown name."""
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
    return list(names or known)
