"""Planning: how a program becomes a table of calls, and the table a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fallline.engines.llvm.calls import fault_of
from fallline.engines.llvm.coverage import is_native
from fallline.engines.llvm.driver import run_steps
from fallline.engines.llvm.entries import Entry
from fallline.engines.llvm.memory import plan_places
from fallline.engines.llvm.plan import ArgumentList, Place, Plan, Row
from fallline.engines.llvm.products import Products
from fallline.engines.llvm.table import Table, tiled_forms
from fallline.engines.llvm.target import Target
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.fuse import Fusion


class Planned:
    """A program that has gone through the passes, with its fused groups, its memory and its table.

    donate   output position -> input position of equal spec: written over it
    around   (entries before, entries behind) the program's own, from the table
    unfused  ids of matmul groups whose product is stored before its epilogue, in loops of its own, reads it
    """

    def __init__(
        self,
        program: Program,
        target: Target,
        precision: str = "float32",
        donate: Mapping[int, int] | None = None,
        around: Callable[[Table], tuple[list[Entry], list[Entry]]] | None = None,
    ):
        self.program, self.target = program, target
        fusion = self.fusion = Fusion(program, is_native)
        tiled = tiled_forms(fusion, target)
        stored = (g for g in fusion.groups if g.kind == "matmul" and len(g.nodes) > 1)
        self.unfused = {id(g) for g in stored if id(g) not in tiled}
        self.places = plan_places(fusion, donate or {}, self.unfused)
        self.table = Table(fusion, self.places, target, Products(target, precision), tiled)
        if around is not None:
            before, behind = around(self.table)
            self.table.entries = [*before, *self.table.entries, *behind]
        self._add_copies()  # behind the records, which may be of inputs as they were
        self.table.set_barriers()
        self._constants = [node for node in program.order if node.op.name == "constant"]

    def _add_copies(self) -> None:
        """Donated outputs that could not be written in place; what still reads an input is saved before it changes."""
        program, table = self.program, self.table
        inputs = {id(v) for v in program.inputs}
        pending = []
        for out, into in self.places.copies:
            source = program.outputs[out]
            if id(self.fusion.access[id(source)].root) in inputs:
                saved = table.copied(source)
                pending.append((saved, into))
            else:
                pending.append((source, into))
        for source, into in pending:
            table.move_into(source, program.inputs[into])

    def plan(self, watched: Value | None = None) -> Plan:
        """The table as plain numbers.   watched  a value that the run looks at"""
        table, program = self.table, self.program
        arguments = ArgumentList()
        starts = [arguments.extend(e.arguments) for e in table.entries]
        position = {id(node): k for k, node in enumerate(self._constants)}
        for key in [key for key in arguments.arrays if key[0] == "constant"]:
            arguments.arrays["constant", position[key[1]]] = arguments.arrays.pop(key)
        return Plan(
            [Row(e.kernel, at, e.units, e.barrier, e.scratch) for e, at in zip(table.entries, starts, strict=True)],
            arguments,
            table.nbytes,
            table.numbers,
            [fault_of(node) for node in table.faults],
            [np.ascontiguousarray(node.attrs["value"]) for node in self._constants],
            [v.spec for v in program.inputs],
            [self.place(v) for v in program.outputs],
            None if watched is None else self.place(watched),
            sorted([*table.kernels, run_steps().name]),
        )

    def place(self, value: Value) -> Place:
        """Where a value that lies in memory is."""
        access = self.fusion.access[id(value)]
        root, size = access.root, value.dtype.itemsize
        strides = tuple(s * size for s in access.strides)
        offset = access.offset * size if root.size else 0
        if root.op.name == "constant":
            return Place(("constant", self._constants.index(root)), offset, access.shape, strides, value.dtype)
        start = self.table.place(root)
        return Place(start.array, start.offset + offset, access.shape, strides, value.dtype)


__all__ = ["Planned"]
