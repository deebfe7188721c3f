"""The whole-problem solvers: the same optimum as SciPy's, at no more cost, and what is special about each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.optim.constraints import ConstraintSet
from fallline.optim.lbfgs import LBFGS, inverse_product, with_pair
from fallline.optim.newton_cg import conjugate_gradients
from tests.contracts.test_solvers import Quadratic, Rosenbrock, iterations
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
START = np.tile([-1.2, 1.0], 5)


def rosenbrock(w):
    return fl.sum(100.0 * (w[1:] - w[:-1] ** 2) ** 2 + (1.0 - w[:-1]) ** 2)


def test_lbfgs_finds_scipys_optimum_with_no_more_gradients():
    ours = fl.minimize(rosenbrock, START, optimizer="lbfgs")
    theirs = optimize.minimize(
        optimize.rosen, START, jac=optimize.rosen_der, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-8}
    )
    assert ours.converged
    assert_close(ours.x, np.ones(10), "library")
    assert_close(theirs.x, np.ones(10), "library")
    assert ours.gradient_evaluations <= 1.2 * theirs.nfev
    assert ours.function_evaluations == 0


def test_lbfgs_with_enough_pairs_ends_a_quadratic_in_as_many_iterations_as_it_has_dimensions():
    """With exact line searches it is conjugate gradients; with Wolfe's it needs a few more."""
    moves, objective = iterations(LBFGS(c2=0.01), 30)
    assert len(moves) <= 4
    assert_close(moves[-1].w, Quadratic.m, "step")
    assert objective.counts["gradient_evaluations"] <= 8


@pytest.mark.parametrize("m", [9, 4, 1])
def test_the_inverse_hessian_of_its_pairs_is_that_of_bfgs(m):
    """H <- (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ over the last m pairs, from H = (sᵀy / yᵀy) I of the newest one."""
    S, A = RNG.normal(size=(6, 6)), RNG.normal(size=(6, 6))
    Y, g = S @ (A @ A.T + np.eye(6)), RNG.normal(size=6)
    kept = {"s": S[:0], "y": Y[:0], "inverse": np.zeros((0, 0))}
    for s, y in zip(S, Y, strict=True):
        first = max(0, len(kept["s"]) + 1 - m)
        kept = with_pair(kept["s"][first:], kept["y"][first:], kept["inverse"][first:, first:], s, y)
    S, Y = S[-m:], Y[-m:]
    H = np.eye(6) * (S[-1] @ Y[-1]) / (Y[-1] @ Y[-1])
    for s, y in zip(S, Y, strict=True):
        V = np.eye(6) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    assert_close(inverse_product(g, **kept), H @ g, "run")


def test_lbfgs_keeps_m_pairs_and_no_more():
    moves, _ = iterations(LBFGS(m=3), 8, (-1.2, 1.0), Rosenbrock)
    assert [len(move.state["s"]) for move in moves] == [1, 2, 3, 3, 3, 3, 3, 3]
    with pytest.raises(ConfigError, match=r"LBFGS\(c1=0.4, c2=0.3\): c1 must be below c2"):
        LBFGS(c1=0.4, c2=0.3)


def test_newton_cg_needs_one_product_for_each_dimension_of_a_quadratic_and_finds_scipys_optimum():
    found = fl.minimize(rosenbrock, START, optimizer="newton_cg")
    theirs = optimize.minimize(
        optimize.rosen, START, jac=optimize.rosen_der, hessp=optimize.rosen_hess_prod, method="Newton-CG"
    )
    assert_close(found.x, theirs.x, "fit")
    assert_close(found.x, np.ones(10), "library")
    A = RNG.normal(size=(8, 8))
    A, b = A @ A.T + np.eye(8), RNG.normal(size=8)
    p, products = conjugate_gradients(lambda d: A @ d, b, TOL["run"], 100)
    assert_close(p, np.linalg.solve(A, b), "step")
    assert products <= 10


def test_newton_cg_leaves_a_saddle_downhill():
    """x² - y² + y⁴/4 has its minima at y = ±√2; near the origin the curvature along y is negative."""
    found = fl.minimize(lambda w: w[0] ** 2 - w[1] ** 2 + 0.25 * w[1] ** 4, [0.1, 1e-3], optimizer="newton_cg")
    assert_close(found.x, [0.0, np.sqrt(2.0)], "library")
    assert found.history["value"][1] < found.history["value"][0]


def test_levenberg_marquardt_fits_a_curve_as_scipys_least_squares_does():
    t = np.linspace(0, 3, 40)
    y = 2.5 * np.exp(-1.3 * t) + 0.5 + 0.01 * RNG.normal(size=40)

    def residuals(w):
        return w[0] * fl.exp(w[1] * t) + w[2] - y

    found = fl.minimize(residuals, [1.0, -0.5, 0.0], optimizer="levenberg_marquardt")
    theirs = optimize.least_squares(
        lambda w: w[0] * np.exp(w[1] * t) + w[2] - y, [1.0, -0.5, 0.0], method="lm", xtol=1e-12, ftol=1e-12, gtol=1e-12
    )
    assert found.converged
    assert_close(found.x, theirs.x, "library")
    assert_close(found.value, theirs.cost, "library")


