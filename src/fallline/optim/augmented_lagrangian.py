"""Augmented Lagrangian: constraints, as a sequence of problems without any."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.constraints import ConstraintSet, as_constraints
from fallline.optim.lbfgs import LBFGS
from fallline.optim.optimizer import Arrays
from fallline.optim.projection import residual
from fallline.optim.solver import Move, Objective, Solver, size_of

SHRINK = 0.25  # share of the violation before, to which it must fall, or rho rises
FORCE = 0.1  # share of the tolerance before, to which the next inner problem is solved; the first one to this as well
LARGEST_RHO = 1e12  # beyond it the inner problem is nothing but the constraints


@record
class AugmentedLagrangian(Solver):
    """J(w) subject to  c_i(w) = 0  and  c_j(w) >= 0:  an inner solver minimises, from where it is,

        L(w) = J(w) + Σ_i (m_i² - λ_i²) / 2ϱ,   m_i = λ_i - ϱ c_i(w),  for inequalities max(0, λ_i - ϱ c_i(w))

    and then  λ <- m;  ϱ grows where the violation has not fallen to a quarter. So λ comes to the Lagrange multipliers,
    and ϱ need not go to infinity. An iteration is one inner problem, solved more exactly each time.
    constraints  fl.Equal(f), fl.AtLeast(f, 0.0), fl.AtMost(f, 1.0), in a list; see fl.Equal for what f gets
    inner        the solver of the problems without constraints, which follows bounds
    rho, growth  the first ϱ, and its factor
    inner_iterations  of the inner solver in one iteration, at most
    tolerance    the run ends when no constraint is violated by more, and the gradient of L is no larger
    notes        "optimality", the norm of L's gradient; "violation", the largest; "rho"; "inner", the inner iterations
    source       Hestenes 1969; Powell 1969; inequalities: Rockafellar 1973; Nocedal & Wright 2006, section 17.3; ϱ:
                 Birgin & Martínez 2014, algorithm 4.1
    """

    constraints: Any = ()
    inner: LBFGS = LBFGS()
    rho: float = setting(10.0, above=0)
    growth: float = setting(10.0, above=1)
    inner_iterations: int = setting(200, at_least=1)
    tolerance: float = setting(1e-8, at_least=0)

    takes_bounds: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def validate(self) -> None:
        if not isinstance(self.inner, LBFGS):
            raise ConfigError(
                f"AugmentedLagrangian(inner={self.inner!r}): the inner solver is L-BFGS: give fl.LBFGS(…)"
            )
        object.__setattr__(self, "constraints", as_constraints(self.constraints))

    def init(self, w: np.ndarray) -> Arrays:
        return {"multipliers": np.zeros(0), "rho": np.asarray(self.rho), "violation": np.asarray(np.inf),
                "force": np.asarray(1.0)}  # fmt: skip

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        constraints = ConstraintSet(self.constraints, objective.tree(w))
        known = len(state["multipliers"]) == len(constraints)
        multipliers = state["multipliers"] if known else np.zeros(len(constraints))
        rho, force = float(state["rho"]), max(self.tolerance, FORCE * float(state["force"]))
        lagrangian = Lagrangian(objective, constraints, multipliers, rho)
        w, settled, inner = self._solved(lagrangian, w, force, rng)
        value, _ = objective.gradient(w)
        c = constraints.values(objective.tree(w))
        violation = constraints.violation(c)
        multipliers = lagrangian.moved(c)
        optimality = size_of(residual(w, lagrangian.smooth(w)[1], objective.l1, objective.bounds))
        notes = {"optimality": optimality, "violation": violation, "rho": rho, "inner": inner}
        done = ""
        if violation <= self.tolerance and settled and force <= self.tolerance:
            done = f"{settled}; no constraint is violated by more than {self.tolerance:g}"
        if violation > max(self.tolerance, SHRINK * float(state["violation"])):
            rho *= self.growth
            if rho > LARGEST_RHO:
                done = f"no weights were found that satisfy all constraints: the violation is still {violation:.2g}"
        new = {"multipliers": multipliers, "rho": rho, "violation": violation, "force": force}
        return Move(w, value, {name: np.asarray(number) for name, number in new.items()}, notes, done)

    def _solved(
        self, lagrangian: Lagrangian, w: np.ndarray, force: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, str, int]:
        """(w, why the inner solver was done, "" if it was not, its iterations)"""
        solver = self.inner.replace(tolerance=force)
        inner, value = solver.init(w), lagrangian.gradient(w)[0]
        for k in range(self.inner_iterations):
            move = solver.iterate(lagrangian, w, value, inner, rng)
            w, value, inner = move.w, move.value, move.state
            if move.done:
                return w, move.done, k + 1
        return w, "", self.inner_iterations


class Lagrangian(Objective):
    """L(w), see AugmentedLagrangian; each look at it is one at J, which counts it."""

    def __init__(self, objective: Objective, constraints: ConstraintSet, multipliers: np.ndarray, rho: float):
        super().__init__()
        self.objective, self.constraints, self.multipliers, self.rho = objective, constraints, multipliers, rho
        self.eps, self.l1, self.bounds = objective.eps, objective.l1, objective.bounds

    def moved(self, c: np.ndarray) -> np.ndarray:
        """m, the multipliers after this problem."""
        m = self.multipliers - self.rho * c
        return np.where(self.constraints.equal, m, np.maximum(m, 0.0))

    def _added(self, m: np.ndarray) -> float:
        return float(m @ m - self.multipliers @ self.multipliers) / (2 * self.rho)

    def compute(self, w: np.ndarray) -> float:
        m = self.moved(self.constraints.values(self.objective.tree(w)))
        return self.objective.value(w) + self._added(m)

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        value, g = self.objective.gradient(w)
        tree = self.objective.tree(w)
        m = self.moved(self.constraints.values(tree))
        return value + self._added(m), g - self.constraints.pull(tree, m)

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        raise ConfigError("the inner solver of AugmentedLagrangian works without the Hessian: give fl.LBFGS(…)")

    def closed_form(self) -> np.ndarray:
        raise ConfigError("a problem with constraints has no closed form: take optimizer='augmented_lagrangian'")


__all__ = ["AugmentedLagrangian", "Lagrangian"]
