"""Newton-CG: Newton's step from products with the Hessian alone, by conjugate gradients that stop early."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.line_search import strong_wolfe
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective, Solver, endless, reached, size_of, stuck

LEAST_FORCE = 0.5  # a residual of this share of the gradient always ends the inner iteration
FLAT = 1e-12  # dᵀH d below this share of ‖d‖ ‖H d‖ is curvature that rounding made


@record
class NewtonCG(Solver):
    """w <- w + a p,  H p ≈ -g by conjugate gradients, which need H only in products with a vector

    They end at a residual of  min(½, √‖g‖) ‖g‖,  so that far from the minimum a few products are enough and near it
    the number of right digits grows faster and faster; and where they meet a direction of negative curvature, whose
    part is left out. a satisfies the strong Wolfe conditions.
    most_products  with H, in one iteration
    c1, c2         shares of the slope in the first and the second Wolfe condition
    tolerance      the run ends when the norm of the gradient falls to this
    notes          "step", the a that was taken, and "products"
    source         Dembo & Steihaug 1983; Nocedal & Wright 2006, algorithm 7.1
    """

    most_products: int = setting(200, at_least=1)
    c1: float = setting(1e-4, above=0, below=0.5)
    c2: float = setting(0.9, above=0, below=1)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("truncated_newton",)
    draws: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        return {"g": np.zeros(0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        g = state["g"] if len(state["g"]) else objective.gradient(w)[1]
        size = size_of(g)
        if done := reached(size, self.tolerance):
            return Move(w, value, {"g": g}, done=done)
        force = min(LEAST_FORCE, size**0.5)
        p, products = conjugate_gradients(lambda d: objective.hvp(w, d), -g, force * size, self.most_products)
        found = strong_wolfe(objective, w, value, g, p, first=1.0, c1=self.c1, c2=self.c2)
        if found is None:
            return Move(w, value, {"g": g}, {"products": products}, stuck(objective, size))
        done = endless(found.value) if found.endless else reached(size_of(found.g), self.tolerance)
        return Move(found.w, found.value, {"g": found.g}, {"step": found.a, "products": products}, done)


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], b: np.ndarray, tolerance: float, most: int
) -> tuple[np.ndarray, int]:
    """(p, products): A p = b but for a residual of at most `tolerance`, A symmetric and known by d -> A d.

    The first direction d with dᵀA d <= 0 ends it: p is what was found before, or b if nothing was. So b · p > 0.
    """
    p, r, d = np.zeros_like(b), b, b
    square = float(r @ r)
    for k in range(min(most, 2 * len(b))):
        Ad = product(d)
        curvature = float(d @ Ad)
        if not curvature > FLAT * size_of(d) * size_of(Ad):
            return (p if k else b), k + 1
        a = square / curvature
        p, r = p + a * d, r - a * Ad
        before, square = square, float(r @ r)
        if square**0.5 <= tolerance:
            return p, k + 1
        d = r + (square / before) * d
    return p, min(most, 2 * len(b))


__all__ = ["NewtonCG", "conjugate_gradients"]
