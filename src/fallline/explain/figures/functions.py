"""Activations, links and functions of one's own as pictures, with the derivative from automatic differentiation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import MISSING
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fallline.autodiff.functions import jvp
from fallline.core.errors import ConfigError, ShapeError, UnknownNameError
from fallline.core.facts import facts_of, special_values
from fallline.core.record import as_record, fields_of, record_class, records_of
from fallline.core.registry import nearest, plain_name
from fallline.core.spec import Spec
from fallline.core.views import VIEWS
from fallline.explain.figures.figure import (
    draw_broken,
    dress,
    finish,
    jumps,
    limits,
    look,
    new_picture,
    round_ticks,
    zero_lines,
)
from fallline.explain.figures.labels import mark, say
from fallline.explain.figures.losses import draw_loss
from fallline.explain.figures.plain import (
    BLUE,
    INK,
    LINE,
    ORANGE,
    TEXT,
    number_label,
)
from fallline.losses.links import LINKS
from fallline.losses.loss import Loss
from fallline.nn.activations import Activation
from fallline.nn.joint import Maxout
from fallline.nn.layer import Layer
from fallline.ops.shape import concatenate

REACH = 5.0  # z from -5 to 5
STEP = 0.01  # so that the kinks at ±1/2, ±1 and ±3 are points of the grid
TOP = 3.0  # of the picture for functions that grow
MARKED = 3  # special values of a curve that get words
WIDE = 88  # characters of a formula in one line
EXAMPLE = "x (pieces x and 0)"  # the weights of Maxout in a picture
Function = Callable[[Any], Any]


class Shown(NamedTuple):
    """A function of one number that is drawn: f: (n,) -> (n,), its symbol, how its argument is written, its facts."""

    title: str
    f: Function
    symbol: str
    variable: str
    facts: dict[str, str]


def plot_function(function: str | Layer | Loss | type | Function, path: str | Path | None = None) -> Figure:
    """An activation, a link or a function of your own with its derivative; a loss with its derivative, for each target.

    function  an activation, a loss, the name of one ("relu", "leaky_relu(slope=0.1)", "bce") or of a link ("exp"),
              or a function of ops that takes an array number by number
    path      where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)

    Of an activation that looks at several numbers one moves: z₁ with z₂ = 0, of a σ(b) the b with a = 1.
    """
    found = _resolved(function)
    with look():
        if isinstance(found, Loss):
            return finish(draw_loss(found), path)
        figure = new_picture(4.3)
        _draw(figure.add_subplot(), _shown(found))
        return finish(figure, path)


def plot_functions(kind: str = "activations", path: str | Path | None = None) -> Figure:
    """All activations, or all links, in one picture: small multiples of the function and its derivative.

    kind  "activations" or "links"
    """
    if kind not in ("activations", "links"):
        raise ConfigError(f"kind={kind!r}: {nearest(str(kind), ('activations', 'links'))}")
    if kind == "links":
        shown = [_shown(link) for link in LINKS.values()]
    else:
        own = [n for n, c in records_of(Activation).items() if c.__module__.startswith("fallline.")]
        shown = [_shown(_named(name)) for name in own]
    columns = min(5, len(shown))
    rows = -(-len(shown) // columns)
    with look():
        figure = new_picture(1.55 * rows + 0.3, 2.0 * columns)
        cells = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes, each in zip(cells, shown, strict=False):
            _draw_small(axes, each)
        for axes in cells[len(shown) :]:
            axes.set_visible(False)
        told = "blue: the function     orange, dashed: its derivative"
        if kind == "activations":
            told += "     of several numbers: by one of them, the others held still"
        figure.supxlabel(told, fontsize=TEXT - 1, color=INK)
        return finish(figure, path)


VIEWS.add("function", plot_function)


def _resolved(function: Any) -> Any:
    """An activation, a loss or a function of ops, from what the user gave."""
    if isinstance(function, type) and issubclass(function, (Layer, Loss)):
        return _named(function.__name__)
    if isinstance(function, str):
        return _named(function)
    if not callable(function):
        raise ConfigError(f"{function!r} is not a function: give an activation, a loss, a function of ops, or a name")
    return function


def _named(text: str) -> Any:
    """The activation, loss or link of that name, in this order; what needs settings gets those of its tests."""
    name, plain = text.partition("(")[0].strip(), plain_name(text.partition("(")[0].strip())
    for base in (Activation, Loss):
        family: dict[str, Any] = records_of(base)
        if plain in {plain_name(n) for title, cls in family.items() for n in (title, *cls.aliases)}:
            cls: Any = record_class(name, base)
            needs = any(f.default is MISSING for f in fields_of(cls))
            return cls.sample(np.random.default_rng(0))[0] if needs and "(" not in text else as_record(text, base)
    for link, function in LINKS.items():
        if plain == plain_name(link):
            return function
    known = [*records_of(Activation), *records_of(Loss), *LINKS]
    raise UnknownNameError(f"no activation, loss or link is called {text!r}: {nearest(name, known)}")


def _shown(found: Any) -> Shown:
    """What is drawn: of a layer its output for one moving input."""
    if isinstance(found, Layer):
        f, variable = _of_one_input(found)
        title = "Maxout" if variable == EXAMPLE else repr(found).removesuffix("()")
        return Shown(title, f, "φ", variable, facts_of(type(found)))
    link = next((name for name, function in LINKS.items() if function is found), None)
    if link == "softmax":
        return Shown("softmax, a link", _first_of_two(found), "p₁", "s₁ (s₂ = 0)", facts_of(found))
    if link:
        return Shown(f"{link}, a link", found, "y", "s", facts_of(found))
    name = str(getattr(found, "__name__", None) or getattr(found, "name", "f"))
    return Shown(name if name.isidentifier() else "A function", found, "f", "x", {})


def _of_one_input(layer: Layer) -> tuple[Function, str]:
    """A function of one number that the layer computes, and what the number is called."""
    filled = layer if layer.is_filled else _example(layer)

    def alone(z: Any) -> Any:
        return filled(z.reshape(z.shape[0], 1))[:, 0]

    try:
        one, other = (np.asarray(filled(np.array([[0.5, beside]]))) for beside in (0.0, 2.0))
    except ShapeError:  # it has weights for one input
        return alone, "x" if layer.is_filled else EXAMPLE
    if one.shape == (1, 2):
        return (alone, "z") if one[0, 0] == other[0, 0] else (_first_of_two(filled), "z₁ (z₂ = 0)")
    return (lambda z: filled(_beside(0.0 * z + 1.0, z))[:, 0]), "b (a = 1)"


def _example(layer: Layer) -> Layer:
    """The layer with weights for one input; those of Maxout are the pieces x and 0, which make a ReLU."""
    if isinstance(layer, Maxout):
        layer = layer.replace(units=1, pieces=2)
    filled = layer.build(Spec((1, 1), np.dtype("float64")), 0)
    return filled.replace(W=np.array([[1.0, 0.0]])) if isinstance(filled, Maxout) else filled


def _first_of_two(f: Function) -> Function:
    return lambda z: f(_beside(z, 0.0 * z))[:, 0]


def _beside(a: Any, b: Any) -> Any:
    """Two columns.   (n,), (n,) -> (n, 2)"""
    n = a.shape[0]
    return concatenate([a.reshape(n, 1), b.reshape(n, 1)], 1)


def with_slope(f: Function, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f and df/dz at many numbers, by one pass of forward mode.   (n,) -> (n,), (n,)"""
    with np.errstate(all="ignore"):
        value, slope = jvp(f, (z,), (np.ones_like(z),))
    if np.shape(value) != z.shape:
        raise ShapeError(f"the function gives shape {np.shape(value)} for {z.shape}: it must take numbers one by one")
    return np.asarray(value), np.asarray(slope)


