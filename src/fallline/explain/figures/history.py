"""Learning curves: the losses, metrics and learning rate of a history, drawn over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fallline.core.errors import DataError, UnknownNameError
from fallline.core.views import VIEWS
from fallline.explain.figures.figure import (
    BLUE,
    GREEN,
    INK,
    LINE,
    OLIVE,
    ORANGE,
    PINK,
    SKY,
    STEPS,
    TEXT,
    WIDTH,
    dress,
    finish,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.labels import spread
from fallline.train.history import History
from fallline.train.metrics import METRICS, metric_label

COLORS = {"train": BLUE, "validation": ORANGE}
OTHERS = (GREEN, PINK, OLIVE, SKY)
LOG_RATIO = 20.0  # a log scale pays when the largest loss is so many times the smallest
LABEL_GAP = 1.25  # distance of two labels in lines of text


class Curve(NamedTuple):
    """One line: what stands at its end, its values by row, its color."""

    label: str
    values: np.ndarray
    color: str


def plot_history(history: History, path: str | Path | None = None) -> Figure:
    """Losses over epochs with the best epoch marked; below them the metrics and, where it changes, the learning rate.

    path  where to write the picture (150 dpi); the suffix names the format, PNG without one
    """
    if not len(history):
        raise DataError("the history has no rows: train at least one epoch before plotting")
    with look():
        return finish(_drawn(history), path)


def _drawn(history: History) -> Figure:
    panels = _panels(history)
    heights = [3.0, *(2.0 if title != "learning rate" else 1.1 for title, _ in panels[1:])]
    figure = new_picture(sum(heights) + 0.75, layout="none")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights, hspace=0.34 / math.sqrt(len(panels)))
    tall = figure.get_figheight()
    figure.subplots_adjust(left=0.115, top=1 - 0.38 / tall, bottom=0.55 / tall)
    epochs, best = history["epoch"], _best(history)
    first: Axes | None = None
    for i, (title, curves) in enumerate(panels):
        axes = figure.add_subplot(grid[i], sharex=first)
        first, last = first or axes, i == len(panels) - 1
        dress(axes, title, "epoch" if last else "", grid="y").tick_params(labelbottom=last)
        _draw(axes, epochs, curves, best)
        _scale(axes, title, curves)
    assert first is not None
    _scale_epochs(first, epochs)
    _say_best(first, history, best)
    widths = [_label_ends(axes, epochs, curves) for axes, (_, curves) in zip(figure.axes, panels, strict=True)]
    figure.subplots_adjust(right=1 - (max(widths) + 0.3) / WIDTH)
    return figure


VIEWS.add("history", plot_history, aliases=("curves", "learning_curves"))


def _panels(history: History) -> list[tuple[str, list[Curve]]]:
    """Title and curves of each panel, from the top: loss, metrics, learning rate."""
    losses = [_curve(history, f"{part}_loss", part) for part in ("train", "validation") if f"{part}_loss" in history]
    panels = [("loss", [c for c in losses if np.isfinite(c.values).any()] or losses)]
    title, metrics = _metrics(history)
    if metrics:
        panels.append((title, metrics))
    if "learning_rate" in history:
        rate = history["learning_rate"]
        known = rate[np.isfinite(rate)]
        if known.size and known.min() < known.max():
            panels.append(("learning rate", [Curve("", rate, INK)]))
    return panels


def _metrics(history: History) -> tuple[str, list[Curve]]:
    """Title and up to four metrics of one direction (the rising ones if there are any), of validation if known."""
    by_part = {part: [name for name in METRICS if f"{part}{name}" in history] for part in ("validation_", "train_", "")}
    part = next((p for p, names in by_part.items() if names), "")
    rising = [n for n in by_part[part] if METRICS[n].better == "higher"]
    chosen = (rising or [n for n in by_part[part] if n not in ("log_loss", "mse")])[:4]
    curves = [Curve(metric_label(n), history[part + n], OTHERS[i]) for i, n in enumerate(chosen)]
    return part.replace("_", " ") + (curves[0].label if len(curves) == 1 else "metrics"), curves


def _curve(history: History, column: str, part: str) -> Curve:
    return Curve(part, history[column], COLORS[part])


def _best(history: History) -> dict[str, Any] | None:
    try:
        return history.best()
    except (DataError, UnknownNameError):
        return None


def _draw(axes: Axes, epochs: np.ndarray, curves: Sequence[Curve], best: dict[str, Any] | None) -> None:
    for curve in curves:
        known = np.isfinite(curve.values)
        alone = known & ~(np.roll(known, 1) | np.roll(known, -1)) if known.sum() > 1 else known
        axes.plot(epochs, np.where(known, curve.values, np.nan), color=curve.color, linewidth=LINE)
        axes.plot(epochs[alone], curve.values[alone], "o", color=curve.color, markersize=4)
        at = np.flatnonzero(known & (epochs == best["epoch"]))[:1] if best and curve.label else np.zeros(0, np.int64)
        axes.plot(epochs[at], curve.values[at], "o", color=curve.color, markersize=5, mec="white", mew=0.8, zorder=4)
    if best is not None:
        axes.axvline(best["epoch"], color=INK, linewidth=0.7, dashes=(4, 3), zorder=1)


def _scale(axes: Axes, title: str, curves: Sequence[Curve]) -> None:
    """A log scale where it pays; metrics from their first trained values on, so that an untrained one sets no scale."""
    values = np.concatenate([c.values[np.isfinite(c.values)] for c in curves]) if curves else np.zeros(0)
    if values.size and values.min() > 0 and values.max() > LOG_RATIO * values.min():
        axes.set_yscale("log")
        decades = math.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        return
    round_ticks(axes.yaxis, 6 if title == "loss" else 4)
    later = np.concatenate([c.values[1:] for c in curves]) if curves else values
    later = later[np.isfinite(later)]
    if title not in ("loss", "learning rate") and later.size > 5:
        low, high = np.percentile(later, 2), later.max()
        room = max(0.08 * (high - low), 1e-3 * abs(high))
        if values.min() < low - 2 * (high - low):
            axes.set_ylim(low - room, high + room)


def _scale_epochs(axes: Axes, epochs: np.ndarray) -> None:
    low, high = float(epochs.min()), float(epochs.max())
    room = max(0.02 * (high - low), 0.1)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=STEPS, min_n_ticks=1))


def _say_best(axes: Axes, history: History, best: dict[str, Any] | None) -> None:
    """The best epoch in words, above the dashed line."""
    if best is None:
        return
    name = "validation" if "validation_loss" in history else "train"
    text = f"best epoch {best['epoch']}: {name} loss {best[f'{name}_loss']:.4g}"
    low, high = axes.get_xlim()
    share = (best["epoch"] - low) / (high - low)
    align = "center" if 0.4 < share < 0.7 else ("left" if share <= 0.4 else "right")
    place = max(share, 0.1)  # beside the panel's name
    axes.annotate(
        text, (place, 1.0), (0, 3), xycoords="axes fraction", textcoords="offset points",
        ha=align, va="bottom", fontsize=TEXT - 1, color=INK,
    )  # fmt: skip


def _label_ends(axes: Axes, epochs: np.ndarray, curves: Sequence[Curve]) -> float:
    """The name and last value of each curve at its end, in its color, moved apart where they would overlap.

    returns  the width of the longest, inches
    """
    axes.get_ylim()  # settles the limits, on which transData depends
    ends, width = [], 0.0
    for curve in curves:
        known = np.flatnonzero(np.isfinite(curve.values))
        if known.size:
            x, y = epochs[known[-1]], curve.values[known[-1]]
            ends.append((axes.transData.transform((x, y))[1], curve, y))
    line = LABEL_GAP * TEXT * axes.figure.dpi / 72  # pixels
    low, high = axes.bbox.y0, axes.bbox.y1
    ends.sort(key=lambda end: end[0])
    for y_pixel, (_, curve, value) in zip(spread([e[0] for e in ends], line, low, high), ends, strict=True):
        text = f"{curve.label} {value:.3g}".strip()
        place = axes.transAxes.inverted().transform((0, y_pixel))[1]
        drawn = axes.text(1.015, place, text, transform=axes.transAxes, color=curve.color, fontsize=TEXT, va="center")
        width = max(width, drawn.get_window_extent().width / axes.figure.dpi)
    return width
