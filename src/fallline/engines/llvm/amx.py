"""Matrix products of float32 arrays in bf16 by the matrix tiles of AMX: C[i] = A[i] @ B[i] summed in float32.

bf16    each factor rounded to bf16: C = Aₕ Bₕ
bf16x3  each factor parted, A ≈ Aₕ + Aₗ with both parts bf16: C = Aₕ Bₗ + Aₕ Bₕ + Aₗ Bₕ

A range of units keeps the packed blocks of both factors in its scratch and packs what is missing. An entry of C is the
sum of its tiles in the order of the depth, whatever the blocks, so ranges and blocks do not change a bit of it.
Where a factor is not finite, or rounds to infinity in bf16, an entry may be NaN that is infinite or finite in float32.
"""

from __future__ import annotations

from typing import NamedTuple

from fallline.engines.llvm.amx_packing import DEPTH, PACK, packer
from fallline.engines.llvm.amx_tiles import BLOCK_SUMS, configure, release, write_block
from fallline.engines.llvm.emitter import Module, Number, given
from fallline.engines.llvm.gemm import ARGUMENTS, POINTERS, Blocks
from fallline.engines.llvm.kernel import BLOCK, Kernel, entry
from fallline.engines.llvm.target import Target, amx_allowed, host_target

PARTS = {"bf16": 1, "bf16x3": 2}
NEEDS = ("amx-bf16", "amx-tile", "avx512bf16", "avx512bw")

SIDE = 256  # most rows and columns of a block: its sums, 256 KB, and its packed factors then fit into the second cache
WORK = 1 << 22  # multiplications of a unit: blocks of fewer are not made for the sake of threads
UNITS = 8  # as many as a few threads can share evenly
PACKED = 1 << 20  # bytes of one packed block at most; deeper products go piece by piece
KEPT = 1 << 23  # bytes of packed blocks kept of each factor; half of it makes 2048³ a quarter slower
SLOTS = 64  # most packed blocks kept of each factor
_HEADER = 2 * SLOTS * 8  # bytes in scratch: which block lies in each slot of the left and of the right factor


class Factor(NamedTuple):
    """The names of a factor's arguments; its lines are rows of the left one, columns of the right one.

    matrix                   address
    line, deep, batch        strides from line to line, along the depth, and from matrix to matrix
    lines, blocks            lines of a block, and blocks
    """

    matrix: str
    line: str
    deep: str
    batch: str
    lines: str
    blocks: str


FACTORS = {
    "left": Factor("A", "a_row", "a_col", "a_batch", "rows", "row_blocks"),
    "right": Factor("B", "b_col", "b_row", "b_batch", "columns", "column_blocks"),
}


def reason_not(target: Target) -> str:
    """Why products cannot use AMX on this target; "" where they can."""
    lacking = [feature for feature in NEEDS if f"+{feature}" not in target.features.split(",")]
    if not target.amx or lacking:
        return f"code for {target.name} has no bf16 matrix tiles" + (
            f": it lacks {', '.join(lacking)}" if lacking else ""
        )
    return "" if target != host_target() else amx_allowed().reason


