"""What each hidden unit computes, over the plane of a model's two inputs or along its one input."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.registry import nearest
from fallline.core.views import VIEWS
from fallline.explain.calls import layer_calls
from fallline.explain.figures.boundary import Plane, plane_around
from fallline.explain.figures.contours import TWO_SIDED, both_sides, color_scale
from fallline.explain.figures.figure import (
    dress,
    finish,
    frame,
    limits,
    look,
    new_picture,
    round_ticks,
)
from fallline.explain.figures.given import model_of
from fallline.explain.figures.plain import (
    BLUE,
    INK,
    LINE,
    TEXT,
)
from fallline.train.model import Model

POINTS = 61  # of each axis
MOST_UNITS = 32  # drawn of one layer
COLUMNS = 8


class Units(NamedTuple):
    """The outputs of one layer's units, and what came into them where that is one number each.   (places, units)"""

    path: str
    name: str
    outputs: np.ndarray
    inputs: np.ndarray | None


def plot_units(model: Any, X: Any, *, layer: str | None = None, path: str | Path | None = None) -> Figure:
    """Small pictures of what each hidden unit computes of the inputs: over a plane of two inputs, or along one.

    model  a fitted model, or a Fit, with one or two inputs
    X      rows around which to look, (n, 2) or (n, 1), or a table
    layer  the path of one layer ("layers.1"); by default every activation between two layers with weights
    path   where to write the picture; the suffix names the format (.png, .svg, .pdf, .jpg)

    Blue is below 0, orange above, white 0, the same scale in all units of a layer. The line is where the unit's input
    is 0: the straight edge at which the unit switches.
    """
    found = model_of(model)
    plane = plane_around(found, X, POINTS)
    layers = _chosen(_layers(found, plane), layer)
    with look():
        draw = _draw_curves if len(plane.names) == 1 else _draw_planes
        return finish(draw(plane, layers), path)


VIEWS.add("units", plot_units)


def _layers(model: Model, plane: Plane) -> list[Units]:
    """What every innermost layer gives at each place, in the order of the calls."""
    found: list[Units] = []
    for path, layer, result, given in layer_calls(model.network, model.inputs(plane.places)):
        outputs = np.asarray(result, dtype=np.float64)
        if outputs.ndim == 2:
            inputs = None if given is None or given.shape != outputs.shape else given.astype(np.float64)
            found.append(Units(path, type(layer).__name__, outputs, inputs))
    return found


def _chosen(layers: list[Units], path: str | None) -> list[Units]:
    if path is not None:
        chosen = [layer for layer in layers if layer.path == path]
        if not chosen:
            raise UnknownNameError(
                f"no layer is called {path!r}: {nearest(str(path), [layer.path for layer in layers])}"
            )
        return chosen
    chosen = [layer for layer in layers[:-1] if layer.inputs is not None]
    if not chosen:
        raise ConfigError("the network has no hidden units: no activation stands between two layers")
    return chosen


def _draw_planes(plane: Plane, layers: list[Units]) -> Figure:
    figure, cells = _cells(layers, 1.35)
    for layer, (part, axes) in zip(layers, cells, strict=True):
        steps = both_sides(layer.outputs)
        shades: Any = None
        for unit, cell in enumerate(axes):
            grid = layer.outputs[:, unit].reshape(plane.shape)
            shades = cell.contourf(*plane.axes, grid, steps, cmap=TWO_SIDED, extend="both")
            switch = grid if layer.inputs is None else layer.inputs[:, unit].reshape(plane.shape)
            if switch.min() < 0 < switch.max():
                cell.contour(*plane.axes, switch, [0.0], colors=INK, linewidths=1.0)
            frame(cell, *plane.axes)
            _dress_small(cell, unit, len(axes), plane.names)
        color_scale(part, shades, list(axes))
    return figure


def _draw_curves(plane: Plane, layers: list[Units]) -> Figure:
    figure, cells = _cells(layers, 1.2)
    for layer, (_, axes) in zip(layers, cells, strict=True):
        for unit, cell in enumerate(axes):
            cell.plot(plane.axes[0], layer.outputs[:, unit], color=BLUE, linewidth=1.4 * LINE)
            switch = layer.outputs if layer.inputs is None else layer.inputs
            for i in np.flatnonzero(np.diff(np.sign(switch[:, unit]))):
                cell.axvline(plane.axes[0][i : i + 2].mean(), color=INK, linewidth=0.7, dashes=(4, 3), zorder=1)
            cell.set_xlim(plane.axes[0][0], plane.axes[0][-1])
            cell.set_ylim(*limits(layer.outputs))
            _dress_small(cell, unit, len(axes), (plane.names[0], ""))
    return figure


def _cells(layers: list[Units], height: float) -> tuple[Figure, list[tuple[Any, list[Axes]]]]:
    """A part of the figure for each layer, with a cell for each unit that is drawn."""
    counts = [min(layer.outputs.shape[1], MOST_UNITS) for layer in layers]
    rows = [-(-n // COLUMNS) for n in counts]
    wide = min(COLUMNS, max(counts))
    figure = new_picture(sum(height * r + 0.75 for r in rows), max(4.5, 1.25 * wide + 1.2))
    parts = figure.subfigures(len(layers), 1, height_ratios=[height * r + 0.75 for r in rows], squeeze=False)[:, 0]
    made = []
    for layer, part, n, r in zip(layers, parts, counts, rows, strict=True):
        cells = part.subplots(r, wide, squeeze=False, sharex=True, sharey=True).ravel()
        for cell in cells[n:]:
            cell.set_visible(False)
        units = layer.outputs.shape[1]
        shown = f"{units} units" if n == units else f"the first {n} of {units} units"
        part.suptitle(
            f"{layer.path} {layer.name}, {shown}".strip(),
            x=0.01,
            ha="left",
            fontsize=TEXT,
            color=INK,
            fontweight="bold",
        )
        made.append((part, list(cells[:n])))
    return figure, made


def _dress_small(axes: Axes, unit: int, n: int, names: tuple[str, ...]) -> None:
    """The unit's number above it; the names of the inputs only at the left and at the bottom."""
    dress(axes, grid="")
    axes.set_title(str(unit), fontsize=TEXT - 2, color=INK, pad=2)
    round_ticks(axes.xaxis, 3)
    round_ticks(axes.yaxis, 3)
    axes.tick_params(labelsize=TEXT - 3)
    wide = min(COLUMNS, n)
    if unit % COLUMNS == 0:
        axes.set_ylabel(names[1], fontsize=TEXT - 2, color=INK)
    if unit >= n - wide:
        axes.set_xlabel(names[0], fontsize=TEXT - 2, color=INK)
        axes.tick_params(labelbottom=True)


__all__ = ["plot_units"]
