"""Centre and scale of numbers, robust forms of them, and the test for a heavy tail."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.ops.arithmetic import absolute, sign
from fallline.ops.compare import not_equal, where
from fallline.ops.composite import clip
from fallline.ops.transcendental import cos, log1p, sin, sqrt

_HEAVY_SKEWNESS, _RELIEF = 3.0, 2 / 3
# A spread below this share of the largest value is rounding noise.
_NOISE = 10 * np.finfo(np.float64).eps
_COUNT_SLACK = 1e-9  # sums of weights are whole to within this
# Robust scaling leaves values within about three quartile ranges almost unchanged (RealMLP, arXiv:2407.04491, sec. 3).
SMOOTH_CLIP = 3.0
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def standard(x: np.ndarray, w: np.ndarray | None = None) -> tuple[float, float]:
    """Mean and standard deviation (divided by n); a constant x has scale 1.   w: a weight of 2 is the number twice"""
    size = float(np.abs(x).max()) or 1.0  # so that no square overflows
    share = None if w is None else w / w.sum()
    z = x / size
    mean = float(np.mean(z)) if share is None else float(share @ z)
    spread = float(np.std(z)) if share is None else float(np.sqrt(share @ (z - mean) ** 2))
    center, scale = size * mean, size * spread
    return center, scale if scale > _NOISE * size else 1.0


def robust(x: np.ndarray, w: np.ndarray | None = None) -> tuple[float, float]:
    """Median and quartile range; where that is 0, half the range; a constant x has scale 1."""
    low, center, high = (float(q) for q in quantiles_of(x, [0.25, 0.5, 0.75], w))
    scale = high - low or float(x.max() - x.min()) / 2
    return center, scale if scale > _NOISE * float(np.abs(x).max()) else 1.0


def quantiles_of(x: np.ndarray, q: Any, w: np.ndarray | None = None) -> np.ndarray:
    """Quantiles of x (n,), between two numbers on the line through them; a weight of 2 is the number twice."""
    if w is None:
        return np.quantile(x, q)
    order = np.argsort(x, kind="stable")
    x, upto = x[order], np.cumsum(w[order])
    place = np.maximum(upto[-1] - 1.0, 0.0) * np.asarray(q, dtype=np.float64)  # counted from 0
    lower = np.floor(place)
    ends = [
        x[np.minimum(np.searchsorted(upto, k + _COUNT_SLACK, side="right"), len(x) - 1)] for k in (lower, lower + 1)
    ]
    return ends[0] + (place - lower) * (ends[1] - ends[0])


def standardised(x: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
    center, scale = standard(x, w)
    return (x - center) / scale


def has_heavy_tail(x: np.ndarray, w: np.ndarray | None = None) -> bool:
    """Whether log(1 + x) should stand for x >= 0: mean z³ > 3, and the logarithm takes a third off the largest z."""
    if float(x.min()) < 0:
        return False
    z = standardised(x, w)
    skewness = float(np.average(z**3, weights=w))
    return skewness > _HEAVY_SKEWNESS and float(standardised(signed_log(x), w).max()) <= _RELIEF * float(z.max())


def signed_log(x: Any) -> Any:
    """sign(x) log(1 + |x|): defined for every x, almost x near 0.   x an array or a Value"""
    return sign(x) * log1p(absolute(x))


def scaled(x: Any, *, fill: Any, low: Any, high: Any, center: Any, scale: Any, log: Any, smooth: Any) -> Any:
    """z = (min(max(t(x), low), high) - center) / scale; missing x, which are NaN, are filled first.

        t(x)                       sign(x) log(1 + |x|) where `log`, else x
        z / sqrt(1 + (z/3)²)       instead of z, where `smooth`

    x  (…, d) float64, an array or a Value;  settings  one for all columns, or (d,)
    """
    t = where(not_equal(x, x), fill, x)
    t = _where(log, lambda: signed_log(t), t)
    z = clip((clip(t, low, high) - center) / scale, -_FLOAT32_MAX, _FLOAT32_MAX)
    return _where(smooth, lambda: z / sqrt(1.0 + (z / SMOOTH_CLIP) * (z / SMOOTH_CLIP)), z)


def waves(x: Any, periods: Sequence[float]) -> list[Any]:
    """sin(2π x / period) and cos(2π x / period) for each period; 0 where x is missing.   x an array or a Value"""
    absent = not_equal(x, x)
    return [where(absent, 0.0, wave(2.0 * math.pi / period * x)) for period in periods for wave in (sin, cos)]


def _where(chosen: Any, make: Callable[[], Any], otherwise: Any) -> Any:
    """where(chosen, make(), otherwise), without computing what no column takes."""
    chosen = np.asarray(chosen)
    if chosen.all():
        return make()
    return where(chosen, make(), otherwise) if chosen.any() else otherwise
