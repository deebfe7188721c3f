"""Kernels that move memory around a step: the rows of its batch, its slice of a scanned input and of a record."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

from fallline.engines.llvm.emitter import Function, Module, Number, suffix, vector
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.memory import LINE

UNIT_BYTES = 1 << 16  # of one unit of a copy

# How far ahead of the copy rows are asked for, in rows and at most so many bytes of them. 256 random rows of 400 bytes
# of a table of 200 MB take 10 µs so, 13 without; 128 rows of 3 KB are fastest at 4 to 8 rows ahead.
AHEAD_ROWS = 64
AHEAD_BYTES = 16_384
# A table of so many bytes stays in the second cache, and asking for it ahead only costs time.
NEAR_BYTES = 1 << 19
# The first lines of a row are asked for; the core's own prefetcher sees where a longer one goes on.
PREFETCHED_BYTES = 1024

# What `rows_within` and `run_fed` are called by.
ROWS_WITHIN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
RUN_FED = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


class RowsPlan(NamedTuple):
    """How a gather of rows is cut: rows of one unit, and units."""

    rows: int
    units: int


def plan_rows(batch: int, row_bytes: int) -> RowsPlan:
    """Units of 16 rows (so that two threads never write one cache line), of long rows fewer."""
    rows = max(1, min(16, UNIT_BYTES // max(row_bytes, 1)))
    return RowsPlan(rows, -(-batch // rows))


def plan_bytes(count: int) -> int:
    """Units of a copy of that many bytes."""
    return -(-count // UNIT_BYTES)


def rows() -> Kernel:
    """destination[r] = table[indices[step, r]]   for the rows of a batch; a negative index counts from the end

    args  0 table, 1 destination, 2 indices (steps, batch) int64, 3 bytes per row, 4 rows per batch, 5 rows of the
          table, 6 steps of the call, 7 rows per unit (`plan_rows`)
    """
    return Kernel("batch_rows", lambda module: _write_rows(module, "batch_rows"))


def _write_rows(module: Module, name: str) -> None:
    f = entry(module, name)
    count, batch, height, per_unit = (f.load("i64", "%args", k) for k in (3, 4, 5, 7))
    first, last = f.mul("%first", per_unit), f.min(f.mul("%last", per_unit), batch)
    far = f.compare("ugt", f.mul(height, count), NEAR_BYTES)
    ahead = _Ahead(f, count, batch, first, last)

    def every_row(copy: Callable[[str, str], None]) -> None:
        source, target, indices = (f.load("ptr", "%args", k) for k in range(3))
        chosen = f.at(indices, f.mul("%step", batch), "i64")

        def place(position: Number) -> str:
            i = f.load("i64", chosen, position)
            i = f.choose(f.compare("slt", i, 0), f.add(i, height), i)
            return f.at(source, f.mul(i, count), "i8")

        def row(r: Number) -> None:
            with f.when(far):
                ahead.prefetch(place(ahead.position(r)))
            copy(place(r), f.at(target, f.mul(r, count), "i8"))

        f.loop(last, row, start=first)

    _by_width(f, count, every_row)
    f.finish()


class _Ahead:
    """What a gather asks for ahead: the row some rows further on in this thread's part of this step or of the next."""

    def __init__(self, f: Function, count: str, batch: str, first: Number, last: Number):
        self.f, self.count, self.last = f, count, last
        mine = f.sub(last, first)
        near = f.add(f.div(AHEAD_BYTES, f.max(count, 1)), 1)
        self.distance = f.min(f.min(near, AHEAD_ROWS), mine)
        self.skipped = f.sub(batch, mine)
        left = f.sub(f.load("i64", "%args", 6), "%step")
        self.end = f.sub(f.mul(left, batch), 1)
        self.lines = f.min(count, PREFETCHED_BYTES)

    def position(self, r: Number) -> Number:
        """Which index to look up, counted from the start of this step's."""
        f = self.f
        there = f.add(r, self.distance)
        beyond = f.compare("sge", there, self.last)
        return f.min(f.choose(beyond, f.add(there, self.skipped), there), self.end)

    def prefetch(self, place: str) -> None:
        f = self.f
        f.loop(self.lines, lambda i: f.prefetch(f.at(place, i, "i8"), locality=2), step=LINE)


