"""The loss over the weights: along one weight, over two of them, over random directions, along the optimizer's path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fallline.core.errors import ConfigError
from fallline.core.views import VIEWS
from fallline.explain.figures.contours import around, draw_contours
from fallline.explain.figures.figure import (
    dress,
    finish,
    limits,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.given import check_length, model_of
from fallline.explain.figures.labels import mark, say
from fallline.explain.figures.landscape import Landscape, Line, main_lines, random_lines
from fallline.explain.figures.plain import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    number_label,
)
from fallline.train.fit import whole_number

POINTS = 41  # of each axis of a plane; a line has ten times as many
FARTHEST = 32.0  # how far a line goes at most to either side while the loss stays flat
MARGIN = 0.2  # around a path, as a share of its size


def plot_loss(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    along: str | Sequence[str] | None = None,
    span: float | None = None,
    points: int = POINTS,
    seed: int = 0,
    path: str | Path | None = None,
) -> Figure:
    """The mean loss of the rows over the weights of a model, all others held still; computed by the model itself.

    model   a fitted model, or a Fit
    X, y    rows as for `evaluate`, or one pair (X, y), or a table that holds its targets
    along   "layers.0.W[0, 1]", or an end of it that only one weight has ("W[0, 1]"): a curve with today's tangent
            "w1": in a linear model of one score the weight of the first input; "w0" is the bias
            ("W[0, 0]", "b"): contours over two weights
            "path": the plane in which the weights of fit(keep_path=True) moved most, and the path in it
            "random": two random directions, scaled to the weights of each unit (Li et al. 2018, arXiv:1712.09913)
            None: "path" where the Fit has one, else "random"
    span    how far to either side, in units of the axis; by default until the loss has clearly risen
    points  of each axis of a plane: the loss is computed points² times, of many rows that of 2000 drawn at random
    path    where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)
    """
    points = whole_number("points", points, 3)
    seed = whole_number("seed", seed, 0)
    check_length("span", span)
    land = Landscape(model_of(model), X, y)
    trail = getattr(model, "path", None)
    if along is None:
        along = "path" if trail is not None else "random"
    if along == "path" and trail is None:
        raise ConfigError(
            f"along='path' needs the weights of every epoch, which this {type(model).__name__} has not: "
            "pass the Fit of fl.fit(..., keep_path=True)"
        )
    with look():
        if along == "path":
            return finish(_draw_path(land, np.asarray(trail), points), path)
        if along == "random":
            return finish(_draw_plane(land, random_lines(land, seed), [span or 1.0] * 2, points), path)
        if isinstance(along, str):
            return finish(_draw_line(land, land.axis(along), span, points), path)
        if not isinstance(along, (tuple, list)):
            raise ConfigError(f"along={along!r}: give the name of a weight, two of them, 'path' or 'random'")
        if len(along) != 2:
            raise ConfigError(f"along names {len(along)} weights: give one, or two for a plane")
        lines = [land.axis(name) for name in along]
        if (lines[0].step == lines[1].step).all():
            raise ConfigError(f"along={tuple(along)!r} names one weight twice: give two different ones")
        return finish(_draw_plane(land, lines, [span or _reach(land, line) for line in lines], points), path)


VIEWS.add("loss_surface", plot_loss)


def _reach(land: Landscape, line: Line) -> float:
    """How far to either side the loss has clearly risen: by half of it, or by 0.05; at least |w| · 3/4."""
    here = land.loss_at(land.weights)
    reach = max(0.25, 0.75 * abs(line.origin))
    while reach < FARTHEST:
        sides = [land.loss_at(land.weights + side * reach * line.step) for side in (-1, 1)]
        if max(sides) > here + max(0.5 * here, 0.05):
            break
        reach *= 2
    return reach


def _draw_line(land: Landscape, line: Line, span: float | None, points: int) -> Figure:
    reach = span or _reach(land, line)
    moves = np.linspace(-reach, reach, 10 * (points // 2) + 1)
    losses = np.array([land.loss_at(land.weights + move * line.step) for move in moves])
    here, slope = land.loss_at(land.weights), float(land.gradient @ line.step)
    at = line.origin + moves
    figure = new_picture(4.0)
    axes = dress(figure.add_subplot(), _title(land), line.label)
    axes.plot(at, losses, color=BLUE, linewidth=1.4 * LINE)
    ends = 0.35 * reach * np.array([-1, 1])
    axes.plot(line.origin + ends, here + slope * ends, color=ORANGE, linewidth=LINE, zorder=3)
    axes.set_xlim(at[0], at[-1])
    axes.set_ylim(*limits(losses, (here,)))
    round_ticks(axes.xaxis, 8)
    round_ticks(axes.yaxis)
    lowest = int(np.argmin(losses))
    if 0 < lowest < len(at) - 1 and abs(moves[lowest]) > 0.03 * reach:
        mark(axes, at[lowest], losses[lowest], INK, "v", 6)
        words = f"least {number_label(losses[lowest])} at {number_label(at[lowest], 3)}"
        say(axes, words, (at[lowest], losses[lowest]))
    mark(axes, line.origin, here, ORANGE)
    words = f"now {number_label(line.origin)}: loss {number_label(here)}, slope {number_label(slope, 3)}"
    say(axes, words, (line.origin, here), ORANGE)
    return figure


def _draw_plane(land: Landscape, lines: Sequence[Line], reach: Sequence[float], points: int) -> Figure:
    u, v = (np.linspace(-r, r, points) for r in reach)
    losses = _grid(land, land.weights, lines, u, v)
    here = land.loss_at(land.weights)
    figure, axes = _contours(land, lines, u, v, losses, here)
    low = np.unravel_index(np.argmin(losses), losses.shape)
    if 0 < low[0] < points - 1 and 0 < low[1] < points - 1 and losses[low] < here * (1 - 1e-3):
        x, y = lines[0].origin + u[low[1]], lines[1].origin + v[low[0]]
        mark(axes, x, y, INK, "v", 6)
        say(axes, f"least {number_label(float(losses[low]))}", (x, y))
    mark(axes, lines[0].origin, lines[1].origin, ORANGE)
    say(axes, f"now {number_label(here)}", (lines[0].origin, lines[1].origin), ORANGE)
    return figure


def _draw_path(land: Landscape, path: np.ndarray, points: int) -> Figure:
    """The plane through the model's weights that the path leaves least, and the path's shadow on it."""
    lines = main_lines(land, path)
    places = (path - land.weights) @ np.stack([line.step for line in lines]).T  # (points, 2)
    u, v = (around(places[:, i], points, MARGIN) for i in (0, 1))
    losses = _grid(land, land.weights, lines, u, v)
    start = land.loss_at(path[0])
    figure, axes = _contours(land, lines, u, v, losses, start)
    x, y = lines[0].origin + places[:, 0], lines[1].origin + places[:, 1]
    axes.plot(x, y, color="white", linewidth=3 * LINE, zorder=4)
    axes.plot(x, y, "-o", color=ORANGE, linewidth=LINE, markersize=2.5 if len(x) <= 101 else 0, zorder=5)
    mark(axes, x[0], y[0], INK, "s", 6)
    mark(axes, x[-1], y[-1], ORANGE, "o", 8)
    last = len(path) - 1
    say(axes, f"start: {number_label(start)}", (x[0], y[0]))
    kept = int(np.argmin(np.abs(path - land.weights).sum(axis=1)))
    say(axes, f"epoch {last}: {number_label(land.loss_at(path[-1]))}", (x[-1], y[-1]), ORANGE)
    if kept != last:
        mark(axes, x[kept], y[kept], INK, "D", 6)
        say(axes, f"kept, epoch {kept}: {number_label(land.loss_at(path[kept]))}", (x[kept], y[kept]))
    return figure


def _grid(land: Landscape, w: np.ndarray, lines: Sequence[Line], u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The loss at w + a · line 0 + b · line 1 -> (len(v), len(u))."""
    return np.array([[land.loss_at(w + a * lines[0].step + b * lines[1].step) for a in u] for b in v])


def _contours(
    land: Landscape, lines: Sequence[Line], u: np.ndarray, v: np.ndarray, losses: np.ndarray, seen: float
) -> tuple[Figure, Axes]:
    """Filled contours with a scale beside them.   seen: a loss that the levels must reach"""
    figure = new_picture(5.0, 6.6)
    axes = dress(figure.add_subplot(), _title(land), lines[0].label, lines[1].label, grid="")
    draw_contours(figure, axes, lines[0].origin + u, lines[1].origin + v, losses, seen)
    return figure, axes


def _title(land: Landscape) -> str:
    return f"mean loss ({type(land.model.loss).__name__}), {_rows(land)}"


def _rows(land: Landscape) -> str:
    n = len(land.y)
    return f"{n:,} rows" if n == land.n_given else f"{n:,} of {land.n_given:,} rows"


__all__ = ["plot_loss"]
