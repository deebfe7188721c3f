"""The native engine: a program becomes a table of calls of machine code, and one native call runs many steps of it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from ctypes import addressof, c_char
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import CompileError, ShapeError
from fallline.core.spec import Spec
from fallline.engines.engine import Arrays, Call, Engine, Loop, LoopResult, get_engine, warn_once
from fallline.engines.llvm import amx, moves
from fallline.engines.llvm.bound import NativeProgram
from fallline.engines.llvm.driver import run_steps
from fallline.engines.llvm.entries import Address, Entry
from fallline.engines.llvm.feed import Feed, Feeds
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.loader import addresses, addresses_of
from fallline.engines.llvm.plan import Plan
from fallline.engines.llvm.planning import Planned
from fallline.engines.llvm.recall import keep_plan, plan_key, recall_plan
from fallline.engines.llvm.table import Table
from fallline.engines.llvm.target import Target, host_target
from fallline.engines.llvm.team import TEAM, ThreadChoice, cores, thread_counts
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.optimize import optimize

_FAILURES = (CompileError, ImportError, OSError)


class LlvmEngine(Engine):
    """Machine code for this CPU. Where code cannot be made, the reference engine takes over, with one warning."""

    name = "llvm"
    speed = 10

    def is_available(self) -> bool:
        return self._is_installed

    @property
    def remedy(self) -> str:
        return "pip install llvmlite"

    @property
    def missed(self) -> str:
        return f"llvmlite is not installed, NumPy computes instead (slower): {self.remedy}"

    @cached_property
    def _is_installed(self) -> bool:
        return find_spec("llvmlite") is not None

    def threads_refused(self) -> str:
        return ""

    def precision_refused(self, precision: str) -> str:
        try:
            return amx.reason_not(self.target)
        except _FAILURES as error:
            return f"no native code can be made: {error}"

    @cached_property
    def target(self) -> Target:
        """The CPU that code is made for."""
        return host_target()

    @property
    def thread_candidates(self) -> list[int]:
        """The numbers of threads that a program may run on, in ascending order."""
        return [self.threads] if self.threads else thread_counts(cores())

    def compile(self, program: Program) -> Call:
        try:
            return NativeCall(program, self)
        except _FAILURES as error:
            return _reference(error).compile(program)

    def loop(self, program: Program, *, carry: int, scan: int, watch: int | None = None) -> Loop:
        try:
            return NativeLoop(program, self, carry, scan, watch)
        except _FAILURES as error:
            return _reference(error).loop(program, carry=carry, scan=scan, watch=watch)


def _reference(error: Exception) -> Engine:
    """The engine that takes over, once the user has been told."""
    warn_once(f"no native code could be made, NumPy computes instead (slower): {error}", kind="no native code")
    return get_engine("numpy")


class NativeCall:
    """A program as a function of arrays; one caller at a time."""

    def __init__(self, program: Program, engine: LlvmEngine, anew: bool = False):
        self.program = program
        self.planned: Planned | None = None  # where the plan was made in this process
        self.bound = _bound(self, engine, "call", self._plan, anew)
        self.choice = ThreadChoice(engine.thread_candidates)
        self._addresses: list[int] = [0] * len(program.inputs)
        self._expected = [(spec.shape, spec.dtype) for spec in self.bound.plan.inputs]
        self._places = self.bound.plan.outputs
        self._fixed = [None if place.array[0] == "input" else self.bound.array(place) for place in self._places]

    def _plan(self, engine: LlvmEngine) -> Plan:
        self.planned = Planned(optimize(self.program), engine.target, engine.precision)
        return self.planned.plan()

    def __call__(self, *arrays: np.ndarray) -> Arrays:
        bound, given = self.bound, [np.asarray(a, order="C") for a in arrays]
        if [(a.shape, a.dtype) for a in given] != self._expected:
            self.program.bind(arrays)  # says what does not fit
        with bound.lock:
            bound.given = dict(enumerate(given))
            try:
                for k, array in enumerate(given):
                    address = _address(array)
                    if address != self._addresses[k]:
                        self._addresses[k] = 0  # until it is set: Ctrl-C may come in between
                        bound.set(("input", k), address)
                        self._addresses[k] = address
                self._run()
                if bound.plan.faults:
                    bound.check_faults()
                outputs = zip(self._fixed, self._places, strict=True)
                return [np.array(bound.array(place) if fixed is None else fixed) for fixed, place in outputs]
            finally:
                bound.given = {}

    def _run(self) -> None:
        bound = self.bound
        if bound.fallbacks:
            bound.step_with_fallbacks()
            return
        start = time.perf_counter()
        threads = self.choice.next()
        TEAM.run(threads, bound.run, lambda t, n: bound.arguments(1, 0, 0, t, n))
        self.choice.tell(threads, time.perf_counter() - start)


def _bound(
    native: NativeCall | NativeLoop, engine: LlvmEngine, kind: Any, make: Callable[[LlvmEngine], Plan], anew: bool,
    resident: Sequence[int] = (),
) -> NativeProgram:  # fmt: skip
    """The native program: its plan from disk, unless it is to be made anew, else made and kept.

    kind  what the plan depends on beside the program and the engine
    """
    target = engine.target
    key = None if anew else plan_key(native.program, target, engine.precision, kind)
    plan = recall_plan(key, target)
    if plan is None:
        plan = make(engine)
        assert native.planned is not None
        addresses([*native.planned.table.kernels.values(), run_steps()], target)
        keep_plan(key, plan, target)
    return NativeProgram(plan, addresses_of(plan.kernels, target), resident, native.planned)


def _nothing() -> None:
    return None


def _address(array: np.ndarray) -> int:
    """Where an array's entries lie."""
    try:
        return addressof(c_char.from_buffer(array.data))  # a quarter of the time of `array.ctypes.data`
    except (TypeError, ValueError):  # not to be written to, or empty
        return array.ctypes.data