def _piece(lines: int, depth: int, parts: int) -> int:
    """Depth of a packed block: all of it if that fits into PACKED bytes."""
    fits = max(1, PACKED // (2 * parts * DEPTH * lines)) * DEPTH
    return min(fits, max(1, -(-depth // DEPTH)) * DEPTH)


def _block(extent: int, limit: int) -> int:
    """Lines of the fewest even blocks of at most `limit` lines, a multiple of 32."""
    blocks = max(1, -(-extent // limit))
    return max(32, -(-extent // blocks // 32) * 32)


def plan(M: int, N: int, K: int, batches: int, parts: int) -> Blocks:
    """The blocks of M × N of a product of depth K.   parts: PARTS[precision]"""
    row_limit = column_limit = SIDE
    while True:
        rows, columns = _block(M, row_limit), _block(N, column_limit)
        row_blocks, column_blocks = max(1, -(-M // rows)), max(1, -(-N // columns))
        units = batches * row_blocks * column_blocks
        if units >= UNITS or max(rows, columns) <= 32 or rows * columns * K < 2 * WORK:
            break
        if rows >= columns:
            row_limit = max(32, rows // 2)
        else:
            column_limit = max(32, columns // 2)
    piece = _piece(max(rows, columns), K, parts)
    pieces = max(1, -(-K // piece))
    packed = sum(
        _slots(blocks * pieces, lines * piece * 2 * parts) * lines * piece * 2 * parts
        for blocks, lines in ((row_blocks, rows), (column_blocks, columns))
    )
    return Blocks(rows, columns, row_blocks, column_blocks, units, _HEADER + packed + rows * columns * 4)


def _slots(blocks: int, size: int) -> int:
    """How many packed blocks of `size` bytes are kept of a factor that has so many."""
    return max(1, min(blocks, KEPT // size, SLOTS))


def gemm(precision: str) -> Kernel:
    """The kernel of a precision, "bf16" or "bf16x3"."""
    name = f"gemm_{precision}"
    return Kernel(name, lambda module: _Product(module, name, PARTS[precision]).write(), shared=True)


class _Place(NamedTuple):
    """The block of a unit, and where it begins and how far it goes."""

    batch: Number
    row: Number
    column: Number
    r0: Number
    c0: Number
    rows: Number
    columns: Number

    def side(self, side: str) -> tuple[Number, Number, Number]:
        """(block, first line, lines) of a factor."""
        return (self.row, self.r0, self.rows) if side == "left" else (self.column, self.c0, self.columns)


class _Product:
    """The kernel while it is written."""

    def __init__(self, module: Module, name: str, parts: int):
        self.parts = parts
        self.packers = {side: packer(module, side, parts) for side in FACTORS}
        self.block = write_block(module, parts)
        self.f = f = entry(module, name)
        self.v = {name: f.load("i64", "%args", i) for i, name in enumerate(ARGUMENTS)}
        self.v |= {name: f.value(f"inttoptr i64 {self.v[name]} to ptr") for name in POINTERS}

    def write(self) -> None:
        f = self.f
        self._layout()
        configure(f)
        f.loop("%last", self._unit, start="%first")
        release(f)
        f.finish()

    def _layout(self) -> None:
        """Where scratch holds the packed blocks and the sums, as `plan` has counted; no slot is filled yet."""
        f, v = self.f, self.v
        fits = f.mul(f.max(f.div(PACKED // (2 * self.parts * DEPTH), f.max(v["rows"], v["columns"])), 1), DEPTH)
        padded = f.mul(f.max(f.div(f.add(v["K"], DEPTH - 1), DEPTH), 1), DEPTH)
        self.piece = f.min(fits, padded)
        self.pieces = f.max(f.div(f.add(v["K"], f.sub(self.piece, 1)), self.piece), 1)
        self.tags, self.slots, self.sizes, self.places = {}, {}, {}, {}
        place = f.at("%scratch", _HEADER, "i8")
        for number, (side, factor) in enumerate(FACTORS.items()):
            size = f.mul(f.mul(v[factor.lines], self.piece), 2 * self.parts)
            most = f.min(f.mul(v[factor.blocks], self.pieces), f.div(KEPT, size))
            self.tags[side], self.places[side], self.sizes[side] = f.at("%scratch", number * SLOTS, "i64"), place, size
            self.slots[side] = slots = f.max(f.min(most, SLOTS), 1)
            place = f.at(place, f.mul(slots, size), "i8")
        self.sums = place
        f.loop(2 * SLOTS, lambda i: f.store("i64", -1, "%scratch", i))

    def _place(self, unit: Number) -> _Place:
        f, v = self.f, self.v
        blocks = f.mul(v["row_blocks"], v["column_blocks"])
        batch, u = f.div(unit, blocks), f.rem(unit, blocks)
        # The blocks of the longer factor change last, so that threads share it and pack only the shorter one all.
        by_rows = f.compare("sge", v["M"], v["N"])
        inner = f.choose(by_rows, v["column_blocks"], v["row_blocks"])
        slow, fast = f.div(u, inner), f.rem(u, inner)
        row, column = f.choose(by_rows, slow, fast), f.choose(by_rows, fast, slow)
        r0, c0 = f.mul(row, v["rows"]), f.mul(column, v["columns"])
        rows, columns = f.min(v["rows"], f.sub(v["M"], r0)), f.min(v["columns"], f.sub(v["N"], c0))
        return _Place(batch, row, column, r0, c0, rows, columns)

    def _unit(self, unit: str) -> None:
        f, v = self.f, self.v
        place = self._place(unit)
        stays = f.compare("ne", v["epilogue"], "null", "ptr")
        at = f.add(f.mul(place.batch, v["c_batch"]), f.add(f.mul(place.r0, v["c_row"]), place.c0))
        c = f.choose(stays, "null", f.at(v["C"], at, "float"), "ptr")

        def piece(i: Number) -> None:
            depth = f.min(f.sub(v["K"], f.mul(i, self.piece)), self.piece)
            left, right = (self._packed(side, place, i, depth) for side in FACTORS)
            begins, ends = f.compare("eq", i, 0), f.compare("eq", f.add(i, 1), self.pieces)
            extents = (place.rows, place.columns, depth)
            values = (left, right, *extents, self.sums, v["columns"], begins, ends, c, v["c_row"])
            f.call(self.block, given(BLOCK_SUMS, values))

        f.loop(self.pieces, piece)
        with f.when(stays):
            r0, c0, ld = place.r0, place.c0, v["columns"]
            origin = f.at(self.sums, f.sub(0, f.add(f.mul(r0, ld), c0)), "float")
            handed = (v["epilogue_args"], r0, f.add(r0, place.rows), c0, f.add(c0, place.columns), origin, ld, unit)
            f.call(v["epilogue"], given(BLOCK, handed))

    def _slot(self, side: str, place: _Place, piece: Number) -> tuple[str, str, str]:
        """(address of the tag, the tag that is wanted, address of the packed block) of a piece of a block."""
        f, v, factor = self.f, self.v, FACTORS[side]
        number = f.add(f.mul(place.side(side)[0], self.pieces), piece)
        slot = f.rem(number, self.slots[side])
        batch = f.choose(f.compare("eq", v[factor.batch], 0), 0, place.batch)
        tag = f.add(f.mul(batch, f.mul(v[factor.blocks], self.pieces)), number)
        return (
            f.at(self.tags[side], slot, "i64"),
            str(tag),
            f.at(self.places[side], f.mul(slot, self.sizes[side]), "i8"),
        )

    def _start(self, side: str, place: _Place, deep: Number) -> str:
        """Where a block lies in a factor, from some depth on."""
        f, v, factor = self.f, self.v, FACTORS[side]
        at = f.add(f.mul(place.side(side)[1], v[factor.line]), f.mul(deep, v[factor.deep]))
        return f.at(v[factor.matrix], f.add(f.mul(place.batch, v[factor.batch]), at), "float")

    def _packed(self, side: str, place: _Place, piece: Number, depth: Number) -> str:
        """The address of a packed block, packed now unless its slot still holds it."""
        f, v, factor = self.f, self.v, FACTORS[side]
        address, tag, to = self._slot(side, place, piece)
        with f.when(f.compare("ne", f.load("i64", address), tag)):
            f.store("i64", tag, address)
            x = self._start(side, place, f.mul(piece, self.piece))
            values = (x, v[factor.line], v[factor.deep], place.side(side)[2], depth, to)
            f.call(self.packers[side], given(PACK, values))
        return to
