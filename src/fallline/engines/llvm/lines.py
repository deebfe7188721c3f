"""How kernels walk over dense arrays: lines along an axis, and runs of neighbouring entries in vectors.

An array seen from one of its axes is (outer, n, inner); a line is the n entries at one (outer, inner) place, and the
line at (o, i) has the number o · inner + i. A kernel's units are equal runs of lines, so that a range of units is a
range of lines; no result depends on where a range begins or ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from fallline.engines.llvm.emitter import Function, Number

UNIT_WORK = 16384  # entries of one unit: with fewer, handing work to another thread costs more than it saves


class View(NamedTuple):
    """A shape seen from one axis: (outer, n, inner)."""

    outer: int
    n: int
    inner: int

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: int) -> View:
        return cls(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))

    @property
    def lines(self) -> int:
        return self.outer * self.inner


def lines_per_unit(lines: int, work: int, together: int = 1) -> int:
    """How many lines are one unit, when each is `work` entries of work: a multiple of `together`, or all of them."""
    needed = -(-UNIT_WORK // max(1, work))
    return max(1, min(-(-needed // together) * together, lines))


def units_of(lines: int, per_unit: int) -> int:
    """Units of that many lines each; at least one, which may be empty."""
    return max(1, -(-lines // per_unit))


def argument(f: Function, k: int, kind: str = "i64") -> str:
    """Entry k of the arguments: an extent, or ("ptr") an address."""
    return f.load(kind, "%args", k)


def span(f: Function, lines: Number, per_unit: Number) -> tuple[Number, Number]:
    """The first line, and the one after the last, of the range of units that this call is to do."""
    return f.min(f.mul("%first", per_unit), lines), f.min(f.mul("%last", per_unit), lines)


def segments(
    f: Function, start: Number, stop: Number, inner: Number, body: Callable[[Number, Number, Number], None]
) -> None:
    """body(o, i0, i1) for the lines start..stop: those of each outer index o are its inner ones from i0 to i1."""

    def one(o: str) -> None:
        before = f.mul(o, inner)
        body(o, f.max(f.sub(start, before), 0), f.min(f.sub(stop, before), inner))

    last = f.div(f.add(stop, f.sub(inner, 1)), inner)
    f.loop(last, one, start=f.div(start, inner))


def strips(f: Function, start: Number, stop: Number, lanes: int, body: Callable[[Number, int], None]) -> None:
    """body(i, width) for start..stop: vectors of `lanes` (a power of two), then halves, quarters … of what is left.

    No masks: a masked store followed by a load of the same place waits for the memory.
    """
    rest = f.value(f"and i64 {f.sub(stop, start)}, {lanes - 1}")
    whole = f.sub(stop, rest)

    def vectors(i: str) -> None:
        body(i, lanes)

    f.loop(whole, vectors, start=start, step=lanes)
    piece = lanes // 2
    while piece:
        present = f.value(f"and i64 {rest}, {piece}")
        with f.when(f.compare("ne", present, 0)):
            done = f.value(f"and i64 {rest}, {lanes - 2 * piece}")
            body(f.add(whole, done), piece)
        piece //= 2


def repeat(
    f: Function, carried: list[tuple[str, str]], condition: Callable[..., str], body: Callable[..., list[Any]]
) -> list[str]:
    """while condition(*carried): carried = body(*carried).   Returns the last values."""
    before, head, inside, after = f.block, f.label("h"), f.label("w"), f.label("x")
    f.do(f"br label %{head}")
    f.start(head)
    place = len(f.lines)
    names = [f.label("%c") for _ in carried]
    f.lines.extend([""] * len(names))
    goes_on = condition(*names)
    f.do(f"br i1 {goes_on}, label %{inside}, label %{after}")
    asks = f.block
    if asks != head:
        raise ValueError("the condition of a loop must be one block")
    f.start(inside)
    results = body(*names)
    f.do(f"br label %{head}")
    for k, (name, (kind, first)) in enumerate(zip(names, carried, strict=True)):
        f.lines[place + k] = f"  {name} = phi {kind} [ {first}, %{before} ], [ {results[k]}, %{f.block} ]"
    f.start(after)
    return names
