"""Packing: the operands of a matrix product, copied to where register tiles read them fast.

B becomes panels of 2·lanes columns, each stored row after row (K × 2·lanes). The columns that are left become a last
panel of lanes or 2·lanes, filled up so that tiles need no masks. A with contiguous columns becomes strips, one a tile.

Measured (512 rows × 256 columns of f32, AVX-512, in L2): 1.5 ns for each 64 bytes, 1.8 through a transpose.
"""

from __future__ import annotations

from fallline.engines.llvm.emitter import Function, Module, Number, vector
from fallline.engines.llvm.tiles import Tiling

PACK_B = (
    ("ptr", "%B"), ("i64", "%b_row"), ("i64", "%b_col"), ("i64", "%K"), ("i64", "%n"), ("ptr", "%P"),
)  # fmt: skip
PACK_A = (
    ("ptr", "%A"), ("i64", "%a_col"), ("i64", "%K"), ("i64", "%count"), ("i64", "%height"), ("i64", "%more"),
    ("ptr", "%P"),
)  # fmt: skip


def overrun(t: Tiling) -> int:
    """Elements that packing may write behind the last panel."""
    return t.lanes * t.panel


def write_packing(module: Module, t: Tiling) -> None:
    """@<name>_pack_b: n columns of B from the first of a panel on; @<name>_pack_a: some rows of A."""
    _write_pack_rows(module, t)
    _write_pack_columns(module, t)
    _write_pack_any(module, t)
    f = Function(module, f"{t.name}_pack_b", PACK_B, exported=False)
    by_row, by_column = f.compare("eq", "%b_col", 1), f.compare("eq", "%b_row", 1)

    def call(which: str) -> list[str]:
        f.call(f"{t.name}_pack_{which}", PACK_B)
        return []

    f.either(
        by_row, lambda: call("rows"), lambda: f.either(by_column, lambda: call("columns"), lambda: call("any"), []), []
    )
    f.finish()
    _write_pack_a(module, t)


def _last_width(f: Function, t: Tiling, rest: Number) -> Number:
    """Columns that the last panel is filled up to."""
    return f.choose(f.compare("sle", rest, t.lanes), str(t.lanes), str(t.panel))


def _write_pack_rows(module: Module, t: Tiling) -> None:
    """Panels of a B whose rows are contiguous."""
    f = Function(module, f"{t.name}_pack_rows", PACK_B, exported=False)
    whole = f.div("%n", t.panel)
    rest = f.sub("%n", f.mul(whole, t.panel))

    def panel(p: str) -> None:
        def row(k: str, b: str, out: str) -> list[str]:
            for v in range(2):
                f.store(t.kind, f.load(t.kind, b, v * t.lanes), out, v * t.lanes)
            return [f.at(b, "%b_row", t.element), f.at(out, t.panel, t.element)]

        start = f.at("%P", f.mul(f.mul(p, "%K"), t.panel), t.element)
        f.loop("%K", row, carried=[("ptr", f.at("%B", f.mul(p, t.panel), t.element)), ("ptr", start)])

    f.loop(whole, panel)
    with f.when(f.compare("sgt", rest, 0)):
        b = f.at("%B", f.mul(whole, t.panel), t.element)
        out = f.at("%P", f.mul(f.mul(whole, "%K"), t.panel), t.element)
        _pack_rest(f, t, b, out, rest)
    f.finish()


def _pack_rest(f: Function, t: Tiling, B: str, out: str, rest: Number) -> None:
    """The columns behind the last whole panel, filled up with zeros."""
    width = _last_width(f, t, rest)
    wide = f.compare("sgt", rest, t.lanes)
    low, high = f.mask_below(rest, t.lanes), f.mask_below(f.max(f.sub(rest, t.lanes), 0), t.lanes)

    def row(k: str, b: str, p: str) -> list[str]:
        if t.target.masks:
            f.store(t.kind, f.load_masked(t.kind, b, low), p)
            with f.when(wide):
                f.store(t.kind, f.load_masked(t.kind, f.at(b, t.lanes, t.element), high), p, t.lanes)
        else:
            f.loop(width, lambda j: f.store(t.kind, "zeroinitializer", p, j), step=t.lanes)
            f.loop(rest, lambda j: f.store(t.element, f.load(t.element, b, j), p, j))
        return [f.at(b, "%b_row", t.element), f.at(p, width, t.element)]

    f.loop("%K", row, carried=[("ptr", B), ("ptr", out)])


