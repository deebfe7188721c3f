"""Solvers: Newton's steps, damping and refusals, random search's bookkeeping, what an objective counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, UnknownNameError
from fallline.optim.newton import LeastSquares, Newton
from fallline.optim.optimizer import Minimizer
from fallline.optim.random_search import RandomSearch
from fallline.optim.solver import as_minimizer
from tests.contracts.test_solvers import Quadratic
from tests.tolerance import TOL, assert_close


def rosenbrock(w):
    return 100.0 * (w[1] - w[0] * w[0]) ** 2 + (1.0 - w[0]) ** 2


def test_newton_needs_one_step_for_a_quadratic():
    objective, w = Quadratic(), np.array([5.0, -7.0])
    move = Newton().iterate(objective, w, objective.compute(w), Newton().init(w), np.random.default_rng(0))
    assert_close(move.w, Quadratic.m)
    assert move.notes == {"damping": 0.0, "step": 1.0}
    assert "within the tolerance" in move.done
    assert objective.evaluations == 1 + 2 + 1, "a gradient, two products with the Hessian, the value at the end"


def test_newton_reaches_the_end_of_rosenbrocks_valley_without_ever_rising():
    way = fl.descend(rosenbrock, [-1.2, 1.0], optimizer="newton")
    assert way.converged
    assert way.steps < 30
    assert_close(way.minimum, [1.0, 1.0], "step")
    assert (np.diff(way.values) <= 0).all()


def test_newton_doubles_the_right_digits_near_a_minimum():
    """exp(w) - 2 w has its minimum at log 2; there the error of a step is half the square of the one before."""
    way = fl.descend(lambda w: fl.exp(w) - 2 * w, 1.0, optimizer="newton")
    errors = np.abs(way.path - np.log(2.0))
    for before, after in pairwise(errors):
        assert after <= before**2 + TOL["f64"]


def test_where_the_curvature_is_negative_newton_damps_and_goes_downhill_all_the_same():
    """w⁴ - 3 w² + w curves down around 0; the undamped step from there would climb."""
    way = fl.descend(lambda w: w**4 - 3 * w**2 + w, 0.1, optimizer="newton")
    assert (np.diff(way.values) <= 0).all()
    assert_close(way.minimum, np.roots([4.0, 0.0, -6.0, 1.0]).real.min(), "step")


def test_newton_stays_at_a_point_where_no_step_leads_down():
    """|w| at its kink: the slope 0 of our rule ends the run at once; nothing is divided by the curvature 0."""
    way = fl.descend(lambda w: fl.absolute(w), 0.0, optimizer="newton")
    assert way.minimum == 0.0
    flat = fl.descend(lambda w: 0.0 * w, 1.0, optimizer="newton")
    assert flat.converged


def test_newton_refuses_more_weights_than_a_hessian_can_have():
    with pytest.raises(
        ConfigError, match=r"2,001 weights make 4,004,001; take fewer than 2,000 weights, or an optimizer"
    ):
        Newton().init(np.zeros(2001))


def test_lbfgs_may_look_at_the_largest_entry_of_the_gradient():
    objective, w = Quadratic(), np.full(2, 2.0)
    solver = fl.LBFGS(tolerance=1e-3, norm="max")
    value, state = objective.value(w), solver.init(w)
    for _ in range(30):
        move = solver.iterate(objective, w, value, state, np.random.default_rng(0))
        if move.done:
            break
        w, value, state = move.w, move.value, move.state
    largest = np.abs(objective.gradient(move.w)[1]).max()
    assert largest <= 1e-3
    assert f"the gradient norm {largest:.2g}" in move.done


def test_random_search_counts_its_trials_and_keeps_the_best():
    w = np.array([1.0, 1.0])
    value, state, tried = Quadratic().compute(w), RandomSearch(trials=7).init(w), Quadratic()
    for t in range(3):
        move = RandomSearch(trials=7).iterate(tried, w, value, state, np.random.default_rng(t))
        assert move.value <= value
        w, value, state = move.w, move.value, move.state
    assert tried.evaluations == 21
    assert int(state["trials"]) == 21
    assert move.notes["evaluations_per_improvement"] == 21 / move.notes["improvements"]


def test_a_number_that_is_not_finite_is_never_an_improvement():
    class Broken(Quadratic):
        def compute(self, w):
            return np.nan

    move = RandomSearch().iterate(
        Broken(), np.zeros(2), 1.0, RandomSearch().init(np.zeros(2)), np.random.default_rng(0)
    )
    assert move.value == 1.0
    assert "evaluations_per_improvement" not in move.notes


def test_the_hessian_of_an_objective_is_symmetric_and_made_of_products():
    objective = Quadratic()
    assert_close(objective.hessian(np.zeros(2)), Quadratic.H)
    assert objective.evaluations == 2


def test_the_gradient_at_the_same_weights_is_computed_once_and_an_onlooker_is_not_counted():
    class Counting(Quadratic):
        computed = 0

        def differentiate(self, w):
            self.computed += 1
            return super().differentiate(w)

    objective, w = Counting(), np.ones(2)
    objective.look(w)
    objective.gradient(w)
    assert (objective.computed, objective.evaluations) == (1, 1)
    w[0] = 2.0  # changed in place: another point
    assert_close(objective.gradient(w)[1], Quadratic.H @ (w - Quadratic.m))


def test_solvers_and_optimizers_go_by_their_names():
    assert as_minimizer("random") == RandomSearch()
    assert as_minimizer("newton(1e-6)") == Newton(1e-6)
    assert as_minimizer("exact") == LeastSquares()
    assert as_minimizer("sgd(0.5)") == fl.SGD(0.5)
    assert isinstance(as_minimizer(fl.Adam()), Minimizer)
    with pytest.raises(UnknownNameError, match="no optimizer is called 'newtn': did you mean 'Newton'"):
        as_minimizer("newtn")
    with pytest.raises(UnknownNameError, match="no optimizer is called 'exactly': did you mean 'exact'"):
        as_minimizer("exactly")
    with pytest.raises(UnknownNameError, match="no optimizer is called 'adm': did you mean 'Adam'"):
        as_minimizer("adm")
