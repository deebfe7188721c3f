"""Matrix products in f32 and f64: C[i] = A[i] @ B[i] for matrices of any strides; extents are known when it runs.

C is cut into blocks, one a unit of work; a block into panels of columns, a panel into register tiles (tiles.py) of even
height. A and B are read in place where that is fast, else from packed copies (packing.py). K is cut into pieces
(Caches). Products with one row or one column have their own code (vectors.py). Each entry of C is one sum over k in
ascending order (vectors.py: a few, added in a fixed order), whichever unit and thread makes it.

Measured on one thread of an AVX-512 Xeon (tiles alone: 229 GF/s) in f32, beside OpenBLAS in turn, M × K × N in GF/s:
128×784×256 215 (177), 128×256×128 220 (171), 784×128×256 with A transposed 212 (183), 128×128×256 with B transposed
205 (147), 64×64×128 212 (187), 1024³ 198 (197), with B transposed 197 (193), with A transposed 176 (188). One call of
32×20×32 takes 0.21 µs, of which 0.18 is arithmetic. On one thread of a Zen 3 (AVX2, peak 103): 128×784×256 92,
128×256×128 98, 784×128×256 with A transposed 92, 128×128×256 with B transposed 93, 64×64×128 96, 1024³ 93, with B
transposed 92, with A transposed 87; 32×20×32 80.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from fallline.engines.llvm.emitter import Function, Module, Number, given
from fallline.engines.llvm.kernel import BLOCK, ENTRY, Kernel, entry
from fallline.engines.llvm.packing import PACK_A, PACK_B, overrun, packed_rows, write_packing
from fallline.engines.llvm.target import Target
from fallline.engines.llvm.tiles import Tiling, write_tiles
from fallline.engines.llvm.vectors import PRODUCT, write_vectors

ARGUMENTS = (
    "A", "a_row", "a_col", "B", "b_row", "b_col", "C", "c_row", "M", "N", "K", "batches",
    "a_batch", "b_batch", "c_batch", "epilogue", "epilogue_args", "rows", "columns", "row_blocks", "column_blocks",
)  # fmt: skip
POINTERS = ("A", "B", "C", "epilogue", "epilogue_args")

HELD = 2048  # a packed block of B with at most so many rows is kept for all units that need it
WIDE = 1024  # bytes of a row of a block, or half of that to make more blocks
LARGE = 1_000_000_000  # floating-point operations from which a product is cut into larger blocks
SAME_SETS = 1024  # bytes; lines that are a multiple of it apart share four sets of an L1
UNITS = 8  # units that a product of some size should have at least, for threads to share
SMALL = 2_000_000  # floating-point operations (10 µs) below which one unit is enough
SCRATCH = 65536  # bytes of a block of a small product
VECTOR = 131072  # entries of a matrix that are multiplied with a vector as one unit


class Caches(NamedTuple):
    """What suits the caches of a family of CPUs; chosen by the times of twenty shapes from 32 × 20 × 32 to 1024³.

    panel     bytes of a piece of a panel of B: it stays in L1 for all tiles of a block
    a_spread  bytes that a piece of A with contiguous columns lies in, beyond which it is packed
    b_spread  bytes that B lies in, beyond which it is packed
    b_step    bytes from row to row of B, beyond which it is packed
    tiles     above each other in a block at most
    large_wide, large_tiles  bytes of a row, and tiles above each other, in blocks of a LARGE product
    skew      whether rows of a block that is summed up aside are a panel longer where they are a multiple of SAME_SETS
    """

    panel: int
    a_spread: int
    b_spread: int
    b_step: int
    tiles: int
    large_wide: int
    large_tiles: int
    skew: bool


# An AVX-512 Xeon with 48 KB of L1 and 2 MB of L2. panel: 65536 is up to 4 % slower. a_spread: 1024³ in place 40 %
# slower. b_spread: 500 × 2000 × 300 185 GF/s, in place 153. b_step: 1024³ in place 40 % slower, but 128 × 784 × 256
# packed 9 % slower. tiles: 784 × 128 × 256 with Adam as epilogue, 8 are 13 % slower. Large products pay more for
# packing A once for each block of columns: a step of 1024-1024-1024-10, batch 1024, takes 59 ms with these in place of
# 64; 1536³ with A transposed 184 GF/s in place of 163, not transposed 194 in place of 199.
AMPLE = Caches(32768, 32768, 1_000_000, 2000, 4, 4096, 16, False)
# A Zen 3 with 32 KB of L1 in 8 ways and 512 KB of L2, peak 103 GF/s. With the numbers above 128 × 784 × 256 runs at 83
# GF/s in place of 92: rows of B that are 1 KB apart fall into four sets of L1, and a panel fills all of it. Within a
# step the products of 1024³ take 23.2 to 24.9 ms, without the skew 25.0 to 27.4, with the numbers above 24 to 26.
NARROW = Caches(24576, 32768, 1_000_000, 900, 4, 4096, 12, True)


def caches(target: Target) -> Caches:
    """Of x86-64 CPUs those without AVX-512 have 32 KB of L1; others have at least 48."""
    return NARROW if target.name in ("avx2", "sse2") else AMPLE


class Blocks(NamedTuple):
    """How a product is cut: blocks of rows × columns, a grid of row_blocks × column_blocks for each of the batch."""

    rows: int
    columns: int
    row_blocks: int
    column_blocks: int
    units: int
    scratch_bytes: int


def plan(M: int, N: int, K: int, batches: int, itemsize: int, target: Target) -> Blocks:
    """The blocks of a product of these extents. They do not depend on the number of threads."""
    t = Tiling(target, "float" if itemsize == 4 else "double")
    rows, columns = _block(M, N, K, t)
    row_blocks, column_blocks = max(1, -(-M // rows)), max(1, -(-N // columns))
    width = -(-columns // t.lanes) * t.lanes
    depth = K if K <= HELD else piece(target)
    elements = _a_size(rows, t) + width * depth + overrun(t) + rows * (width + t.panel)
    if min(M, N) <= 1:
        elements = K + t.panel + rows * columns
    return Blocks(
        rows, columns, row_blocks, column_blocks, batches * row_blocks * column_blocks, elements * itemsize + 64
    )


def _block(M: int, N: int, K: int, t: Tiling) -> tuple[int, int]:
    """(rows, columns) of a block: one block below SMALL, else UNITS of them where that leaves rows for two tiles."""
    flops = 2 * M * N * K
    if min(M, N) <= 1:
        longest = max(VECTOR // max(K, 1), 4 * t.panel) // t.panel * t.panel
        return (_even(M, longest, 1), 1) if N <= 1 else (1, _even(N, longest, t.panel))
    wide = WIDE // t.itemsize
    if flops < SMALL:
        columns = _even(N, wide, t.panel)
        return _even(M, max(SCRATCH // t.itemsize // columns, t.tall), 1), columns
    limits = caches(t.target)
    tallest = limits.tiles * t.tall * (4 if K > HELD else 1)
    if flops >= LARGE:
        wide, tallest = limits.large_wide // t.itemsize, limits.large_tiles * t.tall
    if -(-M // tallest) * -(-N // wide) < UNITS:
        wide //= 2
    columns = _even(N, wide, t.panel)
    enough = -(-M // -(-UNITS // -(-N // columns)))
    return _even(M, min(tallest, max(enough, 2 * t.tall)), 1), columns


def piece(target: Target) -> int:
    """How many k's are summed at a time."""
    return caches(target).panel // (2 * target.vector_bytes)


