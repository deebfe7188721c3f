"""Ways side by side: what a comparison tells, as paths on one surface of the loss, or as curves over a clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fallline.core.errors import ConfigError
from fallline.core.tree import leaves
from fallline.core.views import VIEWS
from fallline.explain.figures.contours import around, levels
from fallline.explain.figures.descents import looks
from fallline.explain.figures.figure import (
    dress,
    finish,
    frame,
    limits,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.labels import say
from fallline.explain.figures.landscape import Landscape, entry_name
from fallline.explain.figures.plain import (
    INK,
    LINE,
    TEXT,
    number_label,
)
from fallline.explain.figures.slope import names_of
from fallline.train.comparison import Comparison
from fallline.train.descent import Descent
from fallline.train.way import Way

# Dark and light in turns, each with a sign of its own: to be told apart in grey and by colour-blind readers
# (Okabe & Ito 2008, darkened where they would be too pale for a line).
STYLES = (
    ("#D55E00", "o"), ("#0072B2", "s"), ("#009E73", "^"), ("#7B3294", "D"), ("#B8860B", "v"), ("#333333", "P"),
    ("#56B4E9", "X"), ("#CC3377", "*"), ("#66A61E", "<"), ("#8C564B", ">"), ("#17A2A2", "p"), ("#E58606", "h"),
)  # fmt: skip
POINTS = 49  # of each axis of the plane
SIGNS = 7  # along a way, at most
FAR = 10.0  # a point this many times farther up than the ways down is not drawn
FARTHER = 2.0  # so many times as far from the start as the ways are long in the median, the picture ends
LEVELS = 16
EDGE = 0.06  # of the picture, around what is written into it
END_SIZES = (11.0, 7.0)  # of the sign at the end of the first way, and of the last one
MARGIN = 0.15  # around the ways, as a share of their size
LOG_RATIO = 10.0  # a log scale pays when the largest number is so many times the smallest
GREYS = LinearSegmentedColormap.from_list("greys", ["#CFCFCF", "#F3F3F3", "#FFFFFF"])  # dark is low
CONTOUR = "#9A9A9A"
CLOCKS = {"passes": "passes through all rows", "steps": "steps", "seconds": "seconds"}


@dataclass(frozen=True)
class Plane:
    """Two directions through the start, and the loss over them.

    at      (2, n_weights) what 1 on each axis means;  origin  the weights at 0, 0
    labels  of the axes;  title  what is drawn
    """

    loss_at: Callable[[np.ndarray], float]
    origin: np.ndarray
    steps: np.ndarray
    labels: tuple[str, str]
    title: str

    def places(self, path: np.ndarray) -> np.ndarray:
        """The shadow of a path on the plane.   (points, n_weights) -> (points, 2)"""
        return (path - self.origin) @ self.steps.T

    def grid(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The loss at u on the first axis and v on the second.   -> (len(v), len(u))"""
        return np.array([[self.loss_at(self.origin + np.array([a, b]) @ self.steps) for a in u] for b in v])


def plot_comparison(comparison: Comparison, path: str | Path | None = None, over: str | None = None) -> Figure:
    """What `Comparison.plot` promises: the ways on one surface, or the losses over a clock."""
    ways = {label: each[0] for label, each in comparison.ways.items()}
    if not ways:
        raise ConfigError("no variant has a way to draw: all of them failed")
    if len(ways) > len(STYLES):
        raise ConfigError(f"{len(ways)} ways in one picture: at most {len(STYLES)} can be told apart")
    on_surface = over is None and _same_weights(ways)
    with look():
        figure = _on_surface(comparison, ways) if on_surface else _over_clock(comparison, over or "passes")
        return finish(figure, path)


VIEWS.add("comparison", plot_comparison)


def _same_weights(ways: Mapping[str, Way]) -> bool:
    """Whether all ways go through the same space of two weights or more."""
    sizes = {None if way.path is None else way.path.shape[1] for way in ways.values()}
    return len(sizes) == 1 and sizes.isdisjoint({None, 1})


def _on_surface(comparison: Comparison, ways: Mapping[str, Way]) -> Figure:
    drawn = {label: _drawn(way, ways) for label, way in ways.items()}
    plane = _plane(comparison, {label: each.path for label, each in drawn.items()})
    places = {label: plane.places(each.path) for label, each in drawn.items()}
    together = np.concatenate(list(places.values()))
    u, v = (around(together[:, i], POINTS, MARGIN) for i in (0, 1))
    figure = new_picture(5.4, 9.0)
    axes = dress(figure.add_subplot(), plane.title, *plane.labels, grid="")
    first, start = together[0], float(next(iter(ways.values())).losses[0])
    _draw_surface(axes, u, v, plane.grid(u, v), start, list(places.values()))
    sizes = np.linspace(*END_SIZES, len(ways))  # ends in one place show all their signs
    for (label, each), style, size in zip(drawn.items(), STYLES, sizes, strict=False):
        _draw_way(axes, places[label], style, size, _name(label, ways[label], each.goes), whole=not each.goes)
    axes.plot(*first, "s", color="black", markersize=9, mec="white", mew=1.2, zorder=9)
    _legend(axes)
    say(axes, f"start: {number_label(start, 3)}", (first[0], first[1]))
    return figure


