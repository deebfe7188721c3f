"""The target: which column it is, what is predicted (classes or numbers), and its encoding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl

from fallline.core.errors import DataError
from fallline.core.record import Record, record, setting
from fallline.core.registry import nearest
from fallline.data.cells import canonical_text, is_date, is_mostly_numbers, is_whole, number_values
from fallline.data.encoders import level_codes
from fallline.data.kinds import refuse_stray_text
from fallline.data.scaling import standard
from fallline.data.table import Table, cell_label, column_label, read_table

KINDS = ("binary", "classes", "numbers", "counts")
LABELS = "labels"  # several columns, each there or not, see data/multiple.py
TASKS = ("classification", "regression", *KINDS)

# Whole numbers with at most this many different values are codes of classes.
_CLASS_LEVELS = 10
# Fewer rows than this for each class, on average, are no classes but measured values.
_ROWS_PER_CLASS = 3
# The squares of errors, added over rows, stay within float64 up to here (and above zero from 1 / this).
_LARGEST = 1e140


@record
class ClassTarget(Record):
    """Classes, coded 0, 1, 2 … in their order.

    classes  the labels as the table had them: text, whole numbers, true/false
    """

    name: str
    classes: tuple[Any, ...] = ()
    n_outputs: ClassVar[int] = 1

    @property
    def kind(self) -> str:
        return "binary" if len(self.classes) == 2 else "classes"

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def encode(self, table: Table) -> np.ndarray:
        """(n,) int32 codes; DataError for a missing cell or a class that training did not have, with the row."""
        cells = _present(table, self.name)
        codes = level_codes(table, self.name, tuple(canonical_text(pl.Series([c]))[0] for c in self.classes))
        if (codes < 0).any():
            row = int((codes < 0).argmax())
            shown = ", ".join(map(cell_label, self.classes[:6]))
            raise DataError(
                f"{column_label(self.name)} holds {cell_label(cells[row])} in {table.place(row)}, "
                f"which is none of the classes ({shown})"
            )
        return codes.astype(np.int32)

    def decode(self, codes: Any) -> np.ndarray:
        """The labels of the codes, in an array of the labels' own type."""
        return _label_array(self.classes)[np.asarray(codes, dtype=np.int64)]


@record
class NumberTarget(Record):
    """y = (t - mean) / scale; `decode` gives t back. kind: "numbers" or "counts" (whole, at least 0)."""

    name: str
    mean: float = 0.0
    scale: float = setting(1.0, above=0.0)
    kind: str = setting("numbers", choices=("numbers", "counts"))
    classes: ClassVar[tuple[Any, ...]] = ()  # as ClassTarget has them: there are none
    n_classes: ClassVar[int] = 0
    n_outputs: ClassVar[int] = 1

    def encode(self, table: Table) -> np.ndarray:
        """(n,) float32, standardised; DataError for a missing, infinite or text cell, with the row."""
        return ((present_numbers(table, self.name) - self.mean) / self.scale).astype(np.float32)

    def decode(self, y: Any) -> np.ndarray:
        """float64 in the target's own unit."""
        return np.asarray(y, dtype=np.float64) * self.scale + self.mean


def find_target(table: Table, target: str | int | None = None) -> str:
    """The name of the target column.

    target  a name; or a position counted from 1, or from the end with -1 (also as text, if no column has that name);
            None: the one that the data set knows, else the last column
    errors  DataError with the nearest name
    """
    if target is None:
        return table.target or table.names[-1]
    if isinstance(target, str) and target in table.names:
        return target
    try:
        position = int(target)
    except ValueError:
        raise DataError(
            f"no column is called {target!r} in {table.name}: {nearest(str(target), table.names)}"
        ) from None
    n = len(table.names)
    if position == 0 or abs(position) > n:
        raise DataError(
            f"target={target}: {table.name} has {n} columns, counted from 1, or back from -1; or pass a name"
        )
    return table.names[position - 1 if position > 0 else position]


def infer_target(table: Table, name: str, task: str | None = None) -> tuple[str, str]:
    """What is predicted ("binary", "classes", "numbers" or "counts") and why, in a few words.

    task    "classification", "regression" or one of those four, when it is known
    errors  DataError for a target that is missing or infinite somewhere, has one value only, is text where
            numbers are asked for, or is different in nearly every row where classes are
    """
    if task is not None and task not in TASKS:
        raise DataError(f"task={task!r}: {nearest(task, TASKS)}")
    reason = "asked for"
    if task is None and table.task is not None and name == table.target:
        task, reason = "numbers" if table.task == "regression" else table.task, "known for this data set"
    cells = _present(table, name)
    if task in ("regression", "numbers", "counts"):
        values = present_numbers(table, name)
        _refuse_single(table, name, len(np.unique(values)), cells)
        return _numbers_kind(table, name, values, task, reason)
    kind = "classes"
    if task is None:
        kind, reason = _infer(table, name, cells)
    _refuse_single(table, name, cells.n_unique(), cells)
    if kind in ("binary", "classes"):
        kind = "binary" if cells.n_unique() == 2 else "classes"
        _refuse_too_many_classes(name, cells)
        if task == "binary" and kind != "binary":
            raise DataError(f"{column_label(name)} has {cells.n_unique()} classes where task='binary' needs 2")
    return kind, reason


