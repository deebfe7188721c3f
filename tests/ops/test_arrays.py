"""Indexing, shapes, reductions and products against NumPy, traced and at once, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fallline.autodiff.check import check_gradients
from fallline.autodiff.functions import grad
from fallline.core.errors import DataError, DtypeError, FalllineError, ShapeError
from fallline.graph.program import Program
from fallline.ops import arithmetic, compare, index, linalg, reduce, shape
from fallline.ops.composite import dot
from tests.strategies import arrays, broadcastable, shapes
from tests.tolerance import assert_close


def same(f: Callable[..., Any], theirs: Any, *xs: np.ndarray) -> None:
    """f at once and traced give NumPy's array."""
    eager, traced = np.asarray(f(*xs)), Program.of(f, *xs).run(*xs)[0]
    for found in (eager, traced):
        assert found.dtype == np.asarray(theirs).dtype
        np.testing.assert_array_equal(found, theirs)


@given(st.data())
def test_basic_indexing_is_numpys(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes(max_dims=3)))
    at = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    program = Program.of(lambda v: v[at], x)
    np.testing.assert_array_equal(program.run(x)[0], x[at])
    goal = lambda v: dot(v[at], np.ones(x[at].shape))  # noqa: E731
    expected = np.zeros(x.shape)
    expected[at] += 1.0
    if x.size:
        assert_close(grad(goal)(x), expected)


@pytest.mark.parametrize("rows", [np.array([2, 0, 0]), np.array([[1], [3]]), np.array(2)], ids=["1d", "2d", "0d"])
def test_rows_by_an_integer_array(rows: np.ndarray) -> None:
    x = np.arange(12.0).reshape(4, 3)
    same(lambda v: index.take(v, rows), x[rows], x)
    np.testing.assert_array_equal(Program.of(lambda v, r: v[r], x, rows).run(x, rows)[0], x[rows])
    assert check_gradients(lambda v: dot(index.take(v, rows), x[rows]), x)


