"""Tables of a trace: reverse mode in the order in which it runs, forward mode with the running derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text

if TYPE_CHECKING:
    from fallline.explain.trace import Edge, Node, Trace


@dataclass(frozen=True, eq=False)
class Words:
    """The formula of an edge behind a few words; it is written when it is read, as long tables show few of theirs."""

    start: str
    edge: Edge

    def __str__(self) -> str:
        return self.start + self.edge.text


def reverse_table(trace: Trace, *, by_module: bool = False) -> Listing:
    """dJ/dJ = 1, then dJ/du += dJ/dv · dv/du for each node v from the goal back and each of its operands u."""
    goal = trace.goal.name
    columns: dict[str, list[Any]] = {
        "step": [f"d{goal}/d{goal} = 1"],
        "partial": [""],
        "its value": [None],
        "sum so far": [trace.goal.partial],
    }
    groups = [trace.goal.where]
    sums: dict[str, Any] = {}
    for node in reversed(trace.nodes):
        for edge in node.edges:
            sums[edge.operand] = edge.contribution + sums.get(edge.operand, 0.0)
            into, over = f"d{goal}/d{edge.operand} += ", f"d{node.name}/d{edge.operand}"
            if edge.local is None:
                columns["step"].append(Words(into, edge))
                columns["partial"].append("")
            else:
                columns["step"].append(f"{into}d{goal}/d{node.name} · {over}")
                columns["partial"].append(Words(f"{over} = ", edge))
            columns["its value"].append(edge.local)
            columns["sum so far"].append(sums[edge.operand])
            groups.append(node.where)
    note = ", ".join(f"d{goal}/d{n.name} = {number_text(n.partial)}" for n in trace.inputs if _is_small(n))
    title = f"reverse mode: {goal} = {number_text(trace.goal.value)}"
    return Listing(title, columns, groups if by_module else [""] * len(groups), note)


def forward_table(trace: Trace, wrt: str, *, by_module: bool = False) -> Listing:
    """Each node with its formula, value, partials, and its derivative with respect to one input."""
    moved = trace.tangents(wrt)
    goal = trace.goal.name
    nodes = [n for n in trace.nodes if n.node.op.name != "input" or n.name == wrt]
    columns: dict[str, list[Any]] = {
        "variable": [n.name if n.node.op.name == "input" else n.forward_source for n in nodes],
        "value": [n.value for n in nodes],
        "partial": [_partials_text(n) for n in nodes],
        "its value": [_partials_value(n) for n in nodes],
        f"d/d{wrt}": [moved[n.name] for n in nodes],
    }
    note = f"d{goal}/d{wrt} = {number_text(moved[goal])}"
    groups = [n.where if by_module else "" for n in nodes]
    return Listing(f"forward mode: derivatives with respect to {wrt}", columns, groups, note)


def _partials_text(node: Node) -> str:
    return "; ".join(f"d/d{e.operand} = {e.text}" for e in node.edges if e.local is not None)


def _partials_value(node: Node) -> Any:
    values = [e.local for e in node.edges if e.local is not None]
    return values[0] if len(values) == 1 else "; ".join(map(number_text, values))


def _is_small(node: Node) -> bool:
    return node.partial is not None and np.size(node.partial) <= 4
