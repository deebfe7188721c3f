"""An array of a trace opened: a row for each entry, with its value, its partial derivative and what it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.registry import nearest
from fallline.explain.tracing.flow import is_silent, source_of
from fallline.graph.value import Value

if TYPE_CHECKING:
    from fallline.explain.tracing.node import Node
    from fallline.explain.tracing.trace import Trace

Labels = tuple[str, ...]


def open_table(trace: Trace, name: str, labels: Sequence[str] | None, sort: str | None) -> Listing:
    """The entries of one node, in order or by size; see `Trace.open`."""
    if sort not in (None, "value", "partial"):
        raise ConfigError(f"sort={sort!r}: {nearest(str(sort), ('value', 'partial'))}")
    node = trace[name]
    value = node.value
    axis, found = labelled_axis(trace, node, labels)
    places = list(np.ndindex(value.shape))
    if sort is not None:
        of = value if sort == "value" else node.partial
        if of is None:
            raise ConfigError(f"{name} has no derivative to sort by: leave out sort=, or sort='value'")
        sizes = np.abs(of.astype(np.float64)).ravel()
        places = [places[i] for i in np.argsort(-sizes, kind="stable")]
    columns: dict[str, list[Any]] = {"entry": [f"[{', '.join(map(str, at))}]" for at in places]}
    if found is not None:
        columns["label"] = [found[at[axis]] for at in places]
    columns["value"] = [value[at] for at in places]
    if node.partial is not None:
        columns[f"d{trace.goal.name}/d{name}"] = [node.partial[at] for at in places]
    order = f", the largest {sort} first" if sort else ""
    return Listing(f"{name} = {number_text(value)}{order}", columns, [""] * len(places), trace.note)


def labelled_axis(trace: Trace, node: Node, labels: Sequence[str] | None) -> tuple[int, Labels | None]:
    """The axis that labels belong to, and the labels: the given ones, or what is known of the columns of the data."""
    shape = node.value.shape
    if labels is not None:
        given = tuple(map(str, labels))
        if not shape or len(given) != shape[-1]:
            raise ShapeError(
                f"{len(given)} labels for {node.name} of shape {shape}: give one for each place of its last axis"
            )
        return len(shape) - 1, given
    own = columns_of_value(trace, node.node)
    if own is not None:
        return len(shape) - 1, own
    for reader in trace.program.order:
        if reader.op.name == "matmul" and source_of(reader.args[1], trace.kept) is node.node:
            rows = columns_of_value(trace, reader.args[0])
            if rows is not None:
                return 0, rows
    return 0, None


def columns_of_value(trace: Trace, value: Value) -> Labels | None:
    """The names along the last axis of a value that is made of the data's columns without mixing them; else None."""
    if value.op.name == "input":
        found = trace.labels.get(trace.name_of(value), ())
        return found if value.shape and len(found) == value.shape[-1] else None
    if is_silent(value) and value.args[0].shape[-1:] == value.shape[-1:]:
        return columns_of_value(trace, value.args[0])
    if value.op.name == "take":
        return _embedded(trace, value)
    if value.op.name == "concatenate" and value.ndim == 2:
        parts = [columns_of_value(trace, part) for part in value.args]
        return None if None in parts else tuple(label for part in parts if part for label in part)
    return None


def _embedded(trace: Trace, value: Value) -> Labels | None:
    """The names of the numbers that stand for a category: "City 0", "City 1"."""
    column = value.args[1]
    while is_silent(column):
        column = column.args[0]
    at, source = (column.attrs["bounds"][-1][0], column.args[0]) if column.op.name == "slice" else (0, column)
    names = trace.labels.get(trace.name_of(source), ()) if source.op.name == "input" else ()
    whole = source is column and len(names) != 1
    return None if whole or at >= len(names) else tuple(f"{names[at]} {i}" for i in range(value.shape[-1]))
