"""Drawings of a trace: the graph as SVG, with values and partial derivatives in the nodes. No Graphviz is needed."""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.numbers import number_text
from fallline.explain.layout import place

if TYPE_CHECKING:
    from fallline.explain.trace import Node, Trace

CHARACTER = 7.25  # width of one character of the 12 px monospace face, rounded up
HEIGHT, PADDING, LINE = 58.0, 12.0, 16.0
LONGEST = 36  # characters of a formula that are shown; hovering shows all
INPUT = "input"
MOST_NODES = 300  # a larger graph is drawn by its layers

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --paper: #ffffff; --box: #f6f8fa; --edge: #8a94a0; --flow: #c2410c; --in: #e8f1fb;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --box: #1b222c; --edge: #6b7682; --flow: #fb923c; --in: #14283f; }
}
.graph {
  background: var(--paper);
  font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
.graph text { fill: var(--ink); }
.graph .name { font-weight: 600; }
.graph .partial { fill: var(--flow); }
.graph rect { fill: var(--box); stroke: var(--edge); }
.graph .input rect { fill: var(--in); }
.graph path { fill: none; stroke: var(--edge); }
.graph .flow { stroke: var(--flow); }
"""


@dataclass(frozen=True)
class Drawing:
    """A drawing of a trace: `svg` by itself, `html` a page that needs nothing else; shown by itself in a notebook."""

    svg: str
    title: str

    @property
    def html(self) -> str:
        title = html.escape(self.title)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            "<style>body { margin: 1rem; background: var(--paper); color: var(--ink); font-family: sans-serif }</style>"
            f"</head><body><h1>{title}</h1>{self.svg}</body></html>"
        )

    def save(self, path: str | Path) -> Path:
        """Writes .svg or .html, by the suffix."""
        path = Path(path)
        if path.suffix not in (".svg", ".html"):
            raise ConfigError(f"cannot draw to {path}: give a name that ends in .svg or .html")
        try:
            path.write_text(self.svg if path.suffix == ".svg" else self.html, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        return path

    def _repr_html_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class _Box:
    """One box: two lines of text, the words that hovering shows, and how much gradient flows through it."""

    first: str
    second: str
    third: str
    words: str
    partial: Any
    is_input: bool

    @property
    def width(self) -> float:
        return max(map(len, (self.first, self.second, self.third))) * CHARACTER + 2 * PADDING


def draw(trace: Trace, by: str | None = None) -> Drawing:
    """The graph from the inputs at the top to the goal at the bottom.

    Each box holds a node's formula, its value and, in colour, the partial derivative of the goal; the coloured line
    over an edge is as strong as the derivative that arrives at its upper end.   by  "module": one box a layer
    """
    if by not in (None, "module"):
        raise ConfigError(f"by={by!r}: pass by='module', or leave it out")
    boxes, edges = _by_module(trace) if by or len(trace) > MOST_NODES else _by_node(trace)
    layout = place([b.width for b in boxes], edges)
    strongest = max((_size(b.partial) for b in boxes), default=0.0) or 1.0
    flows = [_size(boxes[a].partial) / strongest for a, _ in edges]
    parts = [_edge(route, flow) for route, flow in zip(layout.routes, flows, strict=True)]
    parts += [_node(box, *centre) for box, centre in zip(boxes, layout.centres, strict=True)]
    width, height = f"{layout.width:.0f}", f"{layout.height:.0f}"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" {size}>'
    goal = f"{trace.goal.name} = {number_text(trace.goal.value)}"
    return Drawing(f"{frame}<style>{_STYLE}</style>{''.join(parts)}</svg>", goal)


def _by_node(trace: Trace) -> tuple[list[_Box], list[tuple[int, int]]]:
    number = {n.name: i for i, n in enumerate(trace.nodes)}
    boxes = [_box(n, trace.goal.name) for n in trace.nodes]
    edges = [(number[name], number[n.name]) for n in trace.nodes for name in n.operands]
    return boxes, sorted(set(edges))


def _box(node: Node, goal: str) -> _Box:
    partial = "" if node.partial is None else f"d{goal}/d{node.name} = {number_text(node.partial)}"
    lines = [node.forward_source, f"value {number_text(node.value)}", partial or "no derivative"]
    rules = [f"d{node.name}/d{e.operand} = {e.text}" for e in node.edges if e.local is not None]
    first, second, third = map(_short, (node.forward_source, number_text(node.value, 6), _brief(node, goal)))
    return _Box(first, second, third, "\n".join([*lines, *rules]), node.partial, node.node.op.name == "input")


def _brief(node: Node, goal: str) -> str:
    return "" if node.partial is None else f"∂{goal} {number_text(node.partial, 6)}"


def _by_module(trace: Trace) -> tuple[list[_Box], list[tuple[int, int]]]:
    """One box for each layer with its parameters, and one for the other inputs."""
    home = _homes(trace)
    members: dict[str, list[Node]] = {}
    for node in trace.nodes:
        members.setdefault(home[node.name], []).append(node)
    names = sorted(members, key=lambda m: (m != INPUT, max(n.node.number for n in members[m])))
    number = {m: i for i, m in enumerate(names)}
    boxes = [_module_box(name, members[name], trace.goal.name) for name in names]
    pairs = {(number[home[o]], number[home[n.name]]) for n in trace.nodes for o in n.operands}
    return boxes, sorted((a, b) for a, b in pairs if a < b)


def _homes(trace: Trace) -> dict[str, str]:
    """The module of each node; a parameter belongs to the layer whose path its name begins with."""
    home = {n.name: INPUT if n.node.op.name == "input" else n.where or "outside the layers" for n in trace.nodes}
    for node in trace.nodes:
        for name in node.operands:
            if node.where and home[name] == INPUT and name.startswith(f"{node.where}."):
                home[name] = node.where
    return home


def _module_box(name: str, nodes: list[Node], goal: str) -> _Box:
    """The box of a module: its last node's value and partial; hovering shows the formulas of its nodes."""
    last, words = nodes[-1], "\n".join(n.forward_source for n in nodes[:40])
    title = f"{name}: {len(nodes)} node{'s' * (len(nodes) != 1)}"
    if name == INPUT and len(nodes) > 1:
        return _Box(title, "", "", words, None, True)
    second, third = _short(number_text(last.value, 6)), _short(_brief(last, goal))
    return _Box(title, second, third, words, last.partial, name == INPUT)


def _size(partial: Any) -> float:
    return 0.0 if partial is None or not np.size(partial) else float(np.sqrt(np.mean(np.square(partial))))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _node(box: _Box, x: float, y: float) -> str:
    left, top = x - box.width / 2, y - HEIGHT / 2
    lines = [("name", box.first), ("value", box.second), ("partial", box.third)]
    texts = "".join(
        f'<text class="{kind}" x="{left + PADDING:.1f}" y="{top + LINE * (i + 1):.1f}">{html.escape(text)}</text>'
        for i, (kind, text) in enumerate(lines)
        if text
    )
    kind = "node input" if box.is_input else "node"
    frame = f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{HEIGHT:.0f}" rx="6"/>'
    return f'<g class="{kind}"><title>{html.escape(box.words)}</title>{frame}{texts}</g>'


def _edge(route: list[tuple[float, float]], strength: float) -> str:
    """A smooth line down from box to box; over it the flow of the gradient, as wide and strong as it is."""
    half = HEIGHT / 2
    d = f"M{route[0][0]:.1f},{route[0][1] + half:.1f}"
    for (x0, y0), (x1, y1) in pairwise(route):  # straight past the boxes of a rank, bent between the ranks
        middle = (y0 + y1) / 2
        d += f" L{x0:.1f},{y0 + half:.1f} C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1 - half:.1f}"
    if not strength:
        return f'<path d="{d}"/>'
    return f'<path d="{d}"/><path class="flow" d="{d}" stroke-width="{1 + 2 * strength:.2f}" opacity="{strength:.2f}"/>'
