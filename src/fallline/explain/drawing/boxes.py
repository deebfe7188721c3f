"""Boxes: what the drawing says about a node or a group, in the box and beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.lines import columns_of
from fallline.core.numbers import number_text
from fallline.explain.drawing.groups import Flow, Group

if TYPE_CHECKING:
    from fallline.explain.tracing.trace import Node, Trace

LONGEST = 36  # characters of a line in a box; hovering shows all
CHARACTER = 7.5  # width of one character of a 12 px monospace face: 0.6 em in most, 0.62 em in the widest
PADDING, LINE = 12.0, 16.0
MOST_WORDS = 40  # lines that are said about one box


@dataclass(frozen=True)
class Box:
    """Three lines of text, the words that hovering shows, and the sign of the partial ("" for none, or for both)."""

    lines: tuple[str, str, str]
    words: str
    sign: str
    kind: str  # "node", "input" or "group"

    @property
    def width(self) -> float:
        mark = 2 if self.kind == "group" else 0
        return max(columns_of(self.lines[0]) + mark, *map(columns_of, self.lines[1:])) * CHARACTER + 2 * PADDING

    @property
    def height(self) -> float:
        return sum(map(bool, self.lines)) * LINE + 10


def box_of(member: Node | Group, trace: Trace) -> Box:
    return _group_box(member, trace) if isinstance(member, Group) else _node_box(member, trace)


def symbol(goal: str) -> str:
    """What stands before a partial derivative: ∂J, and ∂ alone where the name is long."""
    return f"∂{goal}" if len(goal) <= 3 else "∂"


def _node_box(node: Node, trace: Trace) -> Box:
    goal = trace.goal.name
    words = [node.forward_source, f"in {node.where}" if node.where else "", f"value {number_text(node.value)}"]
    words.append("no derivative" if node.partial is None else f"d{goal}/d{node.name} = {number_text(node.partial)}")
    for edge in node.edges:
        if edge.local is None:
            words.append(f"d{goal}/d{edge.operand} += {edge.text} = {number_text(edge.contribution)}")
        else:
            words.append(f"d{node.name}/d{edge.operand} = {edge.text} = {number_text(edge.local)}")
    words += _entries(node, trace.labels.get(node.name, ()), goal)
    lines = (_short(node.forward_source), _brief(node.value), _partial(node.partial, goal))
    return Box(lines, _joined(words), sign(node.partial), "input" if node.node.op.name == "input" else "node")


def _entries(node: Node, labels: tuple[str, ...], goal: str) -> list[str]:
    """The entries of an input whose columns have names."""
    if not labels or np.size(node.value) != len(labels):
        return []
    partials = [None] * len(labels) if node.partial is None else np.ravel(node.partial)
    return [
        f"{label}: {number_text(value, 6)}" + ("" if partial is None else f", {symbol(goal)} {number_text(partial, 6)}")
        for label, value, partial in zip(labels, np.ravel(node.value), partials, strict=True)
    ]


def _group_box(group: Group, trace: Trace) -> Box:
    """The box of a layer: its last node's value and partial; of a run: its ops, and how large the partials are."""
    nodes, goal = group.nodes, trace.goal.name
    last, words = nodes[-1], [group.title, *(n.forward_source for n in nodes[:MOST_WORDS])]
    if len(nodes) > MOST_WORDS:
        words.append(f"… {len(nodes) - MOST_WORDS} more")
    if group.is_layer:
        title = f"{group.title} · {len(nodes)} nodes"
        return Box(
            (_short(title), _brief(last.value), _partial(last.partial, goal)),
            _joined(words),
            sign(last.partial),
            "group",
        )
    ops = Counter(n.node.op.name for n in nodes if n.node.op.name != "input")
    sizes = [s for s in (Flow().add(n.partial).size for n in nodes if n.partial is not None) if s]
    span = "" if not sizes else f"|{symbol(goal)}| {min(sizes):.2g} … {max(sizes):.2g}".replace("-", "−")
    kinds = ", ".join(f"{count} {name}" for name, count in ops.most_common())
    return Box((group.title, _short(kinds), span), _joined([group.title, kinds, span, *words[1:]]), "", "group")


def sign(partial: Any) -> str:
    """ "positive" or "negative" where all entries are so, else nothing."""
    if partial is None or not np.any(partial):
        return ""
    return (
        "positive" if np.all(np.greater_equal(partial, 0)) else "negative" if np.all(np.less_equal(partial, 0)) else ""
    )


def _partial(partial: Any, goal: str) -> str:
    return "" if partial is None else _short(f"{symbol(goal)} {_brief(partial)}")


def _brief(value: Any) -> str:
    """A number with six digits, few numbers with four; of a large array shape, mean and spread."""
    text = number_text(value, 6 if np.size(value) == 1 else 4)
    return _short(text.split(", ")[0] if np.size(value) > 4 else text)


def _short(text: str) -> str:
    if columns_of(text) <= LONGEST:
        return text
    while columns_of(text) > LONGEST - 1:
        text = text[:-1]
    return text + "…"


def _joined(words: list[str]) -> str:
    return "\n".join(word for word in words if word)
