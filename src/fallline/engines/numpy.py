"""The reference engine: NumPy calls on buffers that are planned once and reused at every run."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from fallline.core.spec import Spec
from fallline.engines.engine import ENGINES, Arrays, Call, Engine, Loop, LoopResult, renew_after_fork
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.memory import Plan, plan_memory
from fallline.passes.optimize import optimize

ALIGNMENT = 64  # bytes: one cache line, and the widest vector register


class NumpyEngine(Engine):
    """Runs every op by its forward rule; always available."""

    name = "numpy"
    speed = 0

    def is_available(self) -> bool:
        return True

    def threads_refused(self) -> str:
        return (
            "the engine 'numpy' has the threads of NumPy's own library: set OPENBLAS_NUM_THREADS before the start, "
            "or take the engine 'llvm'"
        )

    def precision_refused(self, precision: str) -> str:
        return (
            f"the engine 'numpy' has no products of {precision}, which NumPy cannot compute: leave precision out, "
            "or take the engine 'llvm'"
        )

    def compile(self, program: Program) -> Call:
        bound = BoundProgram(optimize(program))

        def run(*arrays: np.ndarray) -> Arrays:
            program.bind(arrays)
            with bound.lock:
                for buffer, array in zip(bound.inputs, arrays, strict=True):
                    np.copyto(buffer, array)
                bound.step()
                return [np.array(out) for out in bound.outputs]

        return run

    def loop(self, program: Program, *, carry: int, scan: int, watch: int | None = None) -> Loop:
        bound = BoundProgram(optimize(program), donate={k: k for k in range(carry)})
        return partial(_run_loop, bound, carry, scan, watch)


class BoundProgram:
    """A program with its memory: every call is prepared with the arrays it reads and writes.

    inputs, outputs  the arrays to fill before, and to read after, a `step`
    """

    def __init__(self, program: Program, donate: Mapping[int, int] | None = None):
        plan = plan_memory(program, donate)
        self.nbytes = plan.nbytes
        self.renew()
        renew_after_fork(self)
        self._memory = [aligned(n) for n in plan.sizes]
        self._arrays: dict[int, np.ndarray] = {}
        self._calls: list[Callable[[], object]] = []
        for node in program.order:
            self._bind(node, plan)
        self.inputs = [self._arrays[id(v)] for v in program.inputs]
        self.outputs = [self._arrays[id(v)] for v in program.outputs]
        self._add_copies(plan)

    def renew(self) -> None:
        """Leaves it free for one caller."""
        self.lock = threading.Lock()

    def step(self) -> None:
        """Runs every call once."""
        with np.errstate(all="ignore"):
            for call in self._calls:
                call()

    def _bind(self, node: Value, plan: Plan) -> None:
        args = [self._arrays[id(a)] for a in node.args]
        if node.op.name == "constant":
            array = node.attrs["value"]
        elif id(node) in plan.views:
            array = node.op.forward(*args, **node.attrs)
        else:
            array = _view(self._memory[plan.place[id(node)]], node.spec)
            if node.op.view:  # a reshape of entries that do not lie in order
                self._calls.append(partial(np.copyto, array.reshape(node.args[0].shape), args[0]))
            elif node.op.name != "input":
                self._calls.append(partial(node.op.forward, *args, out=array, **node.attrs))
        self._arrays[id(node)] = array

    def _add_copies(self, plan: Plan) -> None:
        """Donated outputs that could not be written in place; what reads an input is saved before any input changes."""
        changing = [self.inputs[into] for _, into in plan.copies]
        for k, source in enumerate(self.outputs):
            if any(np.may_share_memory(source, target) for target in changing):
                self.outputs[k] = np.empty_like(source, order="C")
                self._calls.append(partial(np.copyto, self.outputs[k], source))
        self._calls += [partial(np.copyto, self.inputs[into], self.outputs[out]) for out, into in plan.copies]


def _run_loop(
    bound: BoundProgram, n_carry: int, n_scan: int, watch: int | None,
    carry: Sequence[np.ndarray], scanned: Sequence[np.ndarray], data: Sequence[np.ndarray], indices: np.ndarray,
) -> LoopResult:  # fmt: skip
    kept, scans, batch = (
        bound.inputs[:n_carry],
        bound.inputs[n_carry : n_carry + n_scan],
        bound.inputs[n_carry + n_scan :],
    )
    outs = bound.outputs[n_carry:]
    steps = len(indices)
    with bound.lock:
        records = [np.empty((steps, *o.shape), o.dtype) for o in outs]
        for buffer, array in zip(kept, carry, strict=True):
            np.copyto(buffer, array)
        for s in range(steps):
            rows = indices[s]
            for buffer, table in zip(batch, data, strict=True):
                table.take(rows, axis=0, out=buffer, mode="clip")
            for buffer, values in zip(scans, scanned, strict=True):
                buffer[...] = values[s]
            bound.step()
            for record, out in zip(records, outs, strict=True):
                record[s] = out
            if watch is not None and not math.isfinite(records[watch][s]):
                steps = s + 1
                break
        return LoopResult([np.array(k) for k in kept], [r[:steps] for r in records], steps)


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed bytes that begin at a cache line."""
    raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def _view(memory: np.ndarray, spec: Spec) -> np.ndarray:
    return memory[: spec.nbytes].view(spec.dtype).reshape(spec.shape)


ENGINES.add("numpy", NumpyEngine())
