"""The derivative as a slope: the curve of a function of one number with its tangents."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fallline.autodiff.functions import value_and_grad
from fallline.core.errors import ConfigError
from fallline.core.views import VIEWS
from fallline.explain.figures.figure import (
    dress,
    finish,
    limits,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.labels import mark, say
from fallline.explain.figures.plain import (
    BLUE,
    LINE,
    ORANGE,
    number_label,
)

POINTS = 401
REACH = 0.75  # of |w|: how far to both sides the curve is drawn, at least 1
TANGENT = 0.22  # of the picture's width, to both sides


def plot_slope(
    f: Callable[[Any], Any],
    w: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    path: str | Path | None = None,
) -> Figure:
    """The curve of f around w and its tangent there, whose slope is the derivative df/dw = fl.grad(f)(w).

    f     a function of ops, from one number to one number
    w     a number, or several: one tangent each
    low, high  the ends of the curve; by default |w| · 3/4 to both sides, at least 1
    path  where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)
    """
    at = _points(w)
    left, right = _ends(at, low, high)
    values, slopes = _tangents(f, at)
    grid = np.linspace(left, right, POINTS)
    name, variable = names_of(f)
    with look():
        figure = new_picture(4.0)
        axes = dress(figure.add_subplot(), f"{name}({variable})", variable)
        curve = _curve_of(f, grid)
        bottom, top = limits(curve, tuple(values))
        near = np.abs(curve - (bottom + top) / 2) < 1.5 * (top - bottom)  # the two sides of a pole are not joined
        axes.plot(grid, np.where(near, curve, np.nan), color=BLUE, linewidth=1.4 * LINE)
        reach = TANGENT * (right - left)
        for x, y, slope in zip(at, values, slopes, strict=True):
            ends = np.array([-reach, reach])
            axes.plot(x + ends, y + slope * ends, color=ORANGE, linewidth=LINE, zorder=3)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        round_ticks(axes.xaxis, 8)
        round_ticks(axes.yaxis)
        for x, y in zip(at, values, strict=True):
            mark(axes, x, y, ORANGE)
        for x, y, slope in zip(at, values, slopes, strict=True):
            say(axes, f"slope {number_label(slope)}\nat {variable} = {number_label(x)}", (x, y), ORANGE)
        return finish(figure, path)


VIEWS.add("slope", plot_slope)


def _curve_of(f: Callable[[Any], Any], grid: np.ndarray) -> np.ndarray:
    """f at each of these numbers; NaN where it has no value."""
    with np.errstate(all="ignore"):
        return np.array([float(np.asarray(f(x))) for x in grid])


def _points(w: Any) -> np.ndarray:
    try:
        at = np.atleast_1d(np.asarray(w, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        raise ConfigError(f"w={w!r}: give a number, or several in a list") from None
    if not at.size or not np.isfinite(at).all():
        raise ConfigError(f"w={w!r}: give at least one number, all of them finite")
    return at


def _ends(at: np.ndarray, low: float | None, high: float | None) -> tuple[float, float]:
    span = float(at.max() - at.min())
    reach = 0.5 * span if span else max(1.0, REACH * float(np.abs(at).max()))
    left = float(at.min()) - reach if low is None else float(low)
    right = float(at.max()) + reach if high is None else float(high)
    if not left < right or left > at.min() or right < at.max():
        raise ConfigError(
            f"low={left:g}, high={right:g}: low must lie below high, and w ({at.min():g} … {at.max():g}) between them"
        )
    return left, right


def _tangents(f: Callable[[Any], Any], at: np.ndarray) -> tuple[list[float], list[float]]:
    """Values and slopes; a FalllineError where f has none."""
    values, slopes = [], []
    for x in at:
        with np.errstate(all="ignore"):
            value, slope = value_and_grad(f)(float(x))
        if not (np.isfinite(value) and np.isfinite(slope)):
            raise ConfigError(
                f"at w = {x:g} the value is {value:g}, the derivative {slope:g}: choose a place where both are finite"
            )
        values.append(float(value))
        slopes.append(float(slope))
    return values, slopes


def names_of(f: Callable[[Any], Any]) -> tuple[str, str]:
    """The function's and its argument's own names, for the title and the axis."""
    name = str(getattr(f, "__name__", None) or getattr(f, "name", "f"))
    try:
        first = next(iter(inspect.signature(f).parameters.values()), None)
    except (TypeError, ValueError):
        first = None
    named = first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    return (name if name.isidentifier() else "f"), first.name if first is not None and named else "w"


__all__ = ["names_of", "plot_slope"]
