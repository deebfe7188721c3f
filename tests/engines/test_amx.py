"""Products in bf16 on matrix tiles: against float64, for all strides, tails, blocks and epilogues."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from fallline.engines.llvm import amx
from fallline.engines.llvm.gemm import Blocks
from fallline.engines.llvm.loader import addresses, compile_object, write_text
from fallline.engines.llvm.target import choose_target, host_target, named_target
from tests.tolerance import TOL

REASON = amx.reason_not(host_target())
needs_amx = pytest.mark.skipif(bool(REASON), reason=REASON or "AMX is there")

# Root of the mean square of the error over that of the product, for normal factors: 2⁻⁹ of each factor's rounding,
# and 2⁻¹⁸ where both parts are kept; measured 2.4e-3 and 5e-6, here with room for small products.
PRECISIONS = ["bf16", "bf16x3"]
GUARD, MARK = 64, 0x5A  # bytes behind scratch that must stay as they are

Native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
Epilogue = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 4, ctypes.c_void_p, *[ctypes.c_int64] * 2)


class Product:
    """One call of a kernel: c[...] = a @ b for a (batches, M, K), b (batches, K, N), rows of c contiguous."""

    def __init__(self, precision, a, b, c, blocks=None, epilogue=None):
        (batches, M, K), N = a.shape, b.shape[2]
        parts = amx.PARTS[precision]
        self.blocks = blocks or amx.plan(M, N, K, batches, parts)
        steps = [[s // 4 for s in x.strides] for x in (a, b, c)]
        function = ctypes.cast(epilogue, ctypes.c_void_p).value if epilogue else 0
        places = [x.ctypes.data for x in (a, b, c)]
        self.arguments = np.array(
            [places[0], *steps[0][1:], places[1], *steps[1][1:], places[2], steps[2][1], M, N, K, batches]
            + [step[0] for step in steps] + [function, 12345, *self.blocks[:4]],
            np.int64,
        )  # fmt: skip
        self.kept = a, b, c, epilogue
        memory = np.full(self.blocks.scratch_bytes + GUARD + 64, MARK, np.uint8)
        self.scratch = memory[-memory.ctypes.data % 64 :][: self.blocks.scratch_bytes + GUARD]
        kernel = amx.gemm(precision)
        self.call = Native(addresses([kernel], host_target())[kernel.name])

    def run(self, first=0, last=None):
        last = self.blocks.units if last is None else last
        self.call(self.arguments.ctypes.data, first, last, self.scratch.ctypes.data, 0)
        assert (self.scratch[-GUARD:] == MARK).all()


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def arranged(kind, batches, rows, columns, seed):
    """A stack of matrices whose strides are of one of five kinds."""
    if kind == "rows":
        return normal(batches, rows, columns, seed=seed)
    if kind == "columns":
        return normal(batches, columns, rows, seed=seed).transpose(0, 2, 1)
    if kind == "steps":
        return normal(batches, 2 * rows, 3 * columns, seed=seed)[:, ::2, ::3]
    if kind == "part":
        return normal(batches, columns + 3, rows + 5, seed=seed)[:, 3:, 5:].transpose(0, 2, 1)
    return np.broadcast_to(normal(1, rows, columns, seed=seed), (batches, rows, columns))


def error(actual, a, b):
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return np.sqrt(np.mean((actual - exact) ** 2) / np.mean(exact**2))


KINDS = ("rows", "columns", "steps", "part", "repeated")


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("left", KINDS)
@pytest.mark.parametrize("right", KINDS)
def test_product_of_any_strides(precision, left, right):
    rng = np.random.default_rng([KINDS.index(left), KINDS.index(right)])
    for M, N, K in [(1, 1, 1), (16, 16, 32), (64, 96, 64), *rng.integers(1, 150, (6, 3)).tolist()]:
        a, b = arranged(left, 2, M, K, 1), arranged(right, 2, K, N, 2)
        wide = np.full((2, M, N + 3), np.nan, np.float32)
        Product(precision, a, b, wide[:, :, :N]).run()
        assert np.isnan(wide[:, :, N:]).all()  # nothing beyond C is written
        assert np.abs(wide[:, :, :N] - a.astype(np.float64) @ b).max() < 40 * TOL[f"tiles {precision}"] * np.sqrt(K)
        if M * N > 100:
            assert error(wide[:, :, :N], a, b) < TOL[f"tiles {precision}"]


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(300, 600, 70), (600, 300, 1100), (40, 50, 9000)])
def test_large_and_deep_products(precision, shape):
    M, N, K = shape
    a, b = normal(1, M, K, seed=1), normal(1, K, N, seed=2)
    c = np.empty((1, M, N), np.float32)
    Product(precision, a, b, c).run()
    assert error(c, a, b) < TOL[f"tiles {precision}"]


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_small_whole_numbers_are_exact(precision):
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((1, 37, 45), (1, 45, 51)))
    c = np.empty((1, 37, 51), np.float32)
    Product(precision, a, b, c).run()
    assert np.array_equal(c, a @ b)


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_depth_0_gives_zeros(precision):
    c = np.full((1, 20, 40), np.nan, np.float32)
    Product(precision, np.empty((1, 20, 0), np.float32), np.empty((1, 0, 40), np.float32), c).run()
    assert not c.any()


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(3, 200, 300, 150), (1, 300, 200, 2500)])
def test_units_and_blocks_do_not_change_a_bit(precision, shape):
    batches, M, N, K = shape
    a, b = normal(batches, M, K, seed=1), normal(batches, N, K, seed=2).transpose(0, 2, 1)
    whole, parted, cut = (np.full((batches, M, N), np.nan, np.float32) for _ in range(3))
    Product(precision, a, b, whole).run()
    product = Product(precision, a, b, parted)
    units = product.blocks.units
    assert units > 3
    for first, last in [(units // 2, units), (0, 1), (1, 1), (1, units // 2)]:
        product.run(first, last)
    assert np.array_equal(whole, parted)
    grid = -(-M // 32), -(-N // 64)
    blocks = Blocks(32, 64, *grid, batches * grid[0] * grid[1], product.blocks.scratch_bytes + 16 * amx.KEPT)
    Product(precision, a, b, cut, blocks=blocks).run()
    assert np.array_equal(whole, cut)


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_share_the_units(precision):
    a, b = normal(1, 500, 200, seed=1), normal(1, 200, 400, seed=2)
    whole, shared = np.empty((1, 500, 400), np.float32), np.full((1, 500, 400), np.nan, np.float32)
    Product(precision, a, b, whole).run()
    products = [Product(precision, a, b, shared) for _ in range(3)]
    cuts = [products[0].blocks.units * i // 3 for i in range(4)]
    ranges = zip(products, cuts, cuts[1:], strict=False)
    threads = [threading.Thread(target=product.run, args=cut) for product, *cut in ranges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(whole, shared)


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(130, 75, 40), (75, 290, 700), (512, 512, 64)])
def test_epilogue_gets_each_block_once(precision, shape):
    M, N, K = shape
    a, b = normal(1, M, K, seed=1), normal(1, K, N, seed=2)
    seen, numbers = np.zeros((M, N), np.float32), []

    def take(more, r0, r1, c0, c1, tile, ld, unit):
        assert more == 12345
        for r in range(r0, r1):
            row = (ctypes.c_float * (c1 - c0)).from_address(tile + 4 * (r * ld + c0))
            seen[r, c0:c1] += np.frombuffer(row, np.float32)
        numbers.append(unit)

    stored, untouched = np.empty((1, M, N), np.float32), np.full((1, M, N), np.nan, np.float32)
    Product(precision, a, b, stored).run()
    product = Product(precision, a, b, untouched, epilogue=Epilogue(take))
    product.run()
    assert np.array_equal(seen, stored[0])
    assert np.isnan(untouched).all()
    assert sorted(numbers) == list(range(product.blocks.units))


@needs_amx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_finite_stays_so(precision):
    a, b = normal(1, 20, 40), normal(1, 40, 20)
    a[0, 3, 7], a[0, 5, 1] = np.nan, np.inf
    c = np.empty((1, 20, 20), np.float32)
    Product(precision, a, b, c).run()
    assert not np.isfinite(c[0, [3, 5]]).any()
    assert np.isfinite(np.delete(c, [3, 5], axis=1)).all()


@needs_amx
def test_factors_may_change_between_calls():
    a, b, c = normal(1, 60, 70), normal(1, 70, 80), np.empty((1, 60, 80), np.float32)
    product = Product("bf16x3", a, b, c)
    product.run()
    before = c.copy()
    a *= 2
    product.run()
    assert np.array_equal(c, 2 * before)


@pytest.mark.parametrize("parts", amx.PARTS.values())
def test_plan_covers_the_product(parts):
    for M, N, K, batches in [(1, 1, 1, 1), (0, 5, 5, 1), (784, 256, 128, 1), (5000, 33, 100000, 2), (256, 256, 0, 1)]:
        p = amx.plan(M, N, K, batches, parts)
        assert p.rows % 32 == p.columns % 32 == 0
        assert p.rows * p.row_blocks >= M
        assert p.columns * p.column_blocks >= N
        assert p.units == batches * p.row_blocks * p.column_blocks
        assert p.scratch_bytes < 2 * amx.KEPT + (1 << 20)


NEEDS_OF_FAMILY = ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"]
TILED = dict.fromkeys([*NEEDS_OF_FAMILY, "amx-tile", "amx-bf16", "avx512bf16"], True)


def test_reasons_against_tiles():
    other = named_target("x86-64-v3")
    assert "no bf16 matrix tiles" in amx.reason_not(other)
    assert amx.reason_not(choose_target("x86_64-unknown-other", TILED)) == ""
    lacking = choose_target("x86_64-unknown-other", TILED | {"avx512bf16": False})
    assert "avx512bf16" in amx.reason_not(lacking)
    assert amx.reason_not(replace(lacking, amx=False))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_code_is_made_where_it_cannot_run(precision):
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("code for matrix tiles is made on x86-64 only")
    target = choose_target(host_target().triple, TILED)
    assert compile_object(write_text([amx.gemm(precision)], target), target)
