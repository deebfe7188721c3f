"""Coordinate descent: one weight at a time, each brought to its own minimum."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.line_search import NOISE
from fallline.optim.optimizer import Arrays
from fallline.optim.projection import proximal, residual
from fallline.optim.solver import Move, Objective, Solver, reached, size_of

MOST_WEIGHTS = 2000  # a sweep takes at least one gradient and one product for each
MOST_NEWTON_STEPS = 10  # for one weight; of a quadratic the first is the last
MOST_HALVINGS = 30  # of such a step
EXACT = 1e-3  # a slope of this share of the first one is that of a minimum, as long as the others move too


@record
class CoordinateDescent(Solver):
    """For j = 1 … n, again and again:  w_j <- argmin over w_j of J,  the other weights as they are

    by Newton's steps along the axis,  w_j <- S(w_j - g_j / H_jj, l1_j / H_jj),  S(v, s) = sign(v) max(|v| - s, 0),
    halved until J does not rise. Of a quadratic the first step is exact, with an L1 penalty too, and weights become 0
    exactly. An iteration is one sweep over all weights; each costs a gradient and a product with the Hessian at least,
    so it is a method for few weights.
    tolerance  the run ends when the norm of  w - S(w - g, l1)  falls to this; without L1 it is that of the gradient
    notes      "optimality", that norm, and "nonzero" weights
    raises     ConfigError beyond 2000 weights
    source     Friedman, Hastie & Tibshirani 2010, eq. 5; Wright 2015, "Coordinate descent algorithms"
    """

    tolerance: float = setting(1e-8, at_least=0)

    takes_bounds: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        if len(w) > MOST_WEIGHTS:
            raise ConfigError(
                f"CoordinateDescent goes through all rows twice for each weight, and here are {len(w):,}: take fewer "
                f"than {MOST_WEIGHTS:,} weights, or optimizer='lbfgs', with an L1 penalty 'fista'"
            )
        return {"g": np.zeros(0), "optimality": np.asarray(math.inf)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        w, start = w.copy(), value
        g = state["g"] if len(state["g"]) else objective.smooth(w)[1]
        l1 = np.broadcast_to(objective.l1, w.shape)
        for j, axis in enumerate(np.eye(len(w))):
            w, value, g = _minimised(objective, w, value, g, j, axis, float(l1[j]))
        optimality = size_of(residual(w, g, l1, objective.bounds))
        notes = {"optimality": optimality, "nonzero": int(np.count_nonzero(w))}
        done = reached(optimality, self.tolerance, "the optimality")
        if not done and value >= start and optimality >= float(state["optimality"]):
            done = f"no weight alone lowers the loss any more; the optimality is {optimality:.2g}"
        return Move(w, value, {"g": g, "optimality": np.asarray(optimality)}, notes, done)


def _minimised(
    objective: Objective, w: np.ndarray, value: float, g: np.ndarray, j: int, axis: np.ndarray, l1: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """(w, J, gradient of the smooth part) with w_j at its minimum."""
    bounds = None if objective.bounds is None else (objective.bounds[0][j : j + 1], objective.bounds[1][j : j + 1])
    first = 0.0
    for _ in range(MOST_NEWTON_STEPS):
        slope = abs(float(residual(w[j : j + 1], g[j : j + 1], l1, bounds)[0]))
        first = first or slope
        if slope <= EXACT * first:
            break
        h = abs(float(axis @ objective.hvp(w, axis))) or abs(float(g[j])) or 1.0
        goal = float(proximal(w[j : j + 1] - g[j] / h, l1 / h, bounds)[0])
        found = _lowered(objective, w, value, j, goal)
        if found is None:
            break
        w, value, g = found
    return w, value, g


def _lowered(
    objective: Objective, w: np.ndarray, value: float, j: int, goal: float
) -> tuple[np.ndarray, float, np.ndarray] | None:
    """(w, J, gradient of the smooth part) with w_j moved to its goal, or half the way, a quarter …; None if J rises."""
    for k in range(MOST_HALVINGS):
        there = w.copy()
        there[j] = goal if k == 0 else w[j] + 0.5**k * (goal - w[j])
        if there[j] == w[j]:
            return None
        found, _ = objective.gradient(there)
        if math.isfinite(found) and found <= value + NOISE * objective.eps * (1 + abs(value)):
            return there, found, objective.smooth(there)[1]
    return None


__all__ = ["CoordinateDescent"]
