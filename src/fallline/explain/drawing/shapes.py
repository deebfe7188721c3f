"""Shapes: boxes, edges and the legend of a drawing as pieces of SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from math import log10

from fallline.core.lines import columns_of
from fallline.explain.drawing.boxes import CHARACTER, LINE, PADDING, Box, symbol
from fallline.explain.drawing.groups import Flow

DECADES = 4  # powers of ten from the thinnest to the thickest line
THIN, THICK = 1.5, 5.0
STRIPE = 12.0  # pixels of a line after which its stripes repeat
SAMPLES = {"positive": Flow(1.0, 1, 1.0, 0.0), "negative": Flow(1.0, 1, 0.0, 1.0), "both": Flow(1.0, 1, 0.5, 0.5)}
Stretch = tuple[float, float, float]  # x, upper end, lower end


def box_shape(box: Box, *, opens: bool = False) -> str:
    """The frame and the texts of a box around the origin, with a mark if it opens."""
    left, top, room = -box.width / 2, -box.height / 2, box.width - 2 * PADDING
    kinds = ("name", "value", f"partial {box.sign or 'soft'}")
    lines = [(kind, text) for kind, text in zip(kinds, box.lines, strict=True) if text]
    texts = "".join(
        f'<text class="{kind}" x="{left + PADDING:.1f}" y="{top + LINE * (i + 1):.1f}" data-room="{room:.1f}">'
        f"{html.escape(text)}</text>"
        for i, (kind, text) in enumerate(lines)
    )
    mark = f'<text class="soft" x="{-left - PADDING - CHARACTER:.1f}" y="{top + LINE:.1f}">▸</text>' if opens else ""
    return (
        f'<title>{html.escape(box.words)}</title><rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6"/>{texts}{mark}'
    )


def edge_shape(stretches: Sequence[Stretch], flow: Flow, strongest: float) -> str:
    """A thin line from box to box, upright past a rank and bent between ranks; over it what flows back."""
    x, upper, lower = stretches[0]
    d = f"M{x:.1f},{upper:.1f} V{lower:.1f}"
    for (x0, _, y0), (x1, y1, end) in pairwise(stretches):
        middle = (y0 + y1) / 2
        d += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f} V{end:.1f}"
    return f'<g class="edge"><path d="{d}"/>{_flow_shape(d, flow, strongest)}</g>'


def _flow_shape(d: str, flow: Flow, strongest: float) -> str:
    """Blue where it is positive, orange where it is negative, and stripes of both by their share."""
    if not flow.size:
        return ""
    width = THIN + (THICK - THIN) * min(1.0, max(0.0, 1 + log10(flow.size / strongest) / DECADES))
    line = f'd="{d}" stroke-width="{width:.2f}"'
    share = flow.negative_share
    blue = f'<path class="positive" {line}/>' if share < 0.98 else ""
    dash = f' stroke-dasharray="{STRIPE * share:.1f} {STRIPE * (1 - share):.1f}"' if blue else ""
    return blue + (f'<path class="negative" {line}{dash}/>' if share > 0.02 else "")


def sample(kind: str, x: float = 0.0, y: float = 8.0) -> str:
    """A short line of the legend: "positive", "negative" or "both"."""
    d = f"M{x:.1f},{y:.1f} h36"
    return f'<g class="edge">{_flow_shape(d, SAMPLES[kind], 1.0)}</g>'


def legend(goal: str, x: float, y: float) -> str:
    """Four lines of text, for under a drawing that stands alone."""
    parts, at = [], x
    for kind in SAMPLES:
        middle = y + 2 * LINE
        parts += [sample(kind, at, middle + 8), _said(kind, at + 42, middle)]
        at += 48 + (len(kind) + 1) * CHARACTER
    parts += [_said(text, x, y + LINE * i) for i, text in zip((0, 1, 3), _words(goal), strict=True)]
    return "".join(parts)


def legend_size(goal: str) -> tuple[float, float]:
    """Width and height of the legend."""
    return max(3 * 48 + 23 * CHARACTER, *(columns_of(text) * CHARACTER for text in _words(goal))), 4 * LINE + 12


def _words(goal: str) -> tuple[str, str, str]:
    node = f"{symbol(goal)}: derivative of {goal} by the node"
    return node, "along an edge: what flows back to its start", "thicker by a step: ten times as much"


def _said(text: str, x: float, y: float) -> str:
    return f'<text class="soft" x="{x:.1f}" y="{y + 12:.1f}">{html.escape(text)}</text>'
