"""The look that all pictures share: size, colors, fonts, axes, labels that find a free place, and files.

Nothing here touches pyplot or leaves a setting behind: a picture looks the same whatever style its user has chosen,
and the same code writes the same bytes.
"""

from __future__ import annotations

import itertools
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
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fallline.core.errors import ConfigError
from fallline.core.registry import nearest

# The Okabe-Ito palette, which colour-blind readers can tell apart; its yellow is too pale for lines.
BLUE, ORANGE, GREEN, PINK, OLIVE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A6A00", "#56B4E9"
COLORS = (BLUE, ORANGE, GREEN, PINK, OLIVE, SKY)
INK, FAINT = "#333333", "#D9D9D9"
MARKERS = ("o", "s", "^", "D", "v", "P")
DPI = 150
WIDTH = 7.0  # inches
TEXT = 10.5  # points: readable where the picture fills half a slide
LINE = 1.3
Grid = Literal["both", "x", "y", ""]
STEPS = [1, 2, 5, 10]  # of the ticks
LOG_RATIO = 10.0  # levels in equal ratios pay when the highest is so many times the lowest
ZERO = "zero"  # the name of the two lines through 0
SUFFIXES = (".png", ".svg", ".pdf", ".jpg")
TWO_SIDED = LinearSegmentedColormap.from_list("two sided", [BLUE, "#CFE3F0", "#FFFFFF", "#F8DCC9", ORANGE])
PALE = LinearSegmentedColormap.from_list("pale", ["#74B2D6", "#CFE3F0", "#FFFFFF", "#F8DCC9", "#F0A576"])  # for points
RISING = LinearSegmentedColormap.from_list("rising", ["#0B3C5D", BLUE, SKY, "#CFE3F0", "#FBFBF6"])  # dark is low

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
    path = Path(path)
    suffix = path.suffix.lower() or ".png"
    if suffix not in SUFFIXES:
        raise ConfigError(
            f"cannot write {path}: a picture ends with {', '.join(SUFFIXES)}; {nearest(suffix, SUFFIXES)}"
        )
    try:
        figure.savefig(path, dpi=DPI, format=suffix[1:], metadata=_NO_DATE.get(suffix))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; choose another place") from None
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
    axis.set_major_formatter(FuncFormatter(lambda v, _: short(v, 6) if abs(v) > 1e-12 else "0"))


def short(number: float, digits: int = 4) -> str:
    """A number for a label: few digits, a true minus sign."""
    return f"{number:.{digits}g}".replace("-", "−")


def zero_lines(axes: Axes) -> None:
    """The two axes through 0, thin; words may lie on them."""
    for line in (axes.axhline(0), axes.axvline(0)):
        line.set(color=INK, linewidth=0.7, zorder=1, gid=ZERO)


def both_sides(values: np.ndarray) -> np.ndarray:
    """About twenty levels, the same on both sides of 0, which lies between two of them; for most of the values."""
    reach = max(float(np.percentile(np.abs(values), 98)), 1e-9)
    return np.linspace(-reach, reach, 22)


def levels(values: np.ndarray, seen: float = -np.inf) -> tuple[np.ndarray, Normalize, list[float]]:
    """Levels for contours, their color scale and ticks: equal steps, or equal ratios where values differ a lot.

    seen  a value that the levels must reach; those above the bulk of the values are cut off
    """
    known = values[np.isfinite(values)]
    if not known.size:
        raise ConfigError("no value in this plane is finite: choose a smaller part of it")
    low = float(known.min())
    high = max(float(np.percentile(known, 92)), seen if np.isfinite(seen) else low)
    high = high if high > low else low + max(1e-9, 1e-6 * abs(low))
    if low > 0 and high > LOG_RATIO * low:
        return np.geomspace(low, high, 16), LogNorm(low, high), _round_numbers(low, high)
    found = np.asarray(MaxNLocator(14, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    return found, Normalize(found[0], found[-1]), list(found[:: max(1, len(found) // 5)])


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … between two numbers, at most about eight."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for parts in ((1, 2, 5), (1, 3), (1,)):
        found = [part * 10.0**d for d in decades for part in parts if low <= part * 10.0**d <= high]
        if len(found) <= 8:
            break
    return found


def color_scale(figure: Any, shades: Any, axes: Any, ticks: Sequence[float] | None = None, label: str = "") -> None:
    """The scale of filled contours, beside the axes.   ticks: by default a few round numbers"""
    if ticks is None:
        low, high = shades.levels[0], shades.levels[-1]
        ticks = [t for t in MaxNLocator(5, steps=STEPS).tick_values(low, high) if low <= t <= high]
    scale = figure.colorbar(shades, ax=axes, aspect=30, ticks=ticks)
    scale.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value) if abs(value) > 1e-12 else "0"))
    scale.ax.yaxis.set_minor_locator(NullLocator())
    scale.ax.tick_params(labelsize=TEXT - 1.5, colors=INK, width=0.7, length=3)
    scale.outline.set_visible(False)
    scale.set_label(label, fontsize=TEXT - 1, color=INK)


def legend_above(axes: Axes) -> None:
    """What the colors mean, in one line above the axes."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=6, frameon=False, fontsize=TEXT - 1, labelcolor=INK,
        handletextpad=0.4, columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip


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


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions nearest to the wanted ones (both ascending) that are `gap` apart, in low..high if there is room."""
    placed: list[list[float]] = []  # blocks of touching labels: [sum of (wanted - offset), count]
    for i, y in enumerate(wanted):
        placed.append([min(max(y, low), high) - i * gap, 1])
        while len(placed) > 1 and placed[-2][0] / placed[-2][1] > placed[-1][0] / placed[-1][1]:
            total, count = placed.pop()
            placed[-1][0] += total
            placed[-1][1] += count
    start = [block[0] / block[1] for block in placed for _ in range(int(block[1]))]
    top = high - (len(wanted) - 1) * gap
    return [max(min(s, top), low) + i * gap for i, s in enumerate(start)]
