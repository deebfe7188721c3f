"""Activations that look at several numbers at once: softmax, sparsemax, gated units, maxout."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Array, param, record, setting
from fallline.nn.activations import Activation
from fallline.nn.dense import as_rows, features_of
from fallline.nn.initializers import Initializer, initializer
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops import composite as f
from fallline.ops.linalg import matmul
from fallline.ops.reduce import max as amax
from fallline.ops.shape import reshape


@record
class Softmax(Activation):
    """p_k = e^(z_k) / Σ_j e^(z_j), along an axis; adding a constant to z changes nothing

    derivative  dp_i/dz_k = p_i ((i = k) - p_k)
    source      Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.softmax(x, self.axis)


@record
class LogSoftmax(Activation):
    """log p_k = z_k - log Σ_j e^(z_j), along an axis

    derivative  d log p_i/dz_k = (i = k) - p_k
    source      Bridle 1990, in logarithms
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.log_softmax(x, self.axis)


@record
class Sparsemax(Activation):
    """max(z - τ, 0) with τ such that the result sums to 1, along an axis: the nearest point of the simplex

    derivative  (i = k) - 1/|S| for i, k in the support S, 0 outside
    source      Martins & Astudillo 2016 (arXiv:1602.02068), algorithm 1, eq. 9
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.sparsemax(x, self.axis)


@record
class GLU(Activation):
    """a σ(b), a and b the two halves of z along an axis.   x (batch, 2n) -> y (batch, n)

    derivative  σ(b) with respect to a, a σ(b) (1 - σ(b)) with respect to b
    source      Dauphin et al. 2017 (arXiv:1612.08083)
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.glu(x, self.axis)


@record
class Maxout(Activation):
    """max_k (x W_k + b_k), k = 1 … pieces.   x (batch, n_in) -> y (batch, units)

    derivative  that of the piece that wins, which alone gets a gradient; equal winners share it
    source      Goodfellow et al. 2013 (arXiv:1302.4389), eq. 1
    W and b hold the pieces side by side: columns k·units … (k+1)·units - 1 are those of piece k.
    """

    units: int = setting(at_least=1)
    pieces: int = setting(2, at_least=1)
    init: str | Initializer = "auto"
    W: Array = param()  # (n_in, pieces · units)
    b: Array = param()  # (pieces · units,)
    suits: ClassVar[str | None] = None  # it brings its own weights

    def validate(self) -> None:
        initializer(self.init)

    def build(self, x: Any, rng: np.random.Generator) -> Maxout:
        dtype, n_in, n = param_dtype(x), features_of(x, "Maxout"), self.pieces * self.units
        W = initializer(self.init).draw((n_in, n), n_in, self.units, rng)
        return self.replace(W=W.astype(dtype), b=np.zeros(n, dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        each = matmul(as_rows(x, self.W), self.W) + self.b
        return amax(reshape(each, (*each.shape[:-1], self.pieces, self.units)), axis=-2)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(units=3), rng.normal(size=(4, 5))


__all__ = ["GLU", "LogSoftmax", "Maxout", "Softmax", "Sparsemax"]