def _even(count: int, most: int, multiple: int) -> int:
    """The size of even pieces of `count`, at most `most` and a multiple, unless there is only one piece."""
    pieces = max(1, -(-count // most))
    size = -(-count // pieces)
    return max(1, size) if pieces == 1 else -(-size // multiple) * multiple


def _a_size(rows: int, t: Tiling) -> int:
    """Elements of a packed block of A."""
    return -(-rows // t.tall) * packed_rows(t) * piece(t.target)


def gemm(dtype: np.dtype | str, target: Target) -> Kernel:
    """The kernel for products of float32 or float64."""
    t = Tiling(target, {4: "float", 8: "double"}[np.dtype(dtype).itemsize])

    def write(module: Module) -> None:
        write_tiles(module, t)
        write_packing(module, t)
        write_vectors(module, t)
        _write_units(module, t)
        _write_lines(module, t)
        f = entry(module, t.name)
        M, N = (f.load("i64", "%args", ARGUMENTS.index(name)) for name in "MN")
        thin = f.compare("sle", f.min(M, N), 1)

        def call(which: str) -> list[str]:
            f.call(f"{t.name}_{which}", ENTRY[:4])
            return []

        f.either(thin, lambda: call("lines"), lambda: call("units"), [])
        f.finish()

    return Kernel(t.name, write, shared=True)


def _arguments(f: Function) -> SimpleNamespace:
    """What args holds, by name."""
    kinds = {name: "ptr" if name in POINTERS else "i64" for name in ARGUMENTS}
    return SimpleNamespace(**{name: f.load(kinds[name], "%args", i) for i, name in enumerate(ARGUMENTS)})


def _finish_block(f: Function, t: Tiling, g: SimpleNamespace, b: Span, tile: str, ld: Number, unit: str) -> None:
    """Calls the epilogue for a block in scratch, with the address that entry (0, 0) of the product would have."""
    origin = f.at(tile, f.sub(0, f.add(f.mul(b.r0, ld), b.c0)), t.element)
    values = (g.epilogue_args, b.r0, f.add(b.r0, b.rows), b.c0, f.add(b.c0, b.columns), origin, ld, unit)
    f.call(g.epilogue, given(BLOCK, values))


@dataclass
class Span:
    """The block of a unit: `rows` rows from r0 and `columns` columns from c0 of one matrix of the batch.

    grid  the number of the block of B that it reads, over all of the batch
    """

    batch: Number
    grid: Number
    r0: Number
    rows: Number
    c0: Number
    columns: Number


def _span(f: Function, g: SimpleNamespace, unit: str) -> Span:
    """Units run down the rows first, so that neighbours share a block of B."""
    grid, down = f.div(unit, g.row_blocks), f.rem(unit, g.row_blocks)
    batch, across = f.div(grid, g.column_blocks), f.rem(grid, g.column_blocks)
    r0, c0 = f.mul(down, g.rows), f.mul(across, g.columns)
    return Span(batch, grid, r0, f.min(g.rows, f.sub(g.M, r0)), c0, f.min(g.columns, f.sub(g.N, c0)))


def _round(f: Function, x: Number, multiple: int) -> Number:
    return f.mul(f.div(f.add(x, multiple - 1), multiple), multiple)


# Products of matrices.

# Tiles of one height: (rows of each, how many, first row, address of A, elements of A from tile to tile).
TileGroup = tuple[Number, Number, Number, str, Number]


def _write_units(module: Module, t: Tiling) -> None:
    """@<name>_units: the blocks first..last of a product with at least two rows and two columns."""
    f = Function(module, f"{t.name}_units", ENTRY[:4], exported=False)
    g = _arguments(f)
    g.has_epilogue = f.compare("ne", g.epilogue, "null", "ptr")
    g.width = g.ld = _round(f, f.min(g.columns, g.N), t.lanes)
    if caches(t.target).skew:
        alike = f.compare("eq", f.rem(g.width, SAME_SETS // t.itemsize), 0)
        g.ld = f.choose(alike, f.add(g.width, t.panel), g.width)
    g.packed = _packs_b(f, t, g)
    g.packs_a = _packs_a(f, t, g)
    g.PA = "%scratch"
    g.PB = f.at(
        "%scratch", f.mul(f.div(f.add(g.rows, t.tall - 1), t.tall), packed_rows(t) * piece(t.target)), t.element
    )
    g.long = f.compare("sgt", g.K, HELD)
    g.tile = f.at(g.PB, f.add(f.mul(g.width, f.choose(g.long, piece(t.target), g.K)), overrun(t)), t.element)
    f.loop("%last", lambda unit, held: [_unit(f, t, g, unit, held)], start="%first", carried=[("i64", "-1")])
    f.finish()


def _packs_b(f: Function, t: Tiling, g: SimpleNamespace) -> str:
    """Whether B is packed: it must be unless its rows are contiguous; it pays if they lie far apart or B is large."""
    limits = caches(t.target)
    spread = f.compare("sgt", f.mul(g.b_row, g.K), limits.b_spread // t.itemsize)
    step = f.compare("sgt", g.b_row, limits.b_step // t.itemsize)
    tall = f.compare("sgt", g.M, 2 * t.tall)
    far = f.binary("or", spread, step, "i1")
    return f.binary("or", f.compare("ne", g.b_col, 1), f.binary("and", far, tall, "i1"), "i1")


def _packs_a(f: Function, t: Tiling, g: SimpleNamespace) -> str:
    """Whether A is packed: it pays for contiguous columns that do not all stay in L1."""
    turned = f.binary("and", f.compare("eq", g.a_row, 1), f.compare("ne", g.a_col, 1), "i1")
    far = f.compare("sgt", f.mul(g.a_col, f.min(g.K, piece(t.target))), caches(t.target).a_spread // t.itemsize)
    wide = f.compare("sgt", g.N, 2 * t.panel)
    return f.binary("and", turned, f.binary("and", far, wide, "i1"), "i1")


def _unit(f: Function, t: Tiling, g: SimpleNamespace, unit: str, held: str) -> str:
    """One block.   held: the block of B that is packed already;  returns the one that now is"""
    b = _span(f, g, unit)
    A = f.at(g.A, f.add(f.mul(b.batch, g.a_batch), f.mul(b.r0, g.a_row)), t.element)
    B = f.at(g.B, f.add(f.mul(b.batch, g.b_batch), f.mul(b.c0, g.b_col)), t.element)
    C = f.at(g.C, f.add(f.mul(b.batch, g.c_batch), f.add(f.mul(b.r0, g.c_row), b.c0)), t.element)
    s = _strips(f, t, g, b, C)
    some = f.max(g.K, 1)

    def summed(k0: str) -> None:
        depth = f.min(f.sub(g.K, k0), piece(t.target))
        Bk = f.at(B, f.mul(k0, g.b_row), t.element)
        stale = f.binary("or", f.compare("ne", held, b.grid), g.long, "i1")
        s.PB = f.at(g.PB, f.choose(g.long, 0, f.mul(g.width, k0)), t.element)
        with f.when(f.binary("and", stale, f.binary("or", g.packed, s.partial, "i1"), "i1")):
            _pack_b(f, t, g, s, Bk, depth, b)
        _tiles(f, t, g, s, b, f.at(A, f.mul(k0, g.a_col), t.element), Bk, k0, depth)

    f.loop(some, summed, step=piece(t.target))
    f.either(g.has_epilogue, lambda: _finish(f, t, g, b, unit), lambda: _copy_rest(f, t, g, s, b, C), [])
    return str(b.grid)


def _strips(f: Function, t: Tiling, g: SimpleNamespace, b: Span, C: str) -> SimpleNamespace:
    """The panels of a block: `whole` ones, then `rest` columns in a last panel of `width`.

    partial  whether the last one is filled up, so that it is made in scratch and then copied
    """
    s = SimpleNamespace(whole=f.div(b.columns, t.panel))
    s.start = f.mul(s.whole, t.panel)
    s.rest = f.sub(b.columns, s.start)
    s.narrow = f.compare("sle", s.rest, t.lanes)
    s.width = f.choose(s.narrow, t.lanes, t.panel)
    s.any = f.compare("sgt", s.rest, 0)
    s.partial = f.binary("and", s.any, f.compare("ne", s.rest, s.width), "i1")
    s.out, s.out_row = f.choose(g.has_epilogue, g.tile, C, "ptr"), f.choose(g.has_epilogue, g.ld, g.c_row)
    aside = f.binary("or", g.has_epilogue, s.partial, "i1")
    s.last = f.at(f.choose(aside, g.tile, C, "ptr"), s.start, t.element)
    s.last_row = f.choose(aside, g.ld, g.c_row)
    return s


def _pack_b(f: Function, t: Tiling, g: SimpleNamespace, s: SimpleNamespace, B: str, depth: Number, b: Span) -> None:
    """All panels of a block of B, or only the last."""
    first = f.choose(g.packed, 0, s.start)
    source = f.at(B, f.mul(first, g.b_col), t.element)
    out = f.at(s.PB, f.mul(first, depth), t.element)
    values = (source, g.b_row, g.b_col, depth, f.sub(b.columns, first), out)
    f.call(f"{t.name}_pack_b", given(PACK_B, values))


def _tiles(
    f: Function, t: Tiling, g: SimpleNamespace, s: SimpleNamespace, b: Span, A: str, B: str, k0: str, depth: Number
) -> None:
    """All tiles of a block for one piece of K."""
    resume = f.compare("sgt", k0, 0)
    B0 = f.choose(g.packed, s.PB, B, "ptr")
    b_row, b_step = f.choose(g.packed, t.panel, g.b_row), f.choose(g.packed, f.mul(depth, t.panel), t.panel)
    aside = f.binary("or", g.packed, s.partial, "i1")
    there = f.at(s.PB, f.mul(s.start, depth), t.element)
    B1 = f.choose(aside, there, f.at(B, s.start, t.element), "ptr")
    last_row = f.choose(aside, s.width, g.b_row)
    a_row, a_col, groups = _tile_groups(f, t, g, b, A, depth)
    steps = [("i64", f.mul(a_row, n)) for n in (4, 8, 12)]

    def panel(narrow: Number, b_at: str, b_row: Number, C: str, c_row: str) -> None:
        for rows, many, r0, a, step in groups:
            with f.when(f.compare("sgt", many, 0)):
                index = f.add(f.sub(rows, 1), f.mul(narrow, t.tall))
                address = f.load("ptr", f.at(f"@{t.name}_tiles", index, "ptr"))
                left = [("ptr", a), ("i64", a_row), ("i64", a_col), *steps, ("i64", step), ("i64", many)]
                right = [("ptr", b_at), ("i64", b_row), ("i64", depth)]
                place = f.at(C, f.mul(r0, c_row), t.element)
                f.call(address, [*left, *right, ("ptr", place), ("i64", c_row), ("i1", resume)])

    def whole(p: str) -> None:
        b_at, C = f.at(B0, f.mul(p, b_step), t.element), f.at(s.out, f.mul(p, t.panel), t.element)
        panel(0, b_at, b_row, C, s.out_row)

    f.loop(s.whole, whole)
    with f.when(s.any):
        panel(f.value(f"zext i1 {s.narrow} to i64"), B1, last_row, s.last, s.last_row)


def _tile_groups(
    f: Function, t: Tiling, g: SimpleNamespace, b: Span, A: str, depth: Number
) -> tuple[str, str, list[TileGroup]]:
    """(a_row, a_col, groups): the rows of a block as tall tiles, then tiles that are a row lower."""
    count = f.div(f.add(b.rows, t.tall - 1), t.tall)
    height, more = f.div(b.rows, count), f.rem(b.rows, count)
    with f.when(g.packs_a):
        values = (A, g.a_col, depth, count, height, more, g.PA)
        f.call(f"{t.name}_pack_a", given(PACK_A, values))
    size, pitch = f.add(height, 1), f.mul(depth, packed_rows(t))
    groups: list[TileGroup] = []
    for rows, many, before in ((size, more, 0), (height, f.sub(count, more), more)):
        r0 = f.mul(before, size)
        there, here = f.at(g.PA, f.mul(before, pitch), t.element), f.at(A, f.mul(r0, g.a_row), t.element)
        step = f.choose(g.packs_a, pitch, f.mul(rows, g.a_row))
        groups.append((rows, many, r0, f.choose(g.packs_a, there, here, "ptr"), step))
    return f.choose(g.packs_a, 1, g.a_row), f.choose(g.packs_a, packed_rows(t), g.a_col), groups


def _finish(f: Function, t: Tiling, g: SimpleNamespace, b: Span, unit: str) -> list[str]:
    _finish_block(f, t, g, b, g.tile, g.ld, unit)
    return []


def _copy_rest(f: Function, t: Tiling, g: SimpleNamespace, s: SimpleNamespace, b: Span, C: str) -> list[str]:
    """The columns of a last panel that was filled up, from scratch to C."""

    def row(r: str, low: str | None, high: str | None) -> None:
        source, target = (
            f.at(s.last, f.mul(r, g.ld), t.element),
            f.at(f.at(C, s.start, t.element), f.mul(r, g.c_row), t.element),
        )
        if low is None or high is None:
            f.loop(s.rest, lambda j: f.store(t.element, f.load(t.element, source, j), target, j))
            return
        f.store_masked(t.kind, f.load(t.kind, source), target, low)
        with f.when(f.compare("sgt", s.rest, t.lanes)):
            x = f.load(t.kind, source, t.lanes)
            f.store_masked(t.kind, x, f.at(target, t.lanes, t.element), high)

    with f.when(s.partial):
        low = high = None
        if t.target.masks:
            low, high = f.mask_below(s.rest, t.lanes), f.mask_below(f.max(f.sub(s.rest, t.lanes), 0), t.lanes)
        f.loop(b.rows, lambda r: row(r, low, high))
    return []


# Products with one row or one column.


def _write_lines(module: Module, t: Tiling) -> None:
    """@<name>_lines: blocks first..last of a product with one row or column: y = W x, W being A or B transposed."""
    f = Function(module, f"{t.name}_lines", ENTRY[:4], exported=False)
    g = _arguments(f)
    column = f.compare("sle", g.N, 1)

    def pick(a: Number, b: Number, kind: str = "i64") -> str:
        return f.choose(column, a, b, kind)

    w_row, w_col, x_step = pick(g.a_row, g.b_col), pick(g.a_col, g.b_row), pick(g.b_row, g.a_col)
    y_step = pick(g.c_row, 1)
    has_epilogue = f.compare("ne", g.epilogue, "null", "ptr")
    aside = f.binary("or", has_epilogue, f.compare("ne", y_step, 1), "i1")
    tile = f.at("%scratch", f.add(g.K, t.panel), t.element)

    def unit(u: str) -> None:
        b = _span(f, g, u)
        A, B = f.at(g.A, f.mul(b.batch, g.a_batch), t.element), f.at(g.B, f.mul(b.batch, g.b_batch), t.element)
        i0, n = pick(b.r0, b.c0), f.mul(b.rows, b.columns)
        C = f.at(g.C, f.add(f.mul(b.batch, g.c_batch), f.mul(i0, y_step)), t.element)
        W, y = f.at(pick(A, B, "ptr"), f.mul(i0, w_row), t.element), f.choose(aside, tile, C, "ptr")
        values = (W, w_row, w_col, pick(B, A, "ptr"), x_step, g.K, n, y, "%scratch")
        f.call(f"{t.name}_product", given(PRODUCT, values))

        def done() -> list[str]:
            _finish_block(f, t, g, b, tile, pick(1, n), u)
            return []

        def scattered() -> list[str]:
            with f.when(aside):
                f.loop(n, lambda i: f.store(t.element, f.load(t.element, tile, i), C, f.mul(i, y_step)))
            return []

        f.either(has_epilogue, done, scattered, [])

    f.loop("%last", unit, start="%first")
    f.finish()
