"""Worked examples of a course on derivatives, by their numbers there: expected values from mathematics, written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fallline.autodiff.check import check_gradients
from fallline.autodiff.functions import grad, hessian, hvp, jacobian, jvp, value_and_grad
from fallline.autodiff.numeric import numeric_jacobian
from fallline.ops.composite import dot, square
from fallline.ops.linalg import matmul
from fallline.ops.shape import stack
from fallline.ops.transcendental import cos, exp, log, sigmoid, sin, tanh
from tests.tolerance import TOL, assert_close


def test_row_1_jacobian_of_a_composition_is_the_product(rng: np.random.Generator) -> None:
    A, B, x = rng.normal(size=(4, 3)), rng.normal(size=(2, 4)), rng.normal(size=3)
    h = lambda x: tanh(matmul(A, x))  # noqa: E731
    g = lambda u: sin(matmul(B, u))  # noqa: E731
    product = np.cos(B @ np.tanh(A @ x))[:, None] * B @ ((1 - np.tanh(A @ x) ** 2)[:, None] * A)
    assert_close(jacobian(lambda x: g(h(x)))(x), product)
    assert_close(jacobian(g)(np.tanh(A @ x)) @ jacobian(h)(x), product)


def test_row_2_shared_nodes_count_once_per_use() -> None:
    def c(a: Any) -> Any:
        b = a + a
        return b + b

    assert grad(c)(3.0) == 4.0


def test_row_3_scalars_and_tensors_give_the_same_gradients(rng: np.random.Generator) -> None:
    W, v, x = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=2)

    def by_tensors(W: Any, v: Any, x: Any) -> Any:
        return dot(v, tanh(matmul(W, x)))

    def by_scalars(W: Any, v: Any, x: Any) -> Any:
        total = 0.0
        for j in range(3):
            total = total + v[j] * tanh(W[j, 0] * x[0] + W[j, 1] * x[1])
        return total

    for a, b in zip(grad(by_tensors, (0, 1, 2))(W, v, x), grad(by_scalars, (0, 1, 2))(W, v, x), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize(
    "x, value, slope",
    [
        (1.0, -0.7649205628, 4.5607917907),
        (0.5, 0.5424849757, -3.3341464144),
        (2.0, 0.2451003682, 9.0991485448),
    ],
)
def test_row_5(x: float, value: float, slope: float) -> None:
    J = lambda x: cos(sin(x * x) + 3.0 * x * x)  # noqa: E731
    found = value_and_grad(J)(x)
    assert_close(found[0], value, "printed")
    assert_close(found[1], slope, "printed")


def test_row_5_partials_of_the_inner_nodes() -> None:
    assert_close(grad(cos)(np.sin(1.0) + 3.0), 0.6441246251, "printed")  # dJ/du at x = 1
    assert_close(grad(lambda t: cos(sin(t) + 3.0 * t))(1.0), 2.2803958953, "printed")  # dJ/dt


def log_likelihood(theta: Any, x: Any, target: float) -> Any:
    y = sigmoid(dot(theta, x))
    return target * log(y) + (1.0 - target) * log(1.0 - y)


def test_rows_6_and_9_logistic_regression() -> None:
    theta, x = np.array([0.25, 0.5, -1.0]), np.array([1.0, 1.0, 2.0])
    J, d_theta = value_and_grad(lambda t: -log_likelihood(t, x, 1.0))(theta)
    assert_close(theta @ x, -1.25)
    assert_close(sigmoid(theta @ x), 0.2227001388, "printed")
    assert_close(J, 1.5019290813, "printed")
    assert_close(d_theta, np.array([-0.7772998612, -0.7772998612, -1.5545997223]), "printed")
    d_x = grad(lambda v: -log_likelihood(theta, v, 1.0))(x)
    assert_close(d_x, (sigmoid(-1.25) - 1.0) * theta)  # dJ/da · θ_j


def test_row_7_the_sign_of_the_log_loss() -> None:
    J = lambda y, target: target * log(y) + (1.0 - target) * log(1.0 - y)  # noqa: E731
    assert_close(grad(J)(0.8, 0.0), -5.0)
    assert_close(grad(lambda y: -J(y, 0.0))(0.8), 5.0)
    assert check_gradients(lambda y: J(y, 0.0), 0.8)


def test_row_8_sigmoid_far_out() -> None:
    y = sigmoid(0.3)
    assert_close(grad(sigmoid)(0.3), y * (1 - y))
    assert grad(sigmoid)(1000.0) == 0.0
    assert grad(sigmoid)(-1000.0) == 0.0


ALPHA, BETA, X = np.array([[0.1, 0.4], [-0.3, 0.2]]), np.array([0.7, -0.5]), np.array([1.0, 2.0])


def hidden_layer(alpha: Any, beta: Any, x: Any) -> Any:
    return log(sigmoid(dot(beta, sigmoid(matmul(alpha, x)))))  # the log-likelihood of target 1


def test_row_10_one_hidden_layer() -> None:
    z = sigmoid(ALPHA @ X)
    assert_close(z, np.array([0.7109495026, 0.5249791875]), "printed")
    assert_close(sigmoid(BETA @ z), 0.5585242778, "printed")
    assert_close(hidden_layer(ALPHA, BETA, X), -0.5824571917, "printed")
    assert check_gradients(hidden_layer, ALPHA, BETA, X)


def test_row_11_the_sum_runs_over_both_factors() -> None:
    found = grad(hidden_layer, 2)(ALPHA, BETA, X)
    assert_close(found, np.array([0.0228646579, 0.0143932043]), "printed")
    z = sigmoid(ALPHA @ X)
    d_a = (1 - sigmoid(BETA @ z)) * BETA * z * (1 - z)  # dJ/da_j
    assert_close(found, d_a @ ALPHA)
    assert np.all(np.abs(found - d_a * ALPHA.sum(axis=0)) > TOL["fit"])  # the misprinted form


def chain(W: Any, upto: int = 6) -> Any:
    """ξ1 = -W·3, ξ2 = e^ξ1, ξ3 = 1 + ξ2, ξ4 = 1/ξ3, ξ5 = log ξ4, L = -ξ5."""
    steps = [lambda v: -v * 3.0, exp, lambda v: 1.0 + v, lambda v: 1.0 / v, log, lambda v: -v]
    for step in steps[:upto]:
        W = step(W)
    return W


def test_rows_16_to_18_the_tables_of_both_modes() -> None:
    e, p = np.exp(-9.0), 1 / (1 + np.exp(-9.0))
    running = [-3.0, -3 * e, -3 * e, 3 * e * p**2, 3 * e * p, -3 * e * p]
    for k, expected in enumerate(running, start=1):
        assert_close(jvp(lambda w, k=k: chain(w, k), (3.0,), (1.0,))[1], expected)
    assert_close(chain(3.0), 1.2340218972e-4, "f64")
    np.testing.assert_allclose(grad(chain)(3.0), -3.7018372796e-4, rtol=TOL["printed"])
    np.testing.assert_allclose(grad(chain, mode="forward")(3.0), -3.0 * e / (1 + e), rtol=TOL["f64"])
    partials = [-3.0, e, 1.0, -(p**2), 1 / p, -1.0]
    np.testing.assert_allclose(np.prod(partials), grad(chain)(3.0), rtol=TOL["f64"])


def test_row_19_the_error_of_central_differences() -> None:
    cube = lambda x: x**3  # noqa: E731
    central = float(numeric_jacobian(cube, np.array(2.0), step=0.5e-4))  # the width is step · max(1, |x|)
    assert abs(central - 12.0) == pytest.approx(1.0e-8, rel=TOL["statistics"])
    one_sided = (cube(2.0 + 1e-4) - cube(2.0)) / 1e-4
    assert abs(one_sided - 12.0) == pytest.approx(6.0e-4, rel=TOL["statistics"])


def test_row_21_second_derivatives() -> None:
    J = lambda x: cos(sin(x * x) + 3.0 * x * x)  # noqa: E731
    assert_close(grad(grad(J))(1.0), 40.7420061554, "printed")
    assert_close(hvp(J, 1.0, 1.0), 40.7420061554, "printed")
    f = lambda v: dot(square(v), stack([v[1], v[0], v[1]]))  # noqa: E731
    x = np.array([0.3, -1.2, 0.7])
    numeric = numeric_jacobian(grad(f), x)
    assert_close(hessian(f)(x), numeric, "central")
    assert_close(hvp(f, x, np.array([1.0, 2.0, -1.0])), hessian(f)(x) @ np.array([1.0, 2.0, -1.0]))