@given(st.data())
def test_take_and_take_along_any_axis(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes(min_dims=1)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    rows = data.draw(st.lists(st.integers(0, x.shape[axis] - 1), min_size=1, max_size=4).map(np.array))
    same(lambda v: index.take(v, rows, axis), np.take(x, rows, axis), x)
    order = np.argsort(x, axis=axis)
    same(lambda v: index.take_along(v, order, axis), np.take_along_axis(x, order, axis), x)
    same(lambda v: reduce.argsort(v, axis), order, x)
    same(lambda v: reduce.argmax(v, axis), np.argmax(x, axis), x)


@given(st.data())
def test_moving_entries(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes(min_dims=1)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    axes = data.draw(st.permutations(range(x.ndim)))
    same(lambda v: shape.transpose(v, axes), np.transpose(x, axes), x)
    same(shape.transpose, x.T, x)
    same(lambda v: v.reshape(-1), x.reshape(-1), x)
    same(lambda v: shape.flip(v, axis), np.flip(x, axis), x)
    same(lambda v: shape.expand_dims(v, axis), np.expand_dims(x, axis), x)
    same(lambda v: shape.squeeze(shape.expand_dims(v, axis), axis), x, x)
    same(lambda v: shape.concatenate([v, v * 2.0], axis), np.concatenate([x, x * 2], axis), x)
    same(lambda v: shape.stack([v, -v], axis), np.stack([x, -x], axis), x)
    same(lambda v: reduce.cumsum(v, axis), np.cumsum(x, axis), x)
    same(lambda v: reduce.max(v, axis, keepdims=True), np.max(x, axis, keepdims=True), x)
    same(lambda v: reduce.sum(v, (axis,)), np.sum(x, (axis,)), x)


@given(st.data())
def test_broadcasting(data: st.DataObject) -> None:
    whole = data.draw(shapes())
    a = data.draw(arrays(whole))
    b = data.draw(arrays(data.draw(broadcastable(whole))))
    same(lambda a, b: arithmetic.subtract(a, b), a - b, a, b)
    same(lambda a, b: compare.where(compare.less(b, a), a, b), np.where(b < a, a, b), a, b)
    same(lambda b: shape.broadcast_to(b, whole), np.broadcast_to(b, whole), b)
    assert check_gradients(lambda a, b: dot(arithmetic.multiply(a, b), a), a, b)


@pytest.mark.parametrize(
    "left, right",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
     ((3,), (4, 3, 2)), ((4, 1, 2, 3), (5, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 2))],
)  # fmt: skip
def test_products_are_numpys(left: tuple[int, ...], right: tuple[int, ...], rng: np.random.Generator) -> None:
    x, y = rng.normal(size=left), rng.normal(size=right)
    expected = np.matmul(x, y)
    for found in (linalg.matmul(x, y), Program.of(lambda a, b: a @ b, x, y).run(x, y)[0]):
        assert_close(found, expected)
    if x.size and y.size:
        assert check_gradients(lambda a, b: dot(linalg.matmul(a, b), np.ones(expected.shape)), x, y)


def test_the_sum_of_shares_of_a_tie_is_one() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    winners = x == x.max(axis=1, keepdims=True)
    found = grad(lambda v: reduce.sum(reduce.max(v, 1)))(x)
    assert_close(found, winners / winners.sum(axis=1, keepdims=True))


X = np.arange(6.0).reshape(2, 3)
REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda x: x + np.ones(4), ShapeError, r"add of shapes \(2, 3\) and \(4,\): they do not broadcast"),
    (lambda x: x.reshape(4), ShapeError, r"reshape of \(2, 3\) to 4: 6 entries do not fit"),
    (lambda x: shape.reshape(x, (-1, -1)), ShapeError, "do not fit"),
    (lambda x: shape.transpose(x, (0, 2)), ShapeError, "transpose along axis 2: the array has 2 axes"),
    (lambda x: shape.transpose(x, (0, 0)), ShapeError, "name each of the 2 axes once"),
    (lambda x: shape.broadcast_to(x, (3, 3)), ShapeError, r"broadcast of \(2, 3\) to \(3, 3\)"),
    (lambda x: shape.flip(x, 2), ShapeError, "flip along axis 2"),
    (lambda x: shape.flip(x[0, 0], 0), ShapeError, "flip along axis 0: the array has 0 axes"),
    (lambda x: shape.squeeze(x, 0), ShapeError, "its length must be 1"),
    (lambda x: shape.expand_dims(x, 4), ShapeError, "expand_dims along axis 4"),
    (lambda x: shape.concatenate([x, np.ones((3, 3))], 1), ShapeError, "the other axes must be equal"),
    (lambda x: shape.concatenate([x, x], 5), ShapeError, "concatenate along axis 5"),
    (lambda x: shape.concatenate([]), ShapeError, "give at least one"),
    (lambda x: reduce.sum(x, 2), ShapeError, "sum along axis 2"),
    (lambda x: reduce.sum(x, (0, 0)), ShapeError, "name each axis once"),
    (lambda x: reduce.max(shape.slice_of(x, np.s_[:0])), ShapeError, "max of no entries"),
    (lambda x: reduce.argmax(shape.slice_of(x, np.s_[:0]), 0), ShapeError, "argmax of no entries"),
    (lambda x: reduce.sum(compare.less(x, 1.0)), DtypeError, r"sum of booleans: count them with \.astype"),
    (lambda x: index.take(x, np.array([0.5])), DtypeError, "indices must be integers"),
    (lambda x: index.take(x, np.array([0]), 2), ShapeError, "take along axis 2"),
    (lambda x: index.take_along(x, np.array([0])), ShapeError, "all axes but axis 1 must be equal"),
    (lambda x: index.take_along(x, np.array([[0]])), ShapeError, "all axes but axis 1 must be equal"),
    (lambda x: shape.slice_of(x, [0, 1]), ShapeError, "take"),
    (lambda x: shape.slice_of(x, True), ShapeError, "use integers, slices"),
    (lambda x: shape.slice_of(x, (0, 0, 0)), ShapeError, "3 indices for an array of shape"),
    (lambda x: shape.slice_of(x, 2), IndexError, "index 2 of axis 0"),
    (lambda x: linalg.matmul(x, x), ShapeError, "the last axis of the first, 3, must equal 2"),
    (lambda x: linalg.matmul(x, 2.0), ShapeError, r"use \* instead"),
    (lambda x: compare.where(x, 1.0, x), DtypeError, "the condition must be bool"),
    (lambda x: arithmetic.subtract(compare.less(x, 1.0), True), DtypeError, "subtract does not take bool"),
    (lambda x: arithmetic.bitwise_and(x, x), DtypeError, "bitwise_and does not take float64"),
]


@pytest.mark.parametrize("f, error, message", REFUSED)
def test_refused_traced_and_at_once(f: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Program.of(f, X)
    assert "\n" not in str(caught.value)
    if not message.startswith(("add of", "reshape of")):  # there an array's own method is asked
        with pytest.raises(error, match=message):
            f(X)
    assert issubclass(error, (FalllineError, IndexError))


def test_dtypes_of_mixed_arguments() -> None:
    f32, f64 = np.ones(2, np.float32), np.ones(2)
    i32, i64, u32 = np.ones(2, np.int32), np.ones(2, np.int64), np.ones(2, np.uint32)
    assert arithmetic.add(f32, 1.5).dtype == arithmetic.add(2, f32).dtype == np.float32
    assert arithmetic.add(f32, f64).dtype == np.float64
    assert arithmetic.add(f32, i64).dtype == np.float32  # integers follow the floats
    assert arithmetic.add(i32, i64).dtype == np.int64
    assert arithmetic.add(i32, 1).dtype == np.int32
    with pytest.raises(DtypeError, match="add of int64 and a float"):
        arithmetic.add(i64, 0.5)
    with pytest.raises(DtypeError, match="add of int64 and uint32"):
        arithmetic.add(i64, u32)
    for text in (np.array(["1", "2"]), "1", None, np.array([1, None])):
        with pytest.raises(DtypeError, match="add of"):
            arithmetic.add(f64, text)
        with pytest.raises(DtypeError, match="add of"):
            Program.of(lambda x, text=text: x + text, f64)
    with pytest.raises(DtypeError, match="add of uint32 and -1"):
        arithmetic.add(u32, -1)


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_outside_the_array_is_refused(row: int) -> None:
    with pytest.raises(DataError, match=f"row {row} of an array of 4 rows: give indices from 0 to 3"):
        index.take(np.zeros((4, 3)), np.array([0, row]))
