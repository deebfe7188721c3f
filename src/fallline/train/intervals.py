"""Intervals by split conformal prediction: their widths come from rows that no training saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import Record, record
from fallline.losses.loss import Loss
from fallline.losses.regression import Gamma, GaussianNLL, Poisson, Quantile

MOST_KEPT = 1000  # scores in the model file; of more rows a grid of them, rounded up
_SLACK = 1e-9  # so that a rounded sum of weights of 1 reaches a whole number


@record
class Intervals(Record):
    """[lower - s·width, upper + s·width], s the score at level (1 - alpha)(n + 1) of n rows that training never saw.

    A row's score is max(lower - t, t - upper) / width. lower and upper are the prediction itself, or a pair of
    quantiles (conformalized quantile regression); see `band` for the width. Whatever the network, the interval of a
    new row of the same kind holds its target with a probability of at least 1 - alpha, over all rows.

    scores  for each output, or each pair of quantiles from the outermost inwards: rising scores
    levels  how many rows (by weight, whose mean counts as at least 1) have at most this score;  n  all of them
    source  Vovk et al. 2005; Lei et al. 2018 (arXiv:1604.04173); quantiles: Romano et al. 2019 (arXiv:1905.03222)
    """

    scores: tuple[tuple[float, ...], ...]
    levels: tuple[tuple[float, ...], ...]
    n: float

    @classmethod
    def of(cls, loss: Loss, target: Any, scores: Any, y: Any, weights: Any = None) -> Intervals:
        """From the network's scores (n, …) of rows outside training, and their targets in their own unit."""
        lower, upper, width = band(loss, target, scores)
        t = np.asarray(y, dtype=np.float64).reshape(len(lower), -1)
        missed = np.maximum(lower - t, t - upper) / width
        w = np.ones(len(t)) if weights is None else np.asarray(weights, dtype=np.float64)
        w = w * max(1.0, np.count_nonzero(w) / w.sum())
        found = [_steps(column, w) for column in missed.T]
        return cls(tuple(s for s, _ in found), tuple(levels for _, levels in found), float(w.sum()))

    def stretch(self, alpha: float) -> np.ndarray:
        """s of each output or pair of quantiles; ConfigError where the rows are too few for such a small alpha."""
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha={alpha!r}: give the share of rows outside, between 0 and 1, such as 0.1")
        needed = (1 - alpha) * (self.n + 1) - _SLACK
        if needed > self.n:
            least = int(np.ceil(1 / alpha)) - 1
            raise ConfigError(
                f"alpha={alpha:g} needs at least {least} rows outside training, there were {self.n:g}: "
                f"take alpha={1 / (self.n + 1):.2g} or more, or more rows"
            )
        pairs = zip(self.scores, self.levels, strict=True)
        return np.array([s[np.searchsorted(levels, needed)] for s, levels in pairs])

    def around(self, loss: Loss, target: Any, scores: Any, alpha: float) -> np.ndarray:
        """The intervals of rows with these scores.   -> (n, 2), or (n, 2, k) of k outputs"""
        lower, upper, width = band(loss, target, scores)
        s = self.stretch(alpha)
        low, high = lower - s * width, upper + s * width
        if loss.link == "exp":
            low = np.maximum(low, 0.0)
        if isinstance(loss, Quantile) and isinstance(loss.q, tuple):
            pair = int(np.argmin([abs(q - alpha / 2) for q in loss.q[: low.shape[1]]]))
            low, high = low[:, pair : pair + 1], high[:, pair : pair + 1]
        low, high = np.minimum(low, high), np.maximum(low, high)  # a pair of quantiles may shrink past its middle
        made = np.stack([low, high], axis=1)
        return made[:, :, 0] if made.shape[2] == 1 else made


def band(loss: Loss, target: Any, scores: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, width), each (n, k) in the target's unit: what is stretched, and by how much for each row.

    Quantiles: the pairs (first, last), (second, last but one) …, width 1. Else lower and upper are the prediction, and
    the width is σ for a normal distribution, √mean for counts, the mean for positive numbers, otherwise 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    answers = target.decode(np.asarray(loss.predict(scores)))
    if isinstance(loss, Quantile) and isinstance(loss.q, tuple):
        k = (len(loss.q) + 1) // 2
        lower, upper = answers[:, :k], answers[:, ::-1][:, :k]
        return lower, upper, np.ones_like(lower)
    answers = answers.reshape(len(answers), -1)
    if isinstance(loss, GaussianNLL):
        width = deviation(loss, target, scores).reshape(answers.shape)
    elif isinstance(loss, Poisson):
        width = np.sqrt(answers)
    else:
        width = answers if isinstance(loss, Gamma) else np.ones_like(answers)
    return answers, answers, np.maximum(width, np.finfo(np.float64).tiny)


def deviation(loss: Loss, target: Any, scores: Any) -> np.ndarray:
    """σ of each prediction in the target's unit; ConfigError for a loss without a distribution of its own."""
    if not isinstance(loss, GaussianNLL):
        raise ConfigError(f"{type(loss).__name__} has no standard deviation: train with distribution='normal'")
    return np.asarray(loss.deviation(np.asarray(scores, dtype=np.float64))) * np.asarray(target.scale)


def _steps(scores: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rising scores and the weight up to each; of many a grid, each score standing for those just below it."""
    order = np.argsort(scores, kind="stable")
    scores, levels = scores[order], np.cumsum(weights[order])
    if not np.isfinite(scores).all():
        raise DataError("a prediction is not finite: no interval can be made of it")
    if len(scores) > MOST_KEPT:
        kept = np.ceil(np.linspace(0, len(scores) - 1, MOST_KEPT)).astype(int)
        scores, levels = scores[kept], levels[kept]
    return tuple(map(float, scores)), tuple(map(float, levels))
