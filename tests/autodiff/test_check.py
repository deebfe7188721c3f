"""The gradient checker finds right gradients right, wrong ones wrong, and says where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fallline.autodiff.check import TOLERANCES, check_gradients
from fallline.autodiff.numeric import best_step, numeric_jacobian
from fallline.core.errors import ConfigError
from fallline.core.record import RECORDS, Array, Record, param, record
from fallline.ops.composite import dot, square
from fallline.ops.linalg import matmul
from fallline.ops.structure import stop_gradient
from fallline.ops.transcendental import sin, tanh
from tests.contracts import faults
from tests.tolerance import TOL, assert_close


def test_right_gradients_agree() -> None:
    report = check_gradients(lambda x: dot(sin(x), x), np.linspace(-2, 2, 7))
    assert report
    assert report.checked == 7
    assert str(report).startswith("gradients agree: 7 entries, worst relative error")
    assert "\n" not in str(report)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_wrong_entry_is_named(mode: str) -> None:
    """The gradient of the entry (1, 2) is cut off, and only there."""
    cut = np.zeros((2, 3))
    cut[1, 2] = 1.0

    def f(p: dict[str, Any]) -> Any:
        W = p["W"] * (1.0 - cut) + stop_gradient(p["W"] * cut)
        return dot(W, W)

    report = check_gradients(f, {"b": np.ones(2), "W": np.full((2, 3), 0.5)}, mode=mode)
    assert not report
    assert report.where == "argument 0, W[1, 2]"
    assert report.analytic == 0.0
    assert_close(report.numeric, 1.0, "central")
    assert_close(report.error, 1.0, "central")
    assert str(report).startswith("gradients differ: 8 entries")


def test_planted_faults_are_found() -> None:
    with faults.fault_in_vjp() as op:
        assert not check_gradients(lambda x: op(x), 0.7)
        assert check_gradients(lambda x: op(x), 0.7, mode="forward")
    with faults.fault_in_shared_deriv() as op:
        assert not check_gradients(lambda x: op(x), 0.7)
        assert not check_gradients(lambda x: op(x), 0.7, mode="forward")


def test_models_with_data(rng: np.random.Generator) -> None:
    @record
    class Toy(Record):
        W: Array = param()

        def __call__(self, X: Any) -> Any:
            return tanh(matmul(X, self.W))

    try:
        loss = lambda model, X, y: dot(square(model(X) - y), np.ones(5))  # noqa: E731
        report = check_gradients(loss, Toy(W=rng.normal(size=3)), rng.normal(size=(5, 3)), np.arange(5), wrt=0)
    finally:
        RECORDS.remove("Toy")
    assert report
    assert report.where.startswith("argument 0, W[")


def test_integer_arguments_are_left_alone() -> None:
    assert check_gradients(lambda x, codes: dot(x, x * codes), np.ones(2), np.array([1, 2])).checked == 2
    with pytest.raises(ConfigError, match="no floats"):
        check_gradients(lambda codes: codes, np.array([1, 2]))


def test_float32_is_checked_at_its_own_tolerance(rng: np.random.Generator) -> None:
    x = rng.normal(size=20).astype(np.float32)
    report = check_gradients(lambda v: dot(tanh(v), v), x)
    assert report
    assert report.tolerance == TOLERANCES["float32"]
    assert not check_gradients(lambda v: dot(stop_gradient(tanh(v)), v), x)


def test_large_and_flat_functions_are_not_false_alarms() -> None:
    assert check_gradients(lambda x: dot(x, x) + 1e6, np.linspace(0, 1, 5))
    assert check_gradients(lambda x: x * x * x, 0.0)
    assert check_gradients(lambda x: 0.0 * x, 3.0)


def test_a_derivative_that_is_not_finite_is_a_failure() -> None:
    report = check_gradients(lambda x: x**0.5, 0.0)
    assert not report
    assert report.error == np.inf


def test_steps() -> None:
    assert best_step(np.float64) == pytest.approx(6.06e-6, rel=TOL["fit"])
    assert best_step(np.float32) == pytest.approx(4.92e-3, rel=TOL["fit"])
    assert check_gradients(lambda x: x * x, 1.0, step=1e-3).ok
    assert not check_gradients(lambda x: x * x * x, 1.0, step=1e-1).ok
    assert check_gradients(lambda x: x * x * x, 1.0, step=1e-1, tolerance=1e-1).ok


@pytest.mark.parametrize("x", [0.5, 2.0, -300.0])
def test_a_given_step_is_taken_as_it_is(x: float) -> None:
    report = check_gradients(lambda v: v * v * v, x, step=0.25, tolerance=1.0)
    assert_close(report.numeric, 3 * x * x + 0.25**2)  # ((x + h)³ - (x - h)³) / 2h


def test_the_default_step_grows_with_the_numbers() -> None:
    report = check_gradients(lambda v: (v - 1e6) * (v - 1e6) * (v - 1e6), 1e6)
    assert_close(report.numeric, (best_step(np.float64) * 1e6) ** 2, "step")  # (h³ + h³) / 2h


@pytest.mark.parametrize("size, found", [(1e-8, True), (1e-10, False)])
def test_a_wrong_small_entry_beside_large_ones_is_found_above_the_noise(size: float, found: bool) -> None:
    scale = np.array([1.0, 1.0, size])

    def f(x: Any) -> Any:
        y = x * scale
        return dot(y, np.array([1.0, 1.0, 0.5])) + stop_gradient(dot(y, np.array([0.0, 0.0, 0.5])))

    report = check_gradients(f, np.ones(3))
    assert report.seen
    assert report.ok is not found
    assert_close(report.noise, 10 * 2.0**-52 * (2 + size) / best_step(np.float64))
    if found:
        assert report.where == "argument 0[2]"
        assert_close(report.analytic, size / 2)
        assert report.noise < abs(report.analytic - report.numeric)


def test_a_function_of_tiny_numbers_is_said_to_be_unseen() -> None:
    def half(x: Any) -> Any:
        return 0.5 * x + stop_gradient(0.5 * x)  # the derivative is wrong by one half

    report = check_gradients(lambda x: 1e-12 * half(x), 1.0)
    assert not report.seen
    assert "no derivative stands out of the noise of 3.7e-10: multiply the function" in str(report)
    assert check_gradients(half, 1.0).seen
    assert not check_gradients(half, 1.0).ok
    assert check_gradients(lambda x: 0.0 * x, 3.0).seen  # 0 is 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"step": 0.0}, "step=0: give a number above 0"),
        ({"step": -1e-4}, "step=-0.0001: give a number above 0"),
        ({"tolerance": 0.0}, "tolerance=0: give a number above 0"),
        ({"step": 1e-20}, "step=1e-20 changes no digit of float64 numbers here: give more than 4e-16"),
        ({"wrt": 1}, "wrt=1: the function was given 1 argument"),
    ],
)
def test_what_cannot_be_checked_is_answered(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_gradients(lambda x: x * x, 2.0, **options)


def test_numeric_derivatives_leave_their_argument_alone() -> None:
    x = np.array([1.0, 2.0])
    assert_close(numeric_jacobian(lambda v: v, x), np.eye(2), "central")  # f returns its own argument
    np.testing.assert_array_equal(x, [1.0, 2.0])
