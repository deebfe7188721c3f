"""Levenberg-Marquardt: Gauss-Newton's step, damped until it lowers the loss."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.line_search import NOISE
from fallline.optim.newton_cg import conjugate_gradients
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective, Solver, reached, size_of, stuck, symmetric

WHOLE = (
    200  # weights up to which the matrix is made and solved with; beyond, conjugate gradients need its products only
)
RESIDUAL = 1e-3  # share of the gradient that conjugate gradients leave
MOST_TRIALS = 30  # of a damping, in one iteration: ν has then grown beyond every number
LEAST = 1e-15  # damping beside the size of G: below it is none


@record
class LevenbergMarquardt(Solver):
    """w <- w + p,  (G + μ I) p = -g,  G = Jᵀ H_L J of all rows

    J is the Jacobian of the scores and H_L the loss's Hessian in them: with the squared error G is 2 JᵀJ / n, and for
    every loss that is convex in the scores it is never negative, where the whole Hessian may be. μ = 0 is the step of
    Gauss and Newton, a large μ a short one down the slope. With ϱ = (J(w) - J(w + p)) / (½ pᵀ(μ p - g)), the fall over
    the one that was promised,

        ϱ > 0:  the step is taken,  μ <- μ max(1/3, 1 - (2ϱ - 1)³),  ν <- 2;   else:  μ <- ν μ,  ν <- 2ν,  once more

    tau        the first μ over the largest entry of G's diagonal (beyond 200 weights: over gᵀG g / gᵀg); 1 for a start
               that knows nothing, 1e-3 for one near the minimum
    tolerance  the run ends when the norm of the gradient falls to this
    notes      "damping", the μ of the step
    source     Levenberg 1944; Marquardt 1963; μ: Nielsen 1999; G: Schraudolph 2002 (generalized Gauss-Newton)
    """

    tau: float = setting(1.0, above=0)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("gauss_newton", "lm")
    draws: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        return {"g": np.zeros(0), "mu": np.zeros(()), "nu": np.asarray(2.0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        g = state["g"] if len(state["g"]) else objective.gradient(w)[1]
        if done := reached(size_of(g), self.tolerance):
            return Move(w, value, {**state, "g": g}, done=done)
        system = _System(objective, w, g)
        started = bool(state["mu"] > 0)
        mu = max(float(state["mu"]) if started else self.tau * system.size, LEAST * system.size)
        nu = float(state["nu"])
        for _ in range(MOST_TRIALS):
            p = system.solve(mu)
            there = w + p
            found, new = objective.gradient(there)
            gain = _gain(value, found, g, new, p, mu, objective.eps)
            if gain > 0:
                after = mu * max(1 / 3, 1 - (2 * min(gain, 2.0) - 1) ** 3)
                state = {"g": new, "mu": np.asarray(after), "nu": np.asarray(2.0)}
                return Move(there, found, state, {"damping": mu}, reached(size_of(new), self.tolerance))
            mu, nu = mu * nu, 2 * nu
        return Move(w, value, {**state, "g": g}, {"damping": mu}, stuck(objective, size_of(g)))


def _gain(value: float, found: float, g: np.ndarray, new: np.ndarray, p: np.ndarray, mu: float, eps: float) -> float:
    """ϱ; where the fall is lost in rounding, 1 for a smaller gradient and 0 for a larger one."""
    if not math.isfinite(found):
        return 0.0
    if abs(found - value) <= NOISE * eps * (1 + abs(value)):
        return float(found <= value and size_of(new) < size_of(g))
    return (value - found) / (0.5 * float(p @ (mu * p - g)))


class _System:
    """(G + μ I) p = -g at one w, for any μ; with the matrix, or with products where it would be large.

    size  of G, that μ is measured with
    """

    def __init__(self, objective: Objective, w: np.ndarray, g: np.ndarray):
        self.objective, self.w, self.g = objective, w, g
        self.matrix = symmetric(objective.gauss_newton, w) if len(w) <= WHOLE else None
        if self.matrix is not None:
            size = float(np.abs(np.diag(self.matrix)).max())
        else:
            size = float(g @ objective.gauss_newton(w, g)) / float(g @ g)
        self.size = size if size > 0 else 1.0

    def solve(self, mu: float) -> np.ndarray:
        if self.matrix is not None:
            try:
                return -np.linalg.solve(self.matrix + mu * np.eye(len(self.g)), self.g)
            except np.linalg.LinAlgError:  # singular: the damping is too small to be seen
                return -np.linalg.lstsq(self.matrix, self.g, rcond=None)[0]
        product = self.objective.gauss_newton
        tolerance = RESIDUAL * size_of(self.g)
        return conjugate_gradients(lambda d: product(self.w, d) + mu * d, -self.g, tolerance, len(self.g))[0]


__all__ = ["LevenbergMarquardt"]
