"""Loops: kernels for forms. Rows outside, columns inside in vectors, the last vector under a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.engines.llvm import scalars
from fallline.engines.llvm.dtypes import memory_type, type_of
from fallline.engines.llvm.emitter import Function, Module, Number, given, vector
from fallline.engines.llvm.entries import Address, Argument
from fallline.engines.llvm.form import WHOLE, Form, Operand, Result
from fallline.engines.llvm.kernel import BLOCK, Kernel, entry
from fallline.graph.value import Value
from fallline.passes.fuse import REDUCTIONS

HEAD = 4  # numbers at the head of the arguments: rows, columns, and how many of each are one unit
COMBINE = {"sum": "add", "max": "maximum"}  # how a reduction joins two numbers
ROWS_AT_ONCE = 4  # of an "outer" loop: as many sums run side by side, so that none waits for the one before
SMALL_BODY = 6  # nodes of a body that is written so many times; with a longer one rows are taken one by one


def loop_kernel(form: Form) -> Kernel:
    """The kernel of a form: an entry of the driver's table, or for a tiled one what a product calls for each block."""
    name = form.key()
    return Kernel(name, lambda module: LoopWriter(form, module, name).write())


def loop_arguments(
    form: Form, address: Callable[[Operand | Result], Address], row_step: int, column_step: int
) -> list[Argument]:
    """What the kernel reads: extents, then the first entry and the strides of each array; strides in entries.

    row_step, column_step  rows and columns of one unit;  a tiled form, which is called block by block, needs none
    """
    rows, columns = math.prod(form.rows), math.prod(form.columns)
    arguments: list[Argument] = [rows, columns, row_step, column_step, *form.rows, *form.columns]
    for array in form.arrays:
        if isinstance(array, Operand) and array.role in ("index", "tile"):
            arguments.append(array.offset)  # of a tile 0: its address comes with each call
        else:
            arguments.append(address(array))
        arguments += [*form.row_strides(array), *form.column_strides(array)]
    return arguments


