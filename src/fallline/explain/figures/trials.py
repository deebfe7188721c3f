"""Parallel coordinates: every trial of a search as a line through what was varied to what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from fallline.core.errors import ConfigError
from fallline.core.views import VIEWS
from fallline.explain.figures.figure import (
    finish,
    look,
    new_picture,
)
from fallline.explain.figures.plain import (
    BLUE,
    FAINT,
    INK,
    LINE,
    ORANGE,
    TEXT,
    number_label,
)
from fallline.train.search import Search
from fallline.train.space import Choice, Range
from fallline.train.variants import choice_text

WORST = 90  # percentile of the results at the low end of the last axis; those beyond stand there too
MOST_NAMES = 12  # of the values of a choice
JITTER = 0.02  # of the height: lines through the same value of a choice side by side
SHADES = LinearSegmentedColormap.from_list("shades", ["#DDDDDD", "#9FC6E0", BLUE])  # dark is good, in grey too


def plot_search(search: Search, path: str | Path | None = None) -> Figure:
    """One line a trial: through the value of each range to its result, the best one thick, good ones darker.

    search  what `fl.search` gave
    path    where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)
    """
    scores = search.scores()
    known = np.flatnonzero(np.isfinite(scores))
    if not known.size:
        raise ConfigError("no trial has a result to draw")
    with look():
        figure = new_picture(4.2, max(5.0, 1.7 * (len(search.ranges) + 1)))
        axes = figure.add_subplot()
        heights, ticks = _heights(scores[known], search.scores()[0])
        places = np.stack([*(_places(search, name, known) for name in search.ranges), heights], axis=1)
        for i in reversed(range(len(known))):  # the best last, on top
            best = i == 0
            color = ORANGE if best else SHADES(heights[i])
            axes.plot(places[i], color=color, linewidth=2.4 * LINE if best else LINE, zorder=3 if best else 2)
        _dress(axes, search, ticks)
        return finish(figure, path)


VIEWS.add("search", plot_search)


def _places(search: Search, name: str, known: np.ndarray) -> np.ndarray:
    """The height of each trial on the axis of a range."""
    part = search.ranges[name]
    found = np.array([part.place(search.values[i][name]) for i in known])
    return found + np.linspace(-JITTER, JITTER, len(found)) if isinstance(part, Choice) else found


def _heights(scores: np.ndarray, best: float) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The results as heights, the best on top, and what stands beside the axis.   scores: the best first"""
    gaps = np.abs(scores - best)
    scale = float(np.percentile(gaps, WORST)) or 1.0
    worst = scores[int(np.argmin(np.abs(gaps - scale)))]
    text = number_label(float(worst), 3) + (" and worse" if gaps.max() > scale * (1 + 1e-9) else "")
    return 1 - np.minimum(gaps / scale, 1), [(1.0, number_label(float(best), 4)), (0.0, text)]


def _dress(axes: Axes, search: Search, ticks: list[tuple[float, str]]) -> None:
    """The axes of the ranges with their values, that of the result in bold."""
    names = [*(name.rpartition(".")[2] for name in search.ranges), f"validation {search.metric}"]
    marks = [*(_ticks(part) for part in search.ranges.values()), ticks]
    for x, each in enumerate(marks):
        axes.axvline(x, color=INK, linewidth=0.8, zorder=1)
        for height, text in each:
            axes.text(
                x + 0.03, height, text, fontsize=TEXT - 2, color=INK, va="center", zorder=5,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.set_xlim(-0.15, len(names) - 1 + 0.6)
    axes.set_ylim(-0.08, 1.08)
    axes.set_xticks(range(len(names)), names, fontsize=TEXT, color=INK)
    axes.get_xticklabels()[-1].set_fontweight("bold")
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    title = f"{len(search)} trials, the best in orange, the better the darker"
    axes.set_title(title, loc="left", fontsize=TEXT, color=INK, fontweight="bold", pad=8)
    axes.set_facecolor("white")
    axes.hlines([0, 1], 0, len(names) - 1, color=FAINT, linewidth=0.6, zorder=0)


def _ticks(part: Range) -> list[tuple[float, str]]:
    """Heights and texts on the axis of a range."""
    if isinstance(part, Choice):
        values = part.values if len(part.values) <= MOST_NAMES else (part.values[0], part.values[-1])
        return [(part.place(value), choice_text(value)) for value in values]
    shares = (0.0, 0.5, 1 - 1e-12)
    return [(part.place(value), _number(value)) for value in dict.fromkeys(part.at(share) for share in shares)]


def _number(value: Any) -> str:
    return number_label(value, 2) if isinstance(value, float) else str(value)


__all__ = ["plot_search"]
