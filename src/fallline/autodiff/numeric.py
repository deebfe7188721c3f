"""Numerical derivatives: central differences.

    df/dx ≈ (f(x + h) - f(x - h)) / 2h      error O(h²) + O(rounding / h)

The best step is near the cube root of the rounding unit, times the size of x:
float64 6.1e-6, float32 4.9e-3.   source: Press et al. 2007, Numerical Recipes, section 5.7

Every function here takes `step`, the h itself; without it h is the best step times max(1, |x|) for each entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fallline.core.tree import map_leaves


def best_step(dtype: Any) -> float:
    """The step for numbers of size 1: the cube root of the rounding unit."""
    return float(np.finfo(dtype).eps) ** (1 / 3)


def numeric_jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float | None = None) -> np.ndarray:
    """d f_i / d x_j by central differences.   f: array -> array; returns shape (*f.shape, *x.shape)"""
    x = np.array(x)  # a copy that may be changed
    columns = []
    with np.errstate(all="ignore"):  # a step out of the domain gives NaN
        for j in range(x.size):
            before = x.flat[j]
            width = best_step(x.dtype) * max(1.0, abs(float(before))) if step is None else step
            x.flat[j] = before + width
            high, above = np.array(f(x)), float(x.flat[j])
            x.flat[j] = before - width
            low, under = np.array(f(x)), float(x.flat[j])
            x.flat[j] = before
            columns.append((high - low) / (above - under))  # the steps really taken, after rounding
    if not columns:
        return np.zeros(np.shape(f(x)) + x.shape, x.dtype)
    return np.stack(columns, axis=-1).reshape(columns[0].shape + x.shape)


def numeric_gradient(f: Callable[..., Any], xs: tuple[Any, ...], step: float | None = None) -> tuple[Any, ...]:
    """df/dx for every leaf of trees of arrays.   f: *xs -> number; returns trees like xs"""

    def one(path: str, leaf: np.ndarray) -> np.ndarray:
        def moved(x: np.ndarray) -> np.ndarray:
            return np.asarray(f(*map_leaves(lambda p, old: x if p == path else old, xs)))

        return numeric_jacobian(moved, leaf, step) if leaf.dtype.kind == "f" else np.zeros_like(leaf)

    return map_leaves(one, xs)
