"""Losses for classes: cross-entropies from scores, hinges, the perceptron's."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import record, setting
from fallline.graph.value import Value
from fallline.losses.loss import Loss, Shape
from fallline.ops.arithmetic import maximum
from fallline.ops.compare import less, where
from fallline.ops.composite import log_softmax, one_hot, relu, softplus, square
from fallline.ops.reduce import sum as asum
from fallline.ops.transcendental import exp, expm1, log1p


class BinaryLoss(Loss):
    """What the losses for two classes share: one score a row, class 1 where it is above 0."""

    task: ClassVar[str] = "classification"
    takes: ClassVar[str] = "0 or 1"

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        if n_classes != 2:
            raise ConfigError(
                f"{type(self).__name__} takes 2 classes, the target has {n_classes}: use "
                "CategoricalCrossEntropy, or a loss for numbers ('mse') if it holds no classes"
            )
        return n_outputs

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return (y == 0) | (y == 1)

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=rows), rng.integers(0, 2, rows).astype(float)


@record
class BinaryCrossEntropy(BinaryLoss):
    """-t log(p) - (1 - t) log(1 - p); p = σ(s)

    Computed from the score, so it is finite for every finite score.
    label_smoothing  t becomes t (1 - label_smoothing) + label_smoothing / 2
    gamma            focal loss: the first term times (1-p)^gamma, the second times p^gamma, so that rows which are
                     right already count less
    score, target    (batch,), targets from 0 to 1 (a target between them is a probability)
    derivative       p - t; p = σ(s)
    special          0 | 1 -> 0.6931471806, 0 | 0 -> 0.6931471806, -1000 | 1 -> 1000, 1000 | 1 -> 0
    slopes           0 | 1 -> -1/2, 0 | 0 -> 1/2, -1000 | 1 -> -1, 1000 | 1 -> 0
    stable           max(s, 0) - t s + log(1 + e^-|s|), the first two as one product: never log(0)
    likelihood       Bernoulli with P(t = 1) = σ(s): L
    source           focal: Lin et al. 2017 (arXiv:1708.02002), eq. 4; smoothing: Szegedy et al. 2016 (arXiv:1512.00567)
    """

    label_smoothing: float = setting(0.0, at_least=0, below=1)
    gamma: float = setting(0.0, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("bce", "log_loss")
    probabilistic: ClassVar[bool] = True
    link: ClassVar[str] = "sigmoid"
    takes: ClassVar[str] = "a probability from 0 to 1"

    def formula(self, score: Any, target: Any) -> Any:
        if self.label_smoothing:
            target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        if not self.gamma:
            positive = less(0.0, score)  # (1 - t) s and -t s are exact where max(s, 0) - t s would cancel
            return where(positive, 1.0 - target, -target) * score + log1p(exp(where(positive, -score, score)))
        miss, hit = softplus(score), softplus(-score)  # -log(1-p), -log p
        miss, hit = exp(-self.gamma * hit) * miss, exp(-self.gamma * miss) * hit
        return target * hit + (1.0 - target) * miss

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0) & (y <= 1)


@record
class CategoricalCrossEntropy(Loss):
    """-Σ_k t_k log(p_k); p = softmax(s), t one-hot

    label_smoothing  t becomes t (1 - label_smoothing) + label_smoothing / n_classes
    gamma            focal loss: each term times (1 - p_k)^gamma
    score            (batch, n_classes);   target  (batch,) class codes 0, 1, 2 …
    derivative       p_k - t_k; p = softmax(s)
    special          (0, 0) | 1 -> 0.6931471806, (1000, 0) | 1 -> 1000, (1000, 0) | 0 -> 0
    slopes           (0, 0) | 1 -> (1/2, -1/2), (1000, 0) | 1 -> (1, -1)
    stable           log Σ_j e^(s_j - max s) + max s - s_t; never log(0)
    likelihood       categorical (multinoulli) with P(t = k) = p_k: L
    source           focal: Lin et al. 2017 (arXiv:1708.02002), eq. 4; smoothing: Szegedy et al. 2016 (arXiv:1512.00567)
    """

    label_smoothing: float = setting(0.0, at_least=0, below=1)
    gamma: float = setting(0.0, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("cross_entropy", "cce")
    task: ClassVar[str] = "classification"
    target_dtype: ClassVar[str] = "int32"
    probabilistic: ClassVar[bool] = True
    link: ClassVar[str] = "softmax"
    takes: ClassVar[str] = "a class code 0, 1, 2 …"

    def __call__(self, score: Any, target: Any) -> Any:
        losses = super().__call__(score, target)
        if not isinstance(target, Value):
            _check_codes(np.asarray(target), np.shape(score)[-1])
        return losses

    def formula(self, score: Any, target: Any) -> Any:
        n_classes = score.shape[-1]
        log_p = log_softmax(score)
        wanted = one_hot(target, n_classes, score.dtype)
        if self.label_smoothing:
            wanted = wanted * (1.0 - self.label_smoothing) + self.label_smoothing / n_classes
        if self.gamma:
            # 1 - p is kept above 0, where a power below 1 has an infinite slope.
            wanted = wanted * maximum(-expm1(log_p), 1e-20) ** self.gamma
        return -asum(wanted * log_p, axis=-1)

    def n_scores(self, n_classes: int, n_outputs: int) -> int:
        if n_classes < 2 or n_outputs != 1:
            raise ConfigError(
                f"{type(self).__name__} takes one target of 2 classes or more, given {n_outputs} of {n_classes} classes"
            )
        return n_classes

    def target_shape(self, score: Shape) -> Shape:
        return score[:-1]

    def allowed(self, y: np.ndarray) -> np.ndarray:
        return (y >= 0) & (y == np.floor(y))

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(rows, 3)), rng.integers(0, 3, rows).astype("int32")


def _check_codes(y: np.ndarray, n_classes: int) -> None:
    """A code beyond the last score would silently cost nothing."""
    if y.size and np.max(y) >= n_classes:
        raise DataError(
            f"CategoricalCrossEntropy: class code {np.max(y):g} needs {np.max(y) + 1:g} scores a row, given {n_classes}"
        )


@record
class Hinge(BinaryLoss):
    """max(0, 1 - y s); y = 2t - 1

    The loss of the support vector machine.
    score, target  (batch,); targets are 0 and 1, the ±1 of the formula is made here
    derivative     -y (y s < 1), 0 (y s >= 1); y = 2t - 1
    special        0 | 1 -> 1, 1 | 1 -> 0, -1 | 1 -> 2, -1 | 0 -> 0
    slopes         0 | 1 -> -1, 1 | 1 -> 0, 0 | 0 -> 1
    stable         the formula itself
    likelihood     none; the score is no probability
    source         Cortes & Vapnik 1995, "Support-vector networks"
    """

    def formula(self, score: Any, target: Any) -> Any:
        return relu(1.0 - (2.0 * target - 1.0) * score)


@record
class SquaredHinge(BinaryLoss):
    """max(0, 1 - y s)²; y = 2t - 1

    score, target  (batch,); targets are 0 and 1, the ±1 of the formula is made here
    derivative     -2 y max(0, 1 - y s); y = 2t - 1
    special        0 | 1 -> 1, 1 | 1 -> 0, -1 | 1 -> 4, -1 | 0 -> 0
    slopes         0 | 1 -> -2, 1 | 1 -> 0, 0 | 0 -> 2
    stable         the formula itself
    likelihood     none; the score is no probability
    source         Cortes & Vapnik 1995, "Support-vector networks", with squared errors
    """

    def formula(self, score: Any, target: Any) -> Any:
        return square(relu(1.0 - (2.0 * target - 1.0) * score))


@record
class PerceptronLoss(BinaryLoss):
    """max(0, -y s); y = 2t - 1

    Gradient descent on single rows is Rosenblatt's rule: at score 0 the slope is -y, so that training starts from zero
    weights as the rule does.
    score, target  (batch,); targets are 0 and 1, the ±1 of the formula is made here
    derivative     -y (y s <= 0), 0 (y s > 0); y = 2t - 1
    special        0 | 1 -> 0, 1 | 1 -> 0, -2 | 1 -> 2, 2 | 0 -> 2
    slopes         0 | 1 -> -1, 1 | 1 -> 0, 0 | 0 -> 1
    stable         the formula itself
    likelihood     none; the score is no probability
    source         Rosenblatt 1958
    """

    def formula(self, score: Any, target: Any) -> Any:
        margin = (2.0 * target - 1.0) * score
        return where(less(0.0, margin), 0.0, -margin)


@record
class AdalineLoss(BinaryLoss):
    """(s - y)²; y = 2t - 1

    Least squares on the signs: gradient descent on single rows is the rule of Widrow and Hoff, which learns from the
    score itself and not, as the perceptron does, from the decision.
    score, target  (batch,); targets are 0 and 1, the ±1 of the formula is made here
    derivative     2 (s - y); y = 2t - 1
    special        0 | 1 -> 1, 1 | 1 -> 0, -1 | 1 -> 4, 3 | 0 -> 16
    slopes         0 | 1 -> -2, 1 | 1 -> 0, 3 | 0 -> 8
    stable         the formula itself
    likelihood     none; a score beyond ±1 costs too, although it is right
    source         Widrow & Hoff 1960, "Adaptive switching circuits"
    """

    def formula(self, score: Any, target: Any) -> Any:
        return square(score - (2.0 * target - 1.0))


__all__ = ["AdalineLoss", "BinaryCrossEntropy", "CategoricalCrossEntropy", "Hinge", "PerceptronLoss", "SquaredHinge"]
