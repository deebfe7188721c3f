"""What every registered solver keeps, generated from the registry; `Solver.sample` gives the instance."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.record import from_json, records_of, to_json
from fallline.optim.solver import Objective, Solver
from tests.tolerance import TOL, assert_close

SOLVERS = {n: c for n, c in records_of(Solver).items() if c.__module__.startswith("fallline.")}
every_solver = pytest.mark.parametrize("cls", SOLVERS.values(), ids=SOLVERS)


class Quadratic(Objective):
    """½ (w - m)ᵀ H (w - m) + 1, whose derivatives are known."""

    H = np.array([[2.0, 0.5], [0.5, 1.0]])
    m = np.array([0.3, -0.2])

    def compute(self, w):
        return 0.5 * float((w - self.m) @ self.H @ (w - self.m)) + 1.0

    def differentiate(self, w):
        return self.compute(w), self.H @ (w - self.m)

    def multiply(self, w, direction):
        return self.H @ direction

    def multiply_gauss_newton(self, w, direction):
        return self.H @ direction

    def closed_form(self):
        return self.m.copy()


class Rosenbrock(Objective):
    """½ (r₁² + r₂²),  r = (10 (w₂ - w₁²), 1 - w₁): half of Rosenbrock's function, a curved valley to (1, 1)."""

    def residuals(self, w):
        return np.array([10 * (w[1] - w[0] ** 2), 1 - w[0]])

    def jacobian(self, w):
        return np.array([[-20 * w[0], 10.0], [-1.0, 0.0]])

    def compute(self, w):
        return 0.5 * float(self.residuals(w) @ self.residuals(w))

    def differentiate(self, w):
        return self.compute(w), self.jacobian(w).T @ self.residuals(w)

    def multiply(self, w, direction):
        second = np.array([[-20 * self.residuals(w)[0], 0.0], [0.0, 0.0]])
        return self.multiply_gauss_newton(w, direction) + second @ direction

    def multiply_gauss_newton(self, w, direction):
        return self.jacobian(w).T @ (self.jacobian(w) @ direction)

    def closed_form(self):
        return np.ones(2)


def iterations(solver, count=30, start=(1.0, 1.0), kind=Quadratic):
    """The moves of a run, and the objective that counted."""
    objective, w = kind(), np.array(start)
    state, value, moves = solver.init(w), kind().compute(w), []
    for t in range(count):
        moves.append(solver.iterate(objective, w, value, state, np.random.default_rng((0, t))))
        w, value, state = moves[-1].w, moves[-1].value, moves[-1].state
        if moves[-1].done:
            break
    return moves, objective


@every_solver
def test_json_round_trip(cls):
    assert from_json(to_json(cls.sample())) == cls.sample()


@every_solver
def test_it_minimises_a_quadratic_and_never_rises(cls):
    moves, objective = iterations(cls.sample())
    values = [Quadratic().compute(np.ones(2)), *(move.value for move in moves)]
    assert (np.diff(values) <= TOL["f64"]).all()
    assert_close(values[-1], 1.0, "fit")
    assert objective.evaluations > 0


@every_solver
def test_it_finds_the_end_of_rosenbrocks_valley(cls):
    """From (-1.2, 1), as Rosenbrock did, to 1 % of the first value; those that know the valley's bend to the end."""
    moves, _ = iterations(cls.sample(), 600 if cls.uses_gradient else 100, (-1.2, 1.0), Rosenbrock)
    assert moves[-1].value <= 0.01 * Rosenbrock().compute([-1.2, 1.0])
    if cls.__name__ in ("AugmentedLagrangian", "LBFGS", "LevenbergMarquardt", "Newton", "NewtonCG"):
        assert_close(moves[-1].w, [1.0, 1.0], "library")


@every_solver
def test_a_run_goes_on_from_any_iteration_as_if_it_had_never_stopped(cls):
    """The weights, the value and the state are all that an iteration needs of those before it."""
    solver, rng = cls.sample(), np.random.default_rng
    moves, _ = iterations(solver, 6, (-1.2, 1.0), Rosenbrock)
    for k in range(len(moves) - 1):
        old, objective = moves[k], Rosenbrock()
        move = solver.iterate(objective, old.w, old.value, old.state, rng((0, k + 1)))
        assert_close(move.w, moves[k + 1].w, "exact")
        assert move.value == moves[k + 1].value


@every_solver
def test_the_value_is_that_of_the_weights_and_the_state_is_arrays(cls):
    for move in iterations(cls.sample())[0]:
        assert move.value == Quadratic().compute(move.w)
        assert all(isinstance(array, np.ndarray) for array in move.state.values())
        assert all(isinstance(number, (int, float)) for number in move.notes.values())


@every_solver
def test_an_iteration_is_a_pure_function(cls):
    solver, w = cls.sample(), np.array([1.0, 1.0])
    state = solver.init(w)
    kept = {name: array.copy() for name, array in state.items()}
    first, second = (
        solver.iterate(Quadratic(), w, Quadratic().compute(w), state, np.random.default_rng(5)) for _ in range(2)
    )
    assert_close(first.w, second.w, "exact")
    assert first.notes == second.notes
    assert_close(w, np.array([1.0, 1.0]), "exact")
    for name, array in kept.items():
        assert_close(state[name], array, "exact")


@every_solver
def test_a_minimum_is_kept(cls):
    moves, _ = iterations(cls.sample(), count=3, start=Quadratic.m)
    assert_close(moves[-1].w, Quadratic.m)
