"""Kernels of argmax and cumsum: one pass along the lines of an axis.

args  0 output, 1 input, 2 lines, 3 n, 4 inner, 5 lines of a unit
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fallline.core.spec import DTYPES
from fallline.engines.llvm.dtypes import memory_type
from fallline.engines.llvm.emitter import SIZES, Function, Module, Number, vector
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.lines import argument, segments, span, strips

ROWS = 4  # running sums of that many rows at once: each waits for its own last addition only
MANY = 4  # maxima of that many vectors at once: each waits for its own last comparison only


def argmax(dtype: np.dtype, rows: bool) -> Kernel:
    """The place of the first maximum, or of the first NaN, of each line.   rows: inner is 1"""
    name = f"argmax_{DTYPES[dtype]}_{'rows' if rows else 'columns'}"
    return Kernel(name, lambda module: (_argmax_rows if rows else _argmax_columns)(module, name, _Race(dtype)))


class _Race:
    """The entry that leads so far in each lane of a vector, and its place."""

    def __init__(self, dtype: np.dtype):
        self.element = memory_type(dtype)
        self.floating = dtype.kind == "f"
        self.relation = "sgt" if dtype.kind == "i" else "ugt"
        self.place = "i64" if dtype.itemsize == 8 else "i32"  # as wide as the entries, so that masks fit both

    def width(self, module: Module) -> int:
        return module.target.lanes(SIZES[self.place])

    def beats(self, f: Function, x: str, best: str, lanes: int) -> str:
        """Whether x is greater than the best, or the first NaN."""
        kind, bits = vector(self.element, lanes), vector("i1", lanes)
        if not self.floating:
            return f.compare(self.relation, x, best, kind)
        greater = f.value(f"fcmp ugt {kind} {x}, {best}")
        return f.binary("and", greater, f.value(f"fcmp ord {kind} {best}, {best}"), bits)

    def advance(self, f: Function, x: str, place: str, best: str, at: str, lanes: int) -> list[str]:
        """(best, at) after the entries x at `place`."""
        ahead, bits = self.beats(f, x, best, lanes), vector("i1", lanes)
        return [
            f.choose(ahead, x, best, vector(self.element, lanes), bits),
            f.choose(ahead, place, at, vector(self.place, lanes), bits),
        ]

    def join(self, f: Function, one: list[str], other: list[str], lanes: int) -> list[str]:
        """The winner, lane by lane, of two (best, at); of equal ones that with the lower place."""
        kind, places, bits = (vector(e, lanes) for e in (self.element, self.place, "i1"))
        behind = self.beats(f, one[0], other[0], lanes)
        earlier = f.compare("ult", other[1], one[1], places)
        level = f.binary("and", earlier, f.binary("xor", behind, f.constant(1, bits), bits), bits)
        ahead = f.binary("or", self.beats(f, other[0], one[0], lanes), level, bits)
        return [f.choose(ahead, other[0], one[0], kind, bits), f.choose(ahead, other[1], one[1], places, bits)]

    def join_lanes(self, f: Function, leader: list[str], lanes: int) -> list[str]:
        """The winner among the lanes of one (best, at)."""
        kinds = [vector(self.element, lanes), vector(self.place, lanes)]
        half = lanes // 2
        while half:
            order = ", ".join(f"i32 {(lane + half) % lanes}" for lane in range(lanes))
            pairs = list(zip(kinds, leader, strict=True))
            moved = [f.value(f"shufflevector {k} {x}, {k} poison, <{lanes} x i32> <{order}>") for k, x in pairs]
            leader = self.join(f, leader, moved, lanes)
            half //= 2
        if lanes == 1:
            return leader
        return [f.value(f"extractelement {k} {x}, i64 0") for k, x in zip(kinds, leader, strict=True)]

    def wide(self, f: Function, place: str, lanes: int) -> str:
        """A place as int64."""
        if self.place == "i64":
            return place
        return f.value(f"zext {vector(self.place, lanes)} {place} to {vector('i64', lanes)}")


def _argmax_rows(module: Module, name: str, race: _Race) -> None:
    f = entry(module, name)
    y, x = argument(f, 0, "ptr"), argument(f, 1, "ptr")
    n = argument(f, 3)
    start, stop = span(f, argument(f, 2), argument(f, 5))
    lanes = race.width(module)

    def row(r: str) -> None:
        p = f.at(x, f.mul(r, n), race.element)

        def few() -> list[str]:
            return [f.load(race.element, p), "0", "1"]

        def many() -> list[str]:
            whole = f.mul(f.div(n, lanes), lanes)
            return [*race.join_lanes(f, _vector_race(f, race, p, whole, lanes), lanes), str(whole)]

        is_long = f.compare("sge", n, MANY * lanes)
        best, at, done = f.either(is_long, many, few, [race.element, race.place, "i64"])

        def one(k: str, best: str, at: str) -> list[str]:
            place = k if race.place == "i64" else f.value(f"trunc i64 {k} to i32")
            return race.advance(f, f.load(race.element, p, k), place, best, at, 1)

        _, at = f.loop(n, one, start=done, carried=[(race.element, best), (race.place, at)])
        f.store("i64", race.wide(f, at, 1), y, r)

    f.loop(stop, row, start=start)
    f.finish()


def _vector_race(f: Function, race: _Race, p: str, whole: Number, lanes: int) -> list[str]:
    """(best, at) of every lane of a vector over the first `whole` entries at p; several races at once, then one."""
    kind, places = vector(race.element, lanes), vector(race.place, lanes)
    block = MANY * lanes

    def first(s: int) -> str:
        counts = [f"{race.place} {s * lanes + k}" for k in range(lanes)]
        return f"<{', '.join(counts)}>" if lanes > 1 else str(s)

    def advance(k: str, *leaders: str) -> list[str]:
        races = len(leaders) // 3
        step, found = f.constant(races * lanes, places), []
        for s in range(races):
            best, at, place = leaders[3 * s : 3 * s + 3]
            here = f.binary("add", place, step, places)
            x = f.load(kind, f.at(p, k, race.element), s * lanes)
            found += [*race.advance(f, x, here, best, at, lanes), here]
        return found

    starts = [(f.load(kind, p, s * lanes), first(s)) for s in range(MANY)]
    carried = [pair for x, place in starts for pair in ((kind, x), (places, place), (places, place))]
    full = f.mul(f.div(whole, block), block)
    ends = f.loop(full, advance, start=block, step=block, carried=carried)
    leader = ends[:2]
    for s in range(1, MANY):
        leader = race.join(f, leader, ends[3 * s : 3 * s + 2], lanes)
    carried = [(kind, leader[0]), (places, leader[1]), (places, ends[-1])]
    return f.loop(whole, advance, start=full, step=lanes, carried=carried)[:2]


def _argmax_columns(module: Module, name: str, race: _Race) -> None:
    f = entry(module, name)
    y, x = argument(f, 0, "ptr"), argument(f, 1, "ptr")
    n, inner = argument(f, 3), argument(f, 4)
    start, stop = span(f, argument(f, 2), argument(f, 5))

    def strip(o: Number, i: Number, lanes: int) -> None:
        kind, places = vector(race.element, lanes), vector(race.place, lanes)
        p = f.at(x, f.add(f.mul(f.mul(o, n), inner), i), race.element)
        one, zero = f.constant(1, places), f.constant(0, places)

        def down(k: str, best: str, at: str, place: str) -> list[str]:
            here = f.binary("add", place, one, places)
            return [*race.advance(f, f.load(kind, p, f.mul(k, inner)), here, best, at, lanes), here]

        carried = [(kind, f.load(kind, p)), (places, zero), (places, zero)]
        at = f.loop(n, down, start=1, carried=carried)[1]
        f.store(vector("i64", lanes), race.wide(f, at, lanes), y, f.add(f.mul(o, inner), i))

    _columns(f, start, stop, inner, race.width(module), strip)
    f.finish()


def _columns(
    f: Function, start: Number, stop: Number, inner: Number, lanes: int, strip: Callable[[Number, Number, int], None]
) -> None:
    segments(f, start, stop, inner, lambda o, a, b: strips(f, a, b, lanes, lambda i, width: strip(o, i, width)))


def cumsum(dtype: np.dtype, rows: bool) -> Kernel:
    """y_k = x_0 + … + x_k along each line, added from the front.   rows: inner is 1"""
    # Integers wrap around, so int32 and uint32 are one kernel.
    short = DTYPES[dtype] if dtype.kind == "f" else f"i{8 * dtype.itemsize}"
    name = f"cumsum_{short}_{'rows' if rows else 'columns'}"
    return Kernel(name, lambda module: (_cumsum_rows if rows else _cumsum_columns)(module, name, memory_type(dtype)))


def _plus(element: str) -> str:
    return "fadd" if element in ("float", "double") else "add"


def _cumsum_rows(module: Module, name: str, element: str) -> None:
    f = entry(module, name)
    y, x = argument(f, 0, "ptr"), argument(f, 1, "ptr")
    n = argument(f, 3)
    start, stop = span(f, argument(f, 2), argument(f, 5))

    def rows(r: Number, count: int) -> None:
        sources = [f.at(x, f.mul(f.add(r, k), n), element) for k in range(count)]
        goals = [f.at(y, f.mul(f.add(r, k), n), element) for k in range(count)]
        sums = [f.load(element, p) for p in sources]
        for total, q in zip(sums, goals, strict=True):
            f.store(element, total, q)

        def along(k: str, *totals: str) -> list[str]:
            new = [
                f.binary(_plus(element), t, f.load(element, p, k), element)
                for t, p in zip(totals, sources, strict=True)
            ]
            for total, q in zip(new, goals, strict=True):
                f.store(element, total, q, k)
            return new

        f.loop(n, along, start=1, carried=[(element, total) for total in sums])

    strips(f, start, stop, ROWS, rows)
    f.finish()


def _cumsum_columns(module: Module, name: str, element: str) -> None:
    f = entry(module, name)
    y, x = argument(f, 0, "ptr"), argument(f, 1, "ptr")
    n, inner = argument(f, 3), argument(f, 4)
    start, stop = span(f, argument(f, 2), argument(f, 5))

    def strip(o: Number, i: Number, lanes: int) -> None:
        kind = vector(element, lanes)
        before = f.add(f.mul(f.mul(o, n), inner), i)
        p, q = f.at(x, before, element), f.at(y, before, element)
        first = f.load(kind, p)
        f.store(kind, first, q)

        def down(k: str, total: str) -> list[str]:
            place = f.mul(k, inner)
            new = f.binary(_plus(element), total, f.load(kind, p, place), kind)
            f.store(kind, new, q, place)
            return [new]

        f.loop(n, down, start=1, carried=[(kind, first)])

    _columns(f, start, stop, inner, module.target.lanes(SIZES[element]), strip)
    f.finish()
