"""The look that all pictures share: size, colors, fonts, axes, lines, and files.

Nothing here touches pyplot or leaves a setting behind: a picture looks the same whatever style its user has chosen,
and the same code writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fallline.core.files import write_file
from fallline.explain.figures.plain import FAINT, INK, TEXT, WIDTH, number_label

MARKERS = ("o", "s", "^", "D", "v", "P")
DPI = 150
Grid = Literal["both", "x", "y", ""]
STEPS = [1, 2, 5, 10]  # of the ticks
ZERO = "zero"  # the name of the two lines through 0
SUFFIXES = (".png", ".svg", ".pdf", ".jpg", "")

# Ids in an SVG file are hashed with the salt, and no file tells when or by which version it was made.
_SETTINGS: Any = {"svg.hashsalt": "fallline", "axes.unicode_minus": True, "font.size": TEXT}
_NO_DATE = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


class Picture(Figure):
    """A figure that a notebook shows by itself, without pyplot."""

    settled = False  # whether the places of its axes have been computed, see `say`

    def _repr_png_(self) -> bytes:
        data = BytesIO()
        with look():
            self.savefig(data, format="png", dpi=DPI, metadata=_NO_DATE[".png"])
        return data.getvalue()


@contextmanager
def look() -> Iterator[None]:
    """Matplotlib's own defaults and ours while a picture is made; the user's settings come back afterwards."""
    with style.context("default"), matplotlib.rc_context(_SETTINGS):
        yield


def new_picture(height: float, width: float = WIDTH, layout: Literal["constrained", "none"] = "constrained") -> Picture:
    """An empty picture; width and height in inches. Call it, and all that draws, inside `look()`."""
    figure = Picture(figsize=(width, height), facecolor="white")
    figure.set_layout_engine(layout, **({"w_pad": 0.1, "h_pad": 0.09} if layout == "constrained" else {}))
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, path: str | Path | None) -> Figure:
    """The picture, written to a file where a path is given; its suffix names the format, PNG without one."""
    if path is None:
        return figure

    def write(found: Path) -> None:
        suffix = found.suffix.lower() or ".png"
        figure.savefig(found, dpi=DPI, format=suffix[1:], metadata=_NO_DATE.get(suffix))

    write_file(path, SUFFIXES, write)
    return figure


def dress(axes: Axes, title: str = "", x: str = "", y: str = "", grid: Grid = "both") -> Axes:
    """Two thin axes, faint lines, the panel's name above it.   grid: which lines; "" for none"""
    axes.set_facecolor("white")
    axes.set_title(title, loc="left", fontsize=TEXT, color=INK, pad=6, fontweight="bold")
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=INK, linewidth=0.7)
    axes.tick_params(which="both", labelsize=TEXT - 1, colors=INK, width=0.7, length=3)
    axes.tick_params(which="minor", length=1.5)
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    return axes


def round_ticks(axis: Any, most: int = 6) -> None:
    """Few ticks at round numbers, written plainly."""
    axis.set_major_locator(MaxNLocator(most, steps=STEPS, min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda v, _: number_label(v, 6) if abs(v) > 1e-12 else "0"))


def frame(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Limits at the ends of a grid, round ticks."""
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    round_ticks(axes.xaxis)
    round_ticks(axes.yaxis)


def zero_lines(axes: Axes) -> None:
    """The two axes through 0, thin; words may lie on them."""
    for line in (axes.axhline(0), axes.axvline(0)):
        line.set(color=INK, linewidth=0.7, zorder=1, gid=ZERO)


def limits(values: np.ndarray, inside: Sequence[float] = ()) -> tuple[float, float]:
    """Limits of an axis for these values: all of them, or the bulk where a few go far beyond it.

    inside  values that must be seen
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    bulk_low, bulk_high = np.percentile(known, [5, 95]) if known.size else (low, high)
    if high - low > 8 * (bulk_high - bulk_low) > 0:
        low, high = max(low, bulk_low - (bulk_high - bulk_low)), min(high, bulk_high + (bulk_high - bulk_low))
    low, high = min(low, *inside, high), max(high, *inside, low)
    room = 0.08 * (high - low) or max(0.5, 0.1 * abs(high))
    return low - room, high + room


def draw_broken(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, width: float) -> None:
    """A line with gaps at the jumps; an open ring where it does not arrive, a dot at the value on the spot.

    A jump is taken to lie at a multiple of 1/2, where kinks are; elsewhere there is only the gap.
    """
    breaks = jumps(y)
    axes.plot(x, np.where(breaks, np.nan, y), color=color, linewidth=width, zorder=3)
    for i in np.flatnonzero(breaks):
        at, beside = (i, i + 1) if _is_half(x[i]) else (i + 1, i)  # the spot is one of the two points
        if _is_half(x[at]):
            axes.plot([x[at]], [y[beside]], "o", mfc="white", mec=color, mew=1.2, markersize=5, zorder=4)
            axes.plot([x[at]], [y[at]], "o", color=color, markersize=5, zorder=4)


def _is_half(x: float) -> bool:
    return abs(2 * x - round(2 * x)) < 1e-9


def jumps(y: np.ndarray) -> np.ndarray:
    """True at i where the step from i to i + 1 is far longer than its neighbours: a jump, and no steep slope."""
    steps = np.abs(np.diff(y))
    around = np.pad(steps, 3, constant_values=0.0)
    calm = np.maximum(around[:-6], around[6:])  # three steps away, so that two jumps in a row are both found
    found = steps > np.maximum(20 * calm, 0.02 * (np.nanmax(y) - np.nanmin(y)))
    return np.append(found, False)