class Drawn(NamedTuple):
    """The part of a way that is drawn, and in words why it is not all of it."""

    path: np.ndarray
    goes: str = ""


def _drawn(way: Way, ways: Mapping[str, Way]) -> Drawn:
    """All of the way until it flies far above the start, or far beyond the others."""
    start, least = float(way.losses[0]), min(each.best for each in ways.values())
    flown = np.flatnonzero(~(way.losses <= start + FAR * max(start - least, 1e-9)))
    path, goes = _path_of(way), "flies away" if flown.size else ""
    if flown.size:
        path = path[: max(int(flown[0]), 2)]
    reach = FARTHER * float(np.median([_distances(_path_of(each)).max() for each in ways.values()]))
    gone = _distances(path)
    beyond = np.flatnonzero(gone > reach)
    if reach > 0 and beyond.size:
        i = int(beyond[0])
        share = (reach - gone[i - 1]) / (gone[i] - gone[i - 1])
        return Drawn(np.vstack([path[:i], path[i - 1] + share * (path[i] - path[i - 1])]), goes or "goes on outside")
    return Drawn(path, goes)


def _path_of(way: Way) -> np.ndarray:
    assert way.path is not None
    return way.path


def _distances(path: np.ndarray) -> np.ndarray:
    """How far each finite point is from the start."""
    gone = np.linalg.norm(path - path[0], axis=1)
    return np.where(np.isfinite(gone), gone, 0.0)


