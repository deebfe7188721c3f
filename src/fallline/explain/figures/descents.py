"""The way down: the steps of a descent on the curve or the contours of its function, and the search for a rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

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
from fallline.explain.figures.labels import legend_above, mark, say
from fallline.explain.figures.plain import (
    BLUE,
    COLORS,
    INK,
    LINE,
    ORANGE,
    SKY,
    TEXT,
    number_label,
)
from fallline.explain.figures.slope import names_of
from fallline.train.descent import Descent
from fallline.train.learning_rate import RateReport

POINTS = 401  # of a curve
CELLS = 81  # of each axis of a plane
LOOKS = 30  # at a noisy function, whose mean is drawn
FAR = 30.0  # a step this many times farther up than the way down so far is not drawn
MARGIN = 0.25  # around the way, as a share of its size
WAYS = (ORANGE, COLORS[2], COLORS[3], INK, COLORS[4])  # on blue contours


def plot_descent(
    descent: Descent | Sequence[Descent] | Mapping[str, Descent], path: str | Path | None = None
) -> Figure:
    """The steps of a descent on the curve of its function, or on the contours of a function of two numbers.

    descent  what `fl.descend` gave; several of one function in a list, or in a dict with a name for each
    path     where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)
    """
    ways = _named(descent)
    first = next(iter(ways.values()))
    sizes = {way.path[0].size for way in ways.values()}
    if sizes not in ({1}, {2}):
        told = " and ".join(map(str, sorted(sizes)))
        raise ConfigError(f"w holds {told} numbers: a picture shows one or two, print the descent or use .table()")
    if len(ways) > len(WAYS):
        raise ConfigError(f"{len(ways)} descents in one picture: at most {len(WAYS)} can be told apart")
    with look():
        return finish((_on_curve if sizes == {1} else _on_contours)(first.f, ways), path)


def plot_learning_rate(report: RateReport, path: str | Path | None = None) -> Figure:
    """The loss over the learning rate of a search: the sweeps thin, their median thick, the trial runs as points.

    report  what `fl.find_learning_rate` gave
    path    where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)
    """
    rates, losses = np.asarray(report.rates), np.asarray(report.losses)
    known = np.isfinite(losses)
    if not known.any():
        raise ConfigError("the search has no finite loss: begin it with a smaller learning rate")
    tried = {rate: loss for rate, loss in report.trials.items() if np.isfinite(loss)}
    with look():
        figure = new_picture(4.0)
        axes = dress(figure.add_subplot(), "loss while the rate grows, and after runs at one rate", "learning rate")
        axes.set_xscale("log")
        for sweep in report.sweeps:
            axes.plot(rates, sweep, color=SKY, linewidth=0.6 * LINE, alpha=0.5, zorder=2)
        axes.plot(rates[known], losses[known], color=BLUE, linewidth=1.4 * LINE)
        axes.plot(list(tried), list(tried.values()), "-o", color=ORANGE, linewidth=LINE, markersize=4, zorder=4)
        least, start = min(float(losses[known].min()), *tried.values()), float(report.start)
        axes.set_ylim(*limits(np.array([least, start + 0.3 * abs(start - least)])))
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        round_ticks(axes.yaxis)
        if report.suggestion is not None:
            axes.axvline(report.suggestion, color=ORANGE, linewidth=LINE, dashes=(4, 3), zorder=2)
        _say_rates(axes, report, tried)
        return finish(figure, path)


def _say_rates(axes: Axes, report: RateReport, tried: Mapping[float, float]) -> None:
    """The suggestion and the lowest point of the sweep, in words."""
    at = int(np.abs(np.log(report.rates / report.lowest)).argmin())
    told = [((report.lowest, float(report.losses[at])), BLUE, "sweep lowest at")]
    if report.suggestion is not None:
        told.insert(0, ((report.suggestion, tried.get(report.suggestion, np.nan)), ORANGE, "suggestion"))
    told = [each for each in told if np.isfinite(each[0][1])]
    for (x, y), color, _ in told:
        mark(axes, x, y, color)
    for place, color, words in told:
        say(axes, f"{words} {number_label(place[0], 3)}", place, color)


VIEWS.add("descent", plot_descent)
VIEWS.add("learning_rate", plot_learning_rate)


def _named(descent: Any) -> dict[str, Descent]:
    if isinstance(descent, Mapping):
        ways = dict(descent)
    elif isinstance(descent, (list, tuple)):
        ways = {f"{i + 1}: {way.minimizer!r}": way for i, way in enumerate(descent) if isinstance(way, Descent)}
        ways |= {str(i): way for i, way in enumerate(descent) if not isinstance(way, Descent)}
    else:
        ways = {repr(getattr(descent, "minimizer", "")): descent}
    odd = [way for way in ways.values() if not isinstance(way, Descent)]
    if odd or not ways:
        given = type(odd[0]).__name__ if odd else "an empty list"
        raise ConfigError(f"plot_descent draws what fl.descend gives, given {given}")
    return ways


def looks(f: Callable[..., Any], shape: tuple[int, ...], noisy: bool) -> Callable[[np.ndarray], float]:
    """f of a flat array; of a noisy function the mean of some looks, always with the same draws."""

    def value(w: np.ndarray) -> float:
        given = w.reshape(shape)[()]
        with np.errstate(all="ignore"):
            if not noisy:
                return float(np.asarray(f(given)))
            rng = np.random.default_rng(0)
            return float(np.mean([float(np.asarray(f(given, rng))) for _ in range(LOOKS)]))

    return value


def _seen(way: Descent) -> int:
    """How many points are drawn: all until one flies far above the start."""
    values = way.values
    for i in range(1, len(values)):
        down = max(values[0] - np.nanmin(values[:i]), abs(values[0]), 1e-9)
        if not values[i] <= values[0] + FAR * down:
            return max(i, 2)
    return len(values)


def _end_text(way: Descent, x: np.ndarray, y: np.ndarray) -> str:
    if len(x) < len(way.path):
        return f"step {len(x) - 1}, then far away"
    if way.path[0].size == 1:
        return f"step {way.steps}: {number_label(float(x[-1]), 3)}, f = {number_label(float(y[-1]), 3)}"
    return f"step {way.steps}: f = {number_label(float(way.values[-1]), 3)}"


def _on_curve(f: Callable[..., Any], ways: dict[str, Descent]) -> Figure:
    name, variable = names_of(f)
    figure = new_picture(4.2)
    axes = dress(figure.add_subplot(), f"{name}({variable})", variable)
    seen = {label: _seen(way) for label, way in ways.items()}
    places = np.concatenate([way.path[: seen[label]].ravel() for label, way in ways.items()])
    grid = around(places[np.isfinite(places)], POINTS, MARGIN)
    first = next(iter(ways.values()))
    value = looks(f, first.path[0].shape, first.noisy)
    curve = np.array([value(np.array([w])) for w in grid])
    axes.plot(grid, curve, color=BLUE, linewidth=1.4 * LINE)
    heights = {label: _heights(way, seen[label], value) for label, way in ways.items()}
    values = np.concatenate(list(heights.values()))
    axes.set_xlim(grid[0], grid[-1])
    low, high = float(np.nanmin([np.nanmin(curve), values.min()])), float(values.max())
    axes.set_ylim(*limits(np.array([low, high + 0.15 * (high - low)])))
    round_ticks(axes.xaxis, 8)
    round_ticks(axes.yaxis)
    _draw_ways(axes, {label: (way, (way.path[: seen[label]].ravel(), heights[label])) for label, way in ways.items()})
    return figure


def _on_contours(f: Callable[..., Any], ways: dict[str, Descent]) -> Figure:
    name, variable = names_of(f)
    figure = new_picture(5.2, 6.6)
    axes = dress(figure.add_subplot(), f"{name}({variable})", f"{variable}[0]", f"{variable}[1]", grid="")
    seen = {label: _seen(way) for label, way in ways.items()}
    places = np.concatenate([way.path[: seen[label]].reshape(-1, 2) for label, way in ways.items()])
    places = places[np.isfinite(places).all(axis=1)]
    u, v = (around(places[:, i], CELLS, MARGIN) for i in (0, 1))
    first = next(iter(ways.values()))
    value = looks(f, first.path[0].shape, first.noisy)
    grid = np.array([[value(np.array([a, b])) for a in u] for b in v])
    draw_contours(figure, axes, u, v, grid, max(float(way.values[0]) for way in ways.values()))
    _draw_ways(axes, {label: (way, tuple(way.path[: seen[label]].reshape(-1, 2).T)) for label, way in ways.items()})
    return figure


def _heights(way: Descent, seen: int, value: Callable[[np.ndarray], float]) -> np.ndarray:
    """Where the steps lie on the curve: at their values, of a noisy function at its mean."""
    return np.array([value(w) for w in way.path[:seen]]) if way.noisy else way.values[:seen]


def _draw_ways(axes: Axes, ways: dict[str, tuple[Descent, tuple[np.ndarray, ...]]]) -> None:
    """Each way as a line with a dot for every step, its start as a square, its end in words."""
    for (label, (_, (x, y))), color in zip(ways.items(), WAYS, strict=False):
        axes.plot(x, y, color="white", linewidth=2.6 * LINE, zorder=3, alpha=0.8)
        size = 5.0 if len(x) <= 25 else 3.0 if len(x) <= 80 else 2.0
        axes.plot(x, y, "-o", color=color, linewidth=LINE, markersize=size, zorder=4, label=label)
        mark(axes, float(x[0]), float(y[0]), color, "s", 7)
        mark(axes, float(x[-1]), float(y[-1]), color, "o", 8)
    if len(ways) > 1:
        axes.set_ylabel(axes.get_ylabel() or axes.get_title(loc="left"), fontsize=TEXT, color=INK)
        axes.set_title("", loc="left")
        legend_above(axes)
    for x0, y0 in sorted({(float(x[0]), float(y[0])) for _, (x, y) in ways.values()}):
        say(axes, "start", (x0, y0), INK)
    for (way, (x, y)), color in zip(ways.values(), WAYS, strict=False):
        say(axes, _end_text(way, x, y), (float(x[-1]), float(y[-1])), color)


__all__ = ["looks", "plot_descent", "plot_learning_rate"]
