"""What a model with two inputs decides, place by place; of one with a single input, its curve. With the rows on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fallline.core.errors import ConfigError, DataError
from fallline.core.views import VIEWS
from fallline.data.cells import number_values
from fallline.data.table import read_table
from fallline.explain.figures.contours import PALE, RISING, around, both_sides, color_scale, levels
from fallline.explain.figures.figure import (
    MARKERS,
    dress,
    finish,
    frame,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.given import model_of
from fallline.explain.figures.labels import legend_above
from fallline.explain.figures.plain import (
    COLORS,
    INK,
    LINE,
    ORANGE,
    SKY,
    TEXT,
)
from fallline.train.examples import class_codes, column_names, finite_targets
from fallline.train.model import Model

POINTS = 201  # of each axis of a plane
MARGIN = 0.08  # around the rows, as a share of their range
MOST_CLASSES = 6
MOST_ROWS = 2000  # drawn; of more rows an even share


class Plane(NamedTuple):
    """Places around some rows, on a grid.

    names   of the inputs, one or two;  rows  (n, n_inputs), as they were given
    axes    the numbers along each input;  places  what the model takes there, the first input running fastest
    """

    names: tuple[str, ...]
    rows: np.ndarray
    axes: tuple[np.ndarray, ...]
    places: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in reversed(self.axes))


def plot_boundary(model: Any, X: Any, y: Any = None, *, path: str | Path | None = None) -> Figure:
    """Where a model with two inputs decides for which class, and how surely; of a regression, its predictions.

    model  a fitted model, or a Fit; with one input its prediction is drawn as a curve over that input
    X, y   rows to draw, (n, 2) or (n, 1), or a table; y may be None where X is a pair (X, y) or a table with the target
    path   where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)

    Two classes: color by probability (by score where the loss gives none), a line at 1/2. More classes: each region in
    its color, pale where the largest probability is small. Numbers: contours, and the rows in the same colors.
    """
    found = model_of(model)
    if y is None and isinstance(X, (tuple, list)) and len(X) == 2 and found.columns is None:
        X, y = X
    plane = plane_around(found, X, POINTS)
    targets = _targets(found, X, y)
    if len(targets) != len(plane.rows):
        raise DataError(f"X has {len(plane.rows)} rows and y {len(targets)}: they must have equally many")
    if len(found.classes) > MOST_CLASSES:
        raise ConfigError(
            f"the model knows {len(found.classes)} classes: at most {MOST_CLASSES} colors can be told apart"
        )
    with look():
        if len(plane.names) == 1:
            return finish(_draw_curve(found, plane, targets), path)
        figure = new_picture(5.0, 6.4)
        axes = dress(figure.add_subplot(), "", plane.names[0], plane.names[1], grid="")
        if not found.classes:
            _shade_numbers(figure, axes, found, plane, targets)
        elif len(found.classes) == 2:
            _shade_two(figure, axes, found, plane)
        else:
            _shade_classes(axes, found, plane)
        if found.classes:
            _draw_classes(axes, found, plane.rows, targets)
        frame(axes, *plane.axes)
        return finish(figure, path)


VIEWS.add("boundary", plot_boundary)


def plane_around(model: Model, X: Any, points: int) -> Plane:
    """A grid around the rows; ConfigError for a model with more than two inputs, or with an input that is no number."""
    names, rows, table = _inputs(model, X)
    if rows.shape[1] > 2:
        raise ConfigError(
            f"the model has {rows.shape[1]} inputs, a plane has two: train one on two columns, or look at single rows"
        )
    axes = tuple(around(column, points, MARGIN) for column in rows.T)
    across = np.meshgrid(*axes)  # (points of axis 1, points of axis 0)
    columns = [a.ravel() for a in across]
    places: Any = np.stack(columns, axis=1)
    return Plane(names, rows, axes, read_table(dict(zip(names, columns, strict=True))) if table else places)


def _inputs(model: Model, X: Any) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """Names and numbers of the inputs, and whether the model reads a table."""
    if model.columns is None:
        found = model.inputs(X)
        if not isinstance(found, np.ndarray) or found.ndim != 2:
            raise ConfigError("the model's input is no table of numbers: only models of one or two inputs can be drawn")
        names = model.feature_names or column_names(X) or tuple(f"x[{i}]" for i in range(found.shape[1]))
        return names, found.astype(np.float64), False
    fitted = model.columns.fitted
    odd = [c.name for c in fitted if c.kind not in ("number", "boolean")]
    if odd:
        raise ConfigError(f"the input {odd[0]!r} holds no numbers: only inputs that are numbers span a plane")
    table = read_table(X)
    return tuple(c.name for c in fitted), np.stack([number_values(table.column(c.name)) for c in fitted], axis=1), True


def _targets(model: Model, X: Any, y: Any) -> np.ndarray:
    """The codes of the classes, or the numbers in the target's own unit.   (n,) or (n, n_outputs)"""
    if y is None and model.columns is None:
        raise DataError("the targets are needed: pass X and y")
    if y is None:
        encoded = model.target.encode(read_table(X))
        return encoded if model.classes else model.target.decode(encoded)
    return class_codes(model.classes, y) if model.classes else finite_targets(y)


