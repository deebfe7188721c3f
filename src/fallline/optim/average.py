"""Exponentially weighted averages, and the one place where their bias is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.ops.transcendental import expm1


def ewa(x: Any, beta: float, bias_correction: bool = False) -> np.ndarray:
    """v_t = beta v_{t-1} + (1 - beta) x_t,  v_0 = 0: about the average over the last 1 / (1 - beta) entries.

    x                (n, …), averaged along the first axis;  returns the same shape, v_1 … v_n
    bias_correction  divides v_t by 1 - beta^t, the sum of its weights: the average of a constant is then that constant
    """
    if not 0.0 <= beta < 1.0:
        raise ConfigError(f"ewa(beta={beta!r}): beta must be at least 0 and below 1")
    x = np.asarray(x)
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    averages, v = np.empty_like(x), np.zeros(x.shape[1:], x.dtype)
    for i, entry in enumerate(x):
        v = beta * v + (1.0 - beta) * entry
        averages[i] = v / float(weight_sum(beta, float(i + 1))) if bias_correction else v
    return averages


def ewa_window(beta: float) -> float:
    """1 / (1 - beta): over how many entries an exponentially weighted average reaches (0.9: 10, 0.98: 50, 0.5: 2)."""
    return 1.0 / (1.0 - beta)


def weight_sum(beta: float, t: Any) -> Any:
    """1 - beta^t: the sum of the weights after t steps, by which a young average is too small.

    Computed as -expm1(t log beta): in float32 the literal form loses 1e-5 of it when beta is near 1.
    t  a number, array or Value, counted from 1
    """
    return -expm1(t * math.log(beta)) if beta else 1.0


__all__ = ["ewa", "ewa_window", "weight_sum"]
