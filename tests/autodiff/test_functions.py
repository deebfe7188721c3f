"""grad, jvp, vjp, jacobian, hessian, hvp: they agree with each other, nest, and take trees."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from fallline.autodiff.functions import MODES, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from fallline.autodiff.numeric import numeric_gradient
from fallline.core.errors import ConfigError, DtypeError, ShapeError
from fallline.core.record import RECORDS, Array, Record, param, record
from fallline.core.tree import leaves
from fallline.graph.program import Program
from fallline.ops.composite import dot, relu, softmax, softplus, square
from fallline.ops.linalg import matmul
from fallline.ops.reduce import sum as total
from fallline.ops.structure import stop_gradient
from fallline.ops.transcendental import exp, log, sin, tanh
from tests.strategies import RandomProgram, arrays, programs, trees
from tests.tolerance import assert_close


@pytest.mark.parametrize("mode", MODES)
def test_modes_agree_on_a_network(mode: str, rng: np.random.Generator) -> None:
    W, b, x = rng.normal(size=(2, 3)), rng.normal(size=2), rng.normal(size=3)
    f = lambda W, b: dot(tanh(matmul(W, x) + b), np.array([1.0, -2.0]))  # noqa: E731
    slope = (1 - np.tanh(W @ x + b) ** 2) * np.array([1.0, -2.0])
    d_W, d_b = grad(f, (0, 1), mode=mode)(W, b)
    kind = "central" if mode == "numeric" else "f64"
    assert_close(d_W, np.outer(slope, x), kind)
    assert_close(d_b, slope, kind)


@given(programs(smooth=True))
def test_random_programs_have_the_same_derivative_in_all_modes(f: RandomProgram) -> None:
    xs = f.inputs()
    u = np.random.default_rng(2).normal(size=np.shape(f(*xs)))
    goal = lambda *vs: dot(u, f(*vs))  # noqa: E731
    wrt = tuple(range(len(xs)))
    reverse, forward = grad(goal, wrt)(*xs), grad(goal, wrt, mode="forward")(*xs)
    for r, w, n in zip(reverse, forward, numeric_gradient(goal, tuple(xs)), strict=True):
        assert_close(r, w, "f64")
        assert_close(r, n, "second")


@given(programs())
def test_tracing_changes_no_bit(f: RandomProgram) -> None:
    xs = f.inputs()
    np.testing.assert_array_equal(Program.of(f, *xs).run(*xs)[0], f(*xs))


@given(arrays((4,)))
def test_jacobian_modes_and_products_agree(x: np.ndarray) -> None:
    J = jacobian(softmax)(x)
    s = softmax(x)
    assert_close(J, np.diag(s) - np.outer(s, s))
    assert_close(jacobian(softmax, mode="forward")(x), J)
    assert_close(jacobian(softmax, mode="numeric")(x), J, "central")
    t = np.array([1.0, -1.0, 0.5, 2.0])
    assert_close(jvp(softmax, (x,), (t,))[1], J @ t)
    assert_close(vjp(softmax, x)[1](t)[0], t @ J)


def test_jacobian_axes_are_output_then_input(rng: np.random.Generator) -> None:
    A, X = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    J = jacobian(lambda X: matmul(A, X))(X)  # (2, 2, 3, 2)
    assert_close(J, np.einsum("ik,jl->ijkl", A, np.eye(2)))


def test_jacobian_of_no_entries_is_empty() -> None:
    assert jacobian(lambda x: x * 2.0)(np.zeros(0)).shape == (0, 0)
    assert jacobian(lambda x: total(x), mode="forward")(np.zeros((0, 2))).shape == (0, 2)


def test_hessian_of_a_quadratic_is_its_matrix(rng: np.random.Generator) -> None:
    A = rng.normal(size=(3, 3))
    f = lambda x: dot(x, matmul(A, x))  # noqa: E731
    x, d = rng.normal(size=3), rng.normal(size=3)
    assert_close(hessian(f)(x), A + A.T)
    assert_close(hvp(f, x, d), (A + A.T) @ d)


def test_third_derivative() -> None:
    assert_close(grad(grad(grad(lambda x: sin(2.0 * x))))(0.3), -8.0 * np.cos(0.6))
    assert_close(grad(grad(grad(lambda x: x**4)))(2.0), 48.0)


def test_nested_derivatives_do_not_confuse_their_variables() -> None:
    # d/dx [x · d/dy (x + y)] = 1; a system that confuses the two perturbations says 2
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert jvp(lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 1.0
    assert grad(lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1])(1.0) == 1.0
    # the inner variable takes the value of the outer one
    assert_close(grad(lambda x: grad(lambda y: x * x * y * y)(x))(3.0), 54.0)  # d/dx 2x³


def test_three_levels_and_values_of_an_outer_trace() -> None:
    # d/dx x · (d/dy x y · (d/dz x y z at 1) at 2) = d/dx x · (d/dy x² y²  at 2) = d/dx 4 x³
    f = lambda x: x * grad(lambda y: x * y * grad(lambda z: x * y * z)(1.0))(2.0)  # noqa: E731
    assert_close(grad(f)(3.0), 108.0)
    program = Program.of(f, np.float64(3.0))
    assert_close(program(3.0), 108.0)
    assert_close(jacobian(lambda x: grad(lambda y: dot(x, y))(np.ones(2)))(np.array([1.0, 2.0])), np.eye(2))


Point = namedtuple("Point", "x y")


@given(trees())
def test_gradients_are_trees_like_their_arguments(tree: Any) -> None:
    def energy(t: Any) -> Any:
        return sum((dot(leaf, leaf) for leaf in leaves(t).values()), 0.0)

    found = grad(energy)(tree)
    assert list(leaves(found)) == list(leaves(tree))
    for path, leaf in leaves(tree).items():
        assert_close(leaves(found)[path], 2.0 * leaf)


def test_namedtuples_and_records_come_back_as_themselves() -> None:
    assert grad(lambda p: p.x * p.y)(Point(2.0, 5.0)) == Point(5.0, 2.0)

    @record
    class Line(Record):
        slope: Array = param()
        name: str = "line"

    try:
        found = grad(lambda line: line.slope * line.slope)(Line(slope=np.array(3.0)))
        assert isinstance(found, Line)
        assert found.slope == 6.0
    finally:
        RECORDS.remove("Line")


def test_other_arguments_reach_the_function_as_they_are() -> None:
    assert grad(lambda x, k: x[k] * x[k])(np.array([1.0, 3.0]), 1)[1] == 6.0
    assert grad(lambda x, power=1: x**power)(2.0, power=3) == 12.0
    assert grad(lambda x, name: x if name == "x" else -x)(2.0, "x") == 1.0


def test_results_belong_to_the_caller() -> None:
    x = np.ones(3)
    g = grad(lambda v: total(v))(x)
    g *= 2.0
    value, _ = jvp(lambda v: v, (x,), (x,))
    value += 1.0
    np.testing.assert_array_equal(x, np.ones(3))


def test_values_of_kinks_and_limits() -> None:
    assert grad(relu)(0.0) == 0.0
    assert grad(softplus)(0.0) == 0.5
    assert_close(grad(grad(softplus))(0.0), 0.25)
    assert_close(grad(grad(grad(grad(softplus))))(0.0), -0.125)
    assert grad(lambda x: x**0.0)(0.0) == 0.0
    assert grad(grad(grad(lambda x: x**2)))(0.0) == 0.0
    assert grad(lambda x: stop_gradient(x) * x)(3.0) == 3.0
    assert grad(lambda x: log(exp(x) * 0.0 + 1.0))(1.0) == 0.0


def test_float32_stays_float32() -> None:
    x = np.float32(0.5)
    value, slope = value_and_grad(lambda v: tanh(v) * 2.0 + 1.0)(x)
    assert (value.dtype, slope.dtype) == (np.float32, np.float32)
    assert_close(slope, np.float32(2.0 * (1 - np.tanh(0.5) ** 2)), "f32")
    assert grad(lambda v: total(square(v.astype("float64"))))(np.ones(2, np.float32)).dtype == np.float32


def test_what_cannot_be_differentiated_is_refused() -> None:
    def tanh_of(x: Any) -> Any:
        return tanh(x)

    with pytest.raises(ShapeError, match=r"tanh.*f64\[2\].*sum it, or use jacobian"):
        grad(tanh_of)(np.ones(2))
    with pytest.raises(DtypeError, match=r"argument 0 holds i64\[2\].*astype"):
        grad(lambda x: total(x))(np.array([1, 2]))
    with pytest.raises(DtypeError, match="jacobian holds"):
        jacobian(lambda x: x)(np.array([1, 2]))
    with pytest.raises(DtypeError, match="jvp"):
        jvp(lambda x: x, (np.array([1, 2]),), (np.ones(2),))
    with pytest.raises(ConfigError, match="did you mean 'forward'"):
        grad(tanh, mode="foward")
    with pytest.raises(ConfigError, match="wrt=2: the function was given 1"):
        grad(tanh, 2)(1.0)
    with pytest.raises(ShapeError, match="must be equal"):
        jvp(tanh, (np.ones(2),), (np.ones(3),))
    with pytest.raises(ShapeError, match="the trees differ"):
        vjp(tanh, np.ones(2))[1]((np.ones(2),))
