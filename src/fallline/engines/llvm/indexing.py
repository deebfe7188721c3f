"""Kernels that read or add by integer index.

args of take                   0 output, 1 table, 2 indices, 3 positions, 4 rows of the table, 5 width of a row,
                               6 positions of a unit, 7 fault
args of put_add                0 output, 1 rows to add, 2 indices, 3 positions, 4 rows of the output, 5 width of a row,
                               6 rows of the output of a unit, 7 fault
args of take_along, add_along  0 output, 1 input, 2 indices, 3 lines, 4 length of the axis indexed,
                               5 indices of a line, 6 inner, 7 lines of a unit, 8 fault

An index outside the array touches no memory outside it: entry 0 takes its place, or put_add adds nothing. The word at
the address `fault` becomes the largest, read as unsigned, of itself and the index in this code: index + 1 for one
beyond the end, 2**63 - 1 - index for a negative one. So it ends the same in any order of units.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fallline.core.spec import DTYPES
from fallline.engines.llvm.dtypes import memory_type
from fallline.engines.llvm.emitter import SIZES, Function, Module, Number, parts, vector
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.lines import argument, segments, span, strips

AHEAD = 8  # rows whose first cache line is asked for before it is needed


def fault_index(word: int) -> int:
    """The index that a kernel found outside the array, from the fault word (as an int64, not 0)."""
    return word - 1 if word > 0 else -1 - (word + 2**63)


def _bits(dtype: np.dtype) -> str:
    """The type under which an entry is copied: whole numbers, so that no bit of a NaN changes."""
    return f"i{8 * dtype.itemsize}"


class _Indices:
    """Indices of one dtype, read as int64."""

    def __init__(self, dtype: np.dtype, wraps: bool):
        self.kind = _bits(dtype)
        self.extend = "zext" if dtype.kind == "u" else "sext"
        self.wraps = wraps and dtype.kind == "i"

    def read(self, f: Function, indices: str, k: Number, size: Number, fault: str) -> tuple[str, str]:
        """(position, whether it lies outside 0 … size - 1) of index k; one outside is written to the fault word."""
        index = f.load(self.kind, indices, k)
        if self.kind != "i64":
            index = f.value(f"{self.extend} {self.kind} {index} to i64")
        negative = f.compare("slt", index, 0)
        position = f.choose(negative, f.add(index, size), index) if self.wraps else index
        outside = f.compare("uge", position, size)
        with f.when(outside):
            code = f.choose(negative, f.sub((1 << 63) - 1, index), f.add(index, 1))
            f.value(f"atomicrmw umax ptr {fault}, i64 {code} monotonic, align 8")
        return position, outside


def take(dtype: np.dtype, index: np.dtype) -> Kernel:
    """y_k = x[index_k], rows of a table."""
    name = f"take_{_bits(dtype)}_{DTYPES[index]}"
    return Kernel(name, lambda module: _take(module, name, _bits(dtype), _Indices(index, wraps=False)))


def _take(module: Module, name: str, element: str, reader: _Indices) -> None:
    f = entry(module, name)
    y, x, indices = (argument(f, k, "ptr") for k in range(3))
    size, width, fault = argument(f, 4), argument(f, 5), argument(f, 7, "ptr")
    start, stop = span(f, argument(f, 3), argument(f, 6))
    final = f.sub(stop, 1)

    def row(k: str) -> None:
        coming = f.load(reader.kind, indices, f.min(f.add(k, AHEAD), final))
        if reader.kind != "i64":
            coming = f.value(f"{reader.extend} {reader.kind} {coming} to i64")
        f.prefetch(f.at(x, f.mul(coming, width), element))
        position, outside = reader.read(f, indices, k, size, fault)
        source = f.at(x, f.mul(f.choose(outside, 0, position), width), element)
        goal = f.at(y, f.mul(k, width), element)

        def copy(i: Number, lanes: int) -> None:
            kind = vector(element, lanes)
            f.store(kind, f.load(kind, source, i), goal, i)

        strips(f, 0, width, module.target.lanes(SIZES[element]), copy)

    f.loop(stop, row, start=start)
    f.finish()


def put_add(dtype: np.dtype, index: np.dtype) -> Kernel:
    """y[index_k] += g_k from zero, positions in rising order; a unit owns rows of y and passes over the others."""
    name = f"put_add_{_summed(dtype)}_{DTYPES[index]}"
    return Kernel(name, lambda module: _put_add(module, name, memory_type(dtype), _Indices(index, wraps=True)))


def _summed(dtype: np.dtype) -> str:
    """The name of what is added: integers wrap around, so int32 and uint32 are one."""
    return DTYPES[dtype] if dtype.kind in "fb" else _bits(dtype)


def _sum(f: Function, a: str, b: str, kind: str) -> str:
    """a + b; of booleans a or b."""
    element = parts(kind)[1]
    return f.binary({"float": "fadd", "double": "fadd", "i8": "or"}.get(element, "add"), a, b, kind)


def _clear(f: Function, y: str, start: Number, stop: Number, element: str) -> None:
    lanes = f.module.target.lanes(SIZES[element])

    def zero(i: Number, width: int) -> None:
        kind = vector(element, width)
        f.store(kind, f.constant(0, kind), y, i)

    strips(f, start, stop, lanes, zero)


def _put_add(module: Module, name: str, element: str, reader: _Indices) -> None:
    f = entry(module, name)
    y, g, indices = (argument(f, k, "ptr") for k in range(3))
    count, size, width, fault = argument(f, 3), argument(f, 4), argument(f, 5), argument(f, 7, "ptr")
    start, stop = span(f, size, argument(f, 6))
    _clear(f, y, f.mul(start, width), f.mul(stop, width), element)
    own = f.sub(stop, start)

    def row(k: str) -> None:
        position, _ = reader.read(f, indices, k, size, fault)
        # As unsigned numbers those before the start are large, and so is a negative index.
        with f.when(f.compare("ult", f.sub(position, start), own)):
            source = f.at(g, f.mul(k, width), element)
            goal = f.at(y, f.mul(position, width), element)

            def accumulate(i: Number, lanes: int) -> None:
                kind = vector(element, lanes)
                f.store(kind, _sum(f, f.load(kind, goal, i), f.load(kind, source, i), kind), goal, i)

            strips(f, 0, width, module.target.lanes(SIZES[element]), accumulate)

    with f.when(f.compare("sgt", own, 0)):
        f.loop(count, row)
    f.finish()


def take_along(dtype: np.dtype, index: np.dtype, rows: bool) -> Kernel:
    """y_k = x[index_k] in each line.   rows: inner is 1"""
    name = f"take_along_{_bits(dtype)}_{DTYPES[index]}_{'rows' if rows else 'columns'}"
    reader = _Indices(index, wraps=True)
    return Kernel(name, lambda module: _along(module, name, _bits(dtype), reader, rows, adds=False))


def add_along(dtype: np.dtype, index: np.dtype, rows: bool) -> Kernel:
    """y[index_k] += g_k from zero in each line, in rising order of k.   rows: inner is 1"""
    name = f"add_along_{_summed(dtype)}_{DTYPES[index]}_{'rows' if rows else 'columns'}"
    reader = _Indices(index, wraps=True)
    return Kernel(name, lambda module: _along(module, name, memory_type(dtype), reader, rows, adds=True))


def _along(module: Module, name: str, element: str, reader: _Indices, rows: bool, adds: bool) -> None:
    f = entry(module, name)
    y, x, indices = (argument(f, k, "ptr") for k in range(3))
    size, count, fault = argument(f, 4), argument(f, 5), argument(f, 8, "ptr")
    inner: Number = 1 if rows else argument(f, 6)
    start, stop = span(f, argument(f, 3), argument(f, 7))
    if adds:
        _clear_lines(f, y, start, stop, inner, size, element)

    def one(o: Number, k: Number, i: Number) -> None:
        here = f.add(f.mul(f.add(f.mul(o, count), k), inner), i)
        position, outside = reader.read(f, indices, here, size, fault)
        inside = f.choose(outside, 0, position)
        there = f.add(f.mul(f.add(f.mul(o, size), inside), inner), i)
        if adds:
            f.store(element, _sum(f, f.load(element, y, there), f.load(element, x, here), element), y, there)
        else:
            f.store(element, f.load(element, x, there), y, here)

    _walk(f, start, stop, inner, count, one)
    f.finish()


def _clear_lines(f: Function, y: str, start: Number, stop: Number, inner: Number, size: Number, element: str) -> None:
    """Zeros in the lines start..stop of y."""
    if inner == 1:
        _clear(f, y, f.mul(start, size), f.mul(stop, size), element)
        return

    def block(o: Number, first: Number, last: Number) -> None:
        def row(s: str) -> None:
            before = f.mul(f.add(f.mul(o, size), s), inner)
            _clear(f, y, f.add(before, first), f.add(before, last), element)

        f.loop(size, row)

    segments(f, start, stop, inner, block)


def _walk(
    f: Function,
    start: Number,
    stop: Number,
    inner: Number,
    count: Number,
    one: Callable[[Number, Number, Number], None],
) -> None:
    """one(o, k, i) for k = 0 … count - 1 of the lines start..stop; in each line in rising order of k."""

    def block(o: Number, first: Number, last: Number) -> None:
        def row(k: str) -> None:
            if inner == 1:
                one(o, k, 0)
            else:
                f.loop(last, lambda i: one(o, k, i), start=first)

        f.loop(count, row)

    if inner == 1:
        f.loop(stop, lambda o: block(o, 0, 1), start=start)
    else:
        segments(f, start, stop, inner, block)
