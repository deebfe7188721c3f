"""Native kernels of argmax, argsort, cumsum and the indexed ops against their forward rules, bit for bit."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest

from fallline.core.errors import DataError
from fallline.core.spec import DTYPES, Spec
from fallline.graph.op import new_input
from fallline.graph.value import OPS, Value

pytest.importorskip("llvmlite")

from fallline.engines.llvm.calls import CallPlan, fault_of, index_error, plan_call
from fallline.engines.llvm.loader import addresses, host_target

ENTRY = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 2, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
NAMES = [str(d) for d in DTYPES]
TARGETS = [None, "avx2", "sse2", "generic"]
SHAPES = [
    ((1,), 0), ((7,), 0), ((10, 5), 1), ((10, 5), 0), ((3, 100), 1), ((100, 3), 0), ((4, 33, 17), 1), ((2, 70, 40), 1),
    ((1, 300), 1), ((300, 1), 0), ((5, 1, 6), 1), ((2, 3, 4, 5), 2), ((0, 4), 1), ((4, 0), 0), ((3, 5, 0), 1),
]  # fmt: skip


def node_of(name: str, *arrays: np.ndarray, **attrs: Any) -> Value:
    return OPS[name].apply(*(new_input(Spec.of(a)) for a in arrays), **attrs)


def execute(
    call: CallPlan, node: Value, arrays: tuple[np.ndarray, ...], force: str | None, cuts: int
) -> tuple[Any, int]:
    """(output, fault word) of the kernel, its units done in `cuts` ranges.

    Each range starts from memory of bytes 171, so that what it leaves alone, beside the output too, stays 171; no two
    ranges may write one byte.
    """
    target = host_target(force)
    run = ENTRY(addresses([call.kernel], target)[call.kernel.name])
    nbytes = node.spec.nbytes
    memory, merged = np.empty(nbytes + 128, np.uint8), np.full(nbytes + 128, 171, np.uint8)
    scratch = np.full(call.scratch_bytes + 128, 171, np.uint8)
    scratch_at = scratch.ctypes.data + -scratch.ctypes.data % 64
    fault = np.zeros(1, np.int64)
    dense = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
    words = [memory.ctypes.data + 64, *(a.ctypes.data for a in dense), *call.extents, fault.ctypes.data]
    args = np.array(words, np.int64)
    edges = [k * call.units // cuts for k in range(cuts + 1)]
    written = 0
    for first, last in [*itertools.pairwise(edges), (call.units, call.units)]:  # of an empty range nothing comes
        memory.fill(171)
        run(args.ctypes.data, first, last, scratch_at, 0)
        fresh = memory != 171
        merged[fresh] = memory[fresh]
        written += int(fresh.sum())
    assert written <= nbytes
    assert (merged[:64] == 171).all()
    assert (merged[64 + nbytes :] == 171).all()
    assert (scratch[scratch_at - scratch.ctypes.data + call.scratch_bytes :] == 171).all()
    return merged[64 : 64 + nbytes].view(node.dtype).reshape(node.shape), int(fault[0])


def check(name: str, *arrays: np.ndarray, force: str | None = None, cuts: int = 1, **attrs: Any) -> CallPlan:
    """The kernel gives the bytes of the forward rule."""
    node = node_of(name, *arrays, **attrs)
    call = plan_call(node)
    assert call is not None
    assert call.units >= 1
    out, fault = execute(call, node, arrays, force, cuts)
    assert fault == 0
    with np.errstate(all="ignore"):
        wanted = node.op.forward(*arrays, **attrs)
    assert out.dtype == wanted.dtype
    assert out.shape == wanted.shape
    np.testing.assert_array_equal(out, wanted)
    if out.dtype.kind == "f" and not np.isnan(wanted).any():
        np.testing.assert_array_equal(np.signbit(out), np.signbit(wanted))
    return call


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, special: bool = True) -> np.ndarray:
    """Entries with many ties; of floats also NaN, infinities, both zeros and denormal numbers."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.random(shape) < 0.3
    if kind != "f":
        low = 0 if kind == "u" else -6
        wide = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
        x = rng.integers(low, 6, shape).astype(dtype)
        return np.where(rng.random(shape) < 0.05, rng.choice(wide, shape), x)
    x = np.round(rng.normal(size=shape), 1).astype(dtype)
    if special:
        tiny = np.finfo(dtype).smallest_subnormal
        odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny], dtype)
        x = np.where(rng.random(shape) < 0.06, rng.choice(odd, shape), x)
    return x


