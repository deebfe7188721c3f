"""Learning curves: the losses, metrics and learning rate of a history, drawn over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fallline.core.views import VIEWS
from fallline.explain.figures.figure import (
    STEPS,
    dress,
    finish,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.panels import Curve, Panel, best_row, best_words, panels
from fallline.explain.figures.plain import (
    INK,
    LINE,
    TEXT,
    WIDTH,
    spread,
)
from fallline.train.history import History

LABEL_GAP = 1.25  # distance of two labels in lines of text


def plot_history(history: History, path: str | Path | None = None) -> Figure:
    """Losses over epochs with the best epoch marked; below them the metrics and, where it changes, the learning rate.

    path  where to write the picture (150 dpi); the suffix names the format, PNG without one
    """
    shown = panels(history)
    with look():
        return finish(_drawn(history, shown), path)


def _drawn(history: History, shown: Sequence[Panel]) -> Figure:
    heights = [3.0, *(2.0 if title != "learning rate" else 1.1 for title, _ in shown[1:])]
    figure = new_picture(sum(heights) + 0.75, layout="none")
    grid = figure.add_gridspec(len(shown), 1, height_ratios=heights, hspace=0.34 / math.sqrt(len(shown)))
    tall = figure.get_figheight()
    figure.subplots_adjust(left=0.115, top=1 - 0.38 / tall, bottom=0.55 / tall)
    epochs, best = history["epoch"], best_row(history)
    first: Axes | None = None
    for i, panel in enumerate(shown):
        axes = figure.add_subplot(grid[i], sharex=first)
        first, last = first or axes, i == len(shown) - 1
        dress(axes, panel.title, "epoch" if last else "", grid="y").tick_params(labelbottom=last)
        _draw(axes, epochs, panel.curves, best)
        _scale(axes, panel)
    assert first is not None
    _scale_epochs(first, epochs)
    _say_best(first, history, best)
    widths = [_label_ends(axes, epochs, panel.curves) for axes, panel in zip(figure.axes, shown, strict=True)]
    figure.subplots_adjust(right=1 - (max(widths) + 0.3) / WIDTH)
    return figure


VIEWS.add("history", plot_history, aliases=("curves", "learning_curves"))


def _draw(axes: Axes, epochs: np.ndarray, curves: Sequence[Curve], best: dict[str, Any] | None) -> None:
    for curve in curves:
        known = curve.known
        alone = known & ~(np.roll(known, 1) | np.roll(known, -1)) if known.sum() > 1 else known
        axes.plot(epochs, np.where(known, curve.values, np.nan), color=curve.color, linewidth=LINE)
        axes.plot(epochs[alone], curve.values[alone], "o", color=curve.color, markersize=4)
        at = np.flatnonzero(known & (epochs == best["epoch"]))[:1] if best and curve.label else np.zeros(0, np.int64)
        axes.plot(epochs[at], curve.values[at], "o", color=curve.color, markersize=5, mec="white", mew=0.8, zorder=4)
    if best is not None:
        axes.axvline(best["epoch"], color=INK, linewidth=0.7, dashes=(4, 3), zorder=1)


def _scale(axes: Axes, panel: Panel) -> None:
    """A log scale where it pays, else round ticks, within the panel's limits where it has some."""
    values, limits = panel.numbers, panel.limits
    if panel.is_log:
        axes.set_yscale("log")
        decades = math.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        return
    round_ticks(axes.yaxis, 6 if panel.title == "loss" else 4)
    if limits is not None:
        axes.set_ylim(*limits)


def _scale_epochs(axes: Axes, epochs: np.ndarray) -> None:
    low, high = float(epochs.min()), float(epochs.max())
    room = max(0.02 * (high - low), 0.1)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=STEPS, min_n_ticks=1))


def _say_best(axes: Axes, history: History, best: dict[str, Any] | None) -> None:
    """The best epoch in words, above the dashed line."""
    if best is None:
        return
    low, high = axes.get_xlim()
    share = (best["epoch"] - low) / (high - low)
    align = "center" if 0.4 < share < 0.7 else ("left" if share <= 0.4 else "right")
    place = max(share, 0.1)  # beside the panel's name
    axes.annotate(
        best_words(history, best), (place, 1.0), (0, 3), xycoords="axes fraction", textcoords="offset points",
        ha=align, va="bottom", fontsize=TEXT - 1, color=INK,
    )  # fmt: skip


def _label_ends(axes: Axes, epochs: np.ndarray, curves: Sequence[Curve]) -> float:
    """The name and last value of each curve at its end, in its color, moved apart where they would overlap.

    returns  the width of the longest, inches
    """
    axes.get_ylim()  # settles the limits, on which transData depends
    ends, width = [], 0.0
    for curve in curves:
        known = np.flatnonzero(curve.known)
        if known.size:
            x, y = epochs[known[-1]], curve.values[known[-1]]
            ends.append((axes.transData.transform((x, y))[1], curve))
    line = LABEL_GAP * TEXT * axes.figure.dpi / 72  # pixels
    low, high = axes.bbox.y0, axes.bbox.y1
    ends.sort(key=lambda end: end[0])
    for y_pixel, (_, curve) in zip(spread([e[0] for e in ends], line, low, high), ends, strict=True):
        place = axes.transAxes.inverted().transform((0, y_pixel))[1]
        drawn = axes.text(
            1.015, place, curve.end, transform=axes.transAxes, color=curve.color, fontsize=TEXT, va="center"
        )
        width = max(width, drawn.get_window_extent().width / axes.figure.dpi)
    return width
