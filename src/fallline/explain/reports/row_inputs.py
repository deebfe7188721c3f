"""The inputs of an explained row: what stands in each cell, what the network reads of it, and their partials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fallline.core.numbers import number_text
from fallline.core.tree import join, leaves, records_in
from fallline.data.columns import Columns
from fallline.data.encoders import CategoryColumn, NumberColumn
from fallline.data.table import Table
from fallline.explain.reports.report import DIGITS
from fallline.explain.tracing.opening import labelled_axis
from fallline.explain.tracing.trace import Trace
from fallline.nn.embed import ColumnEmbedding
from fallline.train.model import Model

if TYPE_CHECKING:
    from fallline.explain.reports.row import RowExplanation


class Input(NamedTuple):
    """One column of the row, or the 1 that says that its cell is missing (of an array, one entry).

    cell          as it stands in the data;  reads  what the network is given for it, in words
    z             the same as a number: scaled, 1 for the 0/1 entry of a category; None where it is a code
    partial       d(goal)/d(what the network reads): of a number per scaled unit, of a category of its 0/1 entry or,
                  embedded, the length of the gradient of its vector
    per_unit      d(goal)/d(cell), per unit of the cell; None where that has no meaning
    loss_partial, loss_per_unit   the same of the loss
    """

    name: str
    cell: str
    reads: str
    z: float | None
    partial: float
    per_unit: float | None
    loss_partial: float | None = None
    loss_per_unit: float | None = None


def inputs_of(told: RowExplanation) -> Iterator[Input]:
    """Every input of the row, in the order of the data."""
    return _of_table(told) if told.model.columns is not None else _of_arrays(told)


def _of_table(told: RowExplanation) -> Iterator[Input]:
    """Column by column: the cell, what the network reads of it, and the partials."""
    columns, one = told.model.columns, told.data
    assert columns is not None
    numbers, codes = columns.transform(one)
    g, of_loss = told.gradient("x")[0], told.loss_gradient("x")
    at = 0
    for column in columns.fitted:
        cell, width = _cell(one, column.name), len(column.features)
        block, read = slice(at, at + width), numbers[0, at : at + width]
        at += width
        if isinstance(column, NumberColumn):
            flows = g[block], None if of_loss is None else of_loss[0][block]
            yield _number_input(column, one, cell, read, *flows)
            if column.indicator and read[1]:
                yield _indicator(column, cell, *flows)
        elif column.embedded:
            yield _embedded_input(told, columns, column, cell, int(codes[0, columns.code_names.index(column.name)]))
        else:
            yield _one_hot_input(column, cell, read, g[block], None if of_loss is None else of_loss[0][block])


def _number_input(
    column: NumberColumn, one: Table, cell: str, read: np.ndarray, g: np.ndarray, of_loss: np.ndarray | None
) -> Input:
    slopes = column.slopes(one)[0]
    missing = slopes[0] != slopes[0]
    reads = number_text(float(read[0]), 4) + (f" (fill {column.fill:g})" if missing else "")
    per_unit = None if missing else float(g @ slopes)
    loss = None if of_loss is None else float(of_loss[0])
    return Input(
        column.name,
        cell,
        reads,
        float(read[0]),
        float(g[0]),
        per_unit,
        loss,
        None if of_loss is None or missing else float(of_loss @ slopes),
    )


def _indicator(column: NumberColumn, cell: str, g: np.ndarray, of_loss: np.ndarray | None) -> Input:
    """The 1 that says "missing", beside the fill that stands for the number."""
    loss = None if of_loss is None else float(of_loss[1])
    return Input(column.features[1], cell, "1", 1.0, float(g[1]), None, loss)


def _one_hot_input(
    column: CategoryColumn, cell: str, read: np.ndarray, g: np.ndarray, of_loss: np.ndarray | None
) -> Input:
    active = np.flatnonzero(read)
    if not len(active):
        return Input(column.name, cell, "one-hot, all 0", None, 0.0, None, None if of_loss is None else 0.0)
    i = int(active[0])
    reads = f"one-hot, {i + 1} of {len(column.features)}"
    return Input(column.name, cell, reads, 1.0, float(g[i]), None, None if of_loss is None else float(of_loss[i]))


def _embedded_input(told: RowExplanation, columns: Columns, column: CategoryColumn, cell: str, code: int) -> Input:
    name = _embedding_path(told.model, columns.code_names.index(column.name))
    of_loss = told.loss_gradient(name)
    reads = f"vector of {len(told.gradient(name)[code])} (code {code})"
    loss = None if of_loss is None else length(of_loss[code])
    return Input(column.name, cell, reads, None, length(told.gradient(name)[code]), None, loss)


def _of_arrays(told: RowExplanation) -> Iterator[Input]:
    """Entry by entry of every array that the network reads; codes have no derivative and are left out."""
    given = leaves(told.data)
    for i, x in enumerate(given.values()):
        path = "x" if len(given) == 1 else f"x{i}"
        node = told.trace[path]
        if node.value.dtype.kind != "f":
            continue
        g, of_loss = told.gradient(path), told.loss_gradient(path)
        names = told.model.feature_names if x.ndim == 2 and x.shape[1] == len(told.model.feature_names) else ()
        for at in np.ndindex(x.shape[1:]):
            name = names[at[0]] if names else f"{path}[{', '.join(map(str, at))}]"
            value, partial = number_text(x[0][at], DIGITS), float(g[0][at])
            loss = None if of_loss is None else float(of_loss[0][at])
            yield Input(name, value, value, float(x[0][at]), partial, partial, loss, loss)


class Switch(NamedTuple):
    """A row with another category in one column, as the arrays that the network reads."""

    column: str
    now: str
    instead: str
    x: list[np.ndarray]


def switched(told: RowExplanation) -> Iterator[Switch]:
    if told.model.columns is None:
        return
    x = told.model.inputs(told.data)
    numbers, codes = x if isinstance(x, tuple) else (x, None)
    at = 0
    for column in told.model.columns.fitted:
        width, cell = len(column.features), _cell(told.data, column.name)
        if isinstance(column, CategoryColumn) and column.embedded:
            j = told.model.columns.code_names.index(column.name)
            for code in range(len(column.levels) + 1):
                if code != codes[0, j]:
                    other = codes.copy()
                    other[0, j] = code
                    name = column.levels[code - 1] if code else "unseen or missing"
                    yield Switch(column.name, cell, name, [numbers, other])
        elif isinstance(column, CategoryColumn):
            for i, name in enumerate((*column.levels, "missing")[:width]):
                if not numbers[0, at + i]:
                    row = numbers.copy()
                    row[0, at : at + width] = np.arange(width) == i
                    yield Switch(column.name, cell, name, [row] if codes is None else [row, codes])
        at += width


def _cell(one: Table, name: str) -> str:
    """The cell as it stands in the source."""
    if one.column(name)[0] is None:
        return "(missing)"
    return str(one.raw.get_column(name)[0]).strip()


def entry_names(model: Model, trace: Trace) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Path of an array of weights -> the axis that has names, and these: columns that it reads, levels of a category.

    Which weights read which columns is what `Trace.open` finds in the graph.
    """
    axes = {path: labelled_axis(trace, trace[path], None) for path in leaves(model.network, "param")}
    found = {path: (axis, names) for path, (axis, names) in axes.items() if names}
    if model.columns is not None and model.columns.cardinalities:
        levels = {c.name: c.levels for c in model.columns.fitted if isinstance(c, CategoryColumn)}
        for i, name in enumerate(model.columns.code_names):
            found[_embedding_path(model, i)] = 0, ("unseen", *levels[name])
    return found


def _embedding_path(model: Model, i: int) -> str:
    """The path of the vectors of the embedded column of that number."""
    path = next(p for p, r in records_in(model.network) if isinstance(r, ColumnEmbedding))
    return join(path, f"tables.{i}")


def length(array: Any) -> float:
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))


__all__ = ["Input", "Switch", "entry_names", "inputs_of", "length", "switched"]
