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


def test_numeric_derivatives_leave_their_argument_alone() -> None:
    x = np.array([1.0, 2.0])
    assert_close(numeric_jacobian(lambda v: v, x), np.eye(2), "central")  # f returns its own argument
    np.testing.assert_array_equal(x, [1.0, 2.0])
