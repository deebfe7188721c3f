"""Bound: a program with its memory, its kernels in the process, and the table that the driver runs."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fallline.engines.engine import renew_after_fork
from fallline.engines.llvm.calls import index_error
from fallline.engines.llvm.coverage import is_native
from fallline.engines.llvm.driver import ENTRY_WORDS, RUN_STEPS, SYNC_BYTES, run_steps
from fallline.engines.llvm.entries import Address, Argument, Entry, FunctionOf, Key
from fallline.engines.llvm.loader import addresses
from fallline.engines.llvm.memory import LINE, in_lines, plan_places
from fallline.engines.llvm.products import Products
from fallline.engines.llvm.table import Table, tiled_forms
from fallline.engines.llvm.target import Target
from fallline.engines.numpy import aligned
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.fuse import Fusion


class ArgumentList:
    """The arguments of all entries one after the other, as int64, and the positions that addresses have to be put into.

    values     the numbers; 0 where an address belongs
    within     (position, position of the argument whose address it is)
    functions  (position, name of the kernel whose address it is)
    arrays     array -> (position, bytes behind its start) for each argument that points into it
    """

    def __init__(self) -> None:
        self.values: list[int] = []
        self.within: list[tuple[int, int]] = []
        self.functions: list[tuple[int, str]] = []
        self.arrays: dict[Key, list[tuple[int, int]]] = defaultdict(list)

    def extend(self, arguments: Sequence[Argument]) -> int:
        """Adds the arguments of one entry; returns the position of the first."""
        nested = [(k, self.extend(given)) for k, given in enumerate(arguments) if isinstance(given, list)]
        start = len(self.values)
        for k, given in enumerate(arguments):
            if isinstance(given, (int, np.integer)):
                self.values.append(int(given))
                continue
            self.values.append(0)
            if isinstance(given, Address):
                self.arrays[given.array].append((start + k, given.offset))
            elif isinstance(given, FunctionOf):
                self.functions.append((start + k, given.kernel))
        self.within += [(start + k, at) for k, at in nested]
        return start


class NativeProgram:
    """A fused program, ready to run.

    donate    output position -> input position of equal spec: written over it
    resident  positions of inputs that live in `state`, which outlives a run; the others are given by address
    around    (entries before, entries behind) the program's own, from the table

    block, state       memory of the program's own arrays, and of resident inputs
    constants, faults  numbers that kernels read as data, and fault words; 8 bytes each
    unfused  ids of matmul groups whose product is stored before its epilogue, in loops of its own, reads it
    given    inputs that are not resident, as arrays, where a fallback has to read them
    """

    def __init__(
        self,
        program: Program,
        target: Target,
        precision: str = "float32",
        donate: Mapping[int, int] | None = None,
        resident: Sequence[int] = (),
        around: Callable[[Table], tuple[list[Entry], list[Entry]]] | None = None,
    ):
        self.program, self.target = program, target
        fusion = Fusion(program, is_native)
        tiled = tiled_forms(fusion, target)
        stored = (g for g in fusion.groups if g.kind == "matmul" and len(g.nodes) > 1)
        self.unfused = {id(g) for g in stored if id(g) not in tiled}
        self.places = plan_places(fusion, donate or {}, self.unfused)
        self.table = Table(fusion, self.places, target, Products(target, precision), tiled)
        self.fusion = fusion
        self.given: Mapping[int, np.ndarray] = {}
        if around is not None:
            before, behind = around(self.table)
            self.table.entries = [*before, *self.table.entries, *behind]
        self._add_copies()  # behind the records, which may be of inputs as they were
        self.table.set_barriers()
        self._lay_out(resident)
        self._link()
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Leaves it free for one caller; a call that was in the middle of its work is forgotten."""
        self.lock = threading.RLock()
        self.sync[:] = 0
        self.faults[:] = 0

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

    def _lay_out(self, resident: Sequence[int]) -> None:
        """Memory for the block, the resident inputs, constants and arguments."""
        table, program = self.table, self.program
        self.block = aligned(table.nbytes)
        self.offsets: dict[int, int] = {}
        total = 0
        for k in resident:
            self.offsets[k] = total
            total += in_lines(program.inputs[k].spec.nbytes) + LINE
        self.state = aligned(total)
        self.faults = np.zeros(max(1, len(table.faults)), np.int64)
        self.constants = np.zeros(max(1, len(table.numbers)), np.uint64)
        for k, (dtype, number) in enumerate(table.numbers):
            self.constants[k : k + 1].view(dtype)[0] = number
        numbers = self._arguments = ArgumentList()
        self.starts = [numbers.extend(e.arguments) for e in table.entries]
        self.pool = np.array([*numbers.values, 0], np.int64)
        base = self.pool.ctypes.data
        for position, at in numbers.within:
            self.pool[position] = base + 8 * at
        self._cells = self.pool.data  # many times faster than the array where one number is written
        self._set_fixed()

    def _set_fixed(self) -> None:
        """The addresses that never change."""
        block, state = self.block.ctypes.data, self.state.ctypes.data
        for key in self._arguments.arrays:
            if key[0] == "block":
                self.set(key, block + key[1])
        for k, offset in self.offsets.items():
            self.set(("input", k), state + offset)
        self.set(("numbers",), self.constants.ctypes.data)
        self.set(("faults",), self.faults.ctypes.data)
        self._kept: list[np.ndarray] = []  # constants, of which only the addresses stand in the arguments
        for node in self.program.order:
            if node.op.name == "constant" and ("constant", id(node)) in self._arguments.arrays:
                array = np.ascontiguousarray(node.attrs["value"])
                self._kept.append(array)
                self.set(("constant", id(node)), array.ctypes.data)

    def set(self, array: Key, address: int) -> None:
        """Puts the address of an array, or a number that is known late, wherever it is an argument."""
        for position, offset in self._arguments.arrays.get(array, ()):
            self._cells[position] = address + offset

    def _link(self) -> None:
        """The addresses of kernels, and the rows of the table as the driver reads it; see `driver.ENTRY_WORDS`."""
        kernels = [*self.table.kernels.values(), run_steps()]
        found = addresses(kernels, self.target)
        for position, name in self._arguments.functions:
            self.pool[position] = found[name]
        base, entries = self.pool.ctypes.data, self.table.entries
        self.rows = np.zeros((len(entries) + 1, ENTRY_WORDS), np.int64)
        for k, (entry, start) in enumerate(zip(entries, self.starts, strict=True)):
            if entry.node is None:
                self.rows[k] = found[entry.kernel], base + 8 * start, entry.units, entry.barrier
        self.run = RUN_STEPS(found["run_steps"])
        # Of each thread: whole pages, one more than the largest entry needs.
        self.scratch_bytes = -(-max([e.scratch for e in entries], default=0) // 4096) * 4096 + 4096
        self.fallbacks = [k for k, e in enumerate(entries) if e.node is not None]
        # By id of a node that NumPy computes: its arguments and itself.
        self._prepared: dict[int, list[np.ndarray]] = {}
        self._scratch: list[np.ndarray] = []
        self._scratch_addresses: list[int] = []
        self.sync = aligned(SYNC_BYTES)
        self._table_address, self._sync_address = self.rows.ctypes.data, self.sync.ctypes.data

    def scratch(self, thread: int) -> np.ndarray:
        """Memory of one thread, made at its first use."""
        while len(self._scratch) <= thread:
            self._scratch.append(aligned(self.scratch_bytes))
        return self._scratch[thread]

    def arguments(self, steps: int, watch: int, watch_bytes: int, thread: int = 0, threads: int = 1) -> tuple[int, ...]:
        """What `run` is called with by one of the threads."""
        while len(self._scratch_addresses) <= thread:
            self._scratch_addresses.append(self.scratch(len(self._scratch_addresses)).ctypes.data)
        table, sync, scratch = self._table_address, self._sync_address, self._scratch_addresses[thread]
        return table, len(self.table.entries), steps, watch, watch_bytes, thread, threads, scratch, sync

    def step_with_fallbacks(self) -> None:
        """One run on one thread, in which NumPy computes the nodes that have no kernel."""
        at = 0
        row = self.rows.ctypes.data
        scratch, sync = self.scratch(0).ctypes.data, self.sync.ctypes.data
        for stop in [*self.fallbacks, len(self.table.entries)]:
            if stop > at:
                self.run(row + 8 * ENTRY_WORDS * at, stop - at, 1, 0, 0, 0, 1, scratch, sync)
            node = self.table.entries[stop].node if stop < len(self.table.entries) else None
            if node is not None:
                self.compute(node)
            at = stop + 1

    def compute(self, node: Value) -> None:
        """One node by its reference rule, on the arrays in memory."""
        arrays = self._prepared.get(id(node))
        if arrays is None:
            arrays = [*(self.array(a) for a in node.args), self.array(node)]
            if not any(self._is_given(self.fusion.access[id(v)].root) for v in (*node.args, node)):
                self._prepared[id(node)] = arrays
        with np.errstate(all="ignore"):
            node.op.forward(*arrays[:-1], out=arrays[-1], **node.attrs)

    def _is_given(self, root: Value) -> bool:
        """Whether a root is an input that each run brings along."""
        return root.op.name == "input" and self.table.place(root).array[1] not in self.offsets

    def array(self, value: Value) -> np.ndarray:
        """A value that lies in memory, as an array that shares it."""
        access = self.fusion.access[id(value)]
        root, dtype = access.root, value.dtype
        if root.op.name == "constant":
            flat = np.ascontiguousarray(root.attrs["value"]).reshape(-1)
        else:
            place = self.table.place(root)
            flat = self._bytes(place, root.spec.nbytes).view(dtype)
        strides = tuple(s * dtype.itemsize for s in access.strides)
        start = access.offset * dtype.itemsize if root.size else 0
        return np.ndarray(access.shape, dtype, flat, start, strides)

    def _bytes(self, place: Address, nbytes: int) -> np.ndarray:
        kind, number = place.array[:2]
        if kind == "block":
            return self.block[number + place.offset :][:nbytes]
        if kind == "input" and number in self.offsets:
            return self.state[self.offsets[number] + place.offset :][:nbytes]
        return self.given[number].reshape(-1).view(np.uint8)[place.offset :][:nbytes]

    def check_faults(self) -> None:
        """The error of the first index outside an array, if a kernel met one."""
        for node, word in zip(self.table.faults, self.faults, strict=False):
            if word:
                self.faults[:] = 0
                raise index_error(node, int(word))
