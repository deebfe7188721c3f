"""Labels: words and marks in a picture, and the places where they cover no line and no other words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fallline.explain.figures.figure import ZERO
from fallline.explain.figures.plain import (
    INK,
    TEXT,
)


def legend_above(axes: Axes) -> None:
    """What the colors mean, in one line above the axes."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=6, frameon=False, fontsize=TEXT - 1, labelcolor=INK,
        handletextpad=0.4, columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip


def mark(axes: Axes, x: float, y: float, color: str = INK, symbol: str = "o", size: float = 7) -> None:
    """A point that stands out."""
    [point] = axes.plot([x], [y], symbol, color=color, markersize=size, mec="white", mew=1.0, zorder=6, clip_on=False)
    point.set_in_layout(False)


def say(axes: Axes, text: str, xy: tuple[float, float], color: str = INK, size: float = TEXT - 1) -> Any:
    """Words beside a point of the data, where they cover no line and no other words.

    All else must stand already: titles, limits, lines. The places of the axes are computed at the first words, once for
    the figure, as that takes most of the time.
    """
    figure: Any = axes.figure
    if not figure.settled:
        figure.draw_without_rendering()
        figure.settled = True
    taken = [t.get_window_extent() for t in axes.texts if t.get_text()]
    lines = _line_pixels(axes)
    drawn = axes.annotate(
        text, xy, (0, 0), textcoords="offset points", color=color, fontsize=size, zorder=7, in_layout=False,
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip
    best: tuple[float, tuple[float, float, str, str]] | None = None
    for place in _places():
        cost = _cost(_moved(drawn, place), axes.bbox, taken, lines) + 0.1 * max(abs(place[0]), abs(place[1]))
        if best is None or cost < best[0]:
            best = cost, place
    assert best is not None
    _moved(drawn, best[1])
    return drawn


def _places() -> Iterator[tuple[float, float, str, str]]:
    """Offsets in points and alignments around a point, near ones first."""
    for far in (8, 16, 28, 44):
        for across, up in itertools.product((1, 0, -1), repeat=2):
            if across or up:
                align = {1: "left", 0: "center", -1: "right"}[across]
                yield across * far, up * far, align, {1: "bottom", 0: "center", -1: "top"}[up]


def _moved(text: Any, place: tuple[float, float, str, str]) -> Any:
    """The box, in pixels, of the text after it moved there."""
    text.set_position(place[:2])
    text.set(ha=place[2], va=place[3])
    return text.get_window_extent()


def _cost(box: Any, frame: Any, taken: Sequence[Any], lines: np.ndarray) -> float:
    """How bad it is to have words there: outside the frame, on other words, on lines."""
    outside = max(frame.x0 + 2 - box.x0, 0) + max(box.x1 + 2 - frame.x1, 0)
    outside += max(frame.y0 + 2 - box.y0, 0) + max(box.y1 + 2 - frame.y1, 0)
    hit = sum(box.overlaps(other) for other in taken)
    x, y = lines.T if lines.size else (np.zeros(0), np.zeros(0))
    covered = ((x > box.x0 - 3) & (x < box.x1 + 3) & (y > box.y0 - 3) & (y < box.y1 + 3)).sum()
    return 100.0 * outside + 1000.0 * hit + float(covered)


def _line_pixels(axes: Axes) -> np.ndarray:
    """Points along all lines of the axes, about three pixels apart, in pixels -> (n, 2)."""
    found = []
    for line in axes.lines:
        if line.get_gid() == ZERO:
            continue
        points = line.get_transform().transform(np.column_stack([np.atleast_1d(d) for d in line.get_data()]))
        if len(points) == 1:
            found.append(points)
        for a, b in itertools.pairwise(points[np.isfinite(points).all(axis=1)]):
            steps = int(min(400, max(1, np.hypot(*(b - a)) / 3)))
            found.append(a + (b - a) * np.linspace(0, 1, steps + 1)[:, None])
    return np.concatenate(found) if found else np.zeros((0, 2))
