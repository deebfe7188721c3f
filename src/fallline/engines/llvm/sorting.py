"""Kernel of argsort: the order of each line, stable, NaN last.

args  0 output, 1 input, 2 lines, 3 n, 4 inner, 5 lines of a unit, 6 merge passes

Entries become whole numbers whose signed order is NumPy's. Those of at most four bytes share one int64 with their
place, which makes every number different; those of eight bytes carry their place in an array beside them.
"""

from __future__ import annotations

import numpy as np

from fallline.core.spec import DTYPES
from fallline.engines.llvm.dtypes import memory_type
from fallline.engines.llvm.emitter import Function, Module, Number
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.lines import argument, repeat, segments, span

RUN = 16  # entries sorted by insertion before runs are merged
LOW = 0xFFFFFFFF


def passes(n: int) -> int:
    """Merge passes after which the runs of one line are one run."""
    return max(0, (-(-n // RUN) - 1).bit_length())


def scratch_bytes(dtype: np.dtype, n: int) -> int:
    """Two copies of what is sorted; a merge may read one entry past the end of a copy."""
    return 2 * _planes(dtype) * 8 * (n + 1)


def argsort(dtype: np.dtype) -> Kernel:
    """Places of the entries of each line in rising order."""
    name = f"argsort_{DTYPES[dtype]}"
    return Kernel(name, lambda module: _argsort(module, name, dtype))


def _planes(dtype: np.dtype) -> int:
    return 2 if dtype.itemsize == 8 else 1


class _Stack:
    """Numbers to sort: arrays of int64 of length n + 1, one after the other; the first decides the order."""

    def __init__(self, f: Function, base: str, n: Number, planes: int):
        length = f.add(n, 1)
        self.f, self.arrays = f, [f.at(base, f.mul(length, k), "i64") for k in range(planes)]

    def get(self, k: Number) -> list[str]:
        return [self.f.load("i64", a, k) for a in self.arrays]

    def put(self, k: Number, numbers: list[str]) -> None:
        for array, x in zip(self.arrays, numbers, strict=True):
            self.f.store("i64", x, array, k)


def _argsort(module: Module, name: str, dtype: np.dtype) -> None:
    f = entry(module, name)
    y, x = argument(f, 0, "ptr"), argument(f, 1, "ptr")
    n, inner, merges = argument(f, 3), argument(f, 4), argument(f, 6)
    start, stop = span(f, argument(f, 2), argument(f, 5))
    planes = _planes(dtype)
    spare = f.at("%scratch", f.mul(f.add(n, 1), planes), "i64")

    def line(o: Number, i: Number) -> None:
        before = f.add(f.mul(f.mul(o, n), inner), i)
        numbers = _Stack(f, "%scratch", n, planes)
        f.loop(n, lambda k: numbers.put(k, _number(f, dtype, x, f.add(before, f.mul(k, inner)), k)))
        f.loop(n, lambda r: _insert(f, numbers, r, f.min(f.add(r, RUN), n)), step=RUN)

        def merge(p: str, a: str, b: str) -> list[str]:
            run = f.value(f"shl i64 {RUN}, {p}")
            _merge_runs(f, _Stack(f, a, n, planes), _Stack(f, b, n, planes), n, run)
            return [b, a]

        base = f.loop(merges, merge, carried=[("ptr", "%scratch"), ("ptr", spare)])[0]
        order = _Stack(f, base, n, planes)

        def out(k: str) -> None:
            last = f.load("i64", order.arrays[-1], k)
            place = last if planes == 2 else f.value(f"and i64 {last}, {LOW}")
            f.store("i64", place, y, f.add(before, f.mul(k, inner)))

        f.loop(n, out)

    def lines(o: Number, first: Number, last: Number) -> None:
        f.loop(last, lambda i: line(o, i), start=first)

    segments(f, start, stop, inner, lines)
    f.finish()


def _number(f: Function, dtype: np.dtype, x: str, index: Number, place: str) -> list[str]:
    """The entry as what is sorted: [number and place in one], or [number, place]."""
    if dtype == np.dtype("bool"):
        number = f.value(f"zext i8 {f.load('i8', x, index)} to i64")
        return [f.binary("or", f.binary("shl", number, "32", "i64"), place, "i64")]
    kind = "i64" if dtype.itemsize == 8 else "i32"
    number = f.load(kind, x, index)
    if dtype.kind == "f":
        number = _float_order(f, number, kind, memory_type(dtype))
    elif dtype.kind == "u":
        number = f.binary("xor", number, str(-(1 << 31)), kind)
    if kind == "i64":
        return [number, place]
    high = f.binary("shl", f.value(f"sext i32 {number} to i64"), "32", "i64")
    return [f.binary("or", high, place, "i64")]


def _float_order(f: Function, bits: str, kind: str, element: str) -> str:
    """A whole number that orders as the float of these bits: -0 equals 0, every NaN is one number above infinity.

    Compared as bits because the driver has denormals read as zero, which would make them equal.
    """
    width = 32 if element == "float" else 64
    highest = (1 << (width - 1)) - 1
    infinity = 0x7F800000 if width == 32 else 0x7FF0000000000000
    size = f.binary("and", bits, str(highest), kind)
    # Negative floats rise as their size falls; -size also makes -0 the same as 0.
    signed = f.choose(f.compare("slt", bits, 0, kind), f.binary("sub", "0", size, kind), size, kind)
    return f.choose(f.compare("sgt", size, infinity, kind), str(highest), signed, kind)


def _insert(f: Function, numbers: _Stack, first: Number, last: Number) -> None:
    """Sorts the entries first..last by insertion."""

    def one(k: str) -> None:
        x = numbers.get(k)

        def goes_on(j: str) -> str:
            left = f.load("i64", numbers.arrays[0], f.max(f.sub(j, 1), 0))
            return f.binary("and", f.compare("sgt", j, first), f.compare("sgt", left, x[0]), "i1")

        def shift(j: str) -> list[Number]:
            before = f.sub(j, 1)
            numbers.put(j, numbers.get(before))
            return [before]

        numbers.put(repeat(f, [("i64", k)], goes_on, shift)[0], x)

    f.loop(last, one, start=f.add(first, 1))


def _merge_runs(f: Function, source: _Stack, goal: _Stack, n: Number, run: Number) -> None:
    """Every two neighbouring sorted runs of that length become one in `goal`; of equal entries the left is first."""

    def pair(start: str) -> list[str]:
        middle = f.add(start, run)
        end = f.add(middle, run)
        full = f.compare("sle", end, n)
        with f.when(full):
            _merge_ends(f, source, goal, start, run)
        with f.when(f.binary("xor", full, "true", "i1")):
            _merge_last(f, source, goal, start, f.min(middle, n), n)
        return []

    f.loop(n, pair, step=f.add(run, run))


def _pick(f: Function, condition: str, a: Number, b: Number) -> str:
    """a or b, by arithmetic: a select may be compiled as a branch, and which run comes next cannot be predicted."""
    mask = f.value(f"sext i1 {condition} to i64")
    return f.binary("xor", str(b), f.binary("and", f.binary("xor", str(a), str(b), "i64"), mask, "i64"), "i64")


def _merge_ends(f: Function, source: _Stack, goal: _Stack, start: Number, run: Number) -> None:
    """Merges two runs of equal length from both ends at once; neither end can use up a run before they meet."""
    middle = f.add(start, run)
    final = f.sub(f.add(middle, run), 1)
    keys = source.arrays[0]

    def one(t: str, i: str, j: str, p: str, q: str) -> list[str]:
        rises = f.compare("sle", f.load("i64", keys, i), f.load("i64", keys, j))
        goal.put(f.add(start, t), source.get(_pick(f, rises, i, j)))
        rests = f.compare("sle", f.load("i64", keys, p), f.load("i64", keys, q))
        goal.put(f.sub(final, t), source.get(_pick(f, rests, q, p)))
        left, right = f.value(f"zext i1 {rises} to i64"), f.value(f"zext i1 {rests} to i64")
        moves = [f.add(i, left), f.sub(f.add(j, 1), left), f.add(f.sub(p, 1), right), f.sub(q, right)]
        return [str(m) for m in moves]

    f.loop(run, one, carried=[("i64", str(x)) for x in (start, middle, f.sub(middle, 1), final)])


def _merge_last(f: Function, source: _Stack, goal: _Stack, start: Number, middle: Number, end: Number) -> None:
    """Merges a run with the shorter one, or none, at the end of the line."""
    keys = source.arrays[0]

    def one(k: str, i: str, j: str) -> list[str]:
        in_order = f.compare("sle", f.load("i64", keys, i), f.load("i64", keys, j))
        is_last = f.compare("sge", j, end)
        takes_left = f.binary("and", f.compare("slt", i, middle), f.binary("or", in_order, is_last, "i1"), "i1")
        goal.put(k, source.get(_pick(f, takes_left, i, j)))
        left = f.value(f"zext i1 {takes_left} to i64")
        return [str(f.add(i, left)), str(f.sub(f.add(j, 1), left))]

    f.loop(end, one, start=start, carried=[("i64", str(start)), ("i64", str(middle))])