def _write_pack_any(module: Module, t: Tiling) -> None:
    """Panels of a B of any strides, element by element."""
    f = Function(module, f"{t.name}_pack_any", PACK_B, exported=False)

    def panel(c0: str) -> None:
        columns = f.min(f.sub("%n", c0), t.panel)
        width = _last_width(f, t, columns)
        out = f.at("%P", f.mul(c0, "%K"), t.element)

        def row(k: str) -> None:
            b = f.at("%B", f.add(f.mul(k, "%b_row"), f.mul(c0, "%b_col")), t.element)
            p = f.at(out, f.mul(k, width), t.element)
            f.loop(width, lambda j: f.store(t.kind, "zeroinitializer", p, j), step=t.lanes)
            f.loop(columns, lambda j: f.store(t.element, f.load(t.element, b, f.mul(j, "%b_col")), p, j))

        f.loop("%K", row)

    f.loop("%n", panel, step=t.panel)
    f.finish()


def _write_pack_columns(module: Module, t: Tiling) -> None:
    """Panels of a B whose columns are contiguous (a transposed matrix): squares of lanes × lanes turned in registers.

    Columns behind the last repeat it. Where K is no multiple of lanes and masks are cheap, up to lanes - 1 rows too
    many are written behind a panel, where the next one will lie: panels are written in ascending order.
    """
    f = Function(module, f"{t.name}_pack_columns", PACK_B, exported=False)
    last = f.sub("%n", 1)

    def strip(c0: str) -> None:
        p0 = f.mul(f.div(c0, t.panel), t.panel)
        width = _last_width(f, t, f.sub("%n", p0))
        out = f.at("%P", f.add(f.mul(p0, "%K"), f.sub(c0, p0)), t.element)
        sources = [f.at("%B", f.mul(f.min(f.add(c0, j), last), "%b_col"), t.element) for j in range(t.lanes)]

        def square(k: Number, mask: str | None) -> None:
            places = [f.at(source, k, t.element) for source in sources]
            lines = [f.load_masked(t.kind, x, mask) if mask else f.load(t.kind, x) for x in places]
            start = f.at(out, f.mul(k, width), t.element)
            for j, line in enumerate(transposed(f, t, lines)):
                f.store(t.kind, line, start, f.mul(j, width))

        def single(k: str) -> None:
            start = f.at(out, f.mul(k, width), t.element)
            for j, source in enumerate(sources):
                f.store(t.element, f.load(t.element, source, k), start, j)

        whole = f.mul(f.div("%K", t.lanes), t.lanes)
        f.loop(whole, lambda k: square(k, None), step=t.lanes)
        if t.target.masks:
            rest = f.sub("%K", whole)
            with f.when(f.compare("sgt", rest, 0)):
                square(whole, f.mask_below(rest, t.lanes))
        else:
            f.loop("%K", single, start=whole)

    f.loop("%n", strip, step=t.lanes)
    f.finish()


def transposed(f: Function, t: Tiling, lines: list[str]) -> list[str]:
    """The columns of a square of registers: first within each 16 bytes, then those as wholes."""
    part = 16 // t.itemsize
    parts = t.lanes // part
    groups = [_turn_parts(f, t, lines[g * part : (g + 1) * part]) for g in range(parts)]
    result = [""] * t.lanes
    for c in range(part):
        for q, line in enumerate(_turn_wholes(f, t, [group[c] for group in groups])):
            result[q * part + c] = line
    return result


def _shuffle(f: Function, t: Tiling, a: str, b: str, order: list[int]) -> str:
    picks = ", ".join(f"i32 {i}" for i in order)
    return f.value(f"shufflevector {t.kind} {a}, {t.kind} {b}, {vector('i32', t.lanes)} <{picks}>")


