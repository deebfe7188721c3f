"""FISTA: proximal steps with momentum, for a loss with an L1 penalty."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.line_search import NOISE
from fallline.optim.optimizer import Arrays
from fallline.optim.projection import proximal
from fallline.optim.solver import Move, Objective, Solver, reached, size_of

MOST_RISES = 60  # of L in one iteration: it has then grown by 10¹⁸


@record
class FISTA(Solver):
    """J(w) = F(w) + Σ l1_j |w_j|,  F smooth with the gradient g;  a proximal step from y, the soft threshold:

        v = y - g(y) / L;   z = sign(v) max(|v| - l1 / L, 0)
        t' = (1 + √(1 + 4t²)) / 2;   y' = z + ((t - 1) / t') (z - w);   w' = z

    L rises by the factor eta until  F(z) <= F(y) + g · (z - y) + L/2 ‖z - y‖².  When a step goes against the momentum,
    (y - z) · (z - w) > 0, it ends (t = 1) and L may fall again; where J would rise, w is kept as well. Weights become 0
    exactly; between bounds z is clipped. Without an L1 penalty it is Nesterov's accelerated gradient descent.
    eta        factor by which L rises
    tolerance  the run ends when L ‖y - z‖, which is the gradient's norm where there is no penalty, falls to this
    notes      "optimality", that norm; "nonzero" weights; "curvature", L
    source     Beck & Teboulle 2009, eq. 4.1 to 4.3, and 2009b (monotone); restarts: O'Donoghue & Candès 2015
    """

    eta: float = setting(2.0, above=1)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("proximal_gradient",)
    takes_bounds: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        return {"y": w.copy(), "t": np.asarray(1.0), "curvature": np.asarray(0.0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        y, t = state["y"], float(state["t"])
        smooth, g = objective.smooth(y)
        L = float(state["curvature"]) or _curvature(objective, y, g)
        z, found, L = self._step(objective, y, smooth, g, L)
        optimality = L * size_of(y - z)
        lower = found <= value + NOISE * objective.eps * (1 + abs(value))
        best, best_value = (z, found) if lower else (w, value)
        if not lower or (y - z) @ (z - w) > 0:
            new = {"y": best, "t": np.asarray(1.0), "curvature": np.asarray(L / self.eta)}
        else:
            t_new = 0.5 * (1 + math.sqrt(1 + 4 * t * t))
            new = {"y": best + ((t - 1) / t_new) * (best - w), "t": np.asarray(t_new), "curvature": np.asarray(L)}
        notes = {"optimality": optimality, "nonzero": int(np.count_nonzero(best)), "curvature": L}
        done = reached(optimality, self.tolerance, "the optimality L ‖y - z‖")
        if not lower and t == 1.0 and np.array_equal(y, w):  # a step without momentum, and still no fall: rounding
            done = done or f"no step lowers the loss any more; the optimality is {optimality:.2g}"
        return Move(best, best_value, new, notes, done)

    def _step(
        self, objective: Objective, y: np.ndarray, smooth: float, g: np.ndarray, L: float
    ) -> tuple[np.ndarray, float, float]:
        """(z, J(z), the L that was large enough)"""
        noise = NOISE * objective.eps * (1 + abs(smooth))
        for _ in range(MOST_RISES):
            z = proximal(y - g / L, objective.l1 / L, objective.bounds)
            found, _ = objective.gradient(z)
            change = z - y
            bound = smooth + float(g @ change) + 0.5 * L * float(change @ change)
            if found - objective.kinks(z) <= bound + noise:
                break
            L *= self.eta
        return z, found, L


def _curvature(objective: Objective, w: np.ndarray, g: np.ndarray) -> float:
    """A first L: the curvature along the slope, gᵀH g / gᵀg."""
    square = float(g @ g)
    found = abs(float(g @ objective.hvp(w, g))) / square if square > 0 else 0.0
    return found if found > 0 and math.isfinite(found) else 1.0


__all__ = ["FISTA"]
