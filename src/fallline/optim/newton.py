"""Newton's method, with the whole Hessian; and the closed form, where one step of it is all there is to do."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.line_search import halved
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective, Solver, reached, size_of, stuck

MOST_WEIGHTS = 2000  # a Hessian of 2000² takes 32 MB and 2000 products; each doubling four times that
LEAST_DAMPING, MOST_DAMPING = 1e-10, 1e12  # of the Hessian's size: below it is none, beyond no direction leads down


@record
class Newton(Solver):
    """w <- w - a (H + damping I)⁻¹ g,  g the gradient and H the whole Hessian of J on all rows

    damping is 0 where H is positive definite, else raised until H + damping I is (Levenberg); a = 1, ½, ¼ … is the
    first that lowers J enough (Armijo), so J never rises beyond rounding. A quadratic needs one step; near any other
    minimum the number of right digits doubles at each.
    tolerance  the run ends when the norm of the gradient falls to this
    notes      "damping", and "step", the a that was taken
    raises     ConfigError beyond 2000 weights
    source     Nocedal & Wright 2006, algorithms 3.1 to 3.3
    """

    tolerance: float = setting(1e-10, at_least=0)

    draws: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        if len(w) > MOST_WEIGHTS:
            raise ConfigError(
                f"Newton needs the second derivatives of all pairs of weights: {len(w):,} weights make "
                f"{len(w) ** 2:,}; take fewer than {MOST_WEIGHTS:,} weights, or an optimizer that needs none of them "
                "(lbfgs, newton_cg)"
            )
        return {"damping": np.zeros(())}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        value, g = objective.gradient(w)
        if done := reached(size_of(g), self.tolerance):
            return Move(w, value, state, done=done)
        H = objective.hessian(w)
        size = float(np.abs(np.diag(H)).max()) or 1.0
        damping = float(state["damping"]) / 10
        damping = damping if damping > LEAST_DAMPING * size else 0.0
        while damping <= MOST_DAMPING * size:
            step = _downhill(H, g, damping)
            found = None if step is None else halved(objective, w, value, g, step)
            if found is not None:
                a, w, value = found
                _, g = objective.look(w)
                done = reached(size_of(g), self.tolerance)
                return Move(w, value, {"damping": np.asarray(damping)}, {"damping": damping, "step": a}, done)
            damping = max(10 * damping, LEAST_DAMPING * size)
        return Move(w, value, state, done=stuck(objective, size_of(g)))


def _downhill(H: np.ndarray, g: np.ndarray, damping: float) -> np.ndarray | None:
    """-(H + damping I)⁻¹ g; None where that matrix is not positive definite, or too nearly singular to tell."""
    damped = H + damping * np.eye(len(g))
    try:
        np.linalg.cholesky(damped)
        step = -np.linalg.solve(damped, g)
    except np.linalg.LinAlgError:
        return None
    return step if np.isfinite(step).all() and g @ step < 0 else None


@record
class LeastSquares(Solver):
    """w = the solution of dJ/dw = 0 in one epoch, for a network that is linear in its weights and the squared error

    With an L2 penalty it is ridge regression. Of several solutions it is the one of the smallest norm.
    raises  ConfigError for every other network, loss or penalty, which have no such formula
    source  Legendre 1805; Gauss 1809
    """

    aliases: ClassVar[tuple[str, ...]] = ("exact", "closed_form")
    draws: ClassVar[bool] = False

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        best = objective.closed_form()
        return Move(best, objective.value(best), done="the exact solution is found")


__all__ = ["LeastSquares", "Newton"]
