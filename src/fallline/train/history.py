"""History: one row of numbers per epoch, read as columns, as a short table, as CSV and as a picture."""

from __future__ import annotations

import csv
import html
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import DataError, UnknownNameError
from fallline.core.registry import nearest
from fallline.core.views import VIEWS
from fallline.train.metrics import find_column
from fallline.train.stopping import Best

Row = dict[str, Any]
LARGE_RISE = 0.1  # of the loss before it; smaller ones are often only the noise of the batches
SHOWN_ROWS = 12  # of a printed table


class History:
    """The rows of a run: row 0 is the untrained network ("epoch" 0), then one per epoch.

    history["train_loss"]  a column as an array, NaN where a row has no number;  history[-1]  a row

    What `fit` writes, beside the losses and metrics:

        learning_rate   of the epoch's last step
        gradient_norm   ‖dJ/dw‖, in the mean over the epoch's batches; of the first batch in row 0
        direction       cosine between this epoch's change of the weights and the one before: 1 straight on, 0 at a
                        right angle, -1 back and forth (the mark of a learning rate that is too high); from epoch 2 on
        evaluations     with a Solver: runs through all training rows so far, by kind: "function_evaluations" (J alone),
                        "gradient_evaluations" (J and its gradient), "hessian_products"; and the solver's own numbers
        objective       with a Solver and penalties: J, the mean loss and the penalties together
    """

    def __init__(self, rows: Iterable[Row] = ()):
        self.rows: list[Row] = []
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Adds a row; NumPy scalars become Python numbers, so that a history is plain data."""
        if "epoch" not in row:
            raise DataError(f"a history row needs an 'epoch': got {', '.join(row) or 'nothing'}")
        self.rows.append({name: v.item() if isinstance(v, (np.generic, np.ndarray)) else v for name, v in row.items()})

    @property
    def names(self) -> list[str]:
        """The columns; one that a later row brings stands where it stands in that row."""
        found: list[str] = []
        known: set[str] = set()
        for row in self.rows:
            if known.issuperset(row):
                continue
            at = 0
            for name in row:
                if name not in known:
                    found.insert(at, name)
                    known.add(name)
                at = found.index(name) + 1
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __contains__(self, name: object) -> bool:
        return any(name in row for row in reversed(self.rows))  # most often the last row answers

    def __eq__(self, other: object) -> bool:
        return self.columns() == other.columns() if isinstance(other, History) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # rows may be added

    def __getitem__(self, key: str | int) -> Any:
        if not isinstance(key, str):
            return self.rows[key]
        name = key if key in self else find_column(key, self.names)
        if name is None:
            raise UnknownNameError(f"no column of the history is called {key!r}: {nearest(key, self.names)}")
        return np.array([_number(row.get(name)) for row in self.rows], np.float64)

    def columns(self) -> dict[str, list[Any]]:
        """Name -> list, None where absent: what polars.DataFrame and pandas.DataFrame take."""
        return {name: [row.get(name) for row in self.rows] for name in self.names}

    def best(self, metric: str | None = None) -> Row:
        """The row with the best value of a metric, the first of equals; default validation loss, else train loss."""
        metric = metric or ("validation_loss" if "validation_loss" in self else "train_loss")
        best = Best(metric)
        values = self[metric]
        for row, value in zip(self.rows, values, strict=True):
            if best.improves(value, best.best_value):
                best.best_epoch, best.best_value = row["epoch"], float(value)
        if best.best_epoch is None:
            raise DataError(f"the history has no number for {metric!r} in any of its {len(self)} rows")
        return next(row for row in self.rows if row["epoch"] == best.best_epoch)

    def rises(self, column: str = "train_loss", epochs: int = 3) -> list[tuple[int, int]]:
        """Stretches in which the column rose `epochs` or more times in a row, as (epoch before the rise, last epoch).

        A loss that rises epoch after epoch is the mark of a learning rate that is too high.
        """
        values, found, start = self[column], [], 0
        for i in range(1, len(values) + 1):
            if i == len(values) or not values[i] > values[i - 1]:
                if i - 1 - start >= epochs:
                    found.append((self.rows[start]["epoch"], self.rows[i - 1]["epoch"]))
                start = i
        return found

    def rise_text(self, start: int, end: int, column: str = "train_loss") -> str:
        """A rise in words, with advice where it is a large one."""
        values = {row["epoch"]: _number(row.get(column)) for row in self.rows}
        before, after = values[start], values[end]
        text = f"{column.replace('_', ' ')} rose from {before:.4g} (epoch {start}) to {after:.4g} (epoch {end})"
        return text + (": try a lower learning rate" if after > before + LARGE_RISE * abs(before) else "")

    def to_csv(self, path: str | Path) -> None:
        """Writes the columns; numbers keep every digit, an absent entry is empty."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: repr(v) if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)

    @classmethod
    def from_csv(cls, path: str | Path) -> History:
        """The history that `to_csv` wrote."""
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{k: _read(text) for k, text in row.items() if text and k} for row in csv.DictReader(file)]
        try:
            return cls(rows)
        except DataError:
            raise DataError(f"{path} is not a history: expected a CSV file with a column 'epoch'") from None

    def plot(self, path: str | Path | None = None) -> Any:
        """The learning curves as a matplotlib figure; written as PNG (or what the suffix says) when a path is given."""
        return VIEWS["history"](self, path)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells of a short table: first, last, best and evenly spaced epochs; the best is marked with *."""
        names, best = self.names, self._best_epoch()
        cells = []
        for row in _shown(self.rows, best):
            cells.append([_cell(name, row.get(name)) for name in names])
            cells[-1][names.index("epoch")] += "*" if row["epoch"] == best else " "
        return names, cells

    def __repr__(self) -> str:
        return f"History({len(self)} rows: {', '.join(self.names)})" if self.rows else "History(empty)"

    def __str__(self) -> str:
        if not self.rows:
            return "History(empty)"
        names, cells = self.table()
        widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
        lines = ["  ".join(f"{c:>{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in [names, *cells]]
        return "\n".join([*lines, *self._notes()])

    def _repr_html_(self) -> str:
        names, cells = self.table()
        head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in cells)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def _best_epoch(self) -> int | None:
        try:
            return self.best()["epoch"]
        except (DataError, UnknownNameError):
            return None

    def _notes(self) -> list[str]:
        notes = [] if self._best_epoch() is None else ["* best epoch"]
        rises = self.rises() if "train_loss" in self else []
        notes += [self.rise_text(*rise) for rise in rises[:1]]
        if len(rises) > 1:
            notes[-1] += " (and again later)"
        return notes


def _shown(rows: list[Row], best: int | None) -> list[Row]:
    """All rows of a short history; of a long one evenly spaced ones with the first, the best and the last."""
    last = len(rows) - 1
    if last < SHOWN_ROWS:
        return rows
    kept = {round(last * i / (SHOWN_ROWS - 2)) for i in range(SHOWN_ROWS - 1)}
    return [row for i, row in enumerate(rows) if i in kept or row["epoch"] == best]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "seconds" and isinstance(value, (int, float)):
        return f"{value:.2f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
