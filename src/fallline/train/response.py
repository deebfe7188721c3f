"""Response: what a function without weights makes of numbers, found by trying it: no layer has to describe itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.graph.op import as_value
from fallline.graph.program import Program

FAR, FARTHEST = 1e3, 1e6  # a function that still grows between the two is taken as unbounded
GROWTH = 1.5  # the least factor between the two that counts as growth
NEAR = np.concatenate([np.linspace(-6.0, 6.0, 49), [-FAR, -100.0, -30.0, 30.0, 100.0, FAR]])


def slopes(f: Callable[[Any], Any], z: np.ndarray) -> np.ndarray | None:
    """φ'(z), entry by entry, from the function's own graph; None for a function that mixes entries (softmax).

    A function of each entry by itself has a diagonal Jacobian J, and only then J t = (Jᵀ 1) t for a random t.
    """

    def both(x: Any) -> tuple[Any, Any]:
        y = as_value(f(x))
        if y.shape != x.shape:
            return as_value(np.zeros(1)), as_value(np.zeros(2))
        return pullback([y], [np.ones(y.shape, y.dtype)], [x])[0], pushforward([y], [x], [tangent])[0]

    tangent = np.random.default_rng(0).uniform(0.5, 1.5, z.shape).astype(z.dtype)
    slope, moved = Program.of(both, z).run(z)
    if slope.shape != moved.shape:
        return None
    finite = np.isfinite(slope) & np.isfinite(moved)
    near = np.isclose(moved, slope * tangent, rtol=1e-3, atol=1e-6)
    return slope if near[finite].all() else None


def probes(width: int, dtype: Any = "float32") -> np.ndarray:
    """Rows of `width` scores, from small to very large: one entry away from 0 at a time, and all different."""
    sizes = np.concatenate([NEAR, [-FARTHEST, FARTHEST]])
    if width == 1:
        return sizes[:, None].astype(dtype)
    alone = [size * np.eye(width)[k] for size in sizes for k in {0, width - 1}]
    mixed = np.random.default_rng(0).normal(size=(20, width))
    return np.concatenate([alone, mixed]).astype(dtype)


@dataclass(frozen=True, eq=False)
class Response:
    """A function of scores, the probes that it was given, and its results.   z, y (rows, width)"""

    f: Callable[[Any], Any]
    z: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, f: Callable[[Any], Any], width: int, dtype: Any = "float32") -> Response:
        z = probes(width, dtype)
        return cls(f, z, Program.of(f, z).run(z)[0])

    @property
    def is_identity(self) -> bool:
        return self.y.shape == self.z.shape and bool(np.array_equal(self.y, self.z))

    @property
    def is_constant(self) -> bool:
        """Every row the same, whatever the scores are."""
        return bool(np.ptp(self._finite) <= 1e-6 * max(1.0, float(np.abs(self._finite).max())))

    @property
    def is_step(self) -> bool:
        """It changes its value, but its slope is 0 everywhere; `stop_gradient`, which is meant to, is none."""
        if self.is_identity or self.is_constant:
            return False
        return self.slope is not None and not self.slope.any()

    @cached_property
    def slope(self) -> np.ndarray | None:
        """φ' at the probes; None where entries are mixed."""
        return slopes(self.f, self.z)

    @cached_property
    def low(self) -> float:
        """The least value; -∞ where it falls without end."""
        return -_bound(-self.y, self.z)

    @cached_property
    def high(self) -> float:
        """The largest value; ∞ where it grows without end."""
        return _bound(self.y, self.z)

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @cached_property
    def _finite(self) -> np.ndarray:
        found = self.y[np.isfinite(self.y)]
        return found if found.size else np.zeros(1, self.y.dtype)


def _bound(y: np.ndarray, z: np.ndarray) -> float:
    """The largest value, or ∞ when the farthest probes give clearly more than the far ones."""
    known = np.where(np.isnan(y), -np.inf, y)
    far = np.abs(z).max(axis=tuple(range(1, z.ndim))) <= FAR
    within, overall = float(known[far].max()), float(known.max())
    return math.inf if overall > within + (GROWTH - 1) * abs(within) + 1e-3 else overall


__all__ = ["Response", "probes", "slopes"]
