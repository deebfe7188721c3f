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
    """p_k = e^(z_k) / Σ_j e^(z_j)

    Along an axis. Adding a constant to z changes nothing.
    derivative  dp_i/dz_k = p_i ((i = k) - p_k)
    special     (0, 0) -> (1/2, 1/2), (1000, 0) -> (1, 0), (1, 2, 3) -> (0.0900305732, 0.2447284711, 0.6652409558)
    slopes      (0, 0) -> (1/4, -1/4), (1000, 0) -> (0, 0); those of p_1
    stable      e^(z_k - max z) / Σ_j e^(z_j - max z)
    source      Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.softmax(x, self.axis)


@record
class LogSoftmax(Activation):
    """log p_k = z_k - log Σ_j e^(z_j)

    Along an axis.
    derivative  d log p_i/dz_k = (i = k) - p_k
    special     (0, 0) -> (-0.6931471806, -0.6931471806), (1000, 0) -> (0, -1000)
    slopes      (0, 0) -> (1/2, -1/2), (1000, 0) -> (0, 0); those of log p_1
    stable      z_k - max z - log Σ_j e^(z_j - max z)
    source      Bridle 1990, in logarithms
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.log_softmax(x, self.axis)


@record
class Sparsemax(Activation):
    """max(z_k - τ, 0) with τ such that the sum is 1

    Along an axis: the point of the probability simplex that is nearest to z.
    derivative  dp_i/dz_k = (i = k) - 1/|S| for i, k in the support S, 0 outside
    special     (0, 0) -> (1/2, 1/2), (0.5, 1) -> (1/4, 3/4), (0.1, 1, 3) -> (0, 0, 1), (1000, 0) -> (1, 0)
    slopes      (0, 0) -> (1/2, -1/2), (1000, 0) -> (0, 0); those of p_1
    stable      z - max z first, so that large z keep their digits; τ from the sorted z
    source      Martins & Astudillo 2016 (arXiv:1602.02068), algorithm 1, eq. 9
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.sparsemax(x, self.axis)


@record
class GLU(Activation):
    """a σ(b); a and b the two halves of z.   x (batch, 2n) -> y (batch, n)

    derivative  σ(b) for a, a σ(b) (1 - σ(b)) for b
    special     (2, 0) -> 1, (1, 1000) -> 1, (1, -1000) -> 0
    slopes      (2, 0) -> (1/2, 1/2), (1, 1000) -> (1, 0), (1, -1000) -> (0, 0)
    stable      the formula with the stable σ
    source      Dauphin et al. 2017 (arXiv:1612.08083)
    """

    axis: int = -1

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.glu(x, self.axis)


@record
class Maxout(Activation):
    """max_k (x W_k + b_k), k = 1 … pieces.   x (batch, n_in) -> y (batch, units)

    derivative  that of the piece that wins, which alone gets a gradient; equal winners share it
    special     two pieces x w + b and 0 give max(0, x w + b), a ReLU
    slopes      W_k for the winner k, 0 for the others
    stable      the formula itself
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
