"""Output layers: scores that rise, ordered classes of one score, and the temperature of scores."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import Array, buffer, param, record, setting
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import softplus
from fallline.ops.reduce import cumsum
from fallline.ops.shape import concatenate
from fallline.ops.transcendental import expm1, log


@record
class Ascending(Layer):
    """y_0 = x_0, y_j = y_{j-1} + softplus(x_j): scores that never fall.   x (batch, n) -> y (batch, n)

    After the last Dense of a network for several quantiles it keeps them from crossing, in training too.
    """

    passes_on: ClassVar[bool] = True

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        if x.shape[-1] == 1:
            return x
        return cumsum(concatenate([x[..., :1], softplus(x[..., 1:])], axis=-1), axis=-1)

    @staticmethod
    def inverse(y: Any) -> np.ndarray:
        """x of rising y, (n,)."""
        y = np.asarray(y, dtype=np.float64)
        return np.concatenate([y[:1], softplus_inverse(np.diff(y))])


@record
class CumulativeLogit(Layer):
    """y_k = log P(k), P(class > k) = σ(x - θ_k): ordered classes from one score.   x (batch, 1) -> y (batch, n_classes)

    θ_0 < θ_1 < …: θ_0 = thresholds_0, θ_k = θ_{k-1} + softplus(thresholds_k). The y are log probabilities, so the loss
    is CategoricalCrossEntropy. Also known as ordinal regression, or the proportional odds model.
    derivative  of the log of σ(a) - σ(b) = σ(a) σ(-b) (1 - e^(b - a)), in which no probability is subtracted
    source      McCullagh 1980, "Regression models for ordinal data"
    """

    n_classes: int = setting(at_least=2)
    thresholds: Array = param()  # (n_classes - 1,)
    passes_on: ClassVar[bool] = True

    def build(self, x: Any, rng: np.random.Generator) -> CumulativeLogit:
        return self.from_shares(np.full(self.n_classes, 1.0 / self.n_classes), param_dtype(x))

    @classmethod
    def from_shares(cls, shares: Any, dtype: Any = np.float64) -> CumulativeLogit:
        """The layer that gives each class this share where x = 0.   shares (n_classes,), above 0"""
        shares = np.asarray(shares, dtype=np.float64)
        if shares.ndim != 1 or len(shares) < 2 or not (shares > 0).all():
            raise ConfigError(f"CumulativeLogit.from_shares({shares!r}): give a number above 0 for each class")
        below = np.cumsum(shares / shares.sum())[:-1]
        edges = np.log(below) - np.log1p(-below)
        return cls(len(shares), np.concatenate([edges[:1], softplus_inverse(np.diff(edges))]).astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        if x.shape[-1] != 1:
            raise ShapeError(f"one score a row is needed, shape (batch, 1), given {x.shape}: put Dense(1) in front")
        none = x * 0.0  # (batch, 1)
        gaps = softplus(self.thresholds[1:])
        s = x - cumsum(concatenate([self.thresholds[:1], gaps]), axis=0)  # (batch, n_classes - 1), the logits of > k
        above = concatenate([none, -softplus(-s)], axis=-1)
        below = concatenate([-softplus(s), none], axis=-1)
        if self.n_classes == 2:
            return above + below
        edge = self.thresholds[:1] * 0.0
        return above + below + concatenate([edge, log(-expm1(-gaps)), edge])

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(4), rng.normal(size=(5, 1))


@record
class Temperature(Layer):
    """y = x / T: scores whose probabilities are as sure as they ought to be; T > 1 makes them less sure.

    Which of the scores is largest stays the same. Training does not change T: it is found on rows that were not
    trained on.
    source  Guo et al. 2017 (arXiv:1706.04599), eq. 9
    """

    T: Array = buffer()  # ()
    passes_on: ClassVar[bool] = True

    def build(self, x: Any, rng: np.random.Generator) -> Temperature:
        return self.replace(T=np.ones((), param_dtype(x)))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return x / self.T


def softplus_inverse(y: np.ndarray) -> np.ndarray:
    """log(e^y - 1), for y > 0; the smallest steps are held at 1e-6."""
    y = np.maximum(y, 1e-6)
    return y + np.log(-np.expm1(-y))


__all__ = ["Ascending", "CumulativeLogit", "Temperature"]
