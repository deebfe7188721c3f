"""Matrix products against NumPy: any strides, an epilogue once per block, the same bits for any split of the units."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
import pytest

from fallline.engines.llvm.emitter import Function, Module
from fallline.engines.llvm.gemm import ARGUMENTS, HELD, Blocks, gemm, piece, plan
from fallline.engines.llvm.kernel import BLOCK, Kernel
from fallline.engines.llvm.loader import addresses, compile_object, write_text
from fallline.engines.llvm.target import host_target, named_target
from tests.engines.llvm.families import target_for
from tests.tolerance import assert_close

FAMILIES = ("avx512", "avx2", "sse2", "generic", "neon")
DTYPES = ("float32", "float64")
KINDS = {"float32": "f32", "float64": "f64"}
EXTENTS = (1, 2, 3, 5, 8, 10, 13, 14, 15, 16, 17, 31, 32, 33, 48, 64, 100, 130)
DEPTHS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 100)
LAYOUTS = ("rows", "columns", "spread", "padded", "repeated row", "repeated column")

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


def laid_out(rng, rows: int, columns: int, dtype: str, layout: str) -> np.ndarray:
    """A random matrix with one of the kinds of strides."""
    if layout == "columns":
        return rng.standard_normal((columns, rows)).astype(dtype).T
    if layout == "spread":
        return rng.standard_normal((2 * rows, 3 * columns)).astype(dtype)[::2, ::3]
    if layout == "padded":
        return rng.standard_normal((rows, columns + 5)).astype(dtype)[:, :columns]
    if layout == "repeated row":
        return np.broadcast_to(rng.standard_normal((1, columns)).astype(dtype), (rows, columns))
    if layout == "repeated column":
        return np.broadcast_to(rng.standard_normal((rows, 1)).astype(dtype), (rows, columns))
    return rng.standard_normal((rows, columns)).astype(dtype)


def framed(M: int, N: int, dtype: str, gap: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(a matrix to write to, what surrounds it, all sevens)"""
    frame = np.full((M + 2, N + gap), 7, dtype)
    return frame[1 : M + 1, :N], frame