def infer_array(y: np.ndarray) -> str:
    """The kind of a target that is an array of shape (n,): what `infer_target` says of it as a column.

    Sound numbers are judged without Polars, for whose threads a child of a fork would wait in vain.
    """
    if y.dtype.kind in "biuf":
        values = y.astype(np.float64)
        largest = np.abs(values).max(initial=0.0)
        levels = len(np.unique(y))
        if levels > 1 and 1 / _LARGEST <= largest <= _LARGEST:  # false too where one is NaN
            if levels == 2:
                return "binary"
            whole = bool((values == np.round(values)).all())
            if whole and not _are_classes(levels, len(y)):
                return "counts" if (values >= 0).all() else "numbers"
            return "classes" if whole else "numbers"
    return infer_target(read_table({"y": y}), "y")[0]


def fit_target(
    table: Table, name: str, *, task: str | None = None, rows: Any = None, scaled: bool = True
) -> ClassTarget | NumberTarget:
    """The fitted target: classes from the whole table, mean and scale from the training rows alone.

    rows    the training rows; None = all
    scaled  False leaves numbers in their own unit, as losses for counts need it
    """
    kind, _ = infer_target(table, name, task)
    if kind in ("binary", "classes"):
        return ClassTarget(name, _classes(table.column(name)))
    values = present_numbers(table if rows is None else table.take(rows), name)
    if not scaled:
        return NumberTarget(name, kind=kind)
    mean, scale = standard(values)
    return NumberTarget(name, mean=mean, scale=scale, kind=kind)


def _infer(table: Table, name: str, cells: pl.Series) -> tuple[str, str]:
    if cells.dtype == pl.String and is_mostly_numbers(cells):
        refuse_stray_text(table, name)
    levels = cells.n_unique()
    if not (cells.dtype == pl.String or cells.dtype == pl.Boolean or is_date(cells)):
        present_numbers(table, name)
    if cells.dtype == pl.String or cells.dtype == pl.Boolean:
        word = "text" if cells.dtype == pl.String else "true or false"
        return "classes", f"{word}, {levels} different values"
    if is_date(cells):
        return "numbers", "dates, as days since 1970-01-01"
    if levels == 2:
        return "binary", "2 different values"
    if not is_whole(cells):
        return "numbers", f"numbers with fractions, {levels} different values"
    if _are_classes(levels, len(cells)):
        return "classes", f"whole numbers, only {levels} different values (task='regression' takes them as amounts)"
    return _numbers_kind(table, name, number_values(cells), None, "")


def _are_classes(levels: int, n: int) -> bool:
    """Whether so many different whole numbers in n rows stand for classes."""
    return levels <= _CLASS_LEVELS and n >= _ROWS_PER_CLASS * levels


def _numbers_kind(table: Table, name: str, values: np.ndarray, task: str | None, reason: str) -> tuple[str, str]:
    counted = bool((values >= 0).all() and (values == np.round(values)).all())
    if task == "counts" and not counted:
        wrong = int(((values < 0) | (values != np.round(values))).argmax())
        raise DataError(
            f"{column_label(name)} is {values[wrong]:g} in {table.place(wrong)}: counts are whole numbers of at least 0"
        )
    if task == "numbers" or not counted:
        return "numbers", reason if task else f"numbers, {len(np.unique(values))} different values"
    return "counts", f"whole numbers, {len(np.unique(values))} different values (counts: loss=poisson may suit)"


def _present(table: Table, name: str) -> pl.Series:
    cells = table.column(name)
    absent = cells.is_null().to_numpy()
    if absent.any():
        count, row = int(absent.sum()), int(absent.argmax())
        raise DataError(
            f"the target {column_label(name)} is missing in {count} of {len(cells)} rows (first: {table.place(row)}): "
            "leave these rows out, or choose another target"
        )
    return cells


def present_numbers(table: Table, name: str) -> np.ndarray:
    """(n,) float64, every one present and finite."""
    cells = _present(table, name)
    if cells.dtype == pl.String:
        row = next((i for i, v in enumerate(cells) if not _is_number(v)), 0)
        raise DataError(
            f"the target {column_label(name)} is text ({cell_label(cells[row])} in {table.place(row)}): "
            "regression needs numbers; use task='classification' or another target"
        )
    values = number_values(cells)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise DataError(f"the target {column_label(name)} is infinite in {table.place(row)}: mend or leave out the row")
    largest = float(np.abs(values).max())
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        row = int(np.abs(values).argmax())
        raise DataError(
            f"the target {column_label(name)} is {values[row]:g} in {table.place(row)}, its largest number: its square "
            "is beyond float64; give the column in another unit"
        )
    return values


def _refuse_single(table: Table, name: str, levels: int, cells: pl.Series) -> None:
    if levels < 2:
        raise DataError(
            f"the target {column_label(name)} is {cell_label(cells[0])} in every one of the {table.n_rows} rows: "
            "at least two different values are needed"
        )


def _refuse_too_many_classes(name: str, cells: pl.Series) -> None:
    levels = cells.n_unique()
    if levels > _CLASS_LEVELS and levels > len(cells) / 2:
        raise DataError(
            f"the target {column_label(name)} has {levels} different values in {len(cells)} rows, "
            "too many for classes: choose another target, or task='regression' for numbers"
        )


def _classes(cells: pl.Series) -> tuple[Any, ...]:
    """The labels in order: text by alphabet, numbers by size, false before true; whole floats as whole numbers."""
    labels = cells.unique().sort()
    if is_date(labels):
        labels = labels.cast(pl.String)
    elif labels.dtype.is_float() and is_whole(labels):
        labels = labels.cast(pl.Int64)
    return tuple(labels.to_list())


def _label_array(classes: tuple[Any, ...]) -> np.ndarray:
    kinds = {type(c) for c in classes}
    return np.array(classes) if len(kinds) == 1 else np.array(classes, dtype=object)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
