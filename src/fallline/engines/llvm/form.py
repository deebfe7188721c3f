"""Form: a group of fused nodes as loops over rows and columns, and the key that is the same for equal structure.

Extents, strides and addresses are data that a kernel reads when it runs; so layers and batches of any size share it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fallline.core.spec import DTYPES
from fallline.engines.llvm.target import Target
from fallline.graph.value import Value
from fallline.passes.access import Access
from fallline.passes.fuse import REDUCTIONS, Fusion, Group, in_order
from fallline.passes.simplify import constant_number

PLAIN = (0.0, 1.0, -1.0, 0.5, 2.0)  # floats that are written into a kernel; other ones are data, like a learning rate
EXACT_BELOW = 2**53  # all whole numbers below it are float64 too
WHOLE, ROWS, COLUMNS = "whole", "rows", "columns"  # what a reduction leaves one result for


@dataclass(eq=False)
class Operand:
    """An array that a loop reads or writes.

    value    whose array it is; None for a number of the constant pool, which `number` is
    offset   of its first entry, in entries;  strides  by dimension of the loop, in entries
    role     "load", "index" (its entries count up, so none is loaded), "tile" (a block of a product) or "store"
    """

    value: Value | None
    dtype: np.dtype
    offset: int
    strides: tuple[int, ...]
    role: str = "load"
    number: float = 0.0


@dataclass(eq=False)
class Result:
    """A reduction and its results.

    per      WHOLE, ROWS or COLUMNS: one result of all entries, one a row, one a column
    strides  of the results, by dimension of the loop, in entries; 0 where it is reduced
    """

    node: Value
    per: str
    strides: tuple[int, ...]


class Form:
    """The loops of a group.

    rows, columns  extents of the dimensions that the two loops run over; the last column dimension is vectorised
    kind           "map", "inner" (columns are reduced, one result a row) or "outer" (rows are reduced)
    operands       what is loaded, by (id of node, argument position);  stores  what is written, by id of node
    tiled          whether it runs on blocks of a product
    into           where the one stored node goes, if not into its own array
    """

    def __init__(
        self, group: Group, fusion: Fusion, target: Target, tiled: bool = False, into: Access | None = None
    ):  # fmt: skip
        self.group, self.fusion, self.into = group, fusion, into
        self.tiled = tiled
        self.nodes = [n for n in group.nodes if n is not group.product]
        self.inside = {id(n) for n in group.nodes if n.op.name not in REDUCTIONS}
        self.parts = _parts(group.cuts)
        self.operands: dict[tuple[int, int], Operand] = {}
        self.literals: dict[tuple[int, int], float] = {}
        self.loads: list[Operand] = []
        self.stores: dict[int, Operand] = {}
        self.results: list[Result] = []
        self._known: dict[Hashable, Operand] = {}
        self._collect()
        self._arrange()
        self.lanes = self._lanes(target)

    # What is read and written.

    def _collect(self) -> None:
        if self.group.product is not None:
            self._collect_product()
        for node in self.nodes:
            for k, arg in enumerate(node.args):
                self._collect_argument(node, k, arg)
            if node.op.name in REDUCTIONS:
                self._collect_result(node)
        dense = tuple(low for low, _ in self.parts)
        for node in self.group.stored:
            product = node is self.group.product
            if node.op.name not in REDUCTIONS and (not product or self.tiled):
                into = Access(node, 0, (), ()) if self.into is None else self.into
                strides = dense if self.into is None else self._spread(into)
                self.stores[id(node)] = Operand(into.root, node.dtype, into.offset, strides, "store")

    def _collect_product(self) -> None:
        """The product of a matmul group: a block that is handed over, or an array that was written before."""
        product = self.group.nodes[0]
        dense = tuple(low for low, _ in self.parts)
        self.product = Operand(product, product.dtype, 0, dense, "tile" if self.tiled else "load")
        self.loads.append(self.product)

    def _collect_argument(self, node: Value, k: int, arg: Value) -> None:
        """An argument of a node: a literal, a number that is data, a node of this group, or an array."""
        number = constant_number(arg)
        if number is not None and (arg.dtype.kind == "f" or abs(number) < EXACT_BELOW):
            if arg.dtype.kind != "f" or number in PLAIN:
                self.literals[id(node), k] = number
            else:
                self.operands[id(node), k] = self._operand(
                    ("number", arg.dtype, number), None, arg.dtype, number=number
                )
            return
        root, direct = self.fusion.root_of(arg)
        if id(root) in self.inside and direct and in_order(node):
            return
        access = self.fusion.reading(node, arg)
        strides = self._spread(access)
        role = "index" if _counts_up(access.root) else "load"
        key = id(access.root), access.offset, strides
        self.operands[id(node), k] = self._operand(key, access, arg.dtype, strides=strides, role=role)

    def _operand(
        self,
        key: Hashable,
        access: Access | None,
        dtype: np.dtype,
        strides: tuple[int, ...] = (),
        role: str = "load",
        number: float = 0.0,
    ) -> Operand:
        """The operand of that key, one for all who read it."""
        if key not in self._known:
            root, offset = (access.root, access.offset) if access else (None, 0)
            self._known[key] = Operand(root, dtype, offset, strides or (0,) * len(self.parts), role, number)
            self.loads.append(self._known[key])
        return self._known[key]

    def _spread(self, access: Access) -> tuple[int, ...]:
        """The strides of an access by part of the loop's space; 0 where it has no axis there."""
        axes, low = [], 1
        for d, stride in zip(reversed(access.shape), reversed(access.strides), strict=True):
            axes.append((low, low * d, stride))
            low *= d
        found = []
        for part_low, _ in self.parts:
            axis = next((a for a in axes if a[0] <= part_low < a[1]), (1, 1, 0))
            found.append(axis[2] * (part_low // axis[0]))
        return tuple(found)

    def _collect_result(self, node: Value) -> None:
        """Where a reduction leaves its results: dense, over the dimensions that are not reduced."""
        reduced = self.group.reduced
        strides, step = [], 1
        for low, high in reversed(self.parts):
            kept = bool(reduced) and not _within(low, high, reduced)
            strides.append(step if kept else 0)
            step *= high // low if kept else 1
        per = WHOLE if not reduced else (COLUMNS if self._last_kept() else ROWS)
        self.results.append(Result(node, per, tuple(reversed(strides))))

    def _last_kept(self) -> bool:
        return not (self.parts and _within(*self.parts[-1], self.group.reduced))

    @property
    def arrays(self) -> list[Operand | Result]:
        """All arrays in the order of the kernel's arguments."""
        return [*self.loads, *self.stores.values(), *self.results]

    # Which dimensions become rows and columns.

    def _arrange(self) -> None:
        """The kind of the loops, and the parts that become their rows and columns."""
        reduced = [_within(low, high, self.group.reduced) for low, high in self.parts]
        everything = range(len(self.parts))
        if not self.group.reduced:
            self.kind = "map"
        elif self._last_kept():
            self.kind = "outer"
        else:
            self.kind = "inner"
        outer = self.kind == "outer"
        arrays = self.arrays
        extents = [high // low for low, high in self.parts]
        if self.tiled:
            wide = self.group.nodes[0].shape[1]
            rows = _merge([i for i in everything if self.parts[i][1] > wide], extents, arrays)
            columns = _merge([i for i in everything if self.parts[i][1] <= wide], extents, arrays)
        elif self.kind == "map":
            merged = _merge(list(everything), extents, arrays)
            rows, columns = merged[:-1], merged[-1:]
        else:
            rows = _merge([i for i in everything if reduced[i] == outer], extents, arrays)
            columns = _merge([i for i in everything if reduced[i] != outer], extents, arrays)
        self.row_runs, self.column_runs = rows, columns
        self.rows = tuple(math.prod(extents[i] for i in run) for run in self.row_runs)
        self.columns = tuple(math.prod(extents[i] for i in run) for run in self.column_runs)

    def row_strides(self, array: Operand | Result) -> tuple[int, ...]:
        return tuple(array.strides[run[-1]] for run in self.row_runs)

    def column_strides(self, array: Operand | Result) -> tuple[int, ...]:
        return tuple(array.strides[run[-1]] for run in self.column_runs)

    def _lanes(self, target: Target) -> int:
        """Entries of one vector: as many of the widest type as fit a register; 1 where columns lie scattered."""
        scattered = any(self.column_strides(s) != (1,) for s in self.stores.values())
        if len(self.columns) > 1 or self.group.size == 1 or scattered:
            return 1
        dtypes = {n.dtype for n in self.group.nodes} | {o.dtype for o in self.loads}
        dtypes |= {a.dtype for n in self.nodes for a in n.args}
        return target.lanes(max((d.itemsize for d in dtypes if d.kind != "b"), default=4))

    # What the kernel's text depends on.

    def key(self) -> str:
        """A name for the kernel: equal for groups of equal structure."""
        position = {id(n): k for k, n in enumerate(self.group.nodes)}
        loads = {id(o): k for k, o in enumerate(self.loads)}
        facts: list[Any] = [self.kind, self.tiled, self.lanes, len(self.rows), len(self.columns)]
        for load in self.loads:
            facts.append(("load", load.role, DTYPES[load.dtype], self.stride_class(load)))
        for node in self.nodes:
            args: list[Any] = []
            for k, arg in enumerate(node.args):
                if (id(node), k) in self.literals:
                    args.append(("literal", DTYPES[arg.dtype], self.literals[id(node), k]))
                elif (id(node), k) in self.operands:
                    args.append(("load", loads[id(self.operands[id(node), k])]))
                else:
                    args.append(("node", position[id(self.fusion.root_of(arg)[0])]))
            attrs = sorted((k, str(v)) for k, v in node.attrs.items()) if node.op.name == "astype" else ()
            facts.append((node.op.name, node.op.scalar.get("llvm"), DTYPES[node.dtype], tuple(attrs), tuple(args)))
        facts += [("store", position[i], DTYPES[o.dtype], self.stride_class(o)) for i, o in self.stores.items()]
        facts += [("result", position[id(r.node)], r.per) for r in self.results]
        return "loop_" + hashlib.sha256(repr(facts).encode()).hexdigest()[:20]

    def stride_class(self, array: Operand) -> str:
        """How an array is stepped through.

        "uniform" (one number), "row" (one number a row), "line" (the same line of columns in all rows), "unit" (columns
        side by side) or "any"
        """
        rows, columns = self.row_strides(array), self.column_strides(array)
        if len(columns) == 1 and columns[0] == 1:
            return "unit" if any(rows) else "line"
        if not any(columns):
            return "row" if any(rows) else "uniform"
        return "any"


def _parts(cuts: frozenset[int]) -> list[tuple[int, int]]:
    """The dimensions of a space, outermost first, each as (low, high) cuts."""
    ordered = sorted(cuts)
    return [(low, high) for low, high in pairwise(ordered)][::-1]


def _within(low: int, high: int, parts: frozenset[tuple[int, int]]) -> bool:
    return any(a <= low and high <= b for a, b in parts)


def _counts_up(value: Value) -> bool:
    """Whether a constant is 0, 1, 2 … in order."""
    if value.op.name != "constant" or value.dtype.kind not in "iu" or value.size < 2:
        return False
    array = value.attrs["value"].reshape(-1)
    return bool((array == np.arange(value.size, dtype=array.dtype)).all())


def _merge(dimensions: list[int], extents: list[int], arrays: Sequence[Operand | Result]) -> list[list[int]]:
    """Neighbouring dimensions joined to runs wherever all arrays are stepped through as if they were one."""
    runs: list[list[int]] = []
    for i in dimensions:
        if runs and all(t.strides[runs[-1][-1]] == t.strides[i] * extents[i] for t in arrays):
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


__all__ = ["WHOLE", "Form", "Operand", "Result"]
