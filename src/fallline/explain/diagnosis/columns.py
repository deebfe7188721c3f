"""Columns: the inputs of a subject one by one, under their names, and how much one of them tells of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.tree import leaves
from fallline.data.cells import number_values
from fallline.data.encoders import CategoryColumn, NumberColumn
from fallline.data.table import Table
from fallline.explain.diagnosis.subject import Subject

MOST_COLUMNS = 1000  # beyond, a row is a picture or a signal, and its entries are no columns
LOOKED_AT = 2000  # rows on which columns are compared


@dataclass(frozen=True, eq=False)
class Column:
    """One input of all rows.   values (n,) float64: its numbers, NaN where missing, or the codes of its categories"""

    name: str
    values: np.ndarray
    is_number: bool = True

    @cached_property
    def size(self) -> float:
        """The root mean square of its values."""
        return float(np.sqrt(np.nanmean(self.values**2))) if len(self.values) else 0.0

    @cached_property
    def levels(self) -> np.ndarray:
        """Its different values, ascending."""
        return np.unique(self.values[np.isfinite(self.values)])

    @property
    def is_flag(self) -> bool:
        """Whether it holds 0 and 1 and nothing else."""
        return bool(np.isin(self.levels, (0.0, 1.0)).all())


def columns_of(subject: Subject) -> list[Column]:
    """The columns of the table, or of an array with one row of numbers a row; numbers and codes of a tuple."""
    if subject.x is None:
        return []
    if subject.table is not None and subject.fitted is not None and subject.beside is None:
        return [_from_table(subject.table, column) for column in subject.fitted.fitted]
    arrays = list(leaves(subject.x).values())
    if any(a.ndim != 2 for a in arrays) or sum(a.shape[1] for a in arrays) > MOST_COLUMNS:
        return []
    values = [a[:, j].astype(np.float64) for a in arrays for j in range(a.shape[1])]
    fitted = subject.fitted
    given = subject.names if fitted is None else (*fitted.feature_names, *fitted.code_names)
    names = given if len(given) == len(values) else tuple(f"column {j}" for j in range(len(values)))
    numeric = [a.dtype.kind == "f" for a in arrays for _ in range(a.shape[1])]
    return [Column(n, v, k) for n, v, k in zip(names, values, numeric, strict=True)]


def _from_table(table: Table, column: NumberColumn | CategoryColumn) -> Column:
    name = column.name
    if isinstance(column, NumberColumn):
        return Column(name, number_values(table.column(name)))
    cells = table.text(name).fill_null("")
    return Column(name, np.unique(cells.to_numpy(), return_inverse=True)[1].astype(np.float64), False)


def told_by(column: np.ndarray, target: np.ndarray) -> float:
    """The share of the target's variance that this column alone tells, whatever the shape of the dependence.

        1 - Σ (t_(i+1) - t_(i))² / (2 n σ²)    t in the order of the column, several targets (one-hot) in a sum

    column (n,);  target (n, k);  1: the column tells the target without error, about 0: nothing
    source  von Neumann 1941, the ratio of the mean square successive difference to the variance
    """
    shuffled = np.random.default_rng(0).permutation(len(column))  # the order of the rows must not order ties
    column, target = column[shuffled], target[shuffled]
    order = np.argsort(np.where(np.isnan(column), -np.inf, column), kind="stable")
    spread = float(((target - target.mean(axis=0)) ** 2).sum())
    if spread == 0:
        return 0.0
    steps = float((np.diff(target[order], axis=0) ** 2).sum())
    return 1.0 - steps / (2.0 * spread)


__all__ = ["LOOKED_AT", "Column", "columns_of", "told_by"]
