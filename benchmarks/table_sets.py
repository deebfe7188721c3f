"""Tables with a target: those that scikit-learn packages, and files in a folder that is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import sklearn.datasets as packaged

TEXT = pl.String


@dataclass(frozen=True)
class TableSet:
    """A table as everybody gets it.

    frame  the features: numbers with nulls, and text;  y  (n,) class codes, or (n,) or (n, k) float64
    """

    name: str
    frame: pl.DataFrame
    y: np.ndarray
    classes: bool

    def take(self, rows: np.ndarray) -> TableSet:
        return TableSet(self.name, self.frame[rows], self.y[rows], self.classes)

    @property
    def is_text(self) -> list[bool]:
        """Of each column."""
        return [kind == TEXT for kind in self.frame.dtypes]

    @property
    def numbers(self) -> np.ndarray:
        """(n, d) float64, NaN where missing."""
        return self.frame.select(pl.exclude(TEXT).cast(pl.Float64)).to_numpy().astype(np.float64, copy=True)

    @property
    def texts(self) -> np.ndarray:
        """(n, k) objects: str, "" where missing."""
        chosen = self.frame.select(pl.col(TEXT).fill_null(""))
        return np.stack([chosen[c].to_numpy() for c in chosen.columns], axis=1) if chosen.width else \
            np.zeros((len(self.y), 0), object)  # fmt: skip


def _packaged(load: Callable[..., Any], classes: bool) -> Callable[[Path | None], tuple[pl.DataFrame, Any]]:
    def read(_: Path | None) -> tuple[pl.DataFrame, Any]:
        bunch = load()
        names = [str(name) for name in bunch.feature_names]
        return pl.DataFrame(np.asarray(bunch.data), schema=names, orient="row"), np.asarray(bunch.target)

    return read


def _file(
    name: str, target: int, *, header: bool = False, drop: tuple[int, ...] = ()
) -> Callable[[Path | None], tuple[pl.DataFrame, Any] | None]:
    """A file with commas; columns are counted from 0, "?" and "NA" are missing."""

    def read(folder: Path | None) -> tuple[pl.DataFrame, Any] | None:
        if folder is None or not (folder / name).exists():
            return None
        missing = ["?", "NA", ""]
        frame = pl.read_csv(folder / name, has_header=header, infer_schema=False)
        frame = frame.select(pl.all().str.strip_chars())
        frame = frame.select(pl.when(pl.all().is_in(missing)).then(None).otherwise(pl.all()).name.keep())
        label = frame.columns[target]
        frame = frame.filter(pl.col(label).is_not_null())
        y, left = frame[label].to_numpy(), [label, *(frame.columns[i] for i in drop)]
        return pl.DataFrame([_typed(column) for column in frame.drop(left)]), y

    return read


def _typed(column: pl.Series) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == column.null_count() else column


CLASSES: dict[str, Callable[[Path | None], Any]] = {
    "iris": _packaged(packaged.load_iris, True),
    "wine": _packaged(packaged.load_wine, True),
    "breast-cancer": _packaged(packaged.load_breast_cancer, True),
    "digits": _packaged(packaged.load_digits, True),
    "heart": _file("heart.csv", -1, header=True, drop=(0,)),
    "horse-colic": _file("horse-colic.csv", 22),
    "winequality-red": _file("winequality-red.csv", -1),
    "adult": _file("adult.csv.gz", -1),
}
NUMBERS: dict[str, Callable[[Path | None], Any]] = {
    "diabetes": _packaged(packaged.load_diabetes, False),
    "linnerud": _packaged(packaged.load_linnerud, False),
    "abalone": _file("abalone.csv", -1),
}
KNOWN = (*CLASSES, *NUMBERS)


def read_set(name: str, folder: Path | None) -> TableSet | None:
    """A table by name; None where its file is not there."""
    found = (CLASSES | NUMBERS)[name](folder)
    if found is None:
        return None
    frame, y = found
    if name in CLASSES:
        return TableSet(name, frame, np.unique(y, return_inverse=True)[1].astype(np.int64), True)
    return TableSet(name, frame, np.asarray(y, dtype=np.float64), False)
