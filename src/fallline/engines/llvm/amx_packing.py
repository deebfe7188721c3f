"""Packing of a float32 matrix of any strides into bf16 tiles, as the AMX dot product reads them.

A strip holds 16 rows of the left factor (or 16 columns of the right one: both are called lines here) over the whole
depth, zero-padded to tiles of 16 lines × 32 along the depth, the tiles of a strip one after another. A tile is 16
cache lines of 16 pairs (bf16 of depth 2p and 2p + 1 side by side):

    left   entry [line, pair]        right   entry [pair, line]

With two parts the tile of the high parts is followed by that of the low parts: x = high + low + O(2⁻¹⁷ x).
"""

from __future__ import annotations

from collections.abc import Callable

from fallline.engines.llvm.emitter import Function, Module, Number

LINES, DEPTH = 16, 32  # of one tile
TILE = LINES * DEPTH  # entries

F, W, H = "<16 x float>", "<32 x bfloat>", "<16 x i32>"
# x: its first entry, the strides of lines and along the depth, both extents; to: where the strips go.
PACK = (("ptr", "%x"), ("i64", "%line"), ("i64", "%deep"), ("i64", "%lines"), ("i64", "%depth"), ("ptr", "%to"))
_MIX = ", ".join(f"i32 {i}, i32 {i + 16}" for i in range(16))


def packer(module: Module, side: str, parts: int) -> str:
    """The name of the function PACK that packs a factor, written once.   side "left" or "right"; parts 1 or 2"""
    name = f"amx_pack_{side}_{parts}"
    if name not in module.functions:
        flat, steep, any_ = f"{name}_deep", f"{name}_line", f"{name}_any"
        _strips(module, flat, along_depth=True, contiguous=True, side=side, parts=parts)
        _strips(module, steep, along_depth=False, contiguous=True, side=side, parts=parts)
        _strips(module, any_, along_depth=True, contiguous=False, side=side, parts=parts)
        f = Function(module, name, PACK, exported=False)
        by_depth, by_line = f.compare("eq", "%deep", 1), f.compare("eq", "%line", 1)
        other = f.choose(by_line, f"@{steep}", f"@{any_}", "ptr")
        f.call(f.choose(by_depth, f"@{flat}", other, "ptr"), PACK)
        f.finish()
    return name


def _strips(module: Module, name: str, *, along_depth: bool, contiguous: bool, side: str, parts: int) -> None:
    """One case of strides.

    along_depth  whether a vector is loaded along the depth or across the lines
    contiguous   whether entries along a vector lie side by side; where not, every tile is gathered first
    """
    f = Function(module, name, PACK, exported=False)
    gathered = f.value(f"alloca [{TILE} x float], align 64")
    ahead, width, height = ("%line", DEPTH, LINES) if along_depth else ("%deep", LINES, DEPTH)
    tiles = f.div(f.add("%depth", DEPTH - 1), DEPTH)

    def tile(line: Number, deep: Number) -> None:
        rest, below = f.sub("%lines", line), f.sub("%depth", deep)
        x = f.at("%x", f.add(f.mul(line, "%line"), f.mul(deep, "%deep")), "float")
        t = f.add(f.mul(f.div(line, LINES), tiles), f.div(deep, DEPTH))
        to = f.at("%to", f.mul(t, TILE * parts), "bfloat")
        columns, rows = (below, rest) if along_depth else (rest, below)

        def gather() -> list[str]:
            _gather(f, x, ahead, "1" if contiguous else "%deep", f.min(rows, height), columns, width, gathered)
            return [gathered, str(width)]

        if contiguous:
            full = f.binary("and", f.compare("sge", rest, LINES), f.compare("sge", below, DEPTH), "i1")
            source, stride = f.either(full, lambda: [x, ahead], gather, ["ptr", "i64"])
        else:
            source, stride = gather()
        _tile(f, source, stride, to, along_depth, side, parts)

    # The contiguous direction runs inside, so that the hardware sees streams.
    if along_depth:
        f.loop("%lines", lambda i: f.loop("%depth", lambda k: tile(i, k), step=DEPTH), step=LINES)
    else:
        f.loop("%depth", lambda k: f.loop("%lines", lambda i: tile(i, k), step=LINES), step=DEPTH)
    f.finish()


def _gather(f: Function, x: str, ahead: str, across: str, rows: Number, columns: Number, width: int, to: str) -> None:
    """A part of a tile into to[rows, width], zeros around it.   ahead, across: strides of x"""
    for i in range(0, TILE, 16):
        f.store(F, "zeroinitializer", to, i, align=64)

    def row(r: Number) -> None:
        start, place = f.at(x, f.mul(r, ahead), "float"), f.at(to, f.mul(r, width), "float")
        if across == "1":
            for c in range(0, width, 16):
                mask = f.mask_below(f.max(f.sub(columns, c), 0), 16)
                f.store(F, f.load_masked(F, f.at(start, c, "float"), mask), place, c, align=64)
        else:
            f.loop(
                f.min(columns, width), lambda c: f.store("float", f.load("float", start, f.mul(c, across)), place, c)
            )

    f.loop(rows, row)