def _draw(axes: Axes, shown: Shown) -> None:
    """One function with its derivative, formulas above them, special values in words."""
    grid = np.round(np.arange(-REACH, REACH + STEP / 2, STEP), 6)
    value, slope = with_slope(shown.f, grid)
    dress(axes, "", shown.variable)
    zero_lines(axes)
    for y, color in ((slope, ORANGE), (value, BLUE)):
        draw_broken(axes, grid, y, color, 1.5 * LINE)
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(*_both_limits(value, slope))
    round_ticks(axes.xaxis, 11)
    round_ticks(axes.yaxis)
    _headings(axes, shown)
    for word, prime, y, color in (("special", "", value, BLUE), ("slopes", "′", slope, ORANGE)):
        for at, point in _special_points(shown.facts.get(word, ""), grid, y):
            mark(axes, at, point, color)
            text = f"{shown.symbol}{prime}({_as_text(at)}) = {_as_text(point)}"
            say(axes, text.replace("-", "−"), (at, point), color)


def _special_points(text: str, grid: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """The special inputs that lie in the picture, near ones first, one for each value there; 0 if none is told."""
    told = [s.inputs[0] for s in special_values(text) if len(s.inputs) == 1] or [0.0]
    points: dict[float, float] = {}
    for at in sorted((z for z in told if abs(z) < REACH), key=abs):
        points.setdefault(float(y[np.argmin(np.abs(grid - at))]), at)
    return [(at, value) for value, at in points.items()][:MARKED]


def _both_limits(value: np.ndarray, slope: np.ndarray) -> tuple[float, float]:
    """Limits that show both curves; a function that grows may leave the picture where its derivative would be flat."""
    both = np.concatenate([value, slope])
    return limits(np.clip(both, -REACH, TOP if np.nanmax(both) > TOP + 1 else None))


def _as_text(number: float) -> str:
    """1/4 for 0.25, else four digits."""
    fraction = Fraction(number).limit_denominator(6)
    exact = fraction.denominator != 5 and abs(float(fraction) - number) < 1e-9
    return str(fraction) if exact else number_label(number)


def _headings(axes: Axes, shown: Shown) -> None:
    """The title, the formula in the color of its curve, the derivative in that of its own."""
    lines = [(shown.title, INK, "bold")]
    short_variable = shown.variable.partition(" ")[0]
    for word, prime, color in (("formula", "", BLUE), ("derivative", "′", ORANGE)):
        text = formula_text(shown.facts.get(word, ""))
        start = f"{shown.symbol}{prime}({short_variable})"
        if not text:
            text = start + (", by automatic differentiation" if prime else "")
        elif not re.match(r"[\w /()]+ = ", text):
            text = f"{start} = {text}"
        lines += [(line, color, "normal") for line in textwrap.wrap(text, WIDE)]
    for i, (text, color, weight) in enumerate(reversed(lines)):
        axes.annotate(
            text, (0, 1), (0, 6 + 15 * i), xycoords="axes fraction", textcoords="offset points",
            color=color, fontsize=TEXT - (weight == "normal"), fontweight=weight, va="bottom",
        )  # fmt: skip


def formula_text(text: str) -> str:
    """A fact as one reads it in print: without the words after ";" unless they define a name, with ≤ and −."""
    main, _, rest = text.partition(";")
    text = text if re.match(r"\s*\S+ = ", rest) else main
    text = re.sub(r"\d+\.\d{6,}", lambda number: number_label(float(number[0])), text)
    for plain, printed in (("<=", "≤"), (">=", "≥"), ("->", "→"), ("-", "−")):
        text = text.replace(plain, printed)
    return text


def _draw_small(axes: Axes, shown: Shown) -> None:
    grid = np.round(np.arange(-4.0, 4.0 + STEP / 2, STEP), 6)
    value, slope = with_slope(shown.f, grid)
    dress(axes, shown.title.removesuffix(", a link"))
    axes.title.set_fontsize(TEXT)
    for y, color, style in ((value, BLUE, "-"), (slope, ORANGE, (0, (4, 2)))):  # dashes: what lies below shows
        axes.plot(grid, np.where(jumps(y), np.nan, y), color=color, linewidth=LINE, linestyle=style)
    axes.set_xlim(-4, 4)
    low, high = _both_limits(value, slope)
    axes.set_ylim(max(low, -2.2), min(high, 2.2))
    round_ticks(axes.xaxis, 4)
    round_ticks(axes.yaxis, 4)
    axes.tick_params(labelsize=TEXT - 3)


__all__ = ["plot_function", "plot_functions", "with_slope"]