def _by_width(f: Function, count: Number, body: Callable[[Callable[[str, str], None]], None]) -> None:
    """body(copy), where copy(source, target) moves `count` bytes: by the widest vectors, or by two that overlap."""
    widest = f.module.target.vector_bytes

    def exactly(width: int) -> Callable[[str, str], None]:
        return lambda source, target: _move(f, width, source, target, 0)

    def overlapping(width: int) -> Callable[[str, str], None]:
        def copy(source: str, target: str) -> None:
            start = f.sub(count, width)
            if width == widest:
                f.loop(start, lambda i: _move(f, width, source, target, i), step=width)
            else:
                _move(f, width, source, target, 0)
            _move(f, width, source, target, start)

        return copy

    width = widest
    while width >= 1:
        fits = f.compare("sge", count, width)
        if width < widest:
            fits = f.binary("and", fits, f.compare("slt", count, 2 * width), "i1")
        if width in (4, 8):
            exact = f.compare("eq", count, width)
            with f.when(exact):
                body(exactly(width))
            fits = f.binary("and", fits, f.binary("xor", exact, "true", "i1"), "i1")
        with f.when(fits):
            body(overlapping(width) if width > 1 else exactly(1))
        width //= 2


def _move(f: Function, width: int, source: str, target: str, offset: Number) -> None:
    kind = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}.get(width) or vector("i8", width)
    f.store(kind, f.load(kind, f.at(source, offset, "i8"), align=1), f.at(target, offset, "i8"), align=1)


def rows_within() -> Kernel:
    """i64 rows_within(indices, count, rows): 1 if all of these int64 lie in 0 … rows - 1, else 0"""
    return Kernel("rows_within", lambda module: _write_rows_within(module, "rows_within"))


def _write_rows_within(module: Module, name: str, exported: bool = True) -> None:
    parameters = (("ptr", "%indices"), ("i64", "%count"), ("i64", "%rows"))
    f = Function(module, name, parameters, "i64", exported)
    lanes = module.target.lanes(8)
    kind = vector("i64", lanes)
    whole = f.mul(f.div("%count", lanes), lanes)
    limit = f.splat("%rows", "i64", lanes)

    def outside(i: Number, kind: str, limit: str, found: str) -> str:
        """As unsigned numbers those below 0 are large."""
        beyond = f.compare("uge", f.load(kind, "%indices", i), limit, kind)
        return f.binary("or", found, f.value(f"zext {kind.replace('i64', 'i1')} {beyond} to {kind}"), kind)

    start = [(kind, f.constant(0, kind))]
    [many] = f.loop(whole, lambda i, s: [outside(i, kind, limit, s)], step=lanes, carried=start)
    total = many if lanes == 1 else f.intrinsic("vector.reduce.or", "i64", [(kind, many)], overload=suffix(kind))
    [total] = f.loop("%count", lambda i, s: [outside(i, "i64", "%rows", s)], start=whole, carried=[("i64", total)])
    f.finish(f.sub(1, total))


def run_fed() -> Kernel:
    """i64 run_fed(call): -1 if a row number lies outside, else what `run_steps` returns

    call  13 words: the address of run_steps, its nine arguments (`driver.run_steps`), then those of `rows_within`. One
          argument in place of twelve saves a microsecond, a third of what calling from Python costs.
    """
    return Kernel("run_fed", _write_run_fed)


def _write_run_fed(module: Module) -> None:
    _write_rows_within(module, "run_fed.within", exported=False)
    f = Function(module, "run_fed", (("ptr", "%call"),), "i64")
    kinds = ["ptr", *["i64"] * 6, "ptr", "ptr"]
    words = [(kind, f.load(kind, "%call", 1 + k)) for k, kind in enumerate(kinds)]
    rows = [(kind, f.load(kind, "%call", 10 + k)) for k, kind in enumerate(("ptr", "i64", "i64"))]
    inside = f.compare("ne", f.call("run_fed.within", rows, "i64"), 0)
    run = f.load("ptr", "%call")
    f.finish(*f.either(inside, lambda: [f.call(run, words, "i64")], lambda: ["-1"], ["i64"]))


def scan() -> Kernel:
    """destination = source[step]

    args  0 source (steps × bytes), 1 destination, 2 bytes;  units: `plan_bytes`
    """
    return Kernel("scan_slice", lambda module: _write_slice(module, "scan_slice", of_source=True))


def record() -> Kernel:
    """destination[step] = source

    args  0 source, 1 destination (steps × bytes), 2 bytes;  units: `plan_bytes`
    """
    return Kernel("record_slice", lambda module: _write_slice(module, "record_slice", of_source=False))


def _part(f: Function, count: str) -> tuple[Number, Number]:
    """(first byte, bytes) of a range of units."""
    begin = f.mul("%first", UNIT_BYTES)
    return begin, f.sub(f.min(f.mul("%last", UNIT_BYTES), count), begin)


def _write_slice(module: Module, name: str, of_source: bool) -> None:
    """A copy of which one side moves on by its size from step to step: the source, or else the destination."""
    f = entry(module, name)
    source, target = (f.load("ptr", "%args", k) for k in range(2))
    count = f.load("i64", "%args", 2)
    begin, size = _part(f, count)
    moving = f.add(f.mul("%step", count), begin)
    source = f.at(source, moving if of_source else begin, "i8")
    target = f.at(target, begin if of_source else moving, "i8")
    _by_width(f, size, lambda move: move(source, target))
    f.finish()
