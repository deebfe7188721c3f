"""Laplace basis: how near a row lies to each of some centres, falling off with a kink."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Array, param, record, setting
from fallline.nn.dense import features_of
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.arithmetic import absolute
from fallline.ops.composite import square
from fallline.ops.reduce import sum as asum
from fallline.ops.shape import expand_dims
from fallline.ops.transcendental import exp, sqrt

TINY = 1e-12  # under the root, whose slope at 0 is infinite


@record
class LaplaceBasis(Layer):
    """y_k = exp(-Σ_j |v_j x_j - c_kj|): how near x lies to each centre.   x (batch, n) -> y (batch, units)

    The product of one Laplace kernel a column: it falls off with a kink, as a forest of random trees does, and so suits
    functions with steps and rows that occur twice; `RadialBasis` is smooth.
    norm    1: as above; 2: exp(-sqrt(Σ_j (v_j x_j - c_kj)²)), which knows no direction of the columns
    v       how much each column counts, 1 / width at the start;  c  the centres, already times v
    source  Balog et al. 2016 (arXiv:1606.05241), the Mondrian kernel; Rahimi & Recht 2007, section 4
    """

    units: int = setting(at_least=1)
    width: float = setting(4.0, above=0)
    norm: int = setting(1, choices=(1, 2))
    v: Array = param()  # (n,)
    c: Array = param()  # (units, n)
    aliases: ClassVar[tuple[str, ...]] = ("mondrian",)

    def build(self, x: Any, rng: np.random.Generator) -> LaplaceBasis:
        dtype, n = param_dtype(x), features_of(x, "LaplaceBasis")
        v = np.full(n, 1.0 / self.width)
        return self.replace(v=v.astype(dtype), c=(v * rng.normal(size=(self.units, n))).astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        apart = expand_dims(x * self.v, -2) - self.c  # (batch, units, n)
        if self.norm == 1:
            return exp(-asum(absolute(apart), axis=-1))
        return exp(-sqrt(asum(square(apart), axis=-1) + TINY))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(units=3, width=1.5), rng.normal(size=(4, 2))


__all__ = ["LaplaceBasis"]
