"""L-BFGS: Newton's step without a Hessian, from the last few changes of the gradient."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.line_search import Point, strong_wolfe
from fallline.optim.optimizer import Arrays
from fallline.optim.projection import free_weights, has_kinks, projected_step, residual, steepest
from fallline.optim.solver import Move, Objective, Solver, endless, reached, size_of, stuck

CURVED = 1e-12  # sᵀy beyond this share of yᵀy: a pair that curves less would make steps of any length


@record
class LBFGS(Solver):
    """w <- w + a p,  p = -H g,  H the inverse Hessian as the last m pairs  s = Δw, y = Δg  know it

        q = g;  for each pair, newest first:  α = sᵀq / sᵀy,  q <- q - α y
        q <- (sᵀy / yᵀy of the newest pair) q;  for each, oldest first:  q <- q + (α - yᵀq / sᵀy) s;  p = -q

    a satisfies the strong Wolfe conditions, so that sᵀy > 0; most often it is 1, and an iteration costs one gradient.
    Between bounds, weights that lie at one and would leave it stand still, and steps end where they meet one; with an
    L1 penalty steps end where a weight would change its sign, at 0 (OWL-QN).
    m          pairs that are kept
    c1, c2     shares of the slope in the first and the second Wolfe condition
    tolerance  the run ends when the norm of the gradient falls to this
    norm       that norm: "euclidean", or "max", the largest entry, as SciPy has it
    notes      "step", the a that was taken
    source     Nocedal 1980; Liu & Nocedal 1989; Nocedal & Wright 2006, algorithms 7.4 and 7.5; bounds: Bertsekas 1982;
               L1: Andrew & Gao 2007
    """

    m: int = setting(10, at_least=1)
    c1: float = setting(1e-4, above=0, below=0.5)
    c2: float = setting(0.9, above=0, below=1)
    tolerance: float = setting(1e-8, at_least=0)
    norm: str = setting("euclidean", choices=("euclidean", "max"))

    takes_bounds: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def validate(self) -> None:
        if self.c1 >= self.c2:
            raise ConfigError(f"LBFGS(c1={self.c1:g}, c2={self.c2:g}): c1 must be below c2")

    def init(self, w: np.ndarray) -> Arrays:
        return {"s": np.zeros((0, len(w))), "y": np.zeros((0, len(w))), "inverse": np.zeros((0, 0)), "g": np.zeros(0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        g = state["g"] if len(state["g"]) else objective.smooth(w)[1]
        size = self._size(residual(w, g, objective.l1, objective.bounds))
        if done := reached(size, self.tolerance):
            return Move(w, value, {**state, "g": g}, done=done)
        found = self._step(objective, w, value, g, state)
        if found is None and len(state["s"]):  # the pairs may mislead: once more along the slope
            state = self.init(w)
            found = self._step(objective, w, value, g, state)
        if found is None:
            return Move(w, value, {**state, "g": g}, done=stuck(objective, size))
        done = reached(self._size(residual(found.w, found.g, objective.l1, objective.bounds)), self.tolerance)
        done = endless(found.value) if found.endless else done
        return Move(found.w, found.value, self._kept(state, w, g, found), {"step": found.a}, done)

    def _size(self, g: np.ndarray) -> float:
        return size_of(g) if self.norm == "euclidean" else float(np.abs(g).max(initial=0.0))

    def _step(self, objective: Objective, w: np.ndarray, value: float, g: np.ndarray, state: Arrays) -> Point | None:
        """The point at the end of this iteration's step; None where no step lowers J."""
        s, y = state["s"], state["y"]
        kinked = has_kinks(objective.l1)
        if objective.bounds is None and not kinked:
            p = -inverse_product(g, s, y, state["inverse"])
            first = 1.0 if len(s) else min(1.0, 1 / size_of(g))
            return strong_wolfe(objective, w, value, g, p, first=first, c1=self.c1, c2=self.c2)
        slope = steepest(w, g, objective.l1) if kinked else g
        free = free_weights(w, slope, objective.bounds) & (slope != 0)
        slope = np.where(free, slope, 0.0)
        p = -np.where(free, inverse_product(slope, *_curved(s * free, y * free)), 0.0)
        p = np.where(p * slope < 0, p, 0.0) if kinked else p
        first = 1.0 if len(s) else min(1.0, 1 / size_of(slope))
        if slope @ p >= 0:
            p = -slope
        return projected_step(objective, w, value, slope if kinked else g, p, first=first, c1=self.c1)

    def _kept(self, state: Arrays, w: np.ndarray, g: np.ndarray, found: Point) -> Arrays:
        """The state with one pair more, and without the oldest where there are too many."""
        s, y = found.w - w, found.g - g
        if not s.dot(y) > CURVED * y.dot(y):
            return {**state, "g": found.g}
        kept = slice(max(0, len(state["s"]) + 1 - self.m), None)
        return {**with_pair(state["s"][kept], state["y"][kept], state["inverse"][kept, kept], s, y), "g": found.g}


def with_pair(s: np.ndarray, y: np.ndarray, inverse: np.ndarray, new_s: np.ndarray, new_y: np.ndarray) -> Arrays:
    """The pairs and one more, with R⁻¹ of them all: of the last pairs it is the last block of R⁻¹.

    [R r; 0 ρ]⁻¹ = [R⁻¹ -R⁻¹r/ρ; 0 1/ρ]   r = (s_i · y),  ρ = s · y  of the new pair
    """
    n = len(s)
    made_s, made_y, grown = np.empty((n + 1, len(new_s))), np.empty((n + 1, len(new_s))), np.zeros((n + 1, n + 1))
    made_s[:n], made_s[n], made_y[:n], made_y[n] = s, new_s, y, new_y
    grown[:n, :n], grown[n, n] = inverse, 1 / new_s.dot(new_y)
    grown[:n, n] = inverse.dot(s.dot(new_y)) * -grown[n, n]
    return {"s": made_s, "y": made_y, "inverse": grown}


def _curved(s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs that have curvature, which they may lack where only some of the weights are looked at, and R⁻¹."""
    curved = (s * y).sum(axis=1) > 0
    s, y = s[curved], y[curved]
    return s, y, np.linalg.inv(np.triu(s.dot(y.T)))


def inverse_product(g: np.ndarray, s: np.ndarray, y: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """H g of the pairs, the oldest first; g itself without any.   s, y (pairs, n_weights), g (n_weights,)

    The two loops over the pairs at once:  H g = γ r + (s_j) R⁻ᵀ (D u - γ (y_j·r)),  u = R⁻¹ (s_i·g),  r = g - (y_i) u,
    where R holds the s_i·y_j with i <= j, D its diagonal, and γ is sᵀy / yᵀy of the newest pair.
    inverse  R⁻¹, (pairs, pairs)
    source   Byrd, Nocedal & Schnabel 1994, "Representations of quasi-Newton matrices", theorem 2.2
    """
    if not len(s):
        return g
    diagonal = 1 / inverse.diagonal()
    gamma = diagonal[-1] / y[-1].dot(y[-1])
    u = inverse.dot(s.dot(g))
    r = g - u.dot(y)
    return gamma * r + (diagonal * u - gamma * y.dot(r)).dot(inverse).dot(s)


__all__ = ["LBFGS", "inverse_product", "with_pair"]
