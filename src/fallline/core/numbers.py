"""Numbers and arrays as short text."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOAT32_DIGITS = 7  # more would be rounding noise


def number_text(value: Any, digits: int = 10) -> str:
    """A number with as many digits as carry meaning; an array by its shape, mean, spread and extremes."""
    return number_forms(value, digits)[0]


def number_forms(value: Any, digits: int = 10) -> list[str]:
    """The text of a number or an array, and shorter ones for where it does not fit, the longest first."""
    kept: list[str] = []
    for text in _forms(np.asarray(value), digits):
        if not kept or len(text) < len(kept[-1]):
            kept.append(text)
    return kept


def _forms(array: np.ndarray, digits: int) -> list[str]:
    if array.dtype == np.float32:
        digits = min(digits, FLOAT32_DIGITS)
    if array.size == 0:
        return [f"[{_shape(array)}] empty"]
    if array.size == 1:
        number = array.reshape(())[()]
        return [_digits(number, d) for d in (digits, min(digits, 6), min(digits, 4))]
    if array.size <= 4:
        return [f"({', '.join(_digits(v, min(digits, d)) for v in array.ravel())})" for d in (6, 3, 2)]
    if array.dtype.kind == "b":
        return [f"[{_shape(array)}] true in {array.mean():.0%}"]
    low, high = array.min(), array.max()
    if low == high:
        return [f"[{_shape(array)}] all {_digits(low, d)}" for d in (6, 3)]
    centre, spread = _digits(array.mean(), 4), _digits(array.std(), 3)
    full = f"[{_shape(array)}] mean {centre} ± {spread}, {_digits(low, 4)} … {_digits(high, 4)}"
    short = f"[{_shape(array)}] {centre} ± {spread}"
    return [full, short, f"[{_shape(array)}] mean {_digits(array.mean(), 3)}"]


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python number, text or date that it holds; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def counted(n: int, word: str) -> str:
    """A number of things: "1 pass", "2 passes", "1,000 values"."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}{'es' if word.endswith('s') else 's'}"


def _digits(number: Any, digits: int) -> str:
    floating = np.asarray(number).dtype.kind == "f"
    return (f"{number + 0.0:.{digits}g}" if floating else str(number)).replace("-", "−")  # + 0.0: 0, not −0


def _shape(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape))
