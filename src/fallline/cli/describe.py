"""Describe: columns, target, output unit, loss and network in words and rows, for `train` and `inspect`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from fallline.cli import show
from fallline.core.spec import Spec
from fallline.core.tree import leaves
from fallline.data.columns import Columns
from fallline.data.table import Table, cell_label
from fallline.data.target import ClassTarget, NumberTarget
from fallline.losses.loss import Loss
from fallline.nn.layer import count_parameters, summary
from fallline.train.metrics import metric_label
from fallline.train.model import Model

PARTS = ("train", "validation", "test")  # of the rows
MOST_COLUMNS = 40  # shown one by one; beyond that, more than SHORT_RUN neighbours of one kind share a line
SHORT_RUN = 5
MOST_CLASSES = 6
IN_UNITS = ("rmse", "mae", "loss")  # metrics of any size; the others are near 0..1
NAMELESS = "(nameless)"
_SPARE = re.compile(r"(, )?init=\w+\([^()]*\)")  # how the weights began matters no more

Row = tuple[str, ...]


def column_rows(columns: Columns, most: int | None = MOST_COLUMNS) -> list[Row]:
    """(column, taken for, detail) of every column; with more than `most`, neighbours of one kind share a row."""
    rows = [(name or NAMELESS, kind, detail) for name, kind, detail in columns.describe()]
    if most is None or len(rows) <= most:
        return list(rows)
    runs: list[list[tuple[str, str, str]]] = []
    for row in rows:
        if runs and runs[-1][-1][1] == row[1]:
            runs[-1].append(row)
        else:
            runs.append([row])
    return [row for run in runs for row in ([_run_row(run)] if len(run) > SHORT_RUN else run)]


def _run_row(run: Sequence[tuple[str, str, str]]) -> Row:
    return f"{run[0][0]} … {run[-1][0]}", run[0][1], f"{len(run)} columns, the first: {run[0][2]}"


def target_text(table: Table, target: ClassTarget | NumberTarget) -> str:
    """The target's values: each class with its rows, or the range and the mean."""
    if isinstance(target, NumberTarget):
        y = target.decode(target.encode(table))
        return f"{y.min():g} … {y.max():g}, mean {y.mean():.4g}"
    codes = target.encode(table)
    counts = np.bincount(codes, minlength=len(target.classes))
    shown = [f"{cell_label(c)} in {n:,} rows" for c, n in zip(target.classes, counts, strict=True)][:MOST_CLASSES]
    more = len(target.classes) - len(shown)
    return ", ".join(shown) + (f" and {more} more classes" if more else "")


def loss_name(loss: Loss) -> str:
    """binary cross-entropy, squared error, Huber(delta=2.0) …"""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(loss).__name__).lower().replace("cross entropy", "cross-entropy")
    settings = repr(loss).partition("(")[2].rstrip(")")
    return f"{words} ({settings})" if settings else words


def output_unit(loss: Loss, n_scores: int) -> str:
    """What the loss makes of a score, found by asking it: linear, sigmoid, softmax or exponential."""
    if n_scores > 1:
        answer = np.asarray(loss.predict(np.linspace(-1.0, 1.0, 2 * n_scores).reshape(2, n_scores)))
        return "softmax" if answer.ndim == 2 and np.allclose(answer.sum(axis=1), 1) else "linear"
    scores = np.array([-1.0, 0.0, 2.0])
    known = {"linear": scores, "sigmoid": 1 / (1 + np.exp(-scores)), "exponential": np.exp(scores)}
    answer = np.asarray(loss.predict(scores))
    return next((name for name, values in known.items() if np.allclose(answer, values)), "own")


def n_scores_of(model: Model) -> int:
    """How many scores a row has."""
    return model.loss.n_scores(model.target.n_classes, model.target.n_outputs)


def unit_text(model: Model) -> str:
    """1 sigmoid unit, softmax over 3 units, 1 linear unit …"""
    n = n_scores_of(model)
    unit = output_unit(model.loss, n)
    return f"softmax over {n} units" if unit == "softmax" else f"{n} {unit} unit{'s' * (n > 1)}"


def input_specs(columns: Columns) -> Any:
    """The Specs of the arrays that the columns give, for two rows."""
    numbers = Spec((2, len(columns.feature_names)), np.dtype(np.float32))
    return (numbers, Spec((2, len(columns.code_names)), np.dtype(np.int32))) if columns.cardinalities else numbers


def network_rows(model: Model) -> list[Row]:
    """(layer, output, parameters) from the input to the sum; (array, shape, numbers) where no table tells the input."""
    if model.columns is None:
        found = leaves(model.network, "param")
        rows: list[Row] = [(path, _shape_text(leaf.shape), f"{leaf.size:,}") for path, leaf in found.items()]
        return [*rows, ("in all", "", f"{count_parameters(model.network):,}")]
    specs = input_specs(model.columns)
    numbers = specs[0] if isinstance(specs, tuple) else specs
    rows = [(f"input, {numbers.shape[1]} numbers", _rows_text(numbers.shape), "")]
    if isinstance(specs, tuple):
        rows.append((f"input, {specs[1].shape[1]} categories", _rows_text(specs[1].shape), ""))
    for row in summary(model.network, specs):
        rows.append(
            (_SPARE.sub("", row.layer), _rows_text(row.output), f"{row.n_parameters:,}" if row.n_parameters else "")
        )
    unit = output_unit(model.loss, n_scores_of(model))
    rows += [(f"then {unit}", "", "")] if unit != "linear" else []
    return [*rows, ("in all", "", f"{count_parameters(model.network):,}")]


def _rows_text(shape: Any) -> str:
    """(2, 64) -> (n, 64): the first axis is that of the rows."""
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        return "(" + ", ".join(["n", *map(str, shape[1:])]) + ")"
    return str(shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "1"


def metric_text(name: str, value: float | None) -> str:
    """A metric for the eye: four decimals, or four digits where it has a unit."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if name in IN_UNITS else f"{value:.4f}"


def metrics_table(
    parts: Mapping[str, dict[str, float] | None], baseline: Mapping[str, dict[str, float] | None], width: int | None
) -> list[show.Line]:
    """One row a metric, one column a part, the linear baseline last; where that is too wide, one row a part.

    The loss is left out: it repeats one of the metrics, or has no unit.
    """
    known = {title: found for title, found in parts.items() if found}
    judged = judging_part(known)
    names = [name for name in known[judged] if name != "loss"]
    beside = baseline.get(judged)
    columns = [["", *map(metric_label, names)]]
    columns += [[title, *(metric_text(n, found.get(n)) for n in names)] for title, found in known.items()]
    if beside:
        columns.append([f"linear baseline ({judged})", *(metric_text(n, beside.get(n)) for n in names)])
    rows = [list(row) for row in zip(*columns, strict=True)]
    right = range(1, len(columns) + len(rows))
    wide = show.table(rows[0], rows[1:], right=right)
    if width is None or max(show.columns_of(line.text) for line in wide) <= width:
        return wide
    if beside:
        columns[-1][0] = f"linear {judged}"
    return show.table(columns[0], columns[1:], right=right, width=width)


def judging_part(parts: Collection[str]) -> str:
    """The part on which network and baseline are compared: test rows, else validation rows, else all there are."""
    return next((part for part in ("test", "validation") if part in parts), next(iter(parts)))


def name_text(name: str) -> str:
    return name or NAMELESS


def kind_text(kind: str, n_classes: int) -> str:
    """The kind of a target in words: 3 classes, numbers, counts."""
    return f"{n_classes} classes" if kind in ("binary", "classes") else kind
