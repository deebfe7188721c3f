"""Centre and scale of numbers, robust forms of them, and the test for a heavy tail."""

from __future__ import annotations

import numpy as np

_HEAVY_SKEWNESS, _RELIEF = 3.0, 2 / 3
# A spread below this share of the largest value is rounding noise.
_NOISE = 10 * np.finfo(np.float64).eps


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


def signed_log(x: np.ndarray) -> np.ndarray:
    """sign(x) log(1 + |x|): defined for every x, almost x near 0."""
    return np.sign(x) * np.log1p(np.abs(x))
