"""Drawings of a trace: the graph as SVG, with values and partial derivatives in the nodes. No Graphviz is needed."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError
from fallline.core.files import write_file
from fallline.core.lines import columns_of
from fallline.core.numbers import number_text
from fallline.explain.drawing.boxes import CHARACTER, Box, box_of, symbol
from fallline.explain.drawing.groups import Flow, Group, Level, Wiring, grouped
from fallline.explain.drawing.layout import PASSAGE, Layout, place
from fallline.explain.drawing.page import COLOURS, beside, page
from fallline.explain.drawing.shapes import SAMPLES, box_shape, edge_shape, legend, legend_size, sample

if TYPE_CHECKING:
    from fallline.explain.tracing.trace import Trace

MOST_NODES = 300  # a larger graph is drawn by its layers, and the middle of long rows as one box
MOST_OPENED = 1500  # of a larger graph, the boxes that stand for a long row open once at most
GAP, RISE, HEAD = 24.0, 38.0, 26.0  # between boxes, between ranks, height of the title of an open group
SUFFIXES = (".svg", ".html")
HINT = "point at a node, or step to it with the Tab key"


@dataclass(frozen=True)
class Drawing:
    """A drawing of a trace: `svg` by itself, `html` a page that needs nothing else; shown by itself in a notebook.

    body, style  what makes the page, to be put into another one: page(title, body, style=style)
    """

    svg: str
    title: str
    build: Callable[[], str] = field(repr=False, compare=False)

    @cached_property
    def body(self) -> str:
        return self.build()

    @property
    def style(self) -> str:
        return _style({name: f"var(--{name})" for name in COLOURS}) + beside("drawing.css")

    @property
    def html(self) -> str:
        return page(self.title, self.body, style=self.style)

    def save(self, path: str | Path) -> Path:
        """Writes .svg or .html, by the suffix."""

        def write(found: Path) -> None:
            found.write_text(self.svg if found.suffix.lower() == ".svg" else self.html, encoding="utf-8")

        return write_file(path, SUFFIXES, write)

    def _repr_html_(self) -> str:
        return self.svg


def draw(trace: Trace, by: str | None = None) -> Drawing:
    """The graph from the inputs at the top to the goal at the bottom.

    Each box holds a node's formula, its value and the partial derivative of the goal. Over an edge lies what flows
    back along it, dJ/dv · dv/du: blue is positive, orange negative, stripes show the share of both in an array; ten
    times as much is thicker by a step.

    by  "module": one box a layer, which opens in the page
    """
    if by not in (None, "module"):
        raise ConfigError(f"by={by!r}: pass by='module', or leave it out")
    sketch = _Sketch(trace, by == "module" or len(trace) > MOST_NODES)
    goal = f"{trace.goal.name} = {number_text(trace.goal.value)}"
    return Drawing(sketch.svg(), goal, sketch.body)


class _Sketch:
    """The pieces of a drawing: its outermost level by itself, or with everything that can be opened."""

    def __init__(self, trace: Trace, by_group: bool):
        self.trace = trace
        self.wiring = Wiring(trace)
        self.whole = self.wiring.level(grouped(trace) if by_group else trace.nodes)
        flows = list(self.whole.lines.values())
        if len(trace) <= MOST_OPENED:  # also those that open groups show
            flows += [Flow().add(*found) for found in self.wiring.contributions.values()]
        self.strongest = max((flow.size for flow in flows), default=0.0)

    def svg(self) -> str:
        """Every group folded, no script, a legend below."""
        boxes, layout = self._laid_out(self.whole)
        goal = self.trace.goal.name
        (wide, high), top = legend_size(goal), layout.height
        width, height = max(layout.width, wide + 2 * GAP), top + high
        parts = [self._edges(self.whole, layout)]
        for i, box in enumerate(boxes):
            if box is not None:
                parts.append(f'<g class="node {box.kind}" {_at(layout, i)}>{box_shape(box)}</g>')
        light, dark = ({name: pair[i] for name, pair in COLOURS.items()} for i in (0, 1))
        style = f"{_style(light)}@media (prefers-color-scheme: dark) {{\n{_style(dark)}}}\n"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}"><style>\n{style}</style><rect class="paper" width="100%" '
            f'height="100%"/><g transform="translate({(width - layout.width) / 2:.1f})">{"".join(parts)}</g>'
            f"{legend(goal, (width - wide) / 2, top)}</svg>"
        )

    def body(self) -> str:
        """The drawing with what the page adds: groups that open, what is said about a node, a legend, zoom."""
        levels: list[dict[str, Any]] = []
        inside = self._opened(self.whole, levels, 0)
        data = json.dumps({"gap": GAP, "rise": RISE, "head": HEAD, "levels": levels}).replace("</", "<\\/")
        goal, short = html.escape(self.trace.goal.name), html.escape(symbol(self.trace.goal.name))
        note = f"<p>{html.escape(self.trace.note)}</p>" if self.trace.note else ""
        lines = "".join(
            f'<li><svg class="graph" width="36" height="16" aria-hidden="true">{sample(kind)}</svg>{words}</li>'
            for kind, words in zip(SAMPLES, ("positive", "negative", "an array with both, by their share"), strict=True)
        )
        return (
            f'{note}<div class="drawing"><div class="tools"></div><div class="view" tabindex="0" role="group" '
            f'aria-label="graph"><svg class="graph" role="group">{inside}</svg></div><aside>'
            f'<div class="details mono" aria-live="polite"><p class="hint">{HINT}</p></div><ul class="legend">'
            f"<li>In a box: formula, value, and {short}, the derivative of {goal} by the node.</li>"
            f"<li>Values flow down; over an edge lies the derivative that flows back:</li>{lines}"
            f"<li>Thicker by a step: ten times as much; the thickest is {number_text(self.strongest, 3)}.</li>"
            f'</ul></aside><script type="application/json">{data}</script><script>\n((drawing) => {{\n'
            f"{beside('drawing.js')}}})(document.currentScript.parentElement);\n</script></div>"
        )

    def _opened(self, level: Level, levels: list[dict[str, Any]], runs: int) -> str:
        """The SVG of a level and of what can be opened in it; what the script needs to know is put into `levels`.

        runs  around this level: groups that are no layers
        """
        number = len(levels)
        levels.append({})
        boxes, layout = self._laid_out(level)
        parts, inner, children = [], [-1] * len(layout.sizes), {}
        for i, (member, box) in enumerate(zip(level.boxes, boxes, strict=True)):
            if box is None:
                continue
            if isinstance(member, Group) and self._opens(member, runs):
                inner[i] = len(levels)
                children[i], anchor = self._inside(member, level, layout, i)
                content = self._opened(children[i], levels, runs + (not member.is_layer))
                levels[inner[i]] |= {"title": round(columns_of(member.title) * CHARACTER + 42), "port": anchor}
                parts.append(f'<g class="fold" data-slot="{i}" {_at(layout, i)}>{_fold(member, box, content)}</g>')
            else:
                focus = f'tabindex="0" role="img" data-slot="{i}" {_at(layout, i)}'
                parts.append(f'<g class="node {box.kind}" {focus}>{box_shape(box)}</g>')
        lines = [
            [path, children[a].bottom[b] if a in children else -1, children[b].top[a] if b in children else -1]
            for (a, b), _, path in self._lines(level, layout)
        ]
        levels[number] = _record(level, layout, inner, lines)
        return (
            f'<g data-level="{number}"><g class="edges">{self._edges(level, layout)}</g>'
            f'<g class="boxes">{"".join(parts)}</g></g>'
        )

    def _inside(self, group: Group, level: Level, layout: Layout, box: int) -> tuple[Level, int]:
        """The level of an open group, its ports above in the order in which the edges arrive, and the port that stands
        where the middle of the folded box was: that of the straightest edge."""
        inside = self.wiring.level(group.members, level)
        paths = zip(level.lines, layout.paths, strict=True)
        arrival = {a: layout.x[path[-2]] for (a, b), path in paths if b == box}
        inside.top = dict(sorted(inside.top.items(), key=lambda port: arrival[port[0]]))
        nearest = min(inside.top, key=lambda a: abs(arrival[a] - layout.x[box]), default=None)
        return inside, -1 if nearest is None else inside.top[nearest]

    def _opens(self, group: Group, runs: int) -> bool:
        """Layers do; of a long row everything in a small graph, once in a large one."""
        if group.is_layer or len(self.trace) <= MOST_OPENED:
            return True
        return not runs and all(isinstance(m, Group) for m in group.members)

    def _laid_out(self, level: Level) -> tuple[list[Box | None], Layout]:
        boxes = [None if m is None else box_of(m, self.trace) for m in level.boxes]
        sizes = [PASSAGE if b is None else (b.width, b.height) for b in boxes]
        bottom = list(dict.fromkeys(level.bottom.values()))
        return boxes, place(sizes, list(level.lines), top=list(level.top.values()), bottom=bottom, gap=GAP, rise=RISE)

    def _lines(self, level: Level, layout: Layout) -> list[tuple[tuple[int, int], Flow, list[int]]]:
        """The strongest ones last, so that they lie over the others."""
        found = [(ends, flow, path) for (ends, flow), path in zip(level.lines.items(), layout.paths, strict=True)]
        return sorted(found, key=lambda item: item[1].size)

    def _edges(self, level: Level, layout: Layout) -> str:
        lines = self._lines(level, layout)
        return "".join(edge_shape(layout.stretches(path), flow, self.strongest) for _, flow, path in lines)


def _style(colours: dict[str, str]) -> str:
    return Template(beside("graph.css")).substitute(colours)


def _at(layout: Layout, slot: int) -> str:
    x, y = layout.centre(slot)
    return f'transform="translate({x:.1f},{y:.1f})"'


def _record(level: Level, layout: Layout, inner: list[int], lines: list[Any]) -> dict[str, Any]:
    """What the script knows about a level: slots are [x, width, height, level inside], lines [path, port, port]."""
    places = zip(layout.x, layout.sizes, inner, strict=True)
    return {
        "rows": layout.rows,
        "slots": [[round(x, 1), round(width, 1), height, i] for x, (width, height), i in places],
        "lines": lines,
        "top": list(level.top.values()),
        "bottom": list(dict.fromkeys(level.bottom.values())),
        "title": 0,
        "port": -1,
    }


def _fold(group: Group, box: Box, content: str) -> str:
    """A box that opens: its folded shape, and the frame with its title that takes its place."""
    wide = columns_of(group.title) * CHARACTER
    return (
        '<g class="node group folded" tabindex="0" role="button" aria-expanded="false">'
        f'{box_shape(box, opens=True)}</g><g class="opened"><rect class="frame" rx="8"/>'
        '<g class="heading" tabindex="0" role="button" '
        f'aria-expanded="true"><title>{html.escape(box.words)}</title><rect x="6" y="4" width="{wide + 30:.1f}" '
        f'height="20" rx="5"/><text class="name" x="12" y="18" data-room="{wide + 18:.1f}">▾ {html.escape(group.title)}'
        f"</text></g>{content}</g>"
    )
