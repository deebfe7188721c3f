"""Report: the facts on a program's table of native calls; see `fallline.engines.report`."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fallline.engines.engine import EXACT
from fallline.engines.llvm.clock import Clock
from fallline.engines.llvm.coverage import reason_not_native
from fallline.engines.llvm.engine import LlvmEngine, NativeCall, NativeLoop
from fallline.engines.llvm.entries import Address, Entry, FunctionOf
from fallline.engines.llvm.form import WHOLE, Form, Operand
from fallline.engines.llvm.loader import BUILDS, Builds
from fallline.engines.llvm.memory import SKEW, in_lines, written_by
from fallline.engines.llvm.planning import Planned
from fallline.engines.llvm.target import Target
from fallline.engines.report import (
    OWN_DTYPE,
    CallFacts,
    CodeFacts,
    MemoryFacts,
    ProgramFacts,
    Sample,
    flops_of,
    input_name,
    product_text,
)
from fallline.graph.value import Value
from fallline.passes.access import Access
from fallline.passes.fuse import REDUCTIONS, Group

MOST_WORDS = 4  # different ops that a label names, beside sums and maxima
OVER = {"inner": " over columns", "outer": " over rows"}  # what the sums of a loop run over, by its kind


def native_facts(sample: Sample, engine: LlvmEngine, measure: bool = False) -> ProgramFacts:
    """Compiles the program as the engine would, and says what it has become.   CompileError as the engine has it"""
    start, before = time.perf_counter(), BUILDS.snapshot()
    native: NativeLoop | NativeCall
    if sample.carry is None:
        native = NativeCall(sample.program, engine, anew=True)
    else:
        native = NativeLoop(sample.program, engine, sample.carry, sample.scan, 0, anew=True)
    seconds, code = time.perf_counter() - start, _code(before, BUILDS.snapshot())
    planned = native.planned
    assert planned is not None
    optimized = planned.program
    reader = _Reader(planned, sample)
    calls = [reader.read(entry) for entry in planned.table.entries]
    run_seconds = None
    if measure:
        alone, run_seconds = Clock(native, sample).measure()
        calls = [replace(call, seconds=t) for call, t in zip(calls, alone, strict=True)]
    copied = {into for _, into in planned.places.copies}
    overwritten = {id(v) for v in planned.places.alias.values()}
    inputs = range(len(optimized.inputs))
    return ProgramFacts(
        engine.name, _target_words(engine.target), _precision_words(engine), _threads_words(engine),
        sample.program, optimized, tuple(calls), _memory(planned, len(native.bound.state)), seconds,
        in_place=tuple(input_name(optimized, k) for k in inputs if id(optimized.inputs[k]) in overwritten),
        copied=tuple(input_name(optimized, k) for k in sorted(copied)),
        kernels=reader.kernels, code=code, waits=sum(entry.barrier for entry in planned.table.entries),
        run_seconds=run_seconds,
    )  # fmt: skip


def _code(before: Builds, after: Builds) -> CodeFacts:
    return CodeFacts(*(getattr(after, name) - getattr(before, name) for name in CodeFacts._fields))


def _target_words(target: Target) -> str:
    able = [word for word, has in (("fma", target.fma), ("masks", target.masks), ("amx", target.amx)) if has]
    return ", ".join([target.name, f"{target.registers} registers of {target.vector_bytes} bytes", *able])


def _precision_words(engine: LlvmEngine) -> str:
    return OWN_DTYPE if engine.precision == EXACT else f"products of float32 in {engine.precision}"


def _threads_words(engine: LlvmEngine) -> str:
    counts = engine.thread_candidates
    return str(counts[0]) if len(counts) == 1 else f"{' or '.join(map(str, counts))}, whichever is fastest"


def _memory(planned: Planned, state_bytes: int) -> MemoryFacts:
    fusion, places, table = planned.fusion, planned.places, planned.table
    written = [n for g in fusion.groups for n in written_by(g, id(g) in planned.unfused) if id(n) in places.offset]
    extra = table.nbytes - places.nbytes  # partial sums and dense copies, which share nothing
    separate = sum(in_lines(n.spec.nbytes) + SKEW for n in written)
    own = sum(node.spec.nbytes for node in planned.program.calls if id(node) in fusion.home)
    shared = len({places.offset[id(n)] for n in written})
    return MemoryFacts(len(written), shared, table.nbytes, separate + extra, own, state_bytes)


class _Reader:
    """The entries of a table in words and numbers, one after another.

    kernels  what each does, by name
    """

    def __init__(self, planned: Planned, sample: Sample):
        self.planned, self.sample, self.table, self.fusion = planned, sample, planned.table, planned.fusion
        self.kernels: dict[str, str] = {}
        self._groups = {id(g) for g in self.fusion.groups}
        self._seen: Counter[int] = Counter()  # entries of each group so far
        self._parted: dict[int, int] = {}  # by group: units of the last entry, whose sums are still to be joined

    def read(self, entry: Entry) -> CallFacts:
        """The facts on the next entry."""
        group = entry.group
        if entry.node is not None:
            words = f"NumPy {entry.node.op.name}"
            return self._facts(
                entry, words, [entry.node], self._node_traffic(entry.node), reason_not_native(entry.node)
            )
        if group is None:
            return self._moved(entry)
        if id(group) not in self._groups:
            return self._copied(entry, group)
        turn = self._seen[id(group)]
        self._seen[id(group)] += 1
        return getattr(self, "_" + group.kind)(entry, group, turn)

    def _facts(
        self, entry: Entry, words: str, nodes: Sequence[Value], traffic: tuple[int, int], reason: str = "",
        shape: tuple[int, ...] | None = None, stored: Sequence[Value] = (),
    ) -> CallFacts:  # fmt: skip
        inner = [a.kernel for a in entry.arguments if isinstance(a, FunctionOf)]
        names = (entry.kernel, *inner) if entry.kernel else (f"numpy {nodes[0].op.name}",)
        if not reason:
            generic, _, rest = words.partition(" + ")
            kind = generic.split()[0]
            self.kernels.setdefault(names[0], kind if kind in ("product", "copy") else generic)
            for name in inner:
                self.kernels.setdefault(name, f"on blocks of a product: {rest}")
        found = shape if shape is not None else max((n.shape for n in nodes), key=math.prod, default=())
        kept = stored or [n for n in nodes if entry.group and n in entry.group.stored]
        return CallFacts(
            words, names, tuple(nodes), found, entry.units, sum(map(flops_of, nodes)), *traffic, tuple(kept), reason
        )

    # The calls around a step, and those that only move arrays.

    def _moved(self, entry: Entry) -> CallFacts:
        """A batch's rows, what differs from step to step, or a record."""
        carry, program = self.sample.carry or 0, self.planned.program
        arrays = [a.array for a in entry.arguments if isinstance(a, Address)]
        kinds = {array[0]: array[1] for array in arrays if len(array) == 2}
        if "table" in kinds:
            value = program.inputs[carry + self.sample.scan + kinds["table"]]
            extra, purpose = 8 * value.shape[0], "take the batch's rows"
            words = f"{purpose} of {value.attrs['name']}"
        elif "scan" in kinds:
            value, extra, purpose = program.inputs[carry + kinds["scan"]], 0, "take what differs from step to step"
            words = f"take the step's {value.attrs['name']}"
        else:
            k, extra, purpose = kinds["record"], 0, "record what the step gives"
            value = program.outputs[carry + k]
            words = f"record {self.sample.records[k] if k < len(self.sample.records) else k}"
        self.kernels.setdefault(entry.kernel, purpose)
        size = value.spec.nbytes
        return CallFacts(words, (entry.kernel,), (), value.shape, entry.units, 0, size + extra, size)

    def _copied(self, entry: Entry, group: Group) -> CallFacts:
        node = group.nodes[0]
        read = _touched(self._access(node.args[0])) * node.dtype.itemsize
        return self._facts(entry, "copy", [], (read, node.spec.nbytes), shape=node.shape)

    def _copy(self, entry: Entry, group: Group, turn: int) -> CallFacts:
        """A part of a concatenate, or the zeros and then the entries of an unslice."""
        node = group.nodes[0]
        parts = [a for a in node.args if a.size]
        source = parts[turn] if node.op.name == "concatenate" else node.args[0]
        zeros = node.op.name == "unslice" and turn == 0
        size = node.spec.nbytes if zeros else source.spec.nbytes
        words = f"copy zeros of {node.op.name}" if zeros else f"copy part {turn} of {node.op.name}"
        nodes = [node] if turn == 0 else []
        return self._facts(entry, words, nodes, (node.dtype.itemsize if zeros else size, size), shape=source.shape)

    # The calls that compute.

    def _call(self, entry: Entry, group: Group, turn: int) -> CallFacts:
        node = group.nodes[0]
        return self._facts(entry, node.op.name, [node], self._node_traffic(node))

    def _loop(self, entry: Entry, group: Group, turn: int) -> CallFacts:
        if turn:
            return self._joined(entry, group, turn - 1)
        return self._form(entry, Form(group, self.fusion, self.planned.target), group, "loop ", group.nodes)

    def _matmul(self, entry: Entry, group: Group, turn: int) -> CallFacts:
        tiled = self.table.tiled.get(id(group))
        rest = group.nodes[1:]
        if turn == 0:
            return self._product(entry, group, tiled)
        if turn == 1 and rest and tiled is None:
            form = Form(group, self.fusion, self.planned.target)
            return self._form(entry, form, group, "loop ", rest)
        return self._joined(entry, group, turn - (1 if tiled or not rest else 2))

    def _product(self, entry: Entry, group: Group, tiled: Form | None) -> CallFacts:
        product = group.nodes[0]
        self._parted[id(group)] = entry.units
        sources = {id(self._access(a).root): self._access(a) for a in product.args}
        read = sum(_touched(a) for a in sources.values()) * product.dtype.itemsize
        words = f"product {product_text(product)}"
        if tiled is None:
            return self._facts(entry, words, [product], (read, product.spec.nbytes), stored=[product])
        more, written = self._form_traffic(tiled, entry.units)
        words += f" + {_ops_words(group.nodes[1:], '')}"
        return self._facts(entry, words, group.nodes, (read + more, written))

    def _form(self, entry: Entry, form: Form, group: Group, head: str, nodes: Sequence[Value]) -> CallFacts:
        self._parted[id(group)] = entry.units
        words = head + _ops_words(nodes, OVER.get(form.kind, ""))
        return self._facts(entry, words, nodes, self._form_traffic(form, entry.units))

    def _joined(self, entry: Entry, group: Group, number: int) -> CallFacts:
        """The sums that the units of the call before have left, added up."""
        form = self.table.tiled.get(id(group)) or Form(group, self.fusion, self.planned.target)
        whole = {id(r.node) for r in form.results if r.per == WHOLE}
        node = [n for n in group.nodes if id(n) in whole][number]
        units = self._parted[id(group)]
        size = node.dtype.itemsize
        return self._facts(entry, f"join {node.op.name}", [], (units * size, size), shape=(units,))

    # Bytes.

    def _access(self, value: Value) -> Access:
        return self.fusion.access[id(value)]

    def _node_traffic(self, node: Value) -> tuple[int, int]:
        return sum({id(a): a.spec.nbytes for a in node.args}.values()), node.spec.nbytes

    @staticmethod
    def _form_traffic(form: Form, units: int) -> tuple[int, int]:
        """Bytes that loops read and write; of a sum over everything each unit leaves a number."""

        def entries(operand: Operand) -> int:
            pairs = zip(form.parts, operand.strides, strict=True)
            return math.prod(high // low for (low, high), stride in pairs if stride)

        read = sum(entries(o) * o.dtype.itemsize for o in form.loads if o.role == "load")
        written = sum(entries(o) * o.dtype.itemsize for o in form.stores.values())
        sums = ((r.node, units if r.per == WHOLE else r.node.size) for r in form.results)
        return read, written + sum(n * node.dtype.itemsize for node, n in sums)


def _touched(access: Access) -> int:
    """Entries of an array that a view of it reads."""
    return math.prod(d for d, stride in zip(access.shape, access.strides, strict=True) if stride)


def _ops_words(nodes: Iterable[Value], over: str) -> str:
    """The ops of a loop, the first ones first, with how often each comes; sums and maxima last: they shape the loop."""
    counts = Counter(n.op.name for n in nodes)
    last = [name for name in counts if name in REDUCTIONS]
    first = [name for name in counts if name not in REDUCTIONS]
    shown = [name + (f" ×{counts[name]}" if counts[name] > 1 else "") for name in first[:MOST_WORDS]]
    shown += ["…"] * (len(first) > MOST_WORDS)
    shown += [name + (f" ×{counts[name]}" if counts[name] > 1 else "") + over for name in last]
    return ", ".join(shown)


__all__ = ["native_facts"]
