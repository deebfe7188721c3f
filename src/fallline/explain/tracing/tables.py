"""Tables of a trace: reverse mode in the order in which it runs, forward mode with the running derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.explain.tracing.expression import bracketed_sum
from fallline.explain.tracing.held import held_note

if TYPE_CHECKING:
    from fallline.explain.tracing.node import Edge, Node
    from fallline.explain.tracing.trace import Trace

MOST_SLOPES = 6  # derivatives that the note below a table names


def reverse_table(trace: Trace, *, by_module: bool = False) -> Listing:
    """dJ/dJ = 1, then dJ/du += dJ/dv · dv/du for each node v from the goal back and each of its operands u."""
    goal = trace.goal.name
    full: dict[str, list[Any]] = {"step": [f"d{goal}/d{goal} = 1"], "partial": [""], "its value": [None]}
    short: dict[str, list[Any]] = {"step": [f"∂{goal} = 1"]}
    groups, totals = [trace.goal.where], [trace.goal.partial]
    sums: dict[str, Any] = {}
    for node in reversed(trace.nodes):
        for edge in node.edges:
            before = sums.get(edge.operand)
            sums[edge.operand] = edge.contribution if before is None else before + edge.contribution
            into, over = f"d{goal}/d{edge.operand} += ", f"d{node.name}/d{edge.operand}"
            whole = edge.local is None
            full["step"].append(Words(into, edge) if whole else f"{into}d{goal}/d{node.name} · {over}")
            full["partial"].append("" if whole else Words(f"{over} = ", edge))
            full["its value"].append(edge.local)
            short["step"].append(Adjoint(goal, node.name, edge))
            totals.append(sums[edge.operand])
            groups.append(node.where)
    short["partial"] = full["its value"]
    full["sum so far"] = short["sum so far"] = totals
    title, note = f"reverse mode: {goal} = {number_text(trace.goal.value)}", _note(trace)
    headings = groups if by_module else [""] * len(groups)
    narrow = Listing(f"{title}; ∂u stands for d{goal}/du", short, headings, note, blocks=trace.blocks)
    return Listing(title, full, headings, note, narrow=narrow, blocks=trace.blocks)


def forward_table(trace: Trace, wrt: str, *, by_module: bool = False) -> Listing:
    """Each node with its formula, value, partials, and its derivative with respect to one number."""
    moved = trace.tangents(wrt)
    start = trace.entry(wrt)[0]
    nodes = [n for n in trace.nodes if not n.is_input or n is start]
    variables = [Formula(n) for n in nodes]
    values, running = [n.value for n in nodes], [moved[n.name] for n in nodes]
    full: dict[str, list[Any]] = {
        "variable": variables,
        "value": values,
        "partial": [Partials(n) for n in nodes],
        "its value": [_partials_value(n) for n in nodes],
        f"d/d{wrt}": running,
    }
    short: dict[str, list[Any]] = {"variable": variables, "value": values, f"d/d{wrt}": running}
    slope = f"d{trace.goal.name}/d{wrt} = {number_text(moved[trace.goal.name])}"
    note = _sentences(trace.note, slope, held_note(trace, nodes))
    groups = [n.where if by_module else "" for n in nodes]
    title = f"forward mode: derivatives with respect to {wrt}"
    narrow = Listing(title, short, groups, note, blocks=trace.blocks)
    return Listing(title, full, groups, note, narrow=narrow, blocks=trace.blocks)


@dataclass(frozen=True, eq=False)
class Words:
    """The formula of an edge behind a few words. It is written when it is read, as long tables show few of theirs."""

    start: str
    edge: Edge

    def __str__(self) -> str:
        return self.start + self.edge.text


@dataclass(frozen=True, eq=False)
class Adjoint:
    """One step of reverse mode in short: "∂t += ∂u1 · cos(t)"."""

    goal: str
    name: str
    edge: Edge

    def __str__(self) -> str:
        text, adjoint = self.edge.text, f"∂{self.name}"
        if self.edge.local is None:
            return f"∂{self.edge.operand} += " + text.replace(f"d{self.goal}/d", "∂")
        if text in ("1", "−1"):
            return f"∂{self.edge.operand} += {text[:-1]}{adjoint}"
        into = f"∂{self.edge.operand} += "
        if text.startswith("1 / "):
            return f"{into}{adjoint}{text[1:]}"
        return f"{into}{adjoint} · {bracketed_sum(text)}"


@dataclass(frozen=True, eq=False)
class Formula:
    """How a node is computed: "u = u1 + u2"."""

    node: Node

    def __str__(self) -> str:
        return self.node.forward_source


@dataclass(frozen=True, eq=False)
class Partials:
    """The partials of a node: "d/du1 = 1; d/du2 = 1"."""

    node: Node

    def __str__(self) -> str:
        return "; ".join(f"d/d{e.operand} = {e.text}" for e in self.node.edges if e.local is not None)


def _partials_value(node: Node) -> Any:
    values = tuple(e.local for e in node.edges if e.local is not None)
    return (values or (None,))[0] if len(values) < 2 else values


def _note(trace: Trace) -> str:
    """What the goal stands for, its derivatives by the small inputs, and what is held fixed on the way."""
    goal = trace.goal.name
    small = [n for n in trace.inputs if n.partial is not None and 0 < np.size(n.partial) <= 4]
    slopes = [f"d{goal}/d{n.name} = {number_text(n.partial)}" for n in small[:MOST_SLOPES]]
    shown = ", ".join(slopes) + (", …" if len(small) > MOST_SLOPES else "")
    return _sentences(trace.note, shown, held_note(trace, trace.nodes))


def _sentences(*parts: str) -> str:
    return "; ".join(filter(None, parts))
