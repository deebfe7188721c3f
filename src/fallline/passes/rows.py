"""A program for any number of rows, read off three programs for some numbers of rows.

A program has static shapes. What leaves the library (a file, a graph for another runtime) has to answer any number of
rows n, so the same function is traced for three numbers of rows: a size that differs between them is times · n + plus,
found from two and checked with the third.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.graph.program import Program
from fallline.graph.value import OPS, Value
from fallline.passes.optimize import optimize

TRIED = (11, 13, 17)  # numbers of rows: no pass treats them as anything special


@dataclass(frozen=True)
class Size:
    """times · n + plus, for n rows."""

    times: int
    plus: int = 0

    def at(self, n: int) -> int:
        return self.times * n + self.plus

    def __str__(self) -> str:
        n = "n" if self.times == 1 else f"{self.times}n"
        return n if not self.plus else f"{n}{self.plus:+d}"


Shape = tuple[int | Size, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One node: `args` are the positions of its arguments; every int in `attrs` may be a Size.

    op      "input" (attrs: name), "constant" (attrs: value), or an op
    scope   the path of the layer that it belongs to
    """

    op: str
    args: tuple[int, ...]
    attrs: dict[str, Any]
    shape: Shape
    dtype: np.dtype
    scope: str = ""


@dataclass(frozen=True, eq=False)
class RowProgram:
    """The nodes of a function of n rows, arguments first; the inputs stand at the beginning, in their order.

    outputs  name -> position of the node
    """

    calls: tuple[Call, ...]
    n_inputs: int
    outputs: dict[str, int]

    @classmethod
    def of(cls, build: Callable[[int], Program]) -> RowProgram:
        """From `build(n)`, the program for n rows, whose result is a dict of outputs.

        raises  ConfigError, naming the layer, where a size is no times · n + plus or an array depends on n
        """
        programs = [optimize(build(n)) for n in TRIED]
        orders = [[*p.inputs, *(v for v in p.order if v.op.name != "input")] for p in programs]
        if len({len(order) for order in orders}) > 1:
            raise ConfigError("the number of its operations depends on the number of rows: it must be the same for all")
        calls: list[Call] = []
        at: dict[int, int] = {}
        for nodes in zip(*orders, strict=True):
            calls += _read(nodes, at, len(calls))
            at[id(nodes[0])] = len(calls) - 1
        names = list(programs[0].result)
        outputs = {name: at[id(v)] for name, v in zip(names, programs[0].outputs, strict=True)}
        return _needed([_unspread(call, calls) for call in calls], len(programs[0].inputs), outputs)


def _unspread(call: Call, calls: Sequence[Call]) -> Call:
    """The call without the broadcasts before it that its receiver does by itself, as NumPy and ONNX do.

    A program broadcasts by an op of its own, which is needed only where no other argument has the whole shape.
    """
    product = call.op == "matmul"  # which broadcasts all axes but its last two
    if OPS[call.op].structure != "elementwise" and not product and call.op != "where":
        return call
    lead = np.s_[:-2] if product else np.s_[:]
    spread = [calls[a].op == "broadcast_to" and (not product or _same_matrices(calls[a], calls)) for a in call.args]
    sources = [calls[a].args[0] if s else a for s, a in zip(spread, call.args, strict=True)]
    if _together([calls[a].shape[lead] for a in sources]) != _together([call.shape[lead]]):
        sources[0] = call.args[0]
    return replace(call, args=tuple(sources))


def _same_matrices(spread: Call, calls: Sequence[Call]) -> bool:
    before = calls[spread.args[0]].shape
    return len(before) > 1 and before[-2:] == spread.shape[-2:]


def _together(shapes: Sequence[Shape]) -> tuple[int, ...]:
    """The shape to which these broadcast, for the first number of rows."""
    known = [tuple(d.at(TRIED[0]) if isinstance(d, Size) else d for d in shape) for shape in shapes]
    return np.broadcast_shapes(*known)


def _needed(calls: list[Call], n_inputs: int, outputs: dict[str, int]) -> RowProgram:
    """The program of the inputs and of what the outputs need."""
    found, stack = set(range(n_inputs)), list(outputs.values())
    while stack:
        at = stack.pop()
        if at not in found:
            found.add(at)
            stack.extend(calls[at].args)
    new = {old: k for k, old in enumerate(sorted(found))}
    kept = tuple(replace(calls[old], args=tuple(new[a] for a in calls[old].args)) for old in sorted(found))
    return RowProgram(kept, n_inputs, {name: new[old] for name, old in outputs.items()})


def _read(nodes: Sequence[Value], at: dict[int, int], start: int) -> list[Call]:
    """The node for n rows from the node of each program; a constant with equal rows becomes one row, broadcast."""
    first = nodes[0]
    if len({v.op for v in nodes}) > 1:
        raise _refused(first, "it does different operations")
    shape, name = _sizes([v.shape for v in nodes], first), first.op.name
    if name == "constant":
        repeated = tuple(k for k, size in enumerate(shape) if isinstance(size, Size))
        rows = [_one_of_each(v.attrs["value"], repeated, first) for v in nodes]
        if any(not np.array_equal(row, rows[0], equal_nan=row.dtype.kind == "f") for row in rows):
            raise _refused(first, "it holds an array that differs")
        made = Call("constant", (), {"value": rows[0]}, rows[0].shape, first.dtype, first.scope)
        if not repeated:
            return [made]
        return [made, Call("broadcast_to", (start,), {"shape": shape}, shape, first.dtype, first.scope)]
    attrs = {key: _sizes([v.attrs[key] for v in nodes], first) for key in first.attrs}
    return [Call(name, tuple(at[id(a)] for a in first.args), attrs, shape, first.dtype, first.scope)]


def _one_of_each(array: np.ndarray, repeated: tuple[int, ...], node: Value) -> np.ndarray:
    """The array with length 1 along axes that grow with the rows; ConfigError where its entries differ there."""
    row = array[tuple(np.s_[:1] if k in repeated else np.s_[:] for k in range(array.ndim))]
    if repeated and not np.array_equal(np.broadcast_to(row, array.shape), array):
        raise _refused(node, "it holds an array that differs")
    return row


def _sizes(found: Sequence[Any], node: Value) -> Any:
    """The ints of equal trees of tuples, those that differ as a Size."""
    first = found[0]
    if all(f == first for f in found):
        return first
    if isinstance(first, tuple) and len({len(f) for f in found}) == 1:
        return tuple(_sizes(parts, node) for parts in zip(*found, strict=True))
    if not all(isinstance(f, int) for f in found):
        raise _refused(node, "its settings differ")
    times, rest = divmod(found[1] - first, TRIED[1] - TRIED[0])
    size = Size(times, first - times * TRIED[0])
    if rest or found[2] != size.at(TRIED[2]):
        raise _refused(node, f"it has sizes {', '.join(map(str, found))}")
    return size


def _refused(node: Value, what: str) -> ConfigError:
    place = f"layer {node.scope}, " if node.scope else ""
    rows = ", ".join(map(str, TRIED))
    return ConfigError(
        f"{place}{node.op.name}: for {rows} rows {what}; what is exported must answer any number of rows"
    )


__all__ = ["Call", "RowProgram", "Shape", "Size"]
