"""Centre and scale of numbers, robust forms of them, and the test for a heavy tail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fallline.ops.arithmetic import absolute, sign
from fallline.ops.compare import not_equal, where
from fallline.ops.composite import clip
from fallline.ops.transcendental import log1p, sqrt

_HEAVY_SKEWNESS, _RELIEF = 3.0, 2 / 3
# A spread below this share of the largest value is rounding noise.
_NOISE = 10 * np.finfo(np.float64).eps
# Robust scaling leaves values within about three quartile ranges almost unchanged (RealMLP, arXiv:2407.04491, sec. 3).
SMOOTH_CLIP = 3.0
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def standard(x: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (divided by n); a constant x has scale 1."""
    size = float(np.abs(x).max()) or 1.0  # so that no square overflows
    center, scale = size * float(np.mean(x / size)), size * float(np.std(x / size))
    return center, scale if scale > _NOISE * size else 1.0


def robust(x: np.ndarray) -> tuple[float, float]:
    """Median and quartile range; where that is 0, half the range; a constant x has scale 1."""
    low, center, high = (float(q) for q in np.quantile(x, [0.25, 0.5, 0.75]))
    scale = high - low or float(x.max() - x.min()) / 2
    return center, scale if scale > _NOISE * float(np.abs(x).max()) else 1.0


def standardised(x: np.ndarray) -> np.ndarray:
    center, scale = standard(x)
    return (x - center) / scale


def has_heavy_tail(x: np.ndarray) -> bool:
    """Whether log(1 + x) should stand for x >= 0: mean z³ > 3, and the logarithm takes a third off the largest z."""
    if float(x.min()) < 0:
        return False
    z = standardised(x)
    return float(np.mean(z**3)) > _HEAVY_SKEWNESS and float(standardised(signed_log(x)).max()) <= _RELIEF * float(
        z.max()
    )


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


def _where(chosen: Any, make: Callable[[], Any], otherwise: Any) -> Any:
    """where(chosen, make(), otherwise), without computing what no column takes."""
    chosen = np.asarray(chosen)
    if chosen.all():
        return make()
    return where(chosen, make(), otherwise) if chosen.any() else otherwise