class Carried(Sequence[np.ndarray]):
    """The carried arrays after a call, copied out of the engine's memory when one of them is first read.

    They are copied too before a call with another carry, such as that of another thread, takes the memory.
    """

    _block: np.ndarray | None = None
    _arrays: list[np.ndarray] | None = None

    def __init__(self, loop: NativeLoop):
        self.loop = loop

    def __len__(self) -> int:
        return self.loop.carry

    def __getitem__(self, k: Any) -> Any:
        if self._arrays is None:
            self._arrays = self.loop.arrays_in(self.block())
        return self._arrays[k]

    def block(self) -> np.ndarray:
        """All of them in one piece, as they lie in the engine's memory."""
        if self._block is None:  # once it is there, nobody who holds another loop's lock has to wait for this one's
            with self.loop.bound.lock:
                if self._block is None:
                    self._block = self.loop.carried(self)
        return self._block


class NativeLoop:
    """A step that runs for many batches in one native call; see `Engine.loop`."""

    def __init__(
        self, program: Program, engine: LlvmEngine, carry: int, scan: int, watch: int | None, anew: bool = False
    ):
        self.program, self.carry, self.scan, self.watch = program, carry, scan, watch
        self.n_data = len(program.inputs) - carry - scan
        self.input_specs = [v.spec for v in program.inputs]
        self.record_specs = [v.spec for v in program.outputs[carry:]]
        self.batch = next((s.shape[0] for s in self.input_specs[carry + scan :]), None)
        self._tables: list[Callable[[], np.ndarray | None]] = [_nothing] * self.n_data  # their addresses are set
        self._lowest = 0  # rows of the shortest of them
        self._feeds = Feeds(self.batch, self.input_specs[carry : carry + scan], self.record_specs)
        self._fed: Feed | None = None  # whose addresses stand in the arguments
        self._latest: Callable[[], Carried | None] = lambda: None  # what was carried last, while somebody has it
        self.planned: Planned | None = None  # where the plan was made in this process
        everything = range(len(program.inputs))
        self.bound = _bound(self, engine, (carry, scan, watch), self._plan, anew, everything)
        place = self.bound.plan.watched
        self.watched = (0, 0) if place is None else (self.bound.array(place).ctypes.data, place.dtype.itemsize)
        found = addresses_of(("rows_within", "run_fed"), engine.target)
        self._rows_within, self._run = moves.ROWS_WITHIN(found["rows_within"]), moves.RUN_FED(found["run_fed"])
        self.choice = ThreadChoice(engine.thread_candidates)
        self._is_alone = engine.thread_candidates == [1]  # then there is nothing to choose, and nobody to wake

    def _plan(self, engine: LlvmEngine) -> Plan:
        program, donate = optimize(self.program), {k: k for k in range(self.carry)}
        watched: list[Value] = []
        around = partial(self._around, program, watched)
        self.planned = Planned(program, engine.target, engine.precision, donate, around)
        return self.planned.plan(*watched)

    def _around(self, program: Program, watched: list[Value], table: Table) -> tuple[list[Entry], list[Entry]]:
        """Before the step its batch and what differs from step to step, behind it the records.

        watched  gets the value that must stay finite
        """
        own, table.entries = table.entries, []
        table.kernels |= {kernel.name: kernel for kernel in (moves.rows_within(), moves.run_fed())}
        inputs, split = program.inputs, self.carry + self.scan
        for j, value in enumerate(inputs[self.carry : split]):
            self._add_slice(table, moves.scan(), Address(("scan", j)), table.place(value), value.spec.nbytes)
        for j, value in enumerate(inputs[split:]):
            self._add_rows(table, j, value)
        before, table.entries = table.entries, []
        for j, value in enumerate(program.outputs[self.carry :]):
            if j == self.watch:  # it is looked at when the step is over, so not in an array that is carried on
                value = table.copied(value) if value.op.name == "input" else value
                watched.append(value)
            source = table.place(table.fusion.access[id(value)].root)
            self._add_slice(table, moves.record(), source, Address(("record", j)), value.spec.nbytes)
        behind, table.entries = table.entries, own
        return before, behind

    @staticmethod
    def _add_slice(table: Table, kernel: Kernel, source: Address, goal: Address, nbytes: int) -> None:
        """A step's slice of a scanned input, or of a record."""
        units = moves.plan_bytes(nbytes)
        table.add(kernel, [source, goal, nbytes], units=units, reads={source.array}, writes={goal.array})

    @staticmethod
    def _add_rows(table: Table, j: int, batch: Value) -> None:
        """The rows of a step's batch, taken from table j of the data."""
        source, goal, indices = Address(("table", j)), table.place(batch), Address(("indices",))
        rows = batch.shape[0]
        width = batch.spec.nbytes // max(1, rows)
        cut = moves.plan_rows(rows, width)
        height, steps = Address(("height", j)), Address(("steps",))
        table.add(moves.rows(), [source, goal, indices, width, rows, height, steps, cut.rows], units=cut.units,
                  reads={source.array, indices.array}, writes={goal.array})  # fmt: skip

    def __call__(
        self,
        carry: Sequence[np.ndarray], scanned: Sequence[np.ndarray], data: Sequence[np.ndarray], indices: np.ndarray,
    ) -> LoopResult:  # fmt: skip
        if isinstance(carry, Carried) and carry.loop is not self:
            carry.block()  # read under its loop's lock, which must not be waited for under this one
        bound = self.bound
        with bound.lock:
            self._enter(carry)
            copies = self._point_tables(data)
            feed = None if bound.fallbacks else self._feeds.of(len(indices))
            if feed is not None and feed.take(scanned, indices):
                records, done = self._run_fed(feed)
            else:
                records, done = self._run_given(scanned, data, indices)
            del copies  # they had to outlive the call
            if bound.plan.faults:
                bound.check_faults()
            carried = Carried(self)
            self._latest = weakref.ref(carried)
            return LoopResult(carried, [r[:done] for r in records] if done < len(indices) else records, done)

    def _run_fed(self, feed: Feed) -> tuple[Arrays, int]:
        """(records, steps done) of a short call, whose arrays have been copied into the feed."""
        steps = len(feed.indices)
        if self._fed is not feed:
            self._fed = None  # until all are set: Ctrl-C may come in between
            self._point_arrays(feed.scanned, feed.indices, feed.records)
            for k, word in enumerate((self.bound.run_address, *self.bound.arguments(steps, *self.watched))):
                feed.words[k] = word
            self._fed = feed
        feed.words[12] = self._lowest
        done = self._run(feed.address) if self._is_alone else self._native(steps, feed)
        if done < 0:
            self._refuse_rows()
        return [r.copy() for r in feed.records], done

    def _run_given(
        self, scanned: Sequence[np.ndarray], data: Sequence[np.ndarray], indices: np.ndarray
    ) -> tuple[Arrays, int]:
        """(records, steps done) of a call that works on the arrays themselves."""
        steps = len(indices)
        records = [np.empty((steps, *s.shape), s.dtype) for s in self.record_specs]
        kept = self.point(scanned, data, np.ascontiguousarray(indices, np.int64), records)
        return records, self._stepwise(steps, records, kept) if self.bound.fallbacks else self._native(steps)

    def _enter(self, carry: Sequence[np.ndarray]) -> None:
        """Puts the carried arrays into the memory, unless they are there."""
        latest = self._latest()
        if carry is latest:
            self._latest = lambda: None  # given up: the memory is about to change
            return
        if latest is not None:
            latest.block()
        self._latest = lambda: None
        if isinstance(carry, Carried) and carry.loop.layout == self.layout:
            self.bound.state[: self.carry_bytes] = carry.block()
            return
        for target, array in zip(self.arrays_in(self.bound.state), carry, strict=True):
            np.copyto(target, array)

    @cached_property
    def specs(self) -> list[Spec]:
        """Of the carried arrays."""
        return self.input_specs[: self.carry]

    @cached_property
    def layout(self) -> str:
        """The same as text, which is compared in no time: loops of other batch sizes take turns."""
        return " ".join(map(str, self.specs))

    @cached_property
    def carry_bytes(self) -> int:
        """The carried arrays come first in the memory that stays."""
        return self.bound.offsets.get(self.carry, self.bound.state.nbytes)

    def arrays_in(self, block: np.ndarray) -> list[np.ndarray]:
        """The carried arrays that lie in a piece of memory."""
        offsets = self.bound.offsets
        return [np.ndarray(s.shape, s.dtype, block, offsets[k]) for k, s in enumerate(self.specs)]

    def point(
        self, scanned: Sequence[np.ndarray], data: Sequence[np.ndarray], indices: np.ndarray, records: Arrays
    ) -> list[Any]:
        """Puts the addresses of this call's arrays into the table; returns the arrays, which must outlive the call."""
        kept, specs = [indices], self.input_specs
        for j, array in enumerate(scanned):
            spec = specs[self.carry + j]
            if array.shape[1:] != spec.shape or len(array) < len(indices):
                raise ShapeError(f"scanned input {j} is {spec} in each of {len(indices)} steps, given {array.shape}")
            kept.append(np.ascontiguousarray(array, spec.dtype))
        self._fed = None
        self._point_arrays(kept[1:], indices, records)
        kept += self._point_tables(data)
        if self.batch is not None:
            if indices.shape[1:] != (self.batch,):
                raise ShapeError(f"indices of shape {indices.shape}: the loop takes batches of {self.batch} rows")
            self._check_rows(indices)
        return kept

    def _point_arrays(self, scanned: Arrays, indices: np.ndarray, records: Arrays) -> None:
        """Puts the addresses of arrays that have the right dtypes, in one piece each, into the arguments."""
        bound = self.bound
        bound.set(("indices",), _address(indices))
        bound.set(("steps",), len(indices))
        for kind, arrays in (("scan", scanned), ("record", records)):
            for j, array in enumerate(arrays):
                bound.set((kind, j), _address(array))

    def _point_tables(self, data: Sequence[np.ndarray]) -> Arrays:
        """Puts the addresses of tables that the call before did not have into the arguments; returns copies of them."""
        for seen, array in zip(self._tables, data, strict=True):
            if seen() is not array:
                break
        else:
            return []
        changed = [j for j, (seen, array) in enumerate(zip(self._tables, data, strict=True)) if seen() is not array]
        self._lowest = min(map(len, data))
        return [self._point_table(j, data[j]) for j in changed]

    def _point_table(self, j: int, array: np.ndarray) -> np.ndarray:
        """Puts a table's address into the arguments; its copy where its rows do not lie one behind the other."""
        spec = self.input_specs[self.carry + self.scan + j]
        if array.shape[1:] != spec.shape[1:] or array.ndim != len(spec.shape) or array.dtype != spec.dtype:
            raise ShapeError(f"batches of {spec} cannot be taken from a table {Spec.of(array)}")
        found = np.ascontiguousarray(array)
        self._tables[j] = _nothing  # until both are set: Ctrl-C may come in between
        self.bound.set(("table", j), _address(found))
        self.bound.set(("height", j), len(found))
        self._tables[j] = weakref.ref(array) if found is array else _nothing  # seen again, there is nothing to do
        return found

    def _check_rows(self, indices: np.ndarray) -> None:
        """An error for rows that no table has: machine code would read beyond it."""
        if not self._rows_within(_address(indices), indices.size, self._lowest):
            self._refuse_rows()

    def _refuse_rows(self) -> NoReturn:
        raise IndexError(f"the indices of the batches must lie in 0 … {self._lowest - 1}, the rows of the tables")

    def _native(self, steps: int, feed: Feed | None = None) -> int:
        """Steps done, on as many threads as are fastest; with a feed that holds the call -1 for a row outside."""
        start = time.perf_counter()
        threads = self.choice.next()
        if feed is not None and threads == 1:
            done = self._run(feed.address)
        else:
            if feed is not None:
                self._check_rows(feed.indices)
            done = TEAM.run(threads, self.bound.run, lambda t, n: self.bound.arguments(steps, *self.watched, t, n))
        self.choice.tell(threads, (time.perf_counter() - start) / max(1, done))
        return done

    def _stepwise(self, steps: int, records: Arrays, kept: list[Any]) -> int:
        """Step by step, with NumPy's part in each."""
        for s in range(steps):
            self._advance(s, records, kept)
            self.bound.step_with_fallbacks()
            if self.watch is not None and not np.isfinite(records[self.watch][s]):
                return s + 1
        return steps

    def _advance(self, s: int, records: Arrays, kept: list[Any]) -> None:
        """Moves the addresses that depend on the step, as each native call is a first step."""
        indices, *arrays = kept
        self.bound.set(("indices",), indices[s:].ctypes.data)
        self.bound.set(("steps",), 1)
        for j in range(self.scan):
            self.bound.set(("scan", j), arrays[j][s:].ctypes.data)
        for j, array in enumerate(records):
            self.bound.set(("record", j), array[s:].ctypes.data)

    def carried(self, asker: Carried) -> np.ndarray:
        """A copy of the carried arrays as they are now."""
        if asker is not self._latest():
            raise RuntimeError("these carried arrays were given to a later call before they were read")
        return self.bound.state[: self.carry_bytes].copy()


__all__ = ["LlvmEngine", "NativeCall", "NativeLoop"]
