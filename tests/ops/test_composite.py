"""Composites against SciPy and formulas: values, derivatives, limits, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given

from fallline.autodiff.check import check_gradients
from fallline.autodiff.functions import grad
from fallline.core.errors import ConfigError, DtypeError
from fallline.graph.program import Program
from fallline.ops import composite as c
from fallline.ops.arithmetic import maximum
from tests.strategies import arrays, shapes
from tests.tolerance import TOL, assert_close

X = np.array([-30.0, -3.0, -0.5, 0.0, 0.25, 2.0, 40.0])
ELEMENTWISE: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "square": (c.square, np.square),
    "softplus": (c.softplus, lambda x: np.logaddexp(x, 0.0)),
    "log_sigmoid": (c.log_sigmoid, scipy.special.log_expit),
    "relu": (c.relu, lambda x: np.maximum(x, 0.0)),
    "leaky_relu": (lambda x: c.leaky_relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "elu": (lambda x: c.elu(x, 0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0.0)))),
    "silu": (lambda x: c.silu(x, 1.5), lambda x: x * scipy.special.expit(1.5 * x)),
    "gelu": (c.gelu, lambda x: x * scipy.stats.norm.cdf(x)),
    "heaviside": (c.heaviside, lambda x: np.heaviside(x, 0.5)),
    "clip": (lambda x: c.clip(x, -1.0, 3.0), lambda x: np.clip(x, -1.0, 3.0)),
    "lerp": (lambda x: c.lerp(x, 2.0, 0.25), lambda x: 0.75 * x + 0.5),
}
SMOOTH = ["square", "softplus", "log_sigmoid", "silu", "gelu"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    ours, theirs = ELEMENTWISE[name]
    for x, kind in ((X, "f64"), (X.astype(np.float32), "f32")):
        found = ours(x)
        assert found.dtype == x.dtype
        assert_close(found, theirs(x.astype(np.float64)).astype(x.dtype), kind)
        np.testing.assert_array_equal(Program.of(ours, x)(x), found)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n != "heaviside"])
def test_derivatives_away_from_kinks(name: str) -> None:
    assert check_gradients(
        lambda x: c.dot(ELEMENTWISE[name][0](x), np.arange(1.0, 6.0)), np.array([-2.5, -0.4, 0.3, 1.2, 2.8])
    )


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_far_out_are_finite(name: str) -> None:
    f = ELEMENTWISE[name][0]
    assert np.isfinite(grad(lambda x: c.dot(f(x), np.ones(2)))(np.array([-1000.0, 1000.0]))).all()


def test_derivatives_at_kinks_are_the_documented_ones() -> None:
    assert grad(c.relu)(0.0) == 0.0
    assert grad(lambda x: c.leaky_relu(x, 0.2))(0.0) == 0.2
    assert grad(c.norm)(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert grad(maximum, (0, 1))(1.0, 1.0) == (0.5, 0.5)
    assert_close(grad(lambda x: c.gelu(x, approximate=True))(0.0), 0.5)


def test_gelu_by_tanh_is_near_the_exact_one() -> None:
    assert_close(c.gelu(X, approximate=True), c.gelu(X), "fit")


@given(arrays(shapes(min_dims=1), low=-50, high=50))
def test_along_an_axis(x: np.ndarray) -> None:
    for axis in range(-x.ndim, x.ndim):
        assert_close(c.softmax(x, axis), scipy.special.softmax(x, axis))
        assert_close(c.log_softmax(x, axis), scipy.special.log_softmax(x, axis))
        assert_close(c.logsumexp(x, axis), scipy.special.logsumexp(x, axis))
        assert_close(c.logsumexp(x, axis, keepdims=True), scipy.special.logsumexp(x, axis, keepdims=True))
        np.testing.assert_array_equal(c.sort(x, axis), np.sort(x, axis))
    for axis in (None, *range(-x.ndim, x.ndim)):
        assert_close(c.mean(x, axis), np.mean(x, axis))
        assert_close(c.variance(x, axis, keepdims=True), np.var(x, axis, keepdims=True))
        assert_close(c.min(x, axis), np.min(x, axis))
        assert_close(c.norm(x, axis), np.sqrt(np.sum(x * x, axis)))


def test_log_sum_exp_of_infinities() -> None:
    rows = np.array([[-np.inf, -np.inf], [np.inf, 0.0], [-np.inf, 3.0], [1e4, 1e4]])
    assert_close(c.logsumexp(rows), scipy.special.logsumexp(rows, axis=1))


@given(arrays(shapes(min_dims=1, max_dims=2), low=-3, high=3))
def test_sparsemax_is_the_nearest_point_of_the_simplex(x: np.ndarray) -> None:
    """Optimality: p >= 0, Σp = 1, x - p equal on the support and not larger beside it."""
    p = c.sparsemax(x)
    assert (p >= 0).all()
    assert_close(p.sum(axis=-1), np.ones(x.shape[:-1]))
    height = np.where(p > 0, x - p, -np.inf).max(axis=-1, keepdims=True)
    assert_close(np.where(p > 0, x - p, height), np.broadcast_to(height, x.shape))
    assert (np.where(p > 0, height, x) <= height + TOL["f64"]).all()


def test_sparsemax_along_another_axis() -> None:
    x = np.array([[0.1, 2.0], [0.3, -1.0]])
    assert_close(c.sparsemax(x, 0), np.array([[0.4, 1.0], [0.6, 0.0]]))


@pytest.mark.parametrize("shift", [2.0**20, 2.0**27])
def test_sparsemax_does_not_feel_a_shift_of_all_scores(shift: float) -> None:
    x = np.array([[0.5, 0.25, -0.5], [0.0, 0.0, -0.25]])
    moved = (x + shift).astype(np.float32)
    assert_close(c.sparsemax(moved), c.sparsemax(moved.astype(np.float64) - shift).astype(np.float32), "f32")


def test_sparsemax_of_a_score_of_minus_infinity_is_zero() -> None:
    assert_close(c.sparsemax(np.array([0.25, -np.inf, 0.0])), np.array([0.625, 0.0, 0.375]))


def test_glu() -> None:
    x = np.array([[1.0, 2.0, 0.0, 3.0]])
    assert_close(c.glu(x), x[:, :2] * scipy.special.expit(x[:, 2:]))
    assert_close(c.glu(x.T, axis=0), c.glu(x).T)
    with pytest.raises(ConfigError, match=r"glu halves axis 0 of \(3,\): its length must be even"):
        c.glu(np.ones(3))


def test_one_hot() -> None:
    np.testing.assert_array_equal(c.one_hot(np.array([2, 0]), 3), np.eye(3, dtype=np.float32)[[2, 0]])
    assert c.one_hot(np.array(1), 2, "float64").tolist() == [0.0, 1.0]
    assert c.one_hot(np.array([5, -1]), 3).sum() == 0  # a code outside is no class


def test_variance_of_a_large_mean_keeps_its_digits() -> None:
    assert_close(c.variance(1e8 + np.array([0.0, 1.0, 2.0])), 2 / 3, "library")


def test_integers_are_refused_with_the_cure() -> None:
    with pytest.raises(DtypeError, match=r"\.astype\('float32'\)"):
        c.relu(np.array([1, -2]))
    with pytest.raises(DtypeError, match="divide does not take int64"):
        Program.of(c.mean, np.array([1, 2]))
