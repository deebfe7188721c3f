"""What reverse mode must keep in memory until it runs, against what forward mode needs at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import counted
from fallline.explain.tracing.flow import back_to_source, source_of
from fallline.graph.op import as_value, new_input
from fallline.graph.value import Value

if TYPE_CHECKING:
    from fallline.explain.tracing.trace import Trace

KEPT, PRESENT = "kept for the backward pass", "inputs, which are there anyway"


@dataclass(frozen=True, eq=False, repr=False)
class MemoryReport(Listing):
    """The values that the partial derivatives read, a row each.

    reverse_bytes   of the values that are kept from the forward to the backward pass, inputs aside
    forward_bytes   of the values and running derivatives that forward mode holds at a time, at most
    forward_passes  of forward mode for all inputs, one for each entry; reverse mode needs one pass
    """

    reverse_bytes: int = 0
    forward_bytes: int = 0
    forward_passes: int = 0


def memory_report(trace: Trace) -> MemoryReport:
    """Which values the rules of the backward pass read, found by calling each rule and looking at what it uses."""
    readers: dict[int, list[str]] = {}
    stored: dict[int, Value] = {}
    for node in trace.nodes:
        for operand, reads in _reads(trace, node.node):
            for value in reads:
                root = _root(value)
                if root.op.name != "constant":
                    stored[id(root)] = root
                    readers.setdefault(id(root), []).append(f"d{node.name}/d{operand}")
    rows = sorted(stored.values(), key=lambda v: (v.op.name == "input", v.number))
    own = [v for v in rows if v.op.name != "input"]
    columns: dict[str, list[Any]] = {
        "node": [trace.name_of(source_of(v, trace.kept)) for v in rows],
        "shape": ["×".join(map(str, v.shape)) or "number" for v in rows],
        "bytes": [v.spec.nbytes for v in rows],
        "read for": [", ".join(dict.fromkeys(readers[id(v)])) for v in rows],
    }
    groups = [PRESENT if v.op.name == "input" else KEPT for v in rows]
    reverse, forward = sum(v.spec.nbytes for v in own), _forward_bytes(trace)
    passes = sum(int(np.size(n.value)) for n in trace.inputs if n.partial is not None)
    note = (
        f"reverse mode: 1 pass, which keeps {counted(len(own), 'value')} of {reverse:,} bytes until it comes back to "
        f"them; forward mode: {counted(passes, 'pass')}, one for each input entry, of at most {forward:,} bytes"
    )
    title = f"memory: the values that the derivatives of {trace.goal.name} read"
    return MemoryReport(
        title, columns, groups, note, reverse_bytes=reverse, forward_bytes=forward, forward_passes=passes
    )


def _reads(trace: Trace, node: Value) -> list[tuple[str, list[Value]]]:
    """For each operand through which the derivative flows: the forward values that the rule of the node reads."""
    rule, traced = node.op.vjp, trace[trace.name_of(node)]
    if rule is None or not traced.edges:
        return []
    parts = rule(new_input(node.spec, "g"), node, *node.args, **node.attrs)
    names = {e.operand for e in traced.edges}
    found = []
    for arg, part in zip(node.args, parts, strict=True):
        if part is None:
            continue
        source, part = back_to_source(arg, as_value(part), trace.kept)
        if id(source) in trace.kept and trace.name_of(source) in names:
            found.append((trace.name_of(source), _forward_values(as_value(part), trace)))
    return found


def _forward_values(part: Value, trace: Trace) -> list[Value]:
    """The values of the forward pass that a part of the backward pass is computed from."""
    found, stack, seen = [], [part], set()
    while stack:
        v = stack.pop()
        if id(v) in seen:
            continue
        seen.add(id(v))
        if trace.is_forward(v):
            found.append(v)
        else:
            stack.extend(v.args)
    return found


def _root(value: Value) -> Value:
    """The node whose memory a view reads."""
    while value.op.view or value.op.name == "identity":
        value = value.args[0]
    return value


def _forward_bytes(trace: Trace) -> int:
    """The most that is alive at a time: values that a later node reads, each with its running derivative."""
    order = trace.program.order
    last: dict[int, int] = {}
    for at, node in enumerate(order):
        for arg in node.args:
            last[id(_root(arg))] = at
    ending: dict[int, int] = {}
    alive = most = 0
    for at, node in enumerate(order):
        if _root(node) is node and node.op.name not in ("input", "constant"):
            size = node.spec.nbytes * (2 if trace.is_active(node) else 1)
            alive += size
            end = last.get(id(node), at)
            ending[end] = ending.get(end, 0) + size
        most = max(most, alive)
        alive -= ending.pop(at, 0)
    return most
