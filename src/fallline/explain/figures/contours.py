"""Contours: the grid under a plane, its levels and colors, and the scale beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fallline.core.errors import ConfigError
from fallline.explain.figures.figure import (
    STEPS,
    frame,
)
from fallline.explain.figures.plain import (
    BLUE,
    INK,
    ORANGE,
    SKY,
    TEXT,
    number_label,
)

LOG_RATIO = 10.0  # levels in equal ratios pay when the highest is so many times the lowest
TWO_SIDED = LinearSegmentedColormap.from_list("two sided", [BLUE, "#CFE3F0", "#FFFFFF", "#F8DCC9", ORANGE])
PALE = LinearSegmentedColormap.from_list("pale", ["#74B2D6", "#CFE3F0", "#FFFFFF", "#F8DCC9", "#F0A576"])  # for points
RISING = LinearSegmentedColormap.from_list("rising", ["#0B3C5D", BLUE, SKY, "#CFE3F0", "#FBFBF6"])  # dark is low


def around(places: np.ndarray, points: int, margin: float) -> np.ndarray:
    """A grid that holds all places, and beyond them `margin` as a share of their range.   -> (points,)"""
    low, high = float(np.nanmin(places)), float(np.nanmax(places))
    room = margin * (high - low) or 1.0
    return np.linspace(low - room, high + room, points)


def draw_contours(
    figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, seen: float = -np.inf
) -> None:
    """Filled contours of values (len(y), len(x)) with fine lines between them and their scale beside the axes.

    seen  a value that the levels must reach
    """
    steps, norm, ticks = levels(values, seen)
    shown = np.clip(values, steps[0], None)
    shades = axes.contourf(x, y, shown, steps, norm=norm, cmap=RISING, extend="max")
    axes.contour(x, y, shown, steps, colors="white", linewidths=0.4, alpha=0.7)
    frame(axes, x, y)
    color_scale(figure, shades, axes, ticks)


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
    scale.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number_label(v) if abs(v) > 1e-12 else "0"))
    scale.ax.yaxis.set_minor_locator(NullLocator())
    scale.ax.tick_params(labelsize=TEXT - 1.5, colors=INK, width=0.7, length=3)
    scale.outline.set_visible(False)
    scale.set_label(label, fontsize=TEXT - 1, color=INK)
