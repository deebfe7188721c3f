"""Projection: steps between bounds. P(w) is the nearest point to w that lies between them, clip(w, low, high)."""

from __future__ import annotations

import math

import numpy as np

from fallline.optim.line_search import MOST_LOOKS, NOISE, Point
from fallline.optim.solver import Objective

Bounds = tuple[np.ndarray, np.ndarray]
SHORTEST, LONGEST = 0.1, 0.5  # of a step that is too long, the next one takes between these shares


def has_kinks(l1: np.ndarray | float) -> bool:
    """Whether any strength of Σ l1_j |w_j| is not 0."""
    return bool(np.any(l1)) if isinstance(l1, np.ndarray) else l1 != 0


def proximal(v: np.ndarray, strength: np.ndarray | float, bounds: Bounds | None) -> np.ndarray:
    """argmin_w  ½ (w - v)² + strength |w|  between the bounds: sign(v) max(|v| - strength, 0), clipped.

    source  Donoho & Johnstone 1994 (soft threshold)
    """
    w = np.sign(v) * np.maximum(np.abs(v) - strength, 0.0) if has_kinks(strength) else v
    return w if bounds is None else np.clip(w, *bounds)


def residual(w: np.ndarray, g: np.ndarray, l1: np.ndarray | float, bounds: Bounds | None) -> np.ndarray:
    """w - prox(w - g), g the gradient without Σ l1 |w|: 0 at a minimum, and g where there are neither l1 nor bounds."""
    if bounds is None and not has_kinks(l1):
        return g
    return w - proximal(w - g, l1, bounds)


def free_weights(w: np.ndarray, g: np.ndarray, bounds: Bounds | None) -> np.ndarray:
    """Which weights do not lie at a bound that the slope would push them through.   -> (n_weights,) of bool"""
    if bounds is None:
        return np.ones(len(w), bool)
    low, high = bounds
    return ~(((w <= low) & (g > 0)) | ((w >= high) & (g < 0)))


def steepest(w: np.ndarray, g: np.ndarray, l1: np.ndarray | float) -> np.ndarray:
    """The slope of J = F + Σ l1_j |w_j| on the side of w_j where it falls, g that of F; 0 where it falls on neither.

    source  Andrew & Gao 2007, eq. 4 (pseudo-gradient)
    """
    return np.where(w != 0, g + l1 * np.sign(w), np.sign(g) * np.maximum(np.abs(g) - l1, 0.0))


def projected_step(
    objective: Objective, w: np.ndarray, value: float, g: np.ndarray, p: np.ndarray, *, first: float, c1: float
) -> Point | None:
    """The first of ever shorter steps a with  J(P(w + a p)) <= J(w) + c1 g · (P(w + a p) - w);  None if none is found.

    The gradient of the point that is found is that of the smooth part of J.
    With an L1 penalty g is the `steepest` slope, and P also makes 0 of every weight that would change its sign.
    source  Bertsekas 1982, "Projected Newton methods", eq. 14; L1: Andrew & Gao 2007
    """
    side, kinked = np.where(w != 0, np.sign(w), -np.sign(g)), np.broadcast_to(objective.l1, w.shape) > 0

    def projected(v: np.ndarray) -> np.ndarray:
        kept = np.where(kinked & (np.sign(v) != side), 0.0, v)
        return kept if objective.bounds is None else np.clip(kept, *objective.bounds)

    a, noise = first, NOISE * objective.eps * (1 + abs(value))
    for _ in range(MOST_LOOKS):
        there = projected(w + a * p)
        found, slopes = objective.gradient(there)
        fall = float(g @ (there - w))
        if fall < 0 and (found <= value + c1 * fall if -fall > noise else found <= value):
            return Point(a, found, fall / a, there, slopes - objective.l1 * np.sign(there))
        share = -fall / (2 * (found - value - fall)) if math.isfinite(found) and found - value > fall else SHORTEST
        a *= min(max(share, SHORTEST), LONGEST)
    return None


__all__ = ["Bounds", "free_weights", "projected_step", "proximal", "residual", "steepest"]
