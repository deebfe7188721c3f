"""Periodic encoding: a number beside waves of it, whose lengths are learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.record import Array, param, record, setting
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.shape import concatenate, expand_dims, reshape
from fallline.ops.transcendental import cos


@record
class PeriodicEncoding(Layer):
    """y = [x, cos(2π (x f + c))] for `waves` frequencies f and phases c of each column.

    Behind it comes a Dense, which is then linear in the waves: periodic, bias, linear, and x itself ("PBLD").
    x (batch, n) -> y (batch, n + waves · columns with waves)
    columns  those that get waves, from 0; None: all. Of two values, as 0 and 1, the number itself says everything
    scale   standard deviation of the frequencies at the start, for standardised inputs
    source  Gorishniy et al. 2022 (arXiv:2203.05556), section 3.3; Holzmüller et al. 2024 (arXiv:2407.04491), section 3
    """

    waves: int = setting(8, at_least=1)
    scale: float = setting(0.3, above=0)
    columns: tuple[int, ...] | None = None
    f: Array = param()  # (columns, waves)
    c: Array = param()  # (columns, waves)

    def build(self, x: Any, rng: np.random.Generator) -> PeriodicEncoding:
        shape, dtype = (x.shape[-1] if self.columns is None else len(self.columns), self.waves), param_dtype(x)
        f, c = rng.normal(0.0, self.scale, shape), rng.uniform(-0.5, 0.5, shape)
        return self.replace(f=f.astype(dtype), c=c.astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        if self.columns == ():
            return x
        chosen = x if self.columns is None else concatenate([x[..., a:b] for a, b in runs_of(self.columns)], axis=-1)
        waves = cos((2.0 * math.pi) * (expand_dims(chosen, -1) * self.f + self.c))
        return concatenate([x, reshape(waves, (*x.shape[:-1], self.f.shape[0] * self.waves))], axis=-1)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(waves=3, columns=(0, 2)), rng.normal(size=(4, 3))


def runs_of(columns: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ascending column numbers as runs (first, one after the last)."""
    runs: list[tuple[int, int]] = []
    for column in columns:
        if runs and runs[-1][1] == column:
            runs[-1] = runs[-1][0], column + 1
        else:
            runs.append((column, column + 1))
    return runs


__all__ = ["PeriodicEncoding"]
