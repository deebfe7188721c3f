"""minimize: every method on functions of one's own, the structure of x, what is refused, and how it prints."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, NonFiniteError, ShapeError
from fallline.core.record import records_of
from tests.tolerance import TOL, assert_close

SOLVERS = {n: c for n, c in records_of(fl.Solver).items() if c.__module__.startswith("fallline.")}
OPTIMIZERS = {n: c for n, c in records_of(fl.Optimizer).items() if c.__module__.startswith("fallline.")}
H = np.array([[2.0, 0.5], [0.5, 1.0]])
M = np.array([0.3, -0.2])
NO_FORMULA = {"LeastSquares"}


def bowl(w):
    return 0.5 * fl.dot(w - M, H @ (w - M)) + 1.0


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - NO_FORMULA))
def test_every_solver_minimises_a_function(name):
    solver = SOLVERS[name].sample()
    residuals = name == "LevenbergMarquardt"
    root = np.linalg.cholesky(H).T
    found = fl.minimize((lambda w: root @ (w - M)) if residuals else bowl, [1.0, 1.0], optimizer=solver, iterations=60)
    assert_close(found.value, 0.0 if residuals else 1.0, "fit")
    if solver.uses_gradient:
        assert found.converged
        assert_close(found.x, M, "library")
        assert found.gradient_norm <= TOL["library"]


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_minimises_a_function(cls):
    """But for the one that ends in several networks."""
    if cls.sample().members:
        with pytest.raises(ConfigError, match="ends in several networks, f in one place"):
            fl.minimize(bowl, [1.0, 1.0], optimizer=cls.sample())
        return
    found = fl.minimize(bowl, [1.0, 1.0], optimizer=cls.sample(), iterations=50)
    assert found.value < bowl(np.ones(2))
    assert found.gradient_evaluations >= found.iterations / getattr(cls.sample(), "k", 1)  # where w stands still: none


def test_the_result_has_the_structure_of_the_start():
    number = fl.minimize(lambda t: (t - 3) ** 2, 0)
    assert type(number.x) is float
    assert_close(number.x, 3.0, "step")
    tree = fl.minimize(lambda t: (t[0] - 3) ** 2 + fl.sum((t[1]["a"] - 1) ** 2), (0.0, {"a": np.zeros((2, 2))}))
    assert_close(tree.x[0], 3.0, "step")
    assert_close(tree.x[1]["a"], np.ones((2, 2)), "step")
    net = fl.Dense(1).build(fl.spec((2, 3), "float64"), 0)
    x, y = np.eye(3), np.array([1.0, 2.0, 3.0])
    fitted = fl.minimize(lambda net: fl.sum((net(x)[:, 0] - y) ** 2), net)
    assert_close(fitted.x(x)[:, 0], y, "library")


def test_numbers_of_float32_stay_so():
    found = fl.minimize(lambda w: fl.sum((w - 1) ** 2), np.zeros(3, np.float32))
    assert found.x.dtype == np.float32
    assert_close(found.x, np.ones(3, np.float32), "f32")


def test_a_python_function_needs_no_derivative_where_the_method_needs_none():
    def steps(x):
        return abs(x[0] - 1) + math.floor(abs(x[1]))

    found = fl.minimize(steps, [3.0, 4.0], optimizer="random(0.3)", iterations=60)
    assert found.value < 0.1
    assert found.gradient_norm is None
    assert found.function_evaluations == 1 + 60 * 100
    with pytest.raises(
        ConfigError, match=r"cannot be followed to its derivative .* or take a method without gradients"
    ):
        fl.minimize(steps, [3.0, 4.0])


def test_it_is_followed_once_and_each_method_asks_for_what_it_needs():
    calls = []

    def f(w):
        calls.append(w)
        return fl.sum(w**4 + w**2)

    found = fl.minimize(f, np.ones(3))
    assert len(calls) == 1
    assert found.gradient_evaluations == found.history[-1]["evaluations"]
    assert sum(found.evaluations.values()) == found.gradient_evaluations
    assert fl.minimize(f, np.ones(3), optimizer="newton_cg").evaluations["hessian_products"] > 0


def test_large_arrays_run_on_the_fast_engine_with_the_same_result():
    A, b = np.random.default_rng(0).normal(size=(200, 30)), np.ones(200)
    found = [fl.minimize(lambda w: fl.mean((A @ w - b) ** 2), np.zeros(30), engine=e).x for e in ("auto", "numpy")]
    assert_close(found[0], found[1], "library")


def test_bounds_for_methods_that_know_none_and_for_those_without_gradients():
    for optimizer, n in (("random(0.5)", 10), ("momentum(0.05)", 300)):
        given = {"optimizer": optimizer, "iterations": n, "bounds": (None, [1.0, 2.0])}
        found = fl.minimize(lambda w: fl.sum((w - 3) ** 2), [0.0, 0.0], **given)
        assert_close(found.x, [1.0, 2.0], "step")
    with pytest.raises(ConfigError, match=r"does not follow bounds: take one of .*'LBFGS', or an optimizer such as"):
        fl.minimize(bowl, [1.0, 1.0], optimizer="newton", bounds=(0, 1))


def test_callbacks_see_every_row_and_may_end_it():
    rows = []

    def stop(event):
        rows.append(event.row)
        return fl.Stop("enough") if event.row["epoch"] == 3 else None

    found = fl.minimize(lambda w: fl.sum(w**4), np.ones(2), callbacks=[stop])
    assert found.reason == "enough"
    assert not found.converged
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows == found.history.rows


def test_a_rate_that_is_too_high_is_told_and_the_lowest_point_is_kept():
    found = fl.minimize(lambda w: (w - 3) ** 2, 0.0, optimizer="sgd", learning_rate=3.0, iterations=2000)
    assert not found.converged
    assert found.value == 9.0
    assert "take a lower learning_rate" in found.reason


def test_a_function_without_a_minimum_has_not_converged():
    found = fl.minimize(lambda w: -w * w, 1.0)
    assert not found.converged
    assert "falls without bound" in found.reason


def test_a_penalty_that_the_method_does_not_see_has_not_converged_and_says_what_to_take():
    found = fl.minimize(bowl, [1.0, 1.0], l1=0.7, optimizer="newton_cg", iterations=100)
    assert "take fista" in found.reason
    assert not found.converged
    assert fl.minimize(bowl, [1.0, 1.0], l1=0.7, optimizer="fista").value <= found.value


REFUSED = {
    "f gives an array of shape .3,.: give one number": ({"f": lambda w: w, "x0": np.ones(3)}, ShapeError),
    "f gives one number, and Levenberg-Marquardt needs": ({"optimizer": "lm"}, ShapeError),
    "fl.sin instead of np.sin": ({"f": lambda w: np.sin(w)}, ConfigError),
    "x0 is 'a': give numbers": ({"x0": "a"}, ConfigError),
    "holds no numbers": ({"x0": ()}, ConfigError),
    r"bounds=\[.*\]: give \(low, high\)": ({"bounds": [(0, 1)] * 3}, ConfigError),
    "low 2 lies above high 1": ({"bounds": (2, 1)}, ConfigError),
    r"bounds has the shapes .* and x0": ({"bounds": (0, np.ones(3))}, ConfigError),
    "l1=-1.0: a strength must be at least 0": ({"l1": -1.0}, ConfigError),
    "constraints hold <function": ({"constraints": [lambda x: x]}, ConfigError),
    "cannot be followed: a function of NumPy": ({"constraints": [fl.Equal(lambda w: np.sin(w))]}, ConfigError),
    "does not follow constraints: take optimizer='lbfgs'": (
        {"constraints": [fl.Equal(lambda w: w)], "optimizer": "newton"}, ConfigError,
    ),
    "iterations=-1: give a whole number": ({"iterations": -1}, ConfigError),
    "tolerance=-1: give a norm": ({"tolerance": -1}, ConfigError),
    "is a solver and finds the length of its steps itself": ({"learning_rate": 0.1}, ConfigError),
    "f is nan at x0": ({"f": lambda w: fl.sum(fl.log(w)), "x0": [-1.0]}, NonFiniteError),
    "has no closed form": ({"optimizer": "exact"}, ConfigError),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_minimised_is_refused_in_one_line(words):
    given, kind = REFUSED[words]
    with pytest.raises(kind, match=words) as caught:
        fl.minimize(**{"f": bowl, "x0": [1.0, 1.0], **given})
    assert "\n" not in str(caught.value)


def test_it_prints_as_an_account():
    found = fl.minimize(bowl, [1.0, 1.0], optimizer="newton")
    assert str(found).splitlines() == [
        "Minimum by Newton()",
        "  x             [0.3, −0.2]",
        "  value         1",
        f"  gradient norm {str(found).splitlines()[3].split()[-1]}",
        "  spent         1 iteration, 1 function evaluation, 1 gradient evaluation, 2 hessian products",
        f"  ended         {found.reason}",
    ]
    assert repr(found) == f"Minimum(x=[0.3, −0.2], value=1, converged: {found.reason})"
    assert str(fl.minimize(bowl, [1.0, 1.0], iterations=1)).startswith("Not yet a minimum by LBFGS()")