def _shade_two(figure: Figure, axes: Axes, model: Model, plane: Plane) -> None:
    """Two classes: the probability of the second, or the score, and the boundary between them."""
    scores = model.scores(plane.places)
    if model.loss.probabilistic:
        shown, steps, middle = model.probabilities(scores)[:, 1], np.linspace(0, 1, 21), 0.5
        words = f"probability of {model.classes[1]}"
    else:
        shown, steps, middle = scores, both_sides(scores), 0.0
        words = f"score, above 0: {model.classes[1]}"
    grid = shown.astype(np.float64).reshape(plane.shape)
    shades = axes.contourf(*plane.axes, grid, steps, cmap=PALE, extend="neither" if middle else "both")
    if grid.min() < middle < grid.max():
        axes.contour(*plane.axes, grid, [middle], colors=INK, linewidths=1.6)
    color_scale(figure, shades, axes, None, words)


def _shade_classes(axes: Axes, model: Model, plane: Plane) -> None:
    """More classes: each place in the color of its likeliest class, paler where that is less sure."""
    p = model.predict_proba(plane.places).reshape(*plane.shape, -1)
    k = p.shape[-1]
    sure = ((p.max(axis=-1) - 1 / k) / (1 - 1 / k))[..., None]
    colors = np.array([to_rgb(c) for c in COLORS[:k]])[p.argmax(axis=-1)]
    ends = (plane.axes[0][0], plane.axes[0][-1], plane.axes[1][0], plane.axes[1][-1])
    axes.imshow(1 - 0.5 * sure * (1 - colors), origin="lower", extent=ends, aspect="auto", interpolation="bilinear")
    for i in range(k):
        lead = p[..., i] - np.delete(p, i, axis=-1).max(axis=-1)
        if lead.min() < 0 < lead.max():
            axes.contour(*plane.axes, lead, [0.0], colors=INK, linewidths=1.2)