def _plane(comparison: Comparison, paths: Mapping[str, np.ndarray]) -> Plane:
    """Two weights themselves, or the two main directions of all ways, each of which counts the same.

    source  Li et al. 2018 (arXiv:1712.09913), section 7; the directions are taken from the start, which all ways share,
            so that the plane goes through it
    """
    first = next(iter(comparison.ways.values()))[0]
    loss_at, names, title = _surface(comparison, first)
    start = next(iter(paths.values()))[0]
    if len(start) == 2:
        return Plane(loss_at, np.zeros(2), np.eye(2), (names[0], names[1]), title)
    moved = np.concatenate([(path - path[0]) / np.sqrt(len(path)) for path in paths.values()])
    _, sizes, directions = np.linalg.svd(moved, full_matrices=False)
    ends = sum(path[-1] - path[0] for path in paths.values())  # they shall lie to the right and above
    directions = directions[:2] * np.where(directions[:2] @ ends < 0, -1.0, 1.0)[:, None]
    shares = sizes[:2] ** 2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    labels = [f"main direction {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares)]
    title = f"{title}; the plane holds {shares.sum():.0%} of the variance of the ways"
    return Plane(loss_at, start, directions, (labels[0], labels[1]), title)


def _surface(comparison: Comparison, way: Way) -> tuple[Callable[[np.ndarray], float], list[str], str]:
    """The loss at all weights in one vector, the names of the weights, and what the surface is called."""
    if isinstance(way.found, Descent):
        descent, shape = way.found, way.found.path[0].shape
        name, variable = names_of(descent.f)
        names = [entry_name(variable, index) for index in np.ndindex(shape)]
        return looks(descent.f, shape, descent.noisy), names, f"{name}({variable})"
    parts, fit = comparison.parts, way.found
    assert parts is not None
    weight = comparison.outcomes[0].choices.get("class_weight")
    land = Landscape(fit.model, *parts.train, class_weight=weight, penalties=fit.penalties)
    names = [entry_name(p, i) for p, leaf in leaves(fit.model.network, "param").items() for i in np.ndindex(leaf.shape)]
    return land.loss_at, names, f"mean loss{' + penalties' * bool(fit.penalties)} of {len(land.y):,} rows"


def _draw_surface(
    axes: Axes, u: np.ndarray, v: np.ndarray, losses: np.ndarray, seen: float, ways: Sequence[np.ndarray]
) -> None:
    """Contours in grey, so that the colors belong to the ways, with their values on them, away from the ways."""
    steps, norm, _ = levels(losses, seen)
    if not isinstance(norm, LogNorm):  # denser at the bottom, where the ways end
        steps = steps[0] + (steps[-1] - steps[0]) * np.linspace(0, 1, LEVELS) ** 2
    shown = np.clip(losses, steps[0], None)
    axes.contourf(u, v, shown, steps, norm=norm, cmap=GREYS, extend="max")
    lines = axes.contour(u, v, shown, steps, colors=CONTOUR, linewidths=0.5)
    frame(axes, u, v)
    where = _free_places(lines.allsegs[::2], np.array([u[0], v[0]]), np.array([u[-1], v[-1]]), ways)
    texts = axes.clabel(lines, steps[::2], fmt=_level_text(steps), fontsize=TEXT - 3, manual=where) if where else []
    for text in texts:
        text.set_color(INK)


def _free_places(
    levels: Sequence[Sequence[np.ndarray]], low: np.ndarray, high: np.ndarray, ways: Sequence[np.ndarray]
) -> list[tuple[float, float]]:
    """On each contour the place that is farthest from all ways and from the places before, if it is free at all."""
    dense = [np.linspace(a, b, 8) for way in ways for a, b in itertools.pairwise(way)]
    taken = (np.concatenate([*dense, *(way[:1] for way in ways)]) - low) / (high - low)
    found = []
    for pieces in levels:
        known = [piece for piece in pieces if len(piece)]
        places = (np.concatenate(known) - low) / (high - low) if known else np.zeros((0, 2))
        places = places[((places > EDGE) & (places < 1 - EDGE)).all(axis=1)]
        if not len(places):
            continue
        room = np.array([np.min(np.hypot(*(taken - place).T)) for place in places])
        best = int(np.argmax(room))
        if room[best] > EDGE:
            found.append(places[best])
            taken = np.vstack([taken, places[best]])
    return [(float(x), float(y)) for x, y in np.array(found).reshape(-1, 2) * (high - low) + low]


def _level_text(steps: np.ndarray) -> Callable[[float], str]:
    """The levels in as few digits as tell them apart."""
    digits = next((d for d in range(2, 7) if len({number_label(step, d) for step in steps}) == len(steps)), 7)
    return lambda level: number_label(level, digits)


def _draw_way(axes: Axes, places: np.ndarray, style: tuple[str, str], size: float, label: str, whole: bool) -> None:
    """A line with a few signs at even distances, and a large one at the end: hollow where it goes on."""
    color, sign = style
    x, y = places.T
    axes.plot(x, y, color="white", linewidth=2.4 * LINE, zorder=3)
    axes.plot(x, y, color=color, linewidth=1.2 * LINE, zorder=4)
    gone = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    at = np.unique(np.searchsorted(gone, np.linspace(0, gone[-1], SIGNS + 1)[1:-1]))
    axes.plot(x[at], y[at], sign, color=color, markersize=4.5, mec="white", mew=0.5, zorder=5)
    face, edge = (color, "black") if whole else ("white", color)
    axes.plot(x[-1:], y[-1:], sign, color=color, mfc=face, mec=edge, mew=1.0, markersize=size, zorder=6)
    axes.plot([], [], f"-{sign}", color=color, linewidth=1.2 * LINE, mfc=face, mec=edge, markersize=8, label=label)


def _name(label: str, way: Way, goes: str = "") -> str:
    """What the legend says of a way."""
    end = number_label(float(way.losses[-1]), 4)
    return f"{label}: {end}" + (f", {goes}" if goes else "")


def _legend(axes: Axes) -> None:
    """The ways with their signs, beside the axes."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=TEXT - 1, labelcolor=INK,
        title="loss at the end", title_fontsize=TEXT - 1, alignment="left", handletextpad=0.4, borderaxespad=0.0,
    )  # fmt: skip


def _over_clock(comparison: Comparison, over: str) -> Figure:
    """The loss of each variant over the clock, in the mean over the seeds thick, each seed thin."""
    figure = new_picture(4.4, 9.0)
    what = "value of the function" if comparison.parts is None else "mean loss"
    axes = dress(figure.add_subplot(), what, over if comparison.parts is None else CLOCKS[over])
    left = _scale(axes, [way for each in comparison.ways.values() for way in each], over)
    for (label, ways), (color, sign) in zip(comparison.ways.items(), STYLES, strict=False):
        for i, way in enumerate(ways):
            x, y = np.maximum(way.clock(over), left), way.losses  # a log scale has no 0: the start is its left end
            every = max(1, len(x) // SIGNS)
            axes.plot(
                x, y, color=color, linewidth=(1.2 if i == 0 else 0.6) * LINE, marker=sign if i == 0 else None,
                markevery=every, markersize=5, mec="white", mew=0.5, label=None if i else _name(label, way),
            )  # fmt: skip
    _legend(axes)
    return figure


def _scale(axes: Axes, ways: Sequence[Way], over: str) -> float:
    """Logarithms where the values differ a lot; what flies away sets no limit.   -> the left end"""
    start, least = float(ways[0].losses[0]), min(way.best for way in ways)
    axes.set_ylim(*limits(np.array([least, start + 0.1 * (start - least)])))
    if least > 0 and start > LOG_RATIO * least:
        axes.set_yscale("log")
        axes.set_ylim(least / 1.5, 2 * start)
    else:
        round_ticks(axes.yaxis)
    ends, left = [float(way.clock(over)[-1]) for way in ways], 0.0
    if max(ends) > LOG_RATIO * max(min(ends), 1e-12):
        left = 0.8 * max(min(float(way.clock(over)[1]) for way in ways if len(way.losses) > 1), 1e-6)
        axes.set_xscale("log")
        axes.set_xlim(left, 1.2 * max(ends))
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_minor_formatter(NullFormatter())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return left


__all__ = ["plot_comparison"]
