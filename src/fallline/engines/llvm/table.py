"""Table: a fused program as the list of native calls that one run of it makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fallline.engines.llvm.calls import plan_call
from fallline.engines.llvm.entries import Address, Argument, Entry, FunctionOf, Key
from fallline.engines.llvm.form import WHOLE, Form, Operand, Result
from fallline.engines.llvm.gemm import ARGUMENTS
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.lines import UNIT_WORK
from fallline.engines.llvm.loops import loop_arguments, loop_kernel
from fallline.engines.llvm.memory import LINE, Places
from fallline.engines.llvm.products import Products, batch_step
from fallline.engines.llvm.target import Target
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.access import Access, row_major, whole
from fallline.passes.fuse import Fusion, Group, cuts_of

NARROW = 64  # columns that a unit of a sum over rows has at least, if there are so many: a multiple of all vectors


class Table:
    """The entries of a program, the kernels that they call, and what must lie where.

    tiled    by id of a matmul group, the loops that run on blocks of its product (`tiled_forms`)
    kernels  by name
    nbytes   of the block: the planned one, and behind it partial results and dense copies
    numbers  the constants that kernels read as data, (dtype, number), 8 bytes each
    faults   nodes that look up by index, in the order of their fault words
    """

    def __init__(self, fusion: Fusion, places: Places, target: Target, products: Products, tiled: Mapping[int, Form]):
        self.fusion, self.target, self.products, self.tiled = fusion, target, products, tiled
        self.entries: list[Entry] = []
        self.kernels: dict[str, Kernel] = {}
        self.numbers: list[tuple[np.dtype, float]] = []
        self.faults: list[Value] = []
        self.nbytes = places.nbytes
        self._copies: dict[Access, Value] = {}
        self._targets: dict[int, Address] = {}  # where the results of the form at hand go
        self._places: dict[int, Address] = {}
        for k, node in enumerate(fusion.program.inputs):
            self._places[id(node)] = Address(("input", k))
        for node in fusion.program.order:
            if node.op.name == "constant":
                self._places[id(node)] = Address(("constant", id(node)))
        self._places |= {i: Address(("block", offset)) for i, offset in places.offset.items()}
        self._places |= {i: self._places[id(into)] for i, into in places.alias.items()}
        for group in fusion.groups:
            getattr(self, "_add_" + group.kind)(group)

    # Places.

    def place(self, value: Value) -> Address:
        """Where the array of a root lies."""
        return self._places[id(value)]

    def new_place(self, nbytes: int) -> Address:
        """More room behind the planned block."""
        start = -(-self.nbytes // LINE) * LINE
        self.nbytes = start + max(nbytes, 1)
        return Address(("block", start))

    def _address(self, array: Operand | Result) -> Address:
        """Where the first entry of an operand, or of the results of a reduction, lies."""
        if isinstance(array, Result):
            return self._targets[id(array.node)]
        if array.value is None:
            return self._number(array)
        start = self.place(array.value)
        return Address(start.array, start.offset + array.offset * array.dtype.itemsize)

    def _number(self, operand: Operand) -> Address:
        key = operand.dtype, operand.number
        if key not in self.numbers:
            self.numbers.append(key)
        return Address(("numbers",), 8 * self.numbers.index(key))

    # Entries.

    def add(self, kernel: Kernel, arguments: list[Argument], **facts: Any) -> None:
        """One more call.   facts: the other fields of its `Entry`"""
        self.kernels[kernel.name] = kernel
        self.entries.append(Entry(kernel.name, arguments, **facts))

    def _add_loop(self, group: Group) -> None:
        self.add_form(Form(group, self.fusion, self.target), group)

    def add_form(self, form: Form, group: Group) -> None:
        """The loops of a form, and the sums of what its units leave."""
        rows, columns = math.prod(form.rows), math.prod(form.columns)
        row_step, column_step = self._steps(form, rows, columns)
        units = -(-rows // row_step) * -(-columns // column_step)
        self._targets = {}
        partial = self._aim(form, units)
        arguments = loop_arguments(form, self._address, row_step, column_step)
        self.add(loop_kernel(form), arguments, units=units, group=group, **self._traffic(form))
        self._finish_partial(partial, units, group)

    @staticmethod
    def _steps(form: Form, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of one unit."""
        if form.kind == "outer":
            return max(1, rows), min(max(1, columns), max(NARROW, UNIT_WORK // max(1, rows) // NARROW * NARROW))
        if form.kind == "inner" or columns <= UNIT_WORK:
            return max(1, min(rows, UNIT_WORK // max(1, columns))), max(1, columns)
        return 1, UNIT_WORK

    def _aim(self, form: Form, units: int) -> dict[int, Address]:
        """Where results go: to their arrays, or to one number a unit where those of all units are to be joined."""
        partial = {}
        for result in form.results:
            node = result.node
            self._targets[id(node)] = self.place(node)
            if result.per == WHOLE and units > 1:
                partial[id(node)] = self._targets[id(node)] = self.new_place(units * node.dtype.itemsize)
        return partial

    def _finish_partial(self, partial: dict[int, Address], units: int, group: Group) -> None:
        for node in group.nodes:
            if id(node) in partial:
                self._join_units(node, partial[id(node)], units, group)

    def _join_units(self, node: Value, start: Address, units: int, group: Group) -> None:
        """The results of all units joined in order, by the loop of a small program of its own."""
        joined = Program.of(lambda x: OPS[node.op.name](x), node.spec.with_shape((units,)))
        fusion = Fusion(joined)
        form = Form(fusion.groups[0], fusion, self.target)
        before = self._places
        self._places = {**before, id(joined.inputs[0]): start, id(joined.outputs[0]): self.place(node)}
        self._targets = {id(joined.outputs[0]): self.place(node)}
        arguments = loop_arguments(form, self._address, 1, units)
        self.add(loop_kernel(form), arguments, group=group, **self._traffic(form))
        self._places = before

    def _traffic(self, form: Form) -> dict[str, set[Key]]:
        """The arrays that loops read and write, as fields of an `Entry`."""
        reads = {self._address(o).array for o in form.loads if o.role == "load"}
        writes = {self._address(o).array for o in form.stores.values()} | {self._address(r).array for r in form.results}
        return {"reads": reads, "writes": writes}

    def _add_matmul(self, group: Group) -> None:
        """A product with its epilogue: in the same call where there is a tiled form, else in loops behind it."""
        product, nodes = group.nodes[0], group.nodes[1:]
        form = self.tiled.get(id(group))
        self._add_product(product, group, form)
        if form is None and nodes:
            self.add_form(Form(group, self.fusion, self.target), group)

    def _add_product(self, product: Value, group: Group, form: Form | None) -> None:
        """A product, stored, or handed on block by block to the loops of a form."""
        (left, A), (right, B) = (self._factor(a, group) for a in product.args)
        plan = self.products.plan(product, left, right)
        reads, writes = {A.array, B.array}, set[Key]()
        partial: dict[int, Address] = {}
        goal: dict[str, Argument] = {}
        if form is None:
            goal["C"] = self.place(product)
            writes.add(self.place(product).array)
        else:
            kernel = loop_kernel(form)
            self.kernels[kernel.name] = kernel
            self._targets = {}
            partial = self._aim(form, plan.blocks.units)
            goal["epilogue"] = FunctionOf(kernel.name)
            goal["epilogue_args"] = loop_arguments(form, self._address, 0, 0)
            traffic = self._traffic(form)
            reads, writes = reads | traffic["reads"], writes | traffic["writes"]
        values = {**plan.arguments, "A": A, "B": B, **goal}
        self.add(plan.kernel, [values.get(name, 0) for name in ARGUMENTS], units=plan.blocks.units,
                 scratch=plan.blocks.scratch_bytes, reads=reads, writes=writes, group=group)  # fmt: skip
        self._finish_partial(partial, plan.blocks.units, group)

    def _factor(self, value: Value, group: Group) -> tuple[Access, Address]:
        """How a factor is reached, and where; copied where the matrices of a stack do not follow each other evenly."""
        access = self.fusion.access[id(value)]
        if batch_step(access) is None:
            place = self._dense(value, group)
            return whole(value), place
        start = self.place(access.root)
        return access, Address(start.array, start.offset + access.offset * value.dtype.itemsize)

    def _add_copy(self, group: Group) -> None:
        """concatenate and unslice: each part moved to its place in the array."""
        node = group.nodes[0]
        strides, at = row_major(node.shape), 0
        if node.op.name == "unslice":
            zero = as_value(np.zeros((), node.dtype))
            self.move(OPS["broadcast_to"].apply(zero, shape=node.shape), Access(node, 0, node.shape, strides), group)
            bounds = node.attrs["bounds"]
            offset = sum(b[0] * s for b, s in zip(bounds, strides, strict=True))
            steps = tuple(b[2] * s for b, s in zip(bounds, strides, strict=True))
            self.move(node.args[0], Access(node, offset, node.args[0].shape, steps), group)
            return
        axis = node.attrs["axis"]
        for part in node.args:
            self.move(part, Access(node, at * strides[axis], part.shape, strides), group)
            at += part.shape[axis]

    def move(self, source: Value, into: Access, group: Group | None) -> None:
        """Copies the entries of a value to where `into` says."""
        if not source.size:
            return
        node = OPS["identity"].apply(source)
        self._places[id(node)] = self._places[id(into.root)]
        moved = Group("loop", [node], source.size, cuts_of(source.shape), stored=[node])
        self.add_form(Form(moved, self.fusion, self.target, into=into), group or moved)

    def move_into(self, source: Value, target: Value) -> None:
        """Copies a value over the whole array of another one of its shape."""
        self.move(source, whole(target), None)

    def copied(self, value: Value) -> Value:
        """A value in an array of its own."""
        copy = OPS["identity"].apply(value)
        self._places[id(copy)] = self.new_place(value.spec.nbytes)
        self.fusion.access[id(copy)] = whole(copy)
        self.move_into(value, copy)
        return copy

    def _add_call(self, group: Group) -> None:
        """An op that is neither a loop nor a product, by a kernel of its own or by NumPy."""
        node = group.nodes[0]
        plan = plan_call(node) if node.size else None
        if plan is None:
            self._add_fallback(node, group)
            return
        sources = [self._dense(a, group) for a in node.args]
        arguments: list[Argument] = [self.place(node), *sources, *plan.extents]
        if plan.faults:
            arguments.append(Address(("faults",), 8 * len(self.faults)))
            self.faults.append(node)
        self.add(plan.kernel, arguments, units=plan.units, scratch=plan.scratch_bytes, group=group,
                 reads={s.array for s in sources}, writes={self.place(node).array})  # fmt: skip

    def _dense(self, value: Value, group: Group) -> Address:
        """A value as an array of its own, copied where it is a view."""
        access = self.fusion.access[id(value)]
        if access.dense:
            return self.place(access.root)
        if access not in self._copies:
            self._copies[access] = self.copied(value)
        return self._places[id(self._copies[access])]

    def _add_fallback(self, node: Value, group: Group) -> None:
        """NumPy computes the node between native calls."""
        if id(node) not in self._places:  # not stored by the plan, as its readers were to be in the same loop
            self._places[id(node)] = self.new_place(node.spec.nbytes)
        self.entries.append(Entry("", [], group=group, node=node))

    def set_barriers(self) -> None:
        """Where threads must wait for each other: before an entry that touches what another one may still work on."""
        read: set[Key] = set()
        written: set[Key] = set()
        for k, entry in enumerate(self.entries):
            entry.barrier = k == 0 or bool(entry.reads & written or entry.writes & (read | written))
            if entry.barrier:
                read, written = set(), set()
            read |= entry.reads
            written |= entry.writes


def tiled_forms(fusion: Fusion, target: Target) -> dict[int, Form]:
    """By id of a matmul group, the loops that run on blocks of its product; none where blocks would not pay."""
    found = {}
    for group in fusion.groups:
        product = group.product
        if product is None or len(group.nodes) == 1 or len(product.shape) != 2:
            continue
        if product.shape[1] >= target.lanes(product.dtype.itemsize):
            form = Form(group, fusion, target, tiled=True)
            if len(form.columns) == 1:
                found[id(group)] = form
    return found


__all__ = ["Table", "tiled_forms"]