class Product:
    """A call of the kernel with all that it points to."""

    def __init__(self, A, B, C, target, epilogue: int = 0, epilogue_args: int = 0, blocks: Blocks | None = None):
        (M, N), K, size = C.shape[-2:], A.shape[-1], C.itemsize
        batches = C.shape[0] if C.ndim == 3 else 1
        self.blocks = b = blocks or plan(M, N, K, batches, size, target)
        whole = [x.strides[0] // size if x.ndim == 3 else 0 for x in (A, B, C)]
        steps = [[x.strides[-2] // size, x.strides[-1] // size] for x in (A, B, C)]
        values = [
            A.ctypes.data, *steps[0], B.ctypes.data, *steps[1], C.ctypes.data, steps[2][0], M, N, K, batches, *whole,
            epilogue, epilogue_args, b.rows, b.columns, b.row_blocks, b.column_blocks,
        ]  # fmt: skip
        assert len(values) == len(ARGUMENTS)
        self.args = np.array(values, np.int64)
        # Filled with NaN, so that what is read before it is written shows.
        self.memory = np.full(b.scratch_bytes + 64, 255, np.uint8)
        self.scratch = self.memory.ctypes.data + -self.memory.ctypes.data % 64
        self.call = ENTRY(addresses([gemm(C.dtype, target)], target)[f"gemm_{KINDS[C.dtype.name]}"])
        self.keep = (A, B, C)

    def run(self, first: int = 0, last: int | None = None) -> None:
        self.call(self.args.ctypes.data, first, self.blocks.units if last is None else last, self.scratch, 0)


def assert_product(A, B, C) -> None:
    """C = A @ B as far as sums of rounded products can be: errors are measured by Σ |a| |b|."""
    scale = np.abs(A).astype(np.float64) @ np.abs(B).astype(np.float64) + 1e-30
    expected = A.astype(np.float64) @ B.astype(np.float64)
    assert_close(C / scale, expected / scale, KINDS[C.dtype.name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_any_extents_and_strides(name, dtype):
    target = target_for(name)
    rng, edge = np.random.default_rng(0), piece(target)
    depths = (*DEPTHS, edge - 1, edge, edge + 1)
    for _ in range(250):
        M, N = (int(n) for n in rng.choice(EXTENTS, 2))
        K = int(rng.choice(depths))
        A = laid_out(rng, M, K, dtype, rng.choice(LAYOUTS))
        B = laid_out(rng, K, N, dtype, rng.choice(LAYOUTS))
        C, frame = framed(M, N, dtype, gap=int(rng.integers(0, 3)))
        Product(A, B, C, target).run()
        assert_product(A, B, C)
        C[...] = 7
        assert (frame == 7).all()  # nothing was written beside C


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout_a, layout_b", [("rows", "rows"), ("columns", "rows"), ("rows", "columns")])
def test_more_terms_than_are_packed_at_once(dtype, layout_a, layout_b):
    rng = np.random.default_rng(1)
    for M, N, K in ((70, 45, HELD), (70, 45, HELD + 3), (300, 300, HELD // 2 + 1)):
        A, B = laid_out(rng, M, K, dtype, layout_a), laid_out(rng, K, N, dtype, layout_b)
        C, _ = framed(M, N, dtype)
        Product(A, B, C, host_target()).run()
        assert_product(A, B, C)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("M, N, K", [(5, 7, 9), (1, 20, 8), (20, 1, 8), (40, 40, 600)])
def test_stacks_of_matrices(dtype, M, N, K):
    rng = np.random.default_rng(2)
    A, B = rng.standard_normal((3, M, K)).astype(dtype), rng.standard_normal((3, K, N)).astype(dtype)
    shared = np.broadcast_to(B[0], B.shape)
    for right in (B, shared):
        C = np.zeros((3, M, N), dtype)
        Product(A, right, C, host_target()).run()
        for i in range(3):
            assert_product(A[i], right[i], C[i])


@pytest.mark.parametrize(
    "shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 1, 2), (1, 0, 2), (1, 1, 0), (1, 4, 0), (4, 1, 0)]
)
def test_empty_extents(shape):
    M, N, K = shape
    C, frame = framed(M, N, "float32", gap=2)
    Product(np.ones((M, K), "float32"), np.ones((K, N), "float32"), C, host_target()).run()
    assert not C.any()
    C[...] = 7
    assert (frame == 7).all()


def test_infinities_and_nan_come_out():
    for M, N in ((20, 20), (20, 1), (1, 20)):
        A, B = np.ones((M, 5), "float32"), np.ones((5, N), "float32")
        A[0, 1], A[-1, 2] = (np.inf, np.nan) if M > 1 else (np.nan, np.nan)
        C = np.zeros((M, N), "float32")
        Product(A, B, C, host_target()).run()
        with np.errstate(invalid="ignore"):
            assert np.array_equal(C, A @ B, equal_nan=True)


SHAPES = [
    (300, 300, 50), (130, 257, 600), (64, 64, 10), (33, 17, 5), (2000, 1, 130), (1, 2000, 130), (100, 300, HELD + 5),
    (5, 1, 7),
]  # fmt: skip


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("M, N, K", SHAPES)
def test_any_split_of_the_units_gives_the_same_bits(M, N, K, layout):
    rng = np.random.default_rng(3)
    A, B = laid_out(rng, M, K, "float32", layout), laid_out(rng, K, N, "float32", layout)
    once, parts, backwards = (np.zeros((M, N), "float32") for _ in range(3))
    Product(A, B, once, host_target()).run()
    product = Product(A, B, parts, host_target())
    cuts = np.linspace(0, product.blocks.units, 4).astype(int)
    for first, last in pairwise(cuts):
        product.run(int(first), int(last))
    product = Product(A, B, backwards, host_target())
    for unit in reversed(range(product.blocks.units)):
        product.run(unit, unit + 1)
    assert once.tobytes() == parts.tobytes() == backwards.tobytes()


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_an_entry_does_not_depend_on_the_other_rows(layout):
    """Batches of other sizes give the same bits, as long as the same kind of tiles makes them."""
    rng = np.random.default_rng(4)
    A, B = laid_out(rng, 300, 70, "float32", layout), laid_out(rng, 70, 90, "float32", "rows")
    C, few = np.zeros((300, 90), "float32"), np.zeros((37, 90), "float32")
    Product(A, B, C, host_target()).run()
    Product(A[:37], B, few, host_target()).run()
    assert few.tobytes() == C[:37].tobytes()


def writes_block(element: str) -> Kernel:
    """An epilogue: args is [out, row step, visits]; out[r, c] += the entry, and visits[unit] += 1."""

    def write(module: Module) -> None:
        f = Function(module, f"test_block_{element}", BLOCK)
        out, step, visits = f.load("ptr", "%args", 0), f.load("i64", "%args", 1), f.load("ptr", "%args", 2)
        f.store("i64", f.add(f.load("i64", visits, "%unit"), 1), visits, "%unit")

        def entry(r: str, c: str) -> None:
            place = f.at(out, f.add(f.mul(r, step), c), element)
            new = f.load(element, "%tile", f.add(f.mul(r, "%ld"), c))
            f.store(element, f.binary("fadd", f.load(element, place), new, element), place)

        f.loop("%r1", lambda r: f.loop("%c1", lambda c: entry(r, c), start="%c0") and None, start="%r0")
        f.finish()

    return Kernel(f"test_block_{element}", write)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "M, N, K",
    [(32, 32, 20), (33, 17, 5), (300, 130, 700), (40, 1, 30), (1, 40, 30), (1, 1, 3), (9, 9, 0), (60, 10, 64)],
)
def test_the_epilogue_gets_each_block_once(name, dtype, M, N, K):
    target = target_for(name)
    rng = np.random.default_rng(5)
    kernel = writes_block("float" if dtype == "float32" else "double")
    for layout in ("rows", "columns"):
        A, B = laid_out(rng, M, K, dtype, layout), laid_out(rng, K, N, dtype, layout)
        C, out = np.full((M, N), 7, dtype), np.zeros((M, N), dtype)
        blocks = plan(M, N, K, 1, C.itemsize, target)
        visits = np.zeros(blocks.units, np.int64)
        given = np.array([out.ctypes.data, N, visits.ctypes.data], np.int64)
        Product(A, B, C, target, addresses([kernel], target)[kernel.name], given.ctypes.data).run()
        assert_product(A, B, out)
        assert (visits == 1).all()
        assert (C == 7).all()  # with an epilogue C is not stored


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize(
    "shape", [(1024, 1024, 1024), (128, 784, 256), (784, 256, 128), (1000, 10, 1000), (100000, 1, 100)]
)
def test_large_products_can_be_shared_by_threads(shape, size):
    M, N, K = shape
    b = plan(M, N, K, 1, size, host_target())
    assert b.units == b.row_blocks * b.column_blocks >= 5
    assert (b.row_blocks - 1) * b.rows < M <= b.row_blocks * b.rows
    assert (b.column_blocks - 1) * b.columns < N <= b.column_blocks * b.columns


def test_tiny_products_are_one_unit():
    for shape in ((32, 32, 20), (32, 16, 32), (32, 1, 16), (20, 32, 32), (1, 1, 1), (64, 10, 64)):
        assert plan(*shape, 1, 4, host_target()).units == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["aarch64", "x86-64", "x86-64-v3"])
def test_object_code_for_other_machines(name, dtype):
    target = named_target(name)
    text = write_text([gemm(dtype, target)], target)
    assert b"gemm_" in compile_object(text, target)
    assert ("llvm.fma" in text) == target.fma  # where it is no instruction it would be a call of the C library
