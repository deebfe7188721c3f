"""Plain functions of other ops. They have no rules of their own: their derivatives follow from their parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.graph.op import as_operand
from fallline.ops.arithmetic import maximum, minimum, sign
from fallline.ops.compare import equal, isfinite, less, less_equal, where
from fallline.ops.index import take_along
from fallline.ops.reduce import argsort, axes_of, cumsum
from fallline.ops.reduce import max as amax
from fallline.ops.reduce import sum as asum
from fallline.ops.shape import expand_dims, flip
from fallline.ops.structure import stop_gradient
from fallline.ops.transcendental import erf, exp, expm1, log, log1p, sigmoid, sqrt, tanh


def square(x: Any) -> Any:
    """x²"""
    return x * x


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over the axes divided by their number of entries."""
    x = as_operand(x)
    count = math.prod(x.shape[a] for a in axes_of(axis, x.ndim, "mean"))
    return asum(x, axis=axis, keepdims=keepdims) / max(1, count)


def variance(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """mean((x - mean(x))²), in two passes so that a large mean does no harm."""
    return mean(square(x - mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest entry over the axes."""
    return -amax(-as_operand(x), axis=axis, keepdims=keepdims)


def clip(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); derivative 1 inside, 1/2 at a bound, 0 outside."""
    return minimum(maximum(x, low), high)


def lerp(a: Any, b: Any, weight: Any) -> Any:
    """a + weight (b - a): a at weight 0, b at weight 1."""
    return a + weight * (b - a)


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """sqrt(Σ x²); its derivative at x = 0 is taken as 0."""
    total = asum(square(as_operand(x)), axis=axis, keepdims=keepdims)
    zero = equal(total, 0.0)
    return where(zero, 0.0, sqrt(where(zero, 1.0, total)))


def sort(x: Any, axis: int = -1) -> Any:
    """The entries in rising order along an axis."""
    return take_along(x, argsort(x, axis=axis), axis=axis)


def one_hot(indices: Any, n_classes: int, dtype: Any = "float32") -> Any:
    """1 at the index, 0 elsewhere.   indices (…) int -> (…, n_classes)"""
    indices = as_operand(indices)
    classes = np.arange(n_classes, dtype=indices.dtype)
    return equal(expand_dims(indices, -1), classes).astype(dtype)


def logsumexp(x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    """log Σ exp(x), shifted by the maximum so that nothing overflows."""
    top = amax(x, axis=axis, keepdims=True)
    top = stop_gradient(where(isfinite(top), top, 0.0))  # infinity minus infinity would be NaN
    total = log(asum(exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else asum(total, axis=axis)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x_k) / Σ_j exp(x_j); adding a constant to x changes nothing, so the maximum is subtracted first."""
    e = exp(x - stop_gradient(amax(x, axis=axis, keepdims=True)))
    return e / asum(e, axis=axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """x - log Σ exp(x), along an axis; the maximum is subtracted first, so that large scores cost no digits."""
    moved = x - stop_gradient(amax(x, axis=axis, keepdims=True))
    return moved - log(asum(exp(moved), axis=axis, keepdims=True))


def sparsemax(x: Any, axis: int = -1) -> Any:
    """The point of the probability simplex nearest to x: max(x - τ, 0) with τ such that it sums to 1.

    source  Martins & Astudillo 2016 (arXiv:1602.02068), algorithm 1
    """
    x = as_operand(x)
    at = axis % x.ndim
    x = x - stop_gradient(amax(x, axis=at, keepdims=True))  # changes nothing, and large scores keep their digits
    falling = flip(sort(x, axis=at), at)
    shape = tuple(-1 if i == at else 1 for i in range(x.ndim))
    rank = np.arange(1, x.shape[at] + 1, dtype=x.dtype).reshape(shape)
    running = cumsum(falling, axis=at)
    support = less(running, 1.0 + rank * falling)  # True for the k largest, which stay above 0
    k = asum(support.astype(x.dtype), axis=at, keepdims=True)
    tau = (asum(where(support, falling, 0.0), axis=at, keepdims=True) - 1.0) / k
    return relu(x - tau)


def softplus(x: Any) -> Any:
    """ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|); its derivative is the sigmoid."""
    x = as_operand(x)
    negative = less(x, 0.0)
    size = where(negative, -x, x)  # |x| with the derivative 1 at 0, where each branch is right to every order
    return where(negative, 0.0, x) + log1p(exp(-size))


def log_sigmoid(x: Any) -> Any:
    """ln σ(x) = -softplus(-x)"""
    return -softplus(-as_operand(x))


def relu(x: Any) -> Any:
    """max(0, x); derivative 0 at x = 0."""
    return where(less_equal(x, 0.0), 0.0, x)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x for x > 0, slope · x otherwise; for slope <= 1 this is max(slope · x, x). Derivative `slope` at x = 0."""
    return where(less_equal(x, 0.0), slope * x, x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x (x > 0), alpha (e^x - 1) otherwise.   source: Clevert et al. 2016 (arXiv:1511.07289)"""
    low = less_equal(x, 0.0)
    return where(low, alpha * expm1(where(low, x, 0.0)), x)  # e^x is never taken of a large x


def silu(x: Any, beta: float = 1.0) -> Any:
    """x σ(beta x).   source: Ramachandran et al. 2017 (arXiv:1710.05941)"""
    return x * sigmoid(beta * x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """x Φ(x), Φ the normal distribution function; `approximate` uses the tanh formula.

    source  Hendrycks & Gimpel 2016 (arXiv:1606.08415)
    """
    if approximate:
        return 0.5 * x * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))


def heaviside(x: Any) -> Any:
    """0 (x < 0), 1/2 (x = 0), 1 (x > 0); derivative 0."""
    return 0.5 * (sign(x) + 1.0)


def dot(a: Any, b: Any) -> Any:
    """Σ a_i b_i over all entries of two arrays of one shape."""
    return asum(a * b)


def glu(x: Any, axis: int = -1) -> Any:
    """a σ(b) for the two halves a, b of x along an axis.   source: Dauphin et al. 2017 (arXiv:1612.08083)"""
    x = as_operand(x)
    at = axis % x.ndim
    if x.shape[at] % 2:
        raise ConfigError(f"glu halves axis {at} of {x.shape}: its length must be even")
    half = x.shape[at] // 2
    lead = (np.s_[:],) * at
    return x[(*lead, np.s_[:half])] * sigmoid(x[(*lead, np.s_[half:])])


__all__ = [
    "clip", "dot", "elu", "gelu", "glu", "heaviside", "leaky_relu", "lerp", "log_sigmoid",
    "log_softmax", "logsumexp", "mean", "min", "norm", "one_hot", "relu", "silu", "softmax", "softplus", "sort",
    "sparsemax", "square", "variance",
]  # fmt: skip