def _shade_numbers(figure: Figure, axes: Axes, model: Model, plane: Plane, targets: np.ndarray) -> None:
    """Numbers: the predictions as contours, the rows in the colors of their targets."""
    if targets.ndim > 1:
        raise ConfigError(f"the model predicts {targets.shape[1]} numbers at once: a plane shows one")
    answers = model.predict(plane.places).reshape(plane.shape[0] * plane.shape[1], -1)
    grid = answers[:, answers.shape[1] // 2].reshape(plane.shape)  # of several quantiles the middle one
    steps, norm, ticks = levels(np.concatenate([grid.ravel(), targets]), float(max(grid.max(), targets.max())))
    shades = axes.contourf(*plane.axes, np.clip(grid, steps[0], None), steps, norm=norm, cmap=RISING, extend="max")
    kept = _some(len(plane.rows))
    axes.scatter(
        plane.rows[kept, 0],
        plane.rows[kept, 1],
        c=targets[kept],
        norm=norm,
        cmap=RISING,
        s=22,
        edgecolors=INK,
        linewidths=0.6,
        zorder=3,
    )
    color_scale(figure, shades, axes, ticks, "prediction, and the rows")


def _draw_classes(axes: Axes, model: Model, rows: np.ndarray, codes: np.ndarray) -> None:
    """The rows, a color and a shape for each class, and what they mean above the picture."""
    kept = _some(len(rows))
    for i, label in enumerate(model.classes):
        of_class = rows[kept][codes[kept] == i]
        axes.scatter(
            of_class[:, 0], of_class[:, 1], color=COLORS[i], marker=MARKERS[i], s=20, edgecolors="white",
            linewidths=0.6, label=str(label), zorder=3,
        )  # fmt: skip
    legend_above(axes)


def _draw_curve(model: Model, plane: Plane, targets: np.ndarray) -> Figure:
    """One input: the prediction as a curve; of classes the probabilities, with the rows at 0 and 1."""
    figure = new_picture(4.2)
    axes = dress(figure.add_subplot(), "", plane.names[0], "" if model.classes else "prediction")
    grid, x, kept = plane.axes[0], plane.rows[:, 0], _some(len(plane.rows))
    if not model.classes:
        axes.scatter(x[kept], targets[kept] if targets.ndim == 1 else targets[kept, 0], s=14, color=SKY, label="rows")
        answers = model.predict(plane.places).reshape(len(grid), -1)
        several = f"predictions: {model.loss!r}" if answers.shape[1] > 1 else "prediction"
        labels = [several, *[""] * (answers.shape[1] - 1)]
        axes.plot(grid, answers, color=ORANGE, linewidth=1.6 * LINE, label=labels)
        legend_above(axes)
    else:
        _draw_probabilities(axes, model, plane, targets[kept], x[kept])
    axes.set_xlim(grid[0], grid[-1])
    round_ticks(axes.xaxis, 8)
    round_ticks(axes.yaxis)
    return figure


def _draw_probabilities(axes: Axes, model: Model, plane: Plane, codes: np.ndarray, x: np.ndarray) -> None:
    grid, scores = plane.axes[0], model.scores(plane.places)
    two = len(model.classes) == 2
    p = model.probabilities(scores) if model.loss.probabilistic else np.stack([-scores, scores], axis=1)
    middle = 0.5 if model.loss.probabilistic else 0.0
    axes.set_ylabel("probability" if middle else "score", fontsize=TEXT, color=INK)
    low, high = (0.0, 1.0) if middle else (float(p[:, 1].min()), float(p[:, 1].max()))
    for i, label in enumerate(model.classes):
        mine = x[codes == i]
        place = (low, high)[i] if two else low - 0.04 * (i + 1) * (high - low)
        axes.scatter(
            mine, np.full(len(mine), place), color=COLORS[i], marker="|", s=60, alpha=0.6, label=str(label), zorder=3
        )
        if not two or i == 1:
            axes.plot(grid, p[:, i], color=COLORS[i], linewidth=1.6 * LINE)
    if two:
        for at in np.flatnonzero(np.diff(np.sign(p[:, 1] - middle))):
            axes.axvline((grid[at] + grid[at + 1]) / 2, color=INK, linewidth=0.9, dashes=(4, 3), zorder=1)
    legend_above(axes)


def _some(n: int) -> np.ndarray:
    """The numbers of the rows that are drawn: all, or an even share."""
    return np.arange(n) if n <= MOST_ROWS else np.sort(np.random.default_rng(0).choice(n, MOST_ROWS, replace=False))


__all__ = ["Plane", "plane_around", "plot_boundary"]
