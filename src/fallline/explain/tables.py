"""Tables of a trace: reverse mode in the order in which it runs, forward mode with the running derivative."""

from __future__ import annotations

import html
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.explain.expression import number_text

if TYPE_CHECKING:
    from fallline.explain.trace import Edge, Node, Trace

MOST_ROWS = 200  # printed; of a longer table the middle is left out


@dataclass(frozen=True, eq=False)
class Words:
    """The formula of an edge behind a few words; it is written when it is read, as long tables show few of theirs."""

    start: str
    edge: Edge

    def __str__(self) -> str:
        return self.start + self.edge.text


@dataclass(frozen=True, eq=False)
class Table:
    """Rows with a heading, as text, as HTML and as data.

    columns  name -> the cells, numbers as arrays;  groups  the heading above each row ("" for none)
    note     what a reader should know, in one sentence
    """

    title: str
    columns: dict[str, list[Any]]
    groups: list[str]
    note: str = ""

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size((100, 40)).columns)

    def text(self, width: int = 100) -> str:
        """The table in `width` columns of a terminal; what does not fit is cut with an ellipsis."""
        names = list(self.columns)
        rows = {i: [_cell(self.columns[n][i]) for n in names] for i in self._shown()}
        widths = _widths([names, *rows.values()], width)
        lines = [self.title, "", _line(names, widths), _line(["─" * w for w in widths], widths)]
        heading, last = "", -1
        for i, row in rows.items():
            if i > last + 1:
                lines.append(f"… {i - last - 1} rows …")
            if self.groups[i] != heading:
                heading = self.groups[i]
                lines += ["", f"[{heading}]"]
            lines.append(_line(row, widths))
            last = i
        note = textwrap.wrap(self.note, max(20, width)) if self.note else []
        return "\n".join([*lines, *([""] if note else []), *note])

    def _shown(self) -> list[int]:
        """The rows that are printed: all, or the first and the last ones."""
        rows, half = range(len(self)), MOST_ROWS // 2
        return list(rows) if len(self) <= MOST_ROWS else [*rows[:half], *rows[-half:]]

    def _repr_html_(self) -> str:
        names = list(self.columns)
        head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
        body, heading = [], ""
        for i in self._shown():
            if self.groups[i] != heading:
                heading = self.groups[i]
                body.append(f'<tr><th colspan="{len(names)}">{html.escape(heading)}</th></tr>')
            cells = "".join(f"<td>{html.escape(_cell(self.columns[n][i]))}</td>" for n in names)
            body.append(f"<tr>{cells}</tr>")
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def reverse_table(trace: Trace, *, by_module: bool = False) -> Table:
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
    return Table(title, columns, groups if by_module else [""] * len(groups), note)


def forward_table(trace: Trace, wrt: str, *, by_module: bool = False) -> Table:
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
    return Table(f"forward mode: derivatives with respect to {wrt}", columns, groups, note)


def _partials_text(node: Node) -> str:
    return "; ".join(f"d/d{e.operand} = {e.text}" for e in node.edges if e.local is not None)


def _partials_value(node: Node) -> Any:
    values = [e.local for e in node.edges if e.local is not None]
    return values[0] if len(values) == 1 else "; ".join(map(number_text, values))


def _is_small(node: Node) -> bool:
    return node.partial is not None and np.size(node.partial) <= 4


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, (str, Words)) else number_text(value)


def _widths(rows: list[list[str]], width: int) -> list[int]:
    """Columns as wide as their cells, the widest narrowed until the line fits."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_fit(c, w) for c, w in zip(cells, widths, strict=True)).rstrip()


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