class LoopWriter:
    """Writes one form's kernel into a module."""

    def __init__(self, form: Form, module: Module, name: str):
        self.form, self.module, self.name, self.lanes = form, module, name, form.lanes
        self.n_rows, self.n_columns = len(form.rows), len(form.columns)

    def write(self) -> None:
        if self.form.tiled:
            self._write_block(self.name, exported=True)
            return
        block = self.name + "_block"
        self._write_block(block, exported=False)
        f = entry(self.module, self.name)
        rows, columns, row_step, column_step = (f.load("i64", "%args", k) for k in range(HEAD))
        across = f.div(f.add(columns, f.sub(column_step, 1)), column_step)

        def unit(u: Number) -> None:
            r0, c0 = f.mul(f.div(u, across), row_step), f.mul(f.rem(u, across), column_step)
            r1, c1 = f.min(f.add(r0, row_step), rows), f.min(f.add(c0, column_step), columns)
            f.call(block, given(BLOCK, ["%args", r0, r1, c0, c1, "null", 0, u]))

        f.loop("%last", unit, start="%first")
        f.finish()

    def _write_block(self, name: str, exported: bool) -> None:
        self.f = Function(self.module, name, BLOCK, exported=exported)
        self._read_arguments()
        {"map": self._map, "inner": self._inner, "outer": self._outer}[self.form.kind]()
        self.f.finish()

    def _read_arguments(self) -> None:
        """Addresses and strides of every array, and the numbers that are the same everywhere."""
        f, at = self.f, HEAD
        self.extents = [f.load("i64", "%args", at + k) for k in range(self.n_rows + self.n_columns)]
        at += self.n_rows + self.n_columns
        self.first: dict[int, str] = {}
        self.steps: dict[int, list[str]] = {}
        self.uniform: dict[int, str] = {}
        for array in self.form.arrays:
            counted = isinstance(array, Operand) and array.role == "index"
            self.first[id(array)] = f.load("i64" if counted else "ptr", "%args", at)
            self.steps[id(array)] = [f.load("i64", "%args", at + 1 + k) for k in range(self.n_rows + self.n_columns)]
            at += 1 + self.n_rows + self.n_columns
        for load in self.form.loads:
            if load.role == "load" and self.form.stride_class(load) == "uniform":
                self.uniform[id(load)] = self._spread(load.dtype, self._load_one(load.dtype, self.first[id(load)], 0))

    # The three ways through rows and columns.

    def _map(self) -> None:
        """All entries; reductions are whole ones and carried through both loops."""
        totals = [r for r in self.form.results if r.per == WHOLE]
        kinds = [self._kind(r.node.dtype) for r in totals]
        carried = [(k, self._identity(r.node)) for k, r in zip(kinds, totals, strict=True)]

        def row(r: Number, *sums: str) -> Sequence[str]:
            lines = self._row(r)
            return self._through_columns(
                lambda c, mask, *acc: self._point(r, lines, c, mask, dict(zip(map(id, totals), acc, strict=True))),
                list(zip(kinds, sums, strict=True)),
            )  # fmt: skip

        sums = self.f.loop("%r1", row, start="%r0", carried=carried)
        for result, total in zip(totals, sums, strict=True):
            self._store_one(result.node.dtype, self._across(result.node, total), self.first[id(result)], "%unit")

    def _inner(self) -> None:
        """One result for each row."""
        results = self.form.results
        kinds = [self._kind(r.node.dtype) for r in results]

        def row(r: Number) -> None:
            lines = self._row(r)
            sums = self._through_columns(
                lambda c, mask, *acc: self._point(r, lines, c, mask, dict(zip(map(id, results), acc, strict=True))),
                [(k, self._identity(x.node)) for k, x in zip(kinds, results, strict=True)],
            )  # fmt: skip
            for result, total in zip(results, sums, strict=True):
                place = self._moved(result, self._indices(r, row=True), row=True)
                self._store_one(result.node.dtype, self._across(result.node, total), self.first[id(result)], place)

        self.f.loop("%r1", row, start="%r0")

    def _outer(self) -> None:
        """One result for each column; rows are taken several at once where the body is small."""
        results = self.form.results
        several = ROWS_AT_ONCE if len(self.form.nodes) <= SMALL_BODY else 1

        def columns(c: Number, mask: str | None) -> Sequence[str]:
            sums = self._down(c, mask, several)
            for result, total in zip(results, sums, strict=True):
                place = self._moved(result, self._indices(c, row=False), row=False)
                self._store(
                    result.node.dtype,
                    total,
                    self.f.at(self.first[id(result)], place, self._memory(result.node.dtype)),
                    mask,
                )
            return []

        self._through_columns(columns, [])

    def _down(self, c: Number, mask: str | None, several: int) -> list[str]:
        """The reductions of one vector of columns over the rows r0 … r1."""
        f, results = self.f, self.form.results
        kinds = [self._kind(x.node.dtype) for x in results]
        first = [(k, self._identity(x.node)) for k, x in zip(kinds, results, strict=True)]

        def rows(r: Number, *sums: str) -> list[str]:
            found: list[str] = []
            for k in range(several):
                own = dict(zip(map(id, results), sums[k * len(results) : (k + 1) * len(results)], strict=True))
                at = f.add(r, k)
                found += self._point(at, self._row(at), c, mask, own)
            return found

        def row(r: Number, *sums: str) -> list[str]:
            return self._point(r, self._row(r), c, mask, dict(zip(map(id, results), sums, strict=True)))

        if several == 1:
            return f.loop("%r1", row, start="%r0", carried=first)
        even = f.sub("%r1", f.rem(f.sub("%r1", "%r0"), several))
        sums = f.loop(even, rows, start="%r0", step=several, carried=first * several)
        parts = [sums[k * len(results) : (k + 1) * len(results)] for k in range(several)]
        while len(parts) > 1:
            halves = zip(parts[::2], parts[1::2], strict=True)
            parts = [[self._combine(x.node, a, b) for x, a, b in zip(results, *pair, strict=True)] for pair in halves]
        return f.loop("%r1", row, start=even, carried=list(zip(kinds, parts[0], strict=True)))

    def _through_columns(self, body: Callable[..., Sequence[str]], carried: list[tuple[str, str]]) -> list[str]:
        """body(c, mask, *sums) for each vector of columns c0 … c1; the last, short one under a mask."""
        f = self.f
        if self.lanes == 1:
            return f.loop("%c1", lambda c, *s: body(c, None, *s), start="%c0", carried=carried)
        full = f.sub("%c1", f.rem(f.sub("%c1", "%c0"), self.lanes))
        sums = f.loop(full, lambda c, *s: body(c, None, *s), start="%c0", step=self.lanes, carried=carried)
        kinds = [kind for kind, _ in carried]

        def short() -> Sequence[str]:
            mask = f.mask_below(f.sub("%c1", full), self.lanes)
            found = list(body(full, mask, *sums))
            bits = vector("i1", self.lanes)
            return [f.choose(mask, new, old, kind, bits) for kind, new, old in zip(kinds, found, sums, strict=True)]

        return f.either(f.compare("slt", full, "%c1"), short, lambda: sums, kinds)

    # One vector of entries.

    def _point(self, r: Number, lines: dict[int, Any], c: Number, mask: str | None, sums: dict[int, str]) -> list[str]:
        """Loads, computes and stores the entries (r, c …); the reductions with them added."""
        form = self.form
        registers: dict[int, str] = {}
        loaded: dict[int, str] = {}
        if form.group.product is not None:
            registers[id(form.group.product)] = self._load(form.product, r, lines, c, mask)
        for node in form.nodes:
            args = [
                self._argument(node, k, arg, registers, loaded, (r, lines, c, mask)) for k, arg in enumerate(node.args)
            ]
            if node.op.name in REDUCTIONS:
                result = next(x for x in form.results if x.node is node)
                sums[id(result)] = self._combine(node, sums[id(result)], args[0])
                continue
            registers[id(node)] = self._compute(node, args)
        for node in form.group.nodes:  # last: an array may be overwritten by what was computed from it
            self._store_node(node, registers, lines, c, mask)
        return list(sums.values())

    def _compute(self, node: Value, args: list[str]) -> str:
        if node.op.view:  # a copy for a reshape that no view can give
            return args[0]
        name = scalars.rule_of(node.op)
        return scalars.emit(name, self.f, args, [a.dtype for a in node.args], node.dtype, self.lanes)

    def _argument(
        self, node: Value, k: int, arg: Value, registers: dict[int, str], loaded: dict[int, str], at: Any
    ) -> str:
        form = self.form
        if (id(node), k) in form.literals:
            return self._literal(form.literals[id(node), k], arg.dtype)
        operand = form.operands.get((id(node), k))
        if operand is None:
            return registers[id(form.fusion.root_of(arg)[0])]
        if id(operand) not in loaded:
            loaded[id(operand)] = self._load(operand, *at)
        return loaded[id(operand)]

    def _store_node(
        self, node: Value, registers: dict[int, str], lines: dict[int, Any], c: Number, mask: str | None
    ) -> None:
        array = self.form.stores.get(id(node))
        if array is not None:
            place = self.f.at(lines[id(array)], self._column_offset(array, c), self._memory(node.dtype))
            self._store(node.dtype, registers[id(node)], place, mask)

    # Arrays.

    def _row(self, r: Number) -> dict[int, Any]:
        """Where row r of each array begins, and the numbers that belong to the whole row."""
        f, found = self.f, dict[int, Any]()
        index = self._indices(r, row=True)
        for array in (*self.form.loads, *self.form.stores.values()):
            if array.role == "tile":
                found[id(array)] = f.at("%tile", f.mul(r, "%ld"), self._memory(array.dtype))
                continue
            kind = self.form.stride_class(array)
            if kind == "uniform" and array.role == "load":
                continue
            moved = 0 if kind == "line" else self._moved(array, index, row=True)
            if array.role == "index":
                found[id(array)] = f.add(self.first[id(array)], moved)
                continue
            start = f.at(self.first[id(array)], moved, self._memory(array.dtype))
            if kind == "row" and array.role == "load":
                found[id(array)] = self._spread(array.dtype, self._load_one(array.dtype, start, 0))
            else:
                found[id(array)] = start
        return found

    def _indices(self, flat: Number, row: bool) -> list[Number]:
        """The position along each row (or column) dimension of a flat number."""
        f = self.f
        extents = self.extents[: self.n_rows] if row else self.extents[self.n_rows :]
        if len(extents) <= 1:
            return [flat] * len(extents)
        found: list[Number] = []
        for extent in reversed(extents[1:]):
            found.append(f.rem(flat, extent))
            flat = f.div(flat, extent)
        return [flat, *reversed(found)]

    def _moved(self, array: Operand | Result, index: list[Number], row: bool) -> Number:
        """Entries from the first one of an array to that of an index, along its rows or columns."""
        steps = self.steps[id(array)][: self.n_rows] if row else self.steps[id(array)][self.n_rows :]
        total: Number = 0
        for i, step in zip(index, steps, strict=True):
            total = self.f.add(total, self.f.mul(i, step))
        return total

    def _column_offset(self, array: Operand, c: Number) -> Number:
        if array.role == "tile" or self.form.stride_class(array) in ("unit", "line"):
            return c
        return self._moved(array, self._indices(c, row=False), row=False)

    def _load(self, array: Operand, r: Number, lines: dict[int, Any], c: Number, mask: str | None) -> str:
        """The entries of one vector."""
        f, kind = self.f, self.form.stride_class(array)
        if array.role == "index":
            return self._count(array, lines, c)
        if id(array) in self.uniform:
            return self.uniform[id(array)]
        if kind == "row" and array.role == "load":
            return lines[id(array)]
        memory = self._memory(array.dtype)
        if self.lanes == 1:
            return self._load_one(array.dtype, lines[id(array)], self._column_offset(array, c))
        if array.role == "tile" or kind in ("unit", "line"):
            place, wide = f.at(lines[id(array)], c, memory), vector(memory, self.lanes)
            found = f.load(wide, place) if mask is None else f.load_masked(wide, place, mask)
            return self._entered(array.dtype, found)
        return self._gather(array, lines, c, mask)

    def _gather(self, array: Operand, lines: dict[int, Any], c: Number, mask: str | None) -> str:
        """Entries that do not lie side by side, one by one."""
        f, memory = self.f, self._memory(array.dtype)
        wide, found = vector(memory, self.lanes), "poison"
        last = f.sub("%c1", 1)
        for lane in range(self.lanes):
            at = f.add(c, lane)
            offset = self._column_offset(array, at if mask is None else f.min(at, last))
            one = f.load(memory, lines[id(array)], offset)
            found = f.value(f"insertelement {wide} {found}, {memory} {one}, i64 {lane}")
        return self._entered(array.dtype, found)

    def _count(self, array: Operand, lines: dict[int, Any], c: Number) -> str:
        """Entries that count up: the number of the first one, plus 0, 1, 2 … times the step between columns."""
        f, element = self.f, self._memory(array.dtype)
        first = f.add(lines[id(array)], self._moved(array, self._indices(c, row=False), row=False))
        narrow = first if element == "i64" else f.value(f"trunc i64 {first} to {element}")
        if self.lanes == 1:
            return str(narrow)
        step = self.steps[id(array)][self.n_rows] if self.n_columns else "0"
        small = step if element == "i64" else f.value(f"trunc i64 {step} to {element}")
        kind = vector(element, self.lanes)
        ramp = "<" + ", ".join(f"{element} {i}" for i in range(self.lanes)) + ">"
        moved = f.binary("mul", ramp, f.splat(str(small), element, self.lanes), kind)
        return f.binary("add", f.splat(str(narrow), element, self.lanes), moved, kind)

    # Numbers and vectors of a dtype. A boolean is a byte in memory and a bit in a register.

    def _memory(self, dtype: np.dtype) -> str:
        return memory_type(dtype)

    def _kind(self, dtype: np.dtype) -> str:
        return type_of(dtype, self.lanes)

    def _entered(self, dtype: np.dtype, found: str, lanes: int | None = None) -> str:
        """What was loaded, as a register."""
        if dtype.kind != "b":
            return found
        wide = vector("i8", lanes or self.lanes)
        return self.f.value(f"icmp ne {wide} {found}, {self.f.constant(0, wide)}")

    def _load_one(self, dtype: np.dtype, start: str, offset: Number) -> str:
        return self._entered(dtype, self.f.load(self._memory(dtype), start, offset), 1)

    def _spread(self, dtype: np.dtype, one: str) -> str:
        return self.f.splat(one, type_of(dtype, 1), self.lanes)

    def _literal(self, number: float, dtype: np.dtype) -> str:
        kind = self._kind(dtype)
        if dtype.kind == "f":
            return self.f.constant(number, kind)
        return self.f.constant(int(number), kind)

    def _store(self, dtype: np.dtype, value: str, place: str, mask: str | None) -> None:
        f, wide = self.f, vector(self._memory(dtype), self.lanes)
        if dtype.kind == "b":
            value = f.value(f"zext {self._kind(dtype)} {value} to {wide}")
        if mask is None:
            f.store(wide, value, place)
        else:
            f.store_masked(wide, value, place, mask)

    def _store_one(self, dtype: np.dtype, value: str, start: str, offset: Number) -> None:
        if dtype.kind == "b":
            value = self.f.value(f"zext i1 {value} to i8")
        self.f.store(self._memory(dtype), value, start, offset)

    # Reductions.

    def _identity(self, node: Value) -> str:
        """What changes no sum, or no maximum."""
        kind, dtype = self._kind(node.dtype), node.dtype
        if node.op.name == "sum":
            return self.f.constant(0, kind)
        return self.f.constant(-np.inf if dtype.kind == "f" else np.iinfo(dtype).min, kind)

    def _combine(self, node: Value, a: str, b: str, lanes: int | None = None) -> str:
        dtypes = [node.dtype, node.dtype]
        return scalars.emit(COMBINE[node.op.name], self.f, [a, b], dtypes, node.dtype, lanes or self.lanes)

    def _across(self, node: Value, value: str) -> str:
        """The lanes of a vector reduced to one number, halves first."""
        f, lanes = self.f, self.lanes
        element = type_of(node.dtype, 1)
        while lanes > 1:
            half, wide = lanes // 2, vector(element, lanes)
            if half == 1:
                low, high = (f.value(f"extractelement {wide} {value}, i64 {k}") for k in (0, 1))
            else:
                picks = [", ".join(f"i32 {k + shift}" for k in range(half)) for shift in (0, half)]
                low, high = (
                    f.value(f"shufflevector {wide} {value}, {wide} poison, <{half} x i32> <{p}>") for p in picks
                )
            value, lanes = self._combine(node, low, high, half), half
        return value


__all__ = ["COMBINE", "loop_arguments", "loop_kernel"]
