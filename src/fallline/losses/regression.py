"""Losses for numbers: squared, absolute and between them, quantiles, counts, a normal distribution."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.losses.loss import Loss, Shape
from fallline.ops.arithmetic import absolute, maximum, minimum
from fallline.ops.compare import less, less_equal, where
from fallline.ops.composite import softplus, sort, square
from fallline.ops.shape import expand_dims
from fallline.ops.transcendental import exp, expm1, log, log1p


@record
class SquaredError(Loss):
    """(s - t)²

    derivative  2 (s - t)
    special     3 | 1 -> 4, 1 | 1 -> 0
    slopes      3 | 1 -> 4, 1 | 1 -> 0
    stable      the formula itself
    likelihood  normal with σ = 1: L/2 + log(2π)/2
    source      Legendre 1805, Gauss 1809, "method of least squares"
    """

    aliases: ClassVar[tuple[str, ...]] = ("mse",)

    def formula(self, score: Any, target: Any) -> Any:
        return square(score - target)


@record
class AbsoluteError(Loss):
    """|s - t|

    The constant with the least of it is the median.
    derivative  sign(s - t); 0 where they are equal
    special     3 | 1 -> 2, 1 | 1 -> 0, -1 | 1 -> 2
    slopes      3 | 1 -> 1, 1 | 1 -> 0, -1 | 1 -> -1
    stable      the formula itself
    likelihood  Laplace with scale 1: L + log(2)
    source      Boscovich 1757; Laplace 1774
    """

    aliases: ClassVar[tuple[str, ...]] = ("mae",)

    def formula(self, score: Any, target: Any) -> Any:
        return absolute(score - target)


@record
class Huber(Loss):
    """r²/2 (|r| <= delta), delta (|r| - delta/2) (|r| > delta); r = s - t

    Squared error near zero, absolute error beyond `delta`.
    delta       in the target's unit
    derivative  r (|r| <= delta), delta sign(r) (|r| > delta); r = s - t
    special     0 | 0 -> 0, 1 | 0 -> 1/2, 3 | 0 -> 5/2
    slopes      0 | 0 -> 0, 1/2 | 0 -> 1/2, 3 | 0 -> 1, -3 | 0 -> -1
    stable      the formula itself
    likelihood  normal in the middle, Laplace in the tails
    source      Huber 1964, eq. 2
    """

    delta: float = setting(1.0, above=0)

    def formula(self, score: Any, target: Any) -> Any:
        r = score - target
        size = absolute(r)
        return where(less_equal(size, self.delta), 0.5 * square(r), self.delta * (size - 0.5 * self.delta))


@record
class LogCosh(Loss):
    """log(cosh(r)); r = s - t

    r²/2 for small r, |r| - log 2 for large r.
    derivative  tanh(r); r = s - t
    special     0 | 0 -> 0, 1 | 0 -> 0.4337808305, 1000 | 0 -> 999.3068528194
    slopes      0 | 0 -> 0, 1000 | 0 -> 1, -1000 | 0 -> -1
    stable      log1p(((expm1(r) - expm1(-r)) / 2)²) / 2 (|r| < 1), r + softplus(-2r) - log(2) (|r| >= 1); r = s - t,
                where cosh(1000) would be ∞, and near 0 the second form alone would lose all digits
    likelihood  hyperbolic secant distribution: L + log(π)
    source      Green 1990, "Bayesian reconstructions from emission tomography data"
    """

    def formula(self, score: Any, target: Any) -> Any:
        r = score - target
        near = minimum(maximum(r, -1.0), 1.0)
        sinh = 0.5 * (expm1(near) - expm1(-near))
        return where(less(absolute(r), 1.0), 0.5 * log1p(sinh * sinh), r + softplus(-2.0 * r) - math.log(2.0))


@record
class Quantile(Loss):
    """q r (r > 0), (q - 1) r (r <= 0); r = t - s

    The constant with the least of it has a share q of the targets below it.
    q           one quantile: score and target (batch,) or (batch, k)
                several, rising: score (batch, n quantiles), target (batch,); the loss is their mean, and `predict`
                sorts the scores, which can only lower the loss and keeps the quantiles from crossing
    derivative  -q (r > 0), 1 - q (r <= 0); r = t - s
    special     0 | 2 -> 1, 2 | 0 -> 1, 1 | 1 -> 0; with q = 1/2 half the absolute error
    slopes      0 | 2 -> -1/2, 2 | 0 -> 1/2
    stable      the formula itself
    likelihood  asymmetric Laplace with scale 1: L - log(q (1 - q))
    source      Koenker & Bassett 1978, eq. 2.1; sorting: Chernozhukov et al. 2010
    """

    q: float | tuple[float, ...] = 0.5

    aliases: ClassVar[tuple[str, ...]] = ("pinball",)

    def validate(self) -> None:
        listed = self.q if isinstance(self.q, tuple) else (self.q,)
        if not listed or not all(isinstance(q, (int, float)) and 0 < q < 1 for q in listed):
            raise ConfigError(f"Quantile(q={self.q!r}): q must lie between 0 and 1, or be a tuple of such numbers")
        if any(a >= b for a, b in pairwise(listed)):
            raise ConfigError(f"Quantile(q={self.q!r}): the quantiles must rise: sort them")

    def formula(self, score: Any, target: Any) -> Any:
        q: Any = self.q
        if isinstance(self.q, tuple):
            q, target = np.asarray(self.q, score.dtype), expand_dims(target, -1)
        r = target - score
        return where(less_equal(r, 0.0), (q - 1.0) * r, q * r)

    def predict(self, score: Any) -> Any:
        """The score itself; several quantiles in rising order."""
        return sort(score) if isinstance(self.q, tuple) else score

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        if not isinstance(self.q, tuple):
            return n_outputs
        if n_outputs != 1:
            raise ConfigError(
                f"Quantile with {len(self.q)} quantiles takes one output, the target has {n_outputs}: "
                "fit one model per output"
            )
        return len(self.q)

    def target_shape(self, score: Shape) -> Shape:
        return score[:-1] if isinstance(self.q, tuple) else score


@record
class Poisson(Loss):
    """e^s - t s + log(Γ(t + 1))

    Of counts t whose log mean is the score; for a whole number t, Γ(t + 1) is t!
    targets     0 or more, whole or not; score and target are (batch,) or (batch, k)
    derivative  e^s - t
    special     0 | 0 -> 1, 0 | 1 -> 1, 0 | 3 -> 2.7917594692
    slopes      0 | 1 -> 0, 0 | 3 -> -2
    stable      e^s - t s + log(Γ(t + 1)); log Γ by the series of Lanczos, as Γ(172) is ∞
    likelihood  Poisson with mean e^s: L
    source      Nelder & Wedderburn 1972, "Generalized linear models"
    """

    link: ClassVar[str] = "exp"
    takes: ClassVar[str] = "a count of 0 or more"
    finite_to: ClassVar[float] = 80.0  # exp(89) is infinite in float32

    def formula(self, score: Any, target: Any) -> Any:
        return exp(score) - target * score + log_factorial(target)

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return y >= 0

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=rows), rng.poisson(2.0, rows).astype(float)


@record
class Gamma(Loss):
    """t e^-s + s

    Of positive numbers t whose log mean is the score: an error counts in parts of the mean, as with prices or times.
    targets     above 0; score and target are (batch,) or (batch, k)
    derivative  1 - t e^-s
    special     0 | 1 -> 1, 0 | 3 -> 3, 0 | 0.5 -> 0.5
    slopes      0 | 1 -> 0, 0 | 3 -> -2
    stable      the formula itself
    likelihood  gamma with mean e^s and shape 1; of another shape k it is k L and a constant: L
    source      Nelder & Wedderburn 1972, "Generalized linear models"
    """

    link: ClassVar[str] = "exp"
    takes: ClassVar[str] = "a number above 0"
    finite_to: ClassVar[float] = 80.0  # exp(89) is infinite in float32

    def formula(self, score: Any, target: Any) -> Any:
        return target * exp(-score) + score

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return y > 0

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=rows), rng.gamma(2.0, size=rows)


# Γ(t+1) = √2π (t+7.5)^(t+½) e^-(t+7.5) (c_0 + Σ c_i/(t+i)), right to 1e-15.
# Source: Lanczos 1964; the coefficients for g = 7 are Godfrey's (2001).
_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
)  # fmt: skip


def log_factorial(t: Any) -> Any:
    """log t! = log Γ(t + 1), for t >= 0."""
    series = sum((c / (t + float(i)) for i, c in enumerate(_LANCZOS[1:], start=1)), start=_LANCZOS[0])
    base = t + 7.5
    return (t + 0.5) * log(base) - base + log(math.sqrt(2.0 * math.pi) * series)


@record
class GaussianNLL(Loss):
    """(m - t)² e^-v / 2 + v/2 + log(2π)/2; s = (m, v), v = log σ²

    sigma       a number: σ is known and the score is the mean, as for squared error
                None: σ is learned. A target of k columns needs 2k scores, the k means and then the k values of log σ²:
                score (batch, 2), target (batch,), or score (batch, 2k), target (batch, k)
    derivative  (m - t) e^-v for m, (1 - (m - t)² e^-v) / 2 for v
    special     (0, 0) | 0 -> 0.9189385332, (1, 0) | 0 -> 1.4189385332
    slopes      (0, 0) | 0 -> (0, 1/2), (2, 0) | 0 -> (2, -3/2)
    stable      the formula itself; a score v = log σ² needs no bound to keep σ above 0
    likelihood  normal with mean m and variance e^v: L
    source      Nix & Weigend 1994, eq. 1
    """

    sigma: float | None = setting(None, above=0)

    aliases: ClassVar[tuple[str, ...]] = ("gaussian",)
    finite_to: ClassVar[float] = 40.0  # of the score for log σ², with residuals of that size

    def formula(self, score: Any, target: Any) -> Any:
        constant = 0.5 * math.log(2.0 * math.pi)
        if self.sigma is not None:
            return square((score - target) / self.sigma) * 0.5 + (math.log(self.sigma) + constant)
        mean, log_variance = self._halves(score)
        return 0.5 * square(mean - target) * exp(-log_variance) + 0.5 * log_variance + constant

    def predict(self, score: Any) -> Any:
        """The mean."""
        return score if self.sigma is not None else self._halves(score)[0]

    def deviation(self, score: Any) -> Any:
        """σ of each prediction."""
        return exp(0.5 * self._halves(score)[1]) if self.sigma is None else score * 0.0 + self.sigma

    def _halves(self, score: Any) -> tuple[Any, Any]:
        k = score.shape[-1] // 2
        return (score[..., 0], score[..., 1]) if k == 1 else (score[..., :k], score[..., k:])

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        return n_outputs if self.sigma is not None else 2 * n_outputs

    def target_shape(self, score: Shape) -> Shape:
        if self.sigma is not None:
            return score
        return score[:-1] if score[-1:] == (2,) else (*score[:-1], *(d // 2 for d in score[-1:]))

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(rows, 2) if self.sigma is None else rows), rng.normal(size=rows)


__all__ = ["AbsoluteError", "Gamma", "GaussianNLL", "Huber", "LogCosh", "Poisson", "Quantile", "SquaredError"]
