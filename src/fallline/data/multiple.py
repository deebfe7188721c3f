"""Targets of several columns: labels that are there or not, and several numbers a row."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import Record, record
from fallline.data.table import Table
from fallline.data.target import LABELS, present_numbers


@record
class LabelsTarget(Record):
    """Labels of which a row has any number, none too: a matrix of 0 and 1 with a column for each.

    classes  the names of the labels, or 0, 1, 2 …
    """

    classes: tuple[Any, ...]
    name: ClassVar[str] = "y"
    kind: ClassVar[str] = LABELS
    n_classes: ClassVar[int] = 2  # of each label
    mean: ClassVar[float] = 0.0
    scale: ClassVar[float] = 1.0

    @property
    def n_outputs(self) -> int:
        return len(self.classes)

    def encode(self, table: Table) -> np.ndarray:
        """(n, labels) float32 of 0 and 1; DataError for anything else, with column and row."""
        found = np.stack([present_numbers(table, str(label)) for label in self.classes], axis=1)
        wrong = np.argwhere((found != 0) & (found != 1))
        if len(wrong):
            row, j = wrong[0]
            raise DataError(f"column {self.classes[j]!r} is {found[row, j]:g} in {table.place(row)}: a label is 0 or 1")
        return found.astype(np.float32)

    def decode(self, codes: Any) -> np.ndarray:
        """(n, labels) int64 of 0 and 1."""
        return np.asarray(codes, dtype=np.int64)


@record
class NumbersTarget(Record):
    """Several numbers a row, each by itself: y_j = (t_j - mean_j) / scale_j; `decode` gives t back."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    name: ClassVar[str] = "y"
    kind: ClassVar[str] = "numbers"
    classes: ClassVar[tuple[Any, ...]] = ()
    n_classes: ClassVar[int] = 0

    @property
    def n_outputs(self) -> int:
        return len(self.names)

    def validate(self) -> None:
        if not len(self.names) == len(self.mean) == len(self.scale) or min(self.scale, default=1.0) <= 0:
            raise ConfigError(f"{self!r}: give one name, one mean and one scale above 0 for each number")

    def encode(self, table: Table) -> np.ndarray:
        """(n, k) float32, standardised; DataError for a missing, infinite or text cell, with the row."""
        found = np.stack([present_numbers(table, name) for name in self.names], axis=1)
        return ((found - np.asarray(self.mean)) / np.asarray(self.scale)).astype(np.float32)

    def decode(self, y: Any) -> np.ndarray:
        """(n, k) float64 in the targets' own units."""
        return np.asarray(y, dtype=np.float64) * np.asarray(self.scale) + np.asarray(self.mean)


Target = Any  # a ClassTarget, NumberTarget, LabelsTarget or NumbersTarget
