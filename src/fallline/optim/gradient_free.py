"""The base of the methods that ask for nothing but J(w): bounds, the best so far, and when a population agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Objective, Solver

Bound = float | Sequence[float] | None
Bounds = tuple[np.ndarray, np.ndarray]  # (low, high), each (n_weights,)


class GradientFree(Solver):
    """A solver for any J, also one that is flat in steps; its iterations keep the best weights that were ever seen.

    low, high  bounds of the weights: both a number, or one number for each weight; None is no bound
    """

    uses_gradient: ClassVar[bool] = False
    takes_bounds: ClassVar[bool] = True
    low: Bound
    high: Bound

    def validate(self) -> None:
        name = f"{type(self).__name__}(low={self.low!r}, high={self.high!r})"
        if (self.low is None) != (self.high is None):
            raise ConfigError(f"{name}: bounds are two; give both low and high, or neither")
        if self.low is None:
            return
        try:
            low, high = np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)
            sound = bool(np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all())
        except (TypeError, ValueError):
            sound = False
        if not sound or max(low.ndim, high.ndim) > 1:
            raise ConfigError(f"{name}: give finite numbers with low below high, or one of each for every weight")
        for field, bound in (("low", low), ("high", high)):
            object.__setattr__(self, field, bound.item() if bound.ndim == 0 else tuple(bound.tolist()))

    def bounds(self, w: np.ndarray, objective: Objective | None = None) -> Bounds:
        """(low, high) for each weight: the record's own, else those of the objective, else infinite.

        w (n_weights,); ConfigError where it does not lie between the record's own
        """
        if self.low is None:
            free = np.full(len(w), -np.inf), np.full(len(w), np.inf)
            return free if objective is None or objective.bounds is None else objective.bounds
        name = f"{type(self).__name__}(low={self.low!r}, high={self.high!r})"
        own = [np.asarray(bound, np.float64) for bound in (self.low, self.high)]
        if any(bound.ndim and len(bound) != len(w) for bound in own):
            raise ConfigError(f"{name}: there are {len(w):,} weights; give a number, or one for each of them")
        low, high = (np.broadcast_to(bound, w.shape) for bound in own)
        outside = (w < low) | (w > high)
        if outside.any():
            i = int(np.argmax(outside))
            raise ConfigError(f"{name}: weight {i} starts at {w[i]:g}, outside; start between them, or widen them")
        return low, high


def box_of(w: np.ndarray, low: np.ndarray, high: np.ndarray, region: float) -> Bounds:
    """Where a population starts: between the bounds; on a side without one, up to `region` from w."""
    return np.where(np.isfinite(low), low, w - region), np.where(np.isfinite(high), high, w + region)


def mirrored(W: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """W with what lies beyond a bound reflected there; between two bounds as often as it takes.   W (…, n_weights)"""
    inside = (low <= W) & (high >= W)
    if inside.all():
        return W
    left, right = (np.where(np.isfinite(bound), bound, 0.0) for bound in (low, high))
    width = np.maximum(right - left, 1e-300)
    between = left + width - np.abs(np.mod(W - left, 2 * width) - width)
    one_sided = np.where(np.isfinite(low), left + np.abs(W - left), right - np.abs(right - W))
    reflected = np.where(np.isfinite(low) & np.isfinite(high), np.clip(between, low, high), one_sided)
    return np.where(inside, W, reflected)


def best_of(w: np.ndarray, value: float, W: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """The best of w and the rows of W, with its value."""
    i = int(np.argmin(values))
    return (W[i].copy(), float(values[i])) if values[i] < value else (w, value)


def agree(W: np.ndarray, values: np.ndarray, tolerance: float) -> str:
    """What all members of a population agree on, so that it has converged; "" while they do not.

    The losses: their standard deviation is at most tolerance · |their mean|. The weights: no two values of one of them
    are further apart than tolerance · (1 + its size).   W (count, n_weights), values (count,)
    """
    if np.isfinite(values).all() and np.std(values) <= tolerance * abs(float(np.mean(values))):
        return "losses"
    return "weights" if (np.ptp(W, axis=0) <= tolerance * (1 + np.abs(W[0]))).all() else ""


def scalars(state: Arrays, *names: str) -> list[float]:
    """Numbers out of a state."""
    return [float(state[name]) for name in names]


__all__ = ["Bound", "Bounds", "GradientFree", "agree", "best_of", "box_of", "mirrored", "scalars"]
