"""Calibration: the temperature that makes probabilities honest, and the thresholds that are best for a metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from fallline.core.errors import ConfigError
from fallline.core.registry import nearest
from fallline.train.metrics import METRICS

_PRIOR = 0.5  # standard deviation of log T before any row is seen: few rows move it little
_WIDEST = math.log(20.0)  # of |log T|
_XATOL = 1e-7  # of log T
_CANDIDATES = 200  # thresholds that are tried
_FACTORS = np.geomspace(0.1, 10.0, 41)  # by which the threshold of one class of several is tried
_PASSES = 3


def temperature_of(scores: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """T with the least log loss of scores / T on these rows; 1 where it gains nothing.

    scores  (n,) log odds, (n, labels) of them with y of that shape, or (n, n_classes) with codes y (n,)
    source  Guo et al. 2017 (arXiv:1706.04599), section 4.2
    """
    scores = np.asarray(scores, dtype=np.float64)
    total = float(weights.sum())

    def cost(log_T: float) -> float:
        return log_loss_of(scores * math.exp(-log_T), y, weights) + log_T**2 / (2 * _PRIOR**2 * total)

    T = math.exp(minimize_scalar(cost, bounds=(-_WIDEST, _WIDEST), method="bounded", options={"xatol": _XATOL}).x)
    return T if log_loss_of(scores / T, y, weights) < log_loss_of(scores, y, weights) else 1.0


def log_loss_of(scores: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """The mean negative log likelihood of class scores; of labels the mean over them."""
    if scores.ndim == y.ndim:
        each = np.logaddexp(0.0, np.where(y > 0.5, -scores, scores))
        each = each.reshape(len(each), -1).mean(axis=1)
    else:
        top = scores.max(axis=1)
        each = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(y)), y.astype(int)]
    return float(np.average(each, weights=weights))


def thresholds_of(
    threshold: Any, probabilities: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[tuple[float, ...], str]:
    """Thresholds as a Model takes them, and a note.

    threshold      a number between 0 and 1, for two classes or for every label; or a metric, which is made best
    probabilities  (n, n_classes) with codes y (n,), or (n, labels) with y of that shape
    """
    labels, n = y.ndim == 2, probabilities.shape[1]
    if isinstance(threshold, (int, float)) and not isinstance(threshold, bool):
        if not 0 < threshold < 1 or not (labels or n == 2):
            given = f"threshold={threshold!r}"
            raise ConfigError(f"{given}: give a number between 0 and 1, for two classes or for labels; or a metric")
        return (threshold,) * n if labels else (1 - threshold, threshold), ""
    known = [metric.name for metric in METRICS.values() if metric.needs == "classes"]
    if threshold not in METRICS or METRICS[threshold].needs != "classes":
        raise ConfigError(f"threshold={threshold!r}: {nearest(str(threshold), known)}, or a number between 0 and 1")
    score = METRICS[threshold].function
    if labels:
        found = tuple(_cut(score, p, t, weights) for p, t in zip(probabilities.T, y.T.astype(int), strict=True))
        return found, f"thresholds of the labels, best for {threshold}"
    codes = y.astype(int)
    if n == 2:
        cut = _cut(score, probabilities[:, 1], codes, weights)
        return (1 - cut, cut), f"threshold {cut:.3g}, best for {threshold}"
    return _balance(score, probabilities, codes, weights), f"thresholds of the classes, best for {threshold}"


def _cut(score: Callable[..., float], p: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> float:
    """The threshold of one probability: the middle between two of them; 1/2 where no other is better."""
    levels = np.unique(p)
    middles = (levels[:-1] + levels[1:]) / 2
    if len(middles) > _CANDIDATES:
        middles = np.quantile(middles, np.linspace(0, 1, _CANDIDATES))
    best, found = score(p > 0.5, codes, weights), 0.5
    for cut in middles:
        value = score(p > cut, codes, weights)
        if value > best or (value == best and found != 0.5 and abs(cut - 0.5) < abs(found - 0.5)):
            best, found = value, float(cut)
    return found


def _balance(score: Callable[..., float], p: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Thresholds of several classes, one after another."""
    t = np.full(p.shape[1], 1.0 / p.shape[1])
    best = score((p / t).argmax(axis=1), codes, weights)
    for _ in range(_PASSES):
        before = best
        for k in range(len(t)):
            for factor in _FACTORS:
                tried = t.copy()
                tried[k] *= factor
                value = score((p / tried).argmax(axis=1), codes, weights)
                if value > best:
                    best, t = value, tried
        if best == before:
            break
    return tuple(map(float, t / t.sum()))
