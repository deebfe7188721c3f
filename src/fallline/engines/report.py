"""Report: what an engine makes of a program, as facts: calls with their work and time, memory, code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from fallline.engines.numpy import BoundProgram
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.fuse import REDUCTIONS
from fallline.passes.memory import Plan, plan_memory
from fallline.passes.optimize import optimize

SAMPLE_SECONDS = 2e-3  # what one measurement lasts at least: a thousand times what reading the clock costs
ROUNDS = 5  # measurements, of which the fastest counts: what else the machine does only ever adds time
MOST_STEPS = 256  # of one measurement in one native call
OWN_DTYPE = "products in the arrays' own dtype"
ADDING = ("cumsum", "put_add", "add_along")  # ops that add up the entries of their first argument


class Sample(NamedTuple):
    """A program with arrays to run it on.

    arrays   one for each input; of a step those that are carried and scanned, then the tables that batches are taken of
    carry, scan  how many are carried from step to step, and differ from step to step; None for no step, a plain call
    rows     the rows of the batch (batch,) int64
    records  what the outputs behind the carried ones are called
    """

    program: Program
    arrays: Sequence[np.ndarray]
    carry: int | None = None
    scan: int = 0
    rows: np.ndarray | None = None
    records: tuple[str, ...] = ()

    @property
    def donate(self) -> dict[int, int]:
        """Output -> the input that it is written over."""
        return {k: k for k in range(self.carry or 0)}

    @property
    def batch(self) -> list[np.ndarray]:
        """An array for each input of one run."""
        split = len(self.arrays) if self.carry is None else self.carry + self.scan
        taken = [table[self.rows] for table in self.arrays[split:]]
        return [*self.arrays[:split], *taken]


@dataclass(frozen=True, eq=False)
class CallFacts:
    """One call of a compiled program.

    label    what it does, in words;  kernels  the code that it runs, by name
    nodes    the nodes that it computes; none where it moves arrays, or joins what the units of a sum have left
    scopes   the layers that these belong to;  shape  of the space that it works through
    units    parts of its work that threads may share;  stored  the nodes whose arrays it leaves in memory
    flops    floating-point operations;  read, written  bytes of the arrays that it reads and writes, each counted once
    reason   why NumPy computes it, where a native engine does not
    seconds  one run of it alone, on one thread; None where nothing was measured
    """

    label: str
    kernels: tuple[str, ...]
    nodes: tuple[Value, ...] = ()
    shape: tuple[int, ...] = ()
    units: int = 1
    flops: int = 0
    read: int = 0
    written: int = 0
    stored: tuple[Value, ...] = ()
    reason: str = ""
    seconds: float | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """A product's own first, then by work: the step of an optimizer is not that of the norm computed with it."""
        work: dict[str, float] = {}
        for node in self.nodes:
            if node.scope:
                flops = math.inf if node.op.name == "matmul" else flops_of(node)
                work[node.scope] = work.get(node.scope, 0.0) + flops
        return tuple(sorted(work, key=lambda scope: -work[scope]))

    @property
    def gflops(self) -> float | None:
        """10⁹ floating-point operations a second."""
        return self.flops / self.seconds / 1e9 if self.seconds and self.flops else None


class MemoryFacts(NamedTuple):
    """Bytes.

    arrays, places  arrays between the calls, and the places that they share;  block  bytes of these
    separate        with a place for each of the arrays;  unfused  with an array for each node
    held            of inputs that stay in the engine's memory, such as weights
    """

    arrays: int
    places: int
    block: int
    separate: int
    unfused: int
    held: int = 0


class CodeFacts(NamedTuple):
    """Objects made by the compiler and read from disk, kernels that were in memory already, and the seconds of it."""

    compiled: int
    loaded: int
    reused: int
    compile_seconds: float
    load_seconds: float


@dataclass(frozen=True, eq=False)
class ProgramFacts:
    """What an engine makes of a program.

    engine, target, precision, threads  in words
    given, optimized   the program as it was built and after the passes
    calls     in the order in which they run;  waits  how often threads wait for each other in a run
    kernels   what each does, by name, where it is code of its own
    in_place, copied   names of inputs that a run overwrites by the new arrays, and of those that need a copy for it
    seconds   from the program to code that is ready;  run_seconds  one run on one thread
    note      what else a reader should know
    """

    engine: str
    target: str
    precision: str
    threads: str
    given: Program
    optimized: Program
    calls: tuple[CallFacts, ...]
    memory: MemoryFacts
    seconds: float
    in_place: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    kernels: Mapping[str, str] = field(default_factory=dict)
    code: CodeFacts | None = None
    waits: int = 0
    run_seconds: float | None = None
    note: str = ""

    @property
    def fallbacks(self) -> list[CallFacts]:
        """What NumPy computes for a native engine."""
        return [call for call in self.calls if call.reason]


def flops_of(node: Value) -> int:
    """Floating-point operations of a node: 2·K an entry of a product, one an entry of any other op that computes.

    Choosing, moving and converting entries count nothing, and neither does integer arithmetic.
    """
    name = node.op.name
    if all(v.dtype.kind != "f" for v in (node, *node.args)):
        return 0
    if name == "matmul":
        return 2 * node.size * node.args[0].shape[-1]
    if name in REDUCTIONS:
        return max(0, node.args[0].size - node.size)
    if name in ADDING:
        return node.args[0].size
    return node.size if node.op.structure == "elementwise" else 0


