"""Numbers and arrays as short text."""

from __future__ import annotations

from typing import Any

import numpy as np


def number_text(value: Any, digits: int = 10) -> str:
    """A number with as many digits as carry meaning; an array by its shape, mean, spread and extremes."""
    array = np.asarray(value)
    if array.size == 1:
        number = array.reshape(())[()]
        return f"{number:.{digits}g}".replace("-", "−") if array.dtype.kind == "f" else str(number).replace("-", "−")
    if array.size == 0:
        return f"[{_shape(array)}] empty"
    if array.size <= 4:
        return "(" + ", ".join(number_text(v, min(digits, 6)) for v in array.ravel()) + ")"
    if array.dtype.kind == "b":
        return f"[{_shape(array)}] true in {array.mean():.0%}"
    low, high = array.min(), array.max()
    return f"[{_shape(array)}] mean {array.mean():.4g} ± {array.std():.3g}, {low:.4g} … {high:.4g}".replace("-", "−")


def _shape(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape))
