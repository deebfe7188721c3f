"""Bound: a plan with its memory, its kernels in the process, and the table that the driver runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from fallline.engines.engine import renew_after_fork
from fallline.engines.llvm.calls import index_error
from fallline.engines.llvm.driver import ENTRY_WORDS, RUN_STEPS, SYNC_BYTES, run_steps
from fallline.engines.llvm.entries import Key
from fallline.engines.llvm.memory import LINE, in_lines
from fallline.engines.llvm.plan import Place, Plan
from fallline.engines.llvm.planning import Planned
from fallline.engines.numpy import aligned
from fallline.graph.value import Value


class NativeProgram:
    """A plan, ready to run.

    kernels   the address of each by its name
    resident  positions of inputs that live in `state`, which outlives a run; the others are given by address
    planned   the program behind the plan, where NumPy has a part in it

    block, state       memory of the program's own arrays, and of resident inputs
    constants, faults  numbers that kernels read as data, and fault words; 8 bytes each
    given    inputs that are not resident, as arrays, where a fallback has to read them
    """

    def __init__(
        self, plan: Plan, kernels: Mapping[str, int], resident: Sequence[int] = (), planned: Planned | None = None
    ):
        self.plan, self.planned = plan, planned
        self.given: Mapping[int, np.ndarray] = {}
        self._lay_out(resident)
        self._link(kernels)
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Leaves it free for one caller; a call that was in the middle of its work is forgotten."""
        self.lock = threading.RLock()
        self.sync[:] = 0
        self.faults[:] = 0

    def _lay_out(self, resident: Sequence[int]) -> None:
        """Memory for the block, the resident inputs, constants and arguments."""
        plan = self.plan
        self.block = aligned(plan.nbytes)
        self.offsets: dict[int, int] = {}
        total = 0
        for k in resident:
            self.offsets[k] = total
            total += in_lines(plan.inputs[k].nbytes) + LINE
        self.state = aligned(total)
        self.faults = np.zeros(max(1, len(plan.faults)), np.int64)
        self.constants = np.zeros(max(1, len(plan.numbers)), np.uint64)
        for k, (dtype, number) in enumerate(plan.numbers):
            self.constants[k : k + 1].view(dtype)[0] = number
        self._arguments = plan.arguments
        self.pool = np.array([*plan.arguments.values, 0], np.int64)
        base = self.pool.ctypes.data
        self._cells = self.pool.data  # many times faster than the array where one number is written
        for position, at in plan.arguments.within:
            self._cells[position] = base + 8 * at
        self._set_fixed()

    def _set_fixed(self) -> None:
        """The addresses that never change."""
        block, state = self.block.ctypes.data, self.state.ctypes.data
        for key in self._arguments.arrays:
            if key[0] == "block":
                self.set(key, block + key[1])
            elif key[0] == "constant":
                self.set(key, self.plan.constants[key[1]].ctypes.data)
        for k, offset in self.offsets.items():
            self.set(("input", k), state + offset)
        self.set(("numbers",), self.constants.ctypes.data)
        self.set(("faults",), self.faults.ctypes.data)

    def set(self, array: Key, address: int) -> None:
        """Puts the address of an array, or a number that is known late, wherever it is an argument."""
        for position, offset in self._arguments.arrays.get(array, ()):
            self._cells[position] = address + offset

    def _link(self, kernels: Mapping[str, int]) -> None:
        """The addresses of kernels, and the rows of the table as the driver reads it; see `driver.ENTRY_WORDS`."""
        for position, name in self._arguments.functions:
            self._cells[position] = kernels[name]
        base, rows = self.pool.ctypes.data, self.plan.rows
        table = [
            (kernels[r.kernel], base + 8 * r.start, r.units, r.barrier) if r.kernel else (0,) * ENTRY_WORDS
            for r in rows
        ]
        self.rows = np.zeros((len(rows) + 1, ENTRY_WORDS), np.int64)
        self.rows[: len(rows)] = np.array(table, np.int64).reshape(-1, ENTRY_WORDS)
        self.run_address = kernels[run_steps().name]
        self.run = RUN_STEPS(self.run_address)
        # Of each thread: whole pages, one more than the largest entry needs.
        self.scratch_bytes = -(-max([r.scratch for r in rows], default=0) // 4096) * 4096 + 4096
        self.fallbacks = [k for k, r in enumerate(rows) if not r.kernel]
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
        return table, len(self.plan.rows), steps, watch, watch_bytes, thread, threads, scratch, sync

    def step_with_fallbacks(self) -> None:
        """One run on one thread, in which NumPy computes the nodes that have no kernel."""
        assert self.planned is not None
        entries, at = self.planned.table.entries, 0
        row = self.rows.ctypes.data
        scratch, sync = self.scratch(0).ctypes.data, self.sync.ctypes.data
        for stop in [*self.fallbacks, len(entries)]:
            if stop > at:
                self.run(row + 8 * ENTRY_WORDS * at, stop - at, 1, 0, 0, 0, 1, scratch, sync)
            node = entries[stop].node if stop < len(entries) else None
            if node is not None:
                self.compute(self.planned, node)
            at = stop + 1

    def compute(self, planned: Planned, node: Value) -> None:
        """One node by its reference rule, on the arrays in memory."""
        arrays = self._prepared.get(id(node))
        if arrays is None:
            places = [planned.place(v) for v in (*node.args, node)]
            arrays = [self.array(place) for place in places]
            if not any(self._is_given(place) for place in places):
                self._prepared[id(node)] = arrays
        with np.errstate(all="ignore"):
            node.op.forward(*arrays[:-1], out=arrays[-1], **node.attrs)

    def _is_given(self, place: Place) -> bool:
        """Whether it lies in an input that each run brings along."""
        return place.array[0] == "input" and place.array[1] not in self.offsets

    def array(self, place: Place) -> np.ndarray:
        """What lies in memory as an array that shares it."""
        kind, number = place.array[:2]
        memory, start = self.block, number
        if kind == "constant":
            memory, start = self.plan.constants[number], 0
        elif kind == "input":
            memory, start = (self.state, self.offsets[number]) if number in self.offsets else (self.given[number], 0)
        return np.ndarray(place.shape, place.dtype, memory, start + place.offset, place.strides)

    def check_faults(self) -> None:
        """The error of the first index outside an array, if a kernel met one."""
        for fault, word in zip(self.plan.faults, self.faults, strict=False):
            if word:
                self.faults[:] = 0
                raise index_error(fault, int(word))


__all__ = ["NativeProgram"]