def _tile(f: Function, x: str, stride: str, to: str, along_depth: bool, side: str, parts: int) -> None:
    """One full tile: 16 vectors of pairs, transposed if they were loaded the other way."""
    vectors: list[list[str]] = [[] for _ in range(parts)]
    for i in range(16):
        if along_depth:
            row = f.at(x, f.mul(stride, i), "float")
            first, second = f.load(F, row), f.load(F, row, 16)
        else:
            row = f.at(x, f.mul(stride, 2 * i), "float")
            first, second = f.load(F, row), f.load(F, row, stride)
        for part, vector in enumerate(_pairs(f, first, second, mixed=not along_depth, parts=parts)):
            vectors[part].append(vector)
    for part, rows in enumerate(vectors):
        if along_depth != (side == "left"):
            rows = _transposed(f, rows)
        for i, row in enumerate(rows):
            f.store(H, row, to, part * (TILE // 2) + i * 16, align=64)


def _pairs(f: Function, first: str, second: str, mixed: bool, parts: int) -> list[str]:
    """The parts of two vectors of floats as <16 x i32> of pairs: side by side, or one entry of each (mixed)."""
    high = _rounded(f, first, second, mixed)
    if parts == 1:
        return [high]
    lows = [f.binary("fsub", x, h, F) for x, h in zip((first, second), _widened(f, high, mixed), strict=True)]
    return [high, _rounded(f, lows[0], lows[1], mixed)]


def _rounded(f: Function, first: str, second: str, mixed: bool) -> str:
    """Both vectors rounded to the nearest even bf16."""
    both = f.intrinsic("x86.avx512bf16.cvtne2ps2bf16.512", W, [(F, second), (F, first)], overload="")
    if mixed:
        both = f.value(f"shufflevector {W} {both}, {W} poison, <32 x i32> <{_MIX}>")
    return f.value(f"bitcast {W} {both} to {H}")


def _widened(f: Function, pairs: str, mixed: bool) -> tuple[str, str]:
    """The two vectors of floats that the pairs were rounded to."""
    sixteen = f.constant(16, H)
    if mixed:
        low, high = f.binary("shl", pairs, sixteen, H), f.binary("and", pairs, f.constant(-65536, H), H)
        return f.value(f"bitcast {H} {low} to {F}"), f.value(f"bitcast {H} {high} to {F}")
    words = f.value(f"bitcast {H} {pairs} to <32 x i16>")
    halves = []
    for start in (0, 16):
        lanes = ", ".join(f"i32 {start + i}" for i in range(16))
        half = f.value(f"shufflevector <32 x i16> {words}, <32 x i16> poison, <16 x i32> <{lanes}>")
        wide = f.binary("shl", f.value(f"zext <16 x i16> {half} to {H}"), sixteen, H)
        halves.append(f.value(f"bitcast {H} {wide} to {F}"))
    return halves[0], halves[1]


def _transposed(f: Function, rows: list[str]) -> list[str]:
    """16 × 16 numbers of 32 bits in four stages of 16 shuffles."""

    def shuffle(a: str, b: str, lanes: Callable[[int], list[int]]) -> str:
        order = ", ".join(f"i32 {i}" for quarter in range(4) for i in lanes(quarter))
        return f.value(f"shufflevector {H} {a}, {H} {b}, {H} <{order}>")

    def singles(a: str, b: str, k: int) -> str:
        return shuffle(a, b, lambda q: [4 * q + k, 4 * q + k + 16, 4 * q + k + 1, 4 * q + k + 17])

    def doubles(a: str, b: str, k: int) -> str:
        return shuffle(a, b, lambda q: [4 * q + k, 4 * q + k + 1, 4 * q + k + 16, 4 * q + k + 17])

    def quarters(a: str, b: str, k: int) -> str:
        return shuffle(a, b, lambda q: [16 * (q // 2) + 8 * (q % 2) + 4 * k + i for i in range(4)])

    two = [singles(rows[i], rows[i + 1], k) for i in range(0, 16, 2) for k in (0, 2)]
    # four[4 g + c]: in quarter q, rows 4g .. 4g + 3 of column 4q + c
    four = [doubles(two[i + j], two[i + j + 2], k) for i in range(0, 16, 4) for j in (0, 1) for k in (0, 2)]
    columns = [""] * 16
    for c in range(4):
        for odd in (0, 1):
            a, b = quarters(four[c], four[4 + c], odd), quarters(four[8 + c], four[12 + c], odd)
            for k in (0, 1):
                columns[8 * k + 4 * odd + c] = quarters(a, b, k)
    return columns