def shape_text(shape: Sequence[int]) -> str:
    """(64, 10) -> 64×10; a number has no shape."""
    return "×".join(map(str, shape))


def product_text(node: Value) -> str:
    """The shapes of a product's factors: 64×20·20×32."""
    return "·".join(shape_text(a.shape) for a in node.args)


def input_name(program: Program, k: int) -> str:
    return program.inputs[k].attrs["name"] or f"input {k}"


def seconds_of(run: Callable[[int], object], most: int = MOST_STEPS) -> float:
    """What one step of run(steps) takes, in seconds: the fastest of several measurements.   most: steps of one call"""
    run(1)
    alone = max(_elapsed(run, 1, 1), 1e-9)
    steps = max(1, min(most, int(SAMPLE_SECONDS / alone)))
    times = max(1, int(SAMPLE_SECONDS / (alone * steps)))
    return min(_elapsed(run, steps, times) for _ in range(ROUNDS)) / (steps * times)


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    """call() as a run of so many steps."""

    def run(steps: int) -> None:
        for _ in range(steps):
            call()

    return run


def _elapsed(run: Callable[[int], object], steps: int, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run(steps)
    return time.perf_counter() - start


def reference_facts(sample: Sample, measure: bool = False, note: str = "") -> ProgramFacts:
    """What the reference engine does: one NumPy call for each node that is no view."""
    start = time.perf_counter()
    program = optimize(sample.program)
    bound = BoundProgram(program, sample.donate)
    seconds = time.perf_counter() - start
    plan = plan_memory(program, sample.donate)
    values = dict(zip(map(id, program.inputs), sample.batch, strict=True))
    calls = []
    with np.errstate(all="ignore"):
        for node in program.order:
            if id(node) in values:
                continue
            args = [values[id(a)] for a in node.args]
            values[id(node)] = np.asarray(node.op.forward(*args, **node.attrs)) if measure else np.empty(0)
            if node.op.name != "constant" and id(node) not in plan.views:
                time_of = partial(_reference_seconds, node, args) if measure else None
                calls.append(_reference_call(node, time_of))
    copied = {into for _, into in plan.copies}
    calls += [_copy_call(program.inputs[into]) for into in copied]
    changed = [k for k in range(sample.carry or 0) if program.outputs[k] is not program.inputs[k]]
    return ProgramFacts(
        "numpy", f"NumPy {np.__version__}", OWN_DTYPE, "those of NumPy's own library", sample.program, program,
        tuple(calls), _reference_memory(program, plan), seconds,
        in_place=tuple(input_name(program, k) for k in changed if k not in copied),
        copied=tuple(input_name(program, k) for k in sorted(copied)),
        run_seconds=_reference_run(bound, sample) if measure else None,
        note=note or "Views, such as a transpose, cost no call.",
    )  # fmt: skip


def _reference_call(node: Value, time_of: Callable[[], float] | None) -> CallFacts:
    name = node.op.name
    words = f"{name} {product_text(node)}" if name == "matmul" else name
    read = sum({id(a): a.spec.nbytes for a in node.args}.values())
    return CallFacts(
        words, (f"numpy {name}",), (node,), node.shape, 1, flops_of(node), read, node.spec.nbytes, (node,),
        seconds=time_of() if time_of else None,
    )  # fmt: skip


def _copy_call(into: Value) -> CallFacts:
    size = into.spec.nbytes
    return CallFacts(f"copy into {into.attrs['name']}", ("numpy copyto",), (), into.shape, read=size, written=size)


def _reference_seconds(node: Value, args: Sequence[np.ndarray]) -> float:
    """One call on arrays in memory, into an array that is there already."""
    out = np.empty(node.shape, node.dtype)
    if node.op.view:
        shaped = out.reshape(args[0].shape)
        return seconds_of(repeated(partial(np.copyto, shaped, args[0])))
    return seconds_of(repeated(partial(node.op.forward, *args, out=out, **node.attrs)))


def _reference_memory(program: Program, plan: Plan) -> MemoryFacts:
    inputs = {id(v) for v in program.inputs}
    computed = [v for v in program.order if id(v) in plan.place and id(v) not in inputs]
    given = {plan.place[id(v)] for v in program.inputs}
    places = {plan.place[id(v)] for v in computed} - given
    own = [v for v in computed if plan.place[id(v)] in places]
    return MemoryFacts(
        len(own), len(places), sum(plan.sizes[p] for p in places), sum(v.spec.nbytes for v in own),
        sum(v.spec.nbytes for v in computed), sum(v.spec.nbytes for v in program.inputs),
    )  # fmt: skip


def _reference_run(bound: BoundProgram, sample: Sample) -> float:
    for buffer, array in zip(bound.inputs, sample.batch, strict=True):
        np.copyto(buffer, array)
    return seconds_of(repeated(bound.step))


__all__ = ["OWN_DTYPE", "CallFacts", "CodeFacts", "MemoryFacts", "ProgramFacts", "Sample", "flops_of", "input_name",
           "product_text", "reference_facts", "repeated", "seconds_of", "shape_text"]  # fmt: skip