def _turn_parts(f: Function, t: Tiling, group: list[str]) -> list[str]:
    """As many registers as 16 bytes have elements: within each 16 bytes, their transpose."""
    part = 16 // t.itemsize

    def woven(a: str, b: str, size: int, high: int) -> str:
        """Runs of `size` elements of a and b in turn, from the low or high half of each 16 bytes."""
        half, order = part // 2, []
        for p in range(t.lanes // part):
            for run in range(0, half, size):
                first = p * part + high * half + run
                order += [*range(first, first + size), *range(t.lanes + first, t.lanes + first + size)]
        return _shuffle(f, t, a, b, order)

    if part == 2:
        return [woven(group[0], group[1], 1, high) for high in (0, 1)]
    pairs = [woven(group[i], group[i + 1], 1, high) for i in (0, 2) for high in (0, 1)]
    return [woven(pairs[h], pairs[2 + h], 2, high) for h in (0, 1) for high in (0, 1)]


def _turn_wholes(f: Function, t: Tiling, column: list[str]) -> list[str]:
    """Registers whose 16 bytes number q are number q' of register q: the transpose of a square of such parts."""
    part = 16 // t.itemsize
    parts = t.lanes // part

    def every_other(a: str, b: str, odd: int) -> str:
        order = [p * part + i for p in range(odd, 2 * parts, 2) for i in range(part)]
        return _shuffle(f, t, a, b, order)

    def half(lines: list[str]) -> list[str]:
        return lines if len(lines) == 1 else [every_other(lines[0], lines[1], odd) for odd in (0, 1)]

    if len(column) == 1:
        return column
    even, odd = ([every_other(column[i], column[i + 1], h) for i in range(0, len(column), 2)] for h in (0, 1))
    return _interleave(half(even), half(odd))


def _interleave(a: list[str], b: list[str]) -> list[str]:
    return [x for pair in zip(a, b, strict=True) for x in pair]


def _write_pack_a(module: Module, t: Tiling) -> None:
    """Rows of A for each tile, of a block whose columns are contiguous: row r of a tile at k lies at P[k · width + r].

    The first `more` of the `count` tiles have height + 1 rows, the others height; tiles are width · K elements apart.
    """
    f = Function(module, f"{t.name}_pack_a", PACK_A, exported=False)
    width = packed_rows(t)
    pitch = f.mul("%K", width)
    first, size = f.mul("%more", f.add("%height", 1)), f.add("%height", 1)

    starts = range(0, width, t.lanes)

    def masks(rows: Number) -> list[str]:
        """Worked out before the loops: within them they would be worked out anew each time."""
        return [f.mask_below(f.max(f.sub(rows, v), 0), t.lanes) for v in starts] if t.target.masks else []

    def tiles(rows: Number, under: list[str], many: Number, source: str, out: str) -> None:
        def tile(i: str, here: str, there: str) -> list[str]:
            for v, mask in zip(starts, under, strict=False):
                f.store(t.kind, f.load_masked(t.kind, f.at(here, v, t.element), mask), there, v)
            if not under:
                f.loop(rows, lambda r: f.store(t.element, f.load(t.element, here, r), there, r))
            return [f.at(here, rows, t.element), f.at(there, pitch, t.element)]

        f.loop(many, tile, carried=[("ptr", source), ("ptr", out)])

    tall, low = masks(size), masks("%height")
    rest = f.sub("%count", "%more")

    def column(k: str, source: str, out: str) -> list[str]:
        tiles(size, tall, "%more", source, out)
        tiles("%height", low, rest, f.at(source, first, t.element), f.at(out, f.mul("%more", pitch), t.element))
        return [f.at(source, "%a_col", t.element), f.at(out, width, t.element)]

    f.loop("%K", column, carried=[("ptr", "%A"), ("ptr", "%P")])
    f.finish()


def packed_rows(t: Tiling) -> int:
    """Elements between two k's of a packed tile of A."""
    return -(-t.tall // t.lanes) * t.lanes