def test_levenberg_marquardt_beyond_a_matrix_solves_with_products_alone():
    A = RNG.normal(size=(300, 250)) / 10
    b = RNG.normal(size=300)
    found = fl.minimize(lambda w: A @ w - b, np.zeros(250), optimizer="lm")
    assert_close(found.x, np.linalg.lstsq(A, b, rcond=None)[0], "library")
    assert found.history[-1]["hessian_products"] < 250 * found.iterations


def lasso(w, A, b):
    return 0.5 * fl.mean((A @ w - b) ** 2)


@pytest.mark.parametrize("optimizer", ["fista", "coordinate_descent", "lbfgs"])
def test_the_lasso_is_that_of_scikit_learn_zeros_included(optimizer):
    linear_model = pytest.importorskip("sklearn.linear_model")
    A = RNG.normal(size=(60, 12))
    b = A @ np.array([3.0, 0, 0, -2, 0, 0, 1, 0, 0, 0, 0, 0]) + 0.5 * RNG.normal(size=60)
    found = fl.minimize(lambda w: lasso(w, A, b), np.zeros(12), optimizer=optimizer, l1=0.2)
    theirs = linear_model.Lasso(alpha=0.2, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(A, b).coef_
    assert_close(found.x, theirs, "library")
    assert ((found.x == 0) == (theirs == 0)).all()
    assert found.history[-1].get("nonzero", 3) == np.count_nonzero(theirs)


@pytest.mark.parametrize("optimizer", ["lbfgs", "fista", "coordinate_descent", "adam"])
def test_bounds_hold_and_the_optimum_is_scipys(optimizer):
    A, b = RNG.normal(size=(30, 5)), RNG.normal(size=30)
    low, high = np.array([-0.1, 0.0, -np.inf, 0.05, -1.0]), np.array([0.1, np.inf, 0.0, 0.06, 1.0])
    expected = optimize.lsq_linear(A, b, (low, high), tol=1e-14).x
    method = fl.Adam(0.01) if optimizer == "adam" else optimizer
    found = fl.minimize(lambda w: 0.5 * fl.sum((A @ w - b) ** 2), np.ones(5), optimizer=method, bounds=(low, high))
    assert_close(found.x, expected, "fit" if optimizer == "adam" else "library")
    assert ((low <= found.x) & (found.x <= high)).all()
    assert found.converged


def test_the_augmented_lagrangian_solves_hock_and_schittkowskis_problem_71():
    """Its optimum is printed in the collection: f = 17.0140173, x = (1, 4.7429994, 3.8211503, 1.3794082)."""
    found = fl.minimize(
        lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2], [1.0, 5.0, 5.0, 1.0], bounds=(1, 5),
        constraints=[fl.AtLeast(lambda x: x[0] * x[1] * x[2] * x[3], 25.0), fl.Equal(lambda x: fl.sum(x * x), 40.0)],
    )  # fmt: skip
    assert found.converged
    assert found.violation <= TOL["step"]
    assert_close(found.value, 17.0140173, "step")
    assert_close(found.x, [1.0, 4.7429994, 3.8211503, 1.3794082], "library")


def test_multipliers_are_the_price_of_a_constraint():
    """min x² + y² with x + y = 2: λ = 2, and of two inequalities the one that does not matter has λ = 0."""
    solver = fl.AugmentedLagrangian([fl.Equal(lambda w: w[0] + w[1], 2.0), fl.AtMost(lambda w: w[0], 5.0)])

    class Square(Quadratic):
        H, m = 2 * np.eye(2), np.zeros(2)

    moves, _ = iterations(solver, 30, (3.0, 0.0), Square)
    assert_close(moves[-1].w, [1.0, 1.0], "library")
    assert_close(moves[-1].state["multipliers"], [2.0, 0.0], "library")


def test_constraints_that_cannot_be_met_end_the_run_with_what_is_left():
    found = fl.minimize(lambda x: x * x, 3.0, constraints=[fl.AtLeast(lambda x: x, 1.0), fl.AtMost(lambda x: x, 0.0)])
    assert not found.converged
    assert "the violation is still 0.5" in found.reason


def test_constraints_pull_back_their_slopes_and_come_as_scipy_writes_them():
    made = fl.AugmentedLagrangian({"type": "ineq", "fun": lambda w: w}).constraints
    assert [type(each) for each in made] == [fl.AtLeast]
    both = ConstraintSet([fl.AtMost(lambda w: w * w, np.array([1.0, 2.0])), fl.Equal(lambda w: w[0])], np.zeros(2))
    w, v = np.array([2.0, -3.0]), np.array([1.0, 10.0, 100.0])
    assert_close(both.values(w), [1 - 4, 2 - 9, 2.0])
    assert_close(both.pull(w, v), [-4 * 1 + 100, 6 * 10.0])
    assert both.violation(both.values(w)) == 7.0
