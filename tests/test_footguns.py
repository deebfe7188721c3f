"""Traps of graphs and arrays, one test each: what happens, and that it is said in a line that helps."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.errors import DtypeError, GraphError, ShapeError
from fallline.core.spec import spec
from fallline.graph.op import OPS, new_input
from fallline.graph.program import Program
from fallline.graph.value import Value, current_scope, scope
from fallline.ops.arithmetic import add
from fallline.ops.compare import where
from fallline.ops.composite import dot, relu, softplus
from fallline.ops.reduce import sum as total
from fallline.ops.transcendental import exp, log, sqrt


@pytest.fixture
def x() -> Value:
    return new_input(spec((3,)), "x")


def test_the_truth_of_a_value_is_unknown(x: Value) -> None:
    with pytest.raises(GraphError, match=r"use where\(condition, a, b\) instead of `if`"):
        bool(x > 0.0)
    with pytest.raises(GraphError, match=r"& \| instead of `and`"):
        _ = (x > 0.0) and (x < 1.0)
    with pytest.raises(GraphError, match="truth"):
        max(x, 0.0)  # Python's max asks x > 0
    assert ((x > 0.0) & (x < 1.0)).dtype == np.bool_


def test_equality_is_identity(x: Value) -> None:
    """A Value must stay usable as the key of a dict; entries are compared by ops.equal."""
    assert x == x
    assert (x == x + 0.0) is False
    assert {x: 1}[x] == 1
    assert x in [x]


def test_numpy_functions_do_not_take_values(x: Value) -> None:
    with pytest.raises(TypeError, match="__array_ufunc__=None"):
        np.exp(x)  # type: ignore[call-overload]
    for f in (np.asarray, np.dot, np.where, lambda v: np.array([v, v]), lambda v: np.concatenate([v, v])):
        with pytest.raises(GraphError, match=r"use fallline's functions \(fl.exp, not np.exp\)"):
            f(x) if f is not np.dot else f(x, x)  # type: ignore[operator]
    for g in (np.sum, np.mean, np.max):
        with pytest.raises((GraphError, TypeError)):
            g(x)  # type: ignore[call-overload]


def test_a_value_is_no_number(x: Value) -> None:
    for f in (float, int, range, lambda v: [1, 2, 3][v]):
        with pytest.raises(GraphError, match="has no number while a program is built"):
            f(x)  # type: ignore[operator]


def test_an_array_on_the_left_asks_the_value(x: Value) -> None:
    """Without `__array_ufunc__ = None` NumPy would loop over the array and make an array of Values."""
    a = np.ones(3, np.float32)
    for found in (a + x, a - x, a * x, a / x, a @ x, a < x, a**x, np.float32(2) * x, np.float64(2) * x):
        assert isinstance(found, Value)
    program = Program.of(lambda v: a - v, spec((3,)))
    np.testing.assert_array_equal(program.run(np.full(3, 3, np.float32))[0], [-2, -2, -2])


def test_in_place_operators_make_a_new_value_and_never_write_to_an_array(x: Value) -> None:
    before = x
    x += 1.0
    assert x is not before
    a = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="__array_ufunc__=None"):
        a += x
    np.testing.assert_array_equal(a, 1.0)


def test_entries_cannot_be_assigned(x: Value) -> None:
    with pytest.raises(GraphError, match=r"cannot be changed in place: make a new one with where"):
        x[0] = 1.0
    with pytest.raises((GraphError, TypeError, ValueError)):
        np.zeros(3)[:] = x


def test_a_value_has_a_length_unless_it_is_one_number(x: Value) -> None:
    assert len(x) == 3
    assert [v.shape for v in x] == [(), (), ()]
    with pytest.raises(TypeError, match="no length"):
        len(x[0])


def test_dtype_none_is_not_float64() -> None:
    """NumPy says np.dtype("float64") == None: a test of a dtype for None must use `is`."""
    assert np.dtype("float64") == None  # noqa: E711
    assert spec(2, "float64") != None  # noqa: E711
    assert exp(np.zeros(2)).dtype == np.float64
    assert Program.of(exp, np.zeros(2)).outputs[0].dtype == np.float64


def test_python_numbers_do_not_widen_float32(x: Value) -> None:
    assert ((x + 1) * 2.5 / 3 - 1e-300).dtype == np.float32
    assert (2**x).dtype == np.float32
    assert where(x > 0, 1.0, x).dtype == np.float32
    assert (x * np.float64(2)).dtype == np.float64  # as in NumPy: a float64 number is no Python number
    assert add(np.float32(1), np.float64(2)).dtype == np.float64


def test_integers_have_no_derivative() -> None:
    with pytest.raises(DtypeError, match=r"argument 0 holds i64\[2\]: derivatives need floats, use .astype\(float\)"):
        grad(lambda v: total(v))(np.array([1, 2]))
    assert grad(lambda v: v * v)(3) == 6.0  # a Python integer is a number like any other


def test_a_gradient_of_many_numbers_is_a_jacobian() -> None:
    with pytest.raises(ShapeError, match="sum it, or use jacobian"):
        grad(exp)(np.ones(2))


def test_division_by_zero_and_logarithms_stay_silent_and_ieee() -> None:
    """Warnings are errors in these tests: none comes, at once or in a program."""
    assert np.isneginf(log(np.array(0.0)))
    assert np.isnan(sqrt(np.array(-1.0)))
    assert Program.of(lambda v: 1.0 / v, np.zeros(1)).run(np.zeros(1))[0][0] == np.inf


def test_the_branch_not_taken_needs_its_own_guard() -> None:
    """where(x > 0, sqrt(x), 0): the derivative of the branch not taken is 0 · inf = NaN at 0. Guard the argument."""
    naive = lambda v: where(v > 0.0, sqrt(v), 0.0)  # noqa: E731
    guarded = lambda v: where(v > 0.0, sqrt(where(v > 0.0, v, 1.0)), 0.0)  # noqa: E731
    assert np.isnan(grad(naive)(0.0))
    assert grad(guarded)(0.0) == 0.0


def test_nan_passes_through() -> None:
    for f in (relu, softplus, lambda v: OPS["maximum"](v, 0.0), lambda v: OPS["max"](v)):
        assert np.isnan(f(np.array([np.nan]))).all()


def test_a_sum_of_booleans_is_refused(x: Value) -> None:
    """NumPy counts, a typed sum would give a boolean: neither is guessed."""
    with pytest.raises(DtypeError, match="count them with"):
        (x > 0.0).sum()
    assert (x > 0.0).astype("int64").sum().dtype == np.int64


def test_a_scope_belongs_to_its_thread() -> None:
    seen = []
    with scope("layers.0"):
        thread = threading.Thread(target=lambda: seen.append(current_scope()))
        thread.start()
        thread.join()
    assert seen == [""]


def test_a_scope_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), scope("layers.0"):
        _ = 1 / 0
    assert current_scope() == ""


def test_a_result_of_one_call_is_no_result_of_the_next() -> None:
    program = Program.of(lambda v: (v, v * 1.0), np.zeros(2))
    first = program.run(np.zeros(2))
    kept = copy.deepcopy(first)
    program.run(np.ones(2))
    np.testing.assert_array_equal(first, kept)


def test_the_argument_of_grad_is_not_written_to() -> None:
    w = np.array([1.0, 2.0])
    g = grad(lambda v: dot(v, v), mode="numeric")(w)
    g -= g
    np.testing.assert_array_equal(w, [1.0, 2.0])


def test_values_are_not_pickled_by_accident(x: Value) -> None:
    """A program holds functions: nothing of it goes into a file."""
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(x + 1.0)
