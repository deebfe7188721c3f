"""Grid search: every combination of some values of each weight, then a finer grid round the best."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, Bounds, GradientFree, best_of, box_of
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective

MOST_POINTS = 100_000  # of one grid: some seconds on a small network
CHUNK = 1000  # points that are made at a time


@record
class GridSearch(GradientFree):
    """w' = argmin J over low + (high - low) i / (points - 1),  i = 0 … points - 1 in each weight

    One epoch is one grid, of points^n points in n weights: for the few weights of a line or a single neuron. The next
    grid lies round the best point and reaches one spacing to each side of it; a best point on the rim moves the grid
    as it is.
    points     in each weight
    low, high  the first grid, which no later one leaves
    region     without them the first grid is a box of this half-width round the starting weights; later ones may leave
    tolerance  the run ends when the spacing falls to this share of the first one
    notes      "spacing" (the widest), and "points" in the grid
    raises     ConfigError beyond 100,000 points in one grid
    source     Fisher 1935 (factorial designs)
    """

    points: int = setting(11, at_least=3)
    low: Bound = None
    high: Bound = None
    region: float = setting(1.0, above=0)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("grid",)

    def init(self, w: np.ndarray) -> Arrays:
        if self.points ** min(len(w), 64) > MOST_POINTS:
            most = int(np.log(MOST_POINTS + 0.5) / np.log(self.points))
            raise ConfigError(
                f"GridSearch(points={self.points}): a grid in {len(w):,} weights has {self.points}^{len(w)} points, at "
                f"most {MOST_POINTS:,} are tried: take no more than {most} weight{'s' * (most != 1)}, fewer points, or "
                "optimizer='cmaes'"
            )
        self.bounds(w)
        unknown = np.full(len(w), np.nan)
        return {"low": unknown, "high": unknown, "first": unknown}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        low, high, first = state["low"], state["high"], state["first"]
        bounds = self.bounds(w, objective)
        if np.isnan(low).all():
            low, high = box_of(w, *bounds, self.region)
            first = (high - low) / (self.points - 1)
        spacing = (high - low) / (self.points - 1)
        count, axes = self.points ** len(w), np.linspace(low, high, self.points)  # (points, n_weights)
        for i in range(0, count, CHUNK):
            numbers = np.unravel_index(np.arange(i, min(i + CHUNK, count)), (self.points,) * len(w))
            grid = axes[np.stack(numbers, axis=1), np.arange(len(w))]
            w, value = best_of(w, value, grid, objective.values(grid))
        low, high = _next(w, low, high, spacing, bounds)
        notes = {"spacing": float(spacing.max()), "points": count}
        fine = bool((spacing <= self.tolerance * first).all())
        done = "the grid is as fine as its tolerance" if fine else ""
        return Move(w, value, {"low": low, "high": high, "first": first}, notes, done)


def _next(w: np.ndarray, low: np.ndarray, high: np.ndarray, spacing: np.ndarray, bounds: Bounds) -> Bounds:
    """(low, high) of the next grid, with w in its middle."""
    least, most = bounds
    rim = ((w <= low + spacing / 2) & (low > least)) | ((w >= high - spacing / 2) & (high < most))
    half = np.where(rim, (high - low) / 2, np.minimum(spacing, (high - low) / 4))
    return np.maximum(w - half, least), np.minimum(w + half, most)


__all__ = ["GridSearch"]