@pytest.mark.parametrize("force", TARGETS)
@pytest.mark.parametrize("dtype", NAMES)
def test_an_axis_of_any_shape(dtype: str, force: str | None, rng: np.random.Generator) -> None:
    for shape, axis in SHAPES:
        for name in ("argmax", "argsort", "cumsum"):
            if (name, dtype) != ("cumsum", "bool"):  # refused by the op
                check(name, draw(rng, shape, dtype), axis=axis, force=force)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32"])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 1000, 4097])
def test_every_length_of_a_row(n: int, dtype: str, rng: np.random.Generator) -> None:
    for special in (False, True):
        x = draw(rng, (3, n), dtype, special)
        check("argmax", x, axis=1)
        check("argsort", x, axis=1)
        check("cumsum", x, axis=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", [0, 5, 63, 64, 130, 199])
def test_argmax_is_the_first_nan(place: int, dtype: str) -> None:
    x = np.zeros((2, 200), dtype)
    x[:, 40] = np.inf
    x[0, place] = np.nan
    x[0, -1] = np.nan
    check("argmax", x, axis=1)
    check("argmax", np.ascontiguousarray(x.T), axis=0)


def test_argmax_of_nothing_but_minus_infinity() -> None:
    for shape in ((2, 3), (2, 300)):
        check("argmax", np.full(shape, -np.inf, "float32"), axis=1)


@pytest.mark.parametrize("values", [np.arange(300.0), -np.arange(300.0), np.zeros(300)])
def test_argsort_of_sorted_entries(values: np.ndarray) -> None:
    for dtype in ("float32", "float64", "int64"):
        check("argsort", values.astype(dtype), axis=0)


@pytest.mark.parametrize("cuts", [1, 2, 3, 7])
def test_results_do_not_depend_on_the_ranges_of_units(cuts: int, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 400, 5000)
    for shape, axis in (((900, 130), 1), ((130, 900), 0), ((9, 60, 200), 1)):
        x = draw(rng, shape, "float32")
        few = rng.integers(-shape[axis], shape[axis], [40 if k == axis else d for k, d in enumerate(shape)])
        calls = [check(name, x, axis=axis, cuts=cuts) for name in ("argmax", "argsort", "cumsum")]
        calls.append(check("take_along", x, few, axis=axis, cuts=cuts))
        calls.append(check("add_along", draw(rng, few.shape, "float32"), few, axis=axis, size=shape[axis], cuts=cuts))
        assert all(call.units > 1 for call in calls)
    assert check("take", draw(rng, (400, 48), "float32"), rows, cuts=cuts).units > 1
    assert check("put_add", draw(rng, (5000, 48), "float32"), rows, rows=400, cuts=cuts).units > 1


@pytest.mark.parametrize("force", TARGETS)
@pytest.mark.parametrize("dtype", NAMES)
def test_rows_by_index(dtype: str, force: str | None, rng: np.random.Generator) -> None:
    for width in (1, 2, 3, 4, 7, 8, 16, 31, 33, 64, 100):
        for index in ("int32", "int64", "uint32"):
            rows = rng.integers(0, 11, 37).astype(index)
            check("take", draw(rng, (11, width), dtype), rows, force=force)
            check("put_add", draw(rng, (37, width), dtype), rows, rows=11, force=force)


def test_rows_of_other_shapes(rng: np.random.Generator) -> None:
    x = draw(rng, (6, 2, 3), "float32")
    for shape in ((), (4,), (2, 3), (0,), (2, 0)):
        rows = rng.integers(0, 6, shape)
        check("take", x, rows)
        check("take", x[:, 0, 0].copy(), rows)
        check("put_add", draw(rng, (*shape, 2, 3), "float32"), rows, rows=6)
        check("put_add", draw(rng, shape, "float32"), rows, rows=6)
    check("take", np.zeros((6, 0), "float32"), np.array([1, 5]))
    check("put_add", np.zeros((2, 0), "float32"), np.array([1, 5]), rows=6)
    check("put_add", np.zeros((0, 3), "float32"), np.zeros(0, "int64"), rows=0)


def test_taking_keeps_every_bit_of_nan() -> None:
    x = np.array([0x7FC12345, 0x7F812345, 0xFFC00001], "uint32").view("float32")
    node = node_of("take", x, np.array([2, 1, 0, 0]))
    call = plan_call(node)
    assert call is not None
    out, _ = execute(call, node, (x, np.array([2, 1, 0, 0])), None, 1)
    assert out.view("uint32").tolist() == [0xFFC00001, 0x7F812345, 0x7FC12345, 0x7FC12345]


def test_adding_back_counts_negative_indices_from_the_end(rng: np.random.Generator) -> None:
    rows = rng.integers(-5, 5, 50)
    check("put_add", draw(rng, (50, 3), "float64"), rows, rows=5)
    check("put_add", draw(rng, (50, 3), "float64"), rows.astype("int32"), rows=5)


@pytest.mark.parametrize("force", TARGETS)
@pytest.mark.parametrize("dtype", NAMES)
def test_entries_along_an_axis(dtype: str, force: str | None, rng: np.random.Generator) -> None:
    for shape, axis in SHAPES[:-2]:
        for index in ("int32", "int64", "uint32"):
            for count in (0, 1, 9):
                low = 0 if index == "uint32" else -shape[axis]
                places = rng.integers(low, shape[axis], [count if k == axis else d for k, d in enumerate(shape)])
                places = places.astype(index)
                check("take_along", draw(rng, shape, dtype), places, axis=axis, force=force)
                added = draw(rng, places.shape, dtype)
                check("add_along", added, places, axis=axis, size=shape[axis], force=force)


def faulty(name: str, *arrays: np.ndarray, cuts: int = 1, **attrs: Any) -> Exception:
    """The error that the kernel's fault word stands for; the reference engine must raise one of that class too."""
    node = node_of(name, *arrays, **attrs)
    call = plan_call(node)
    assert call is not None
    assert call.faults
    _, word = execute(call, node, arrays, None, cuts)
    assert word != 0
    error = index_error(fault_of(node), word)
    with pytest.raises(type(error)):
        node.op.forward(*arrays, **attrs)
    return error


@pytest.mark.parametrize("wrong", [5, 6, -1, -5, 10**13, -(10**13), 2**63 - 2, -(2**63)])
def test_take_names_the_row_that_is_not_there(wrong: int) -> None:
    x, rows = np.zeros((5, 3), "float32"), np.array([0, 4, wrong, 2])
    with pytest.raises(DataError) as found:
        OPS["take"].forward(x, rows)
    assert str(faulty("take", x, rows)) == str(found.value)


def test_large_unsigned_indices_are_not_negative() -> None:
    rows = np.array([4, 2**32 - 1], "uint32")
    message = f"index {2**32 - 1} is out of bounds for axis 0 with size 5"
    assert f"row {2**32 - 1} of" in str(faulty("take", np.zeros((5, 3), "float32"), rows))
    assert str(faulty("put_add", np.zeros((2, 3), "float32"), rows, rows=5)) == message
    assert str(faulty("take_along", np.zeros(5, "float32"), rows, axis=0)) == message


def test_of_many_wrong_rows_take_names_the_same_in_any_order(rng: np.random.Generator) -> None:
    x = np.zeros((5, 40), "float32")
    for low, high in ((-9, 20), (0, 20)):
        rows = rng.integers(low, high, 3000)
        with pytest.raises(DataError) as found:
            OPS["take"].forward(x, rows)
        for cuts in (1, 5):
            assert str(faulty("take", x, rows, cuts=cuts)) == str(found.value)


@pytest.mark.parametrize("wrong", [5, -6, 10**13, -(10**13), 2**63 - 2])
def test_the_other_indexed_ops_name_what_is_not_there(wrong: int) -> None:
    places = np.array([[0, 4, wrong, 2]])
    message = f"index {wrong} is out of bounds for axis {{}} with size 5"
    g = np.ones((1, 4), "float32")
    assert str(faulty("put_add", g, places, rows=5)) == message.format(0)
    assert str(faulty("take_along", np.ones((1, 5), "float32"), places, axis=1)) == message.format(1)
    assert str(faulty("add_along", g, places, axis=1, size=5)) == message.format(1)
    across = np.ascontiguousarray(places.T)
    assert str(faulty("take_along", np.ones((5, 1), "float32"), across, axis=0)) == message.format(0)


def test_what_has_no_kernel_is_left_to_the_reference_engine() -> None:
    x = np.zeros((2, 3), "float32")
    assert plan_call(node_of("exp", x)) is None
    assert plan_call(node_of("argmax", np.zeros((2, 0), "float32"), axis=1)) is None
    assert plan_call(node_of("take", np.zeros((0, 3), "float32"), np.array([0]))) is None
    assert plan_call(node_of("put_add", x, np.array([0, 1]), rows=0)) is None


def test_kernels_serve_every_shape(rng: np.random.Generator) -> None:
    for name in ("argmax", "argsort", "cumsum"):
        calls = [plan_call(node_of(name, np.zeros(s, "float32"), axis=1)) for s in ((3, 4), (50, 2000))]
        assert len({call.kernel.name for call in calls if call is not None}) == 1
