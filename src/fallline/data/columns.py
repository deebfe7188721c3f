"""Fitted columns: what turns a table into numbers (and category codes), learned from the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fallline.core.errors import DataError
from fallline.core.numbers import counted
from fallline.core.record import Record, record
from fallline.core.registry import nearest
from fallline.data.encoders import CategoryColumn, NumberColumn, fit_category, fit_number
from fallline.data.kinds import ColumnKind, decide_kinds
from fallline.data.scaling import scaled, waves
from fallline.data.table import Table, cell_label, column_label
from fallline.ops.arithmetic import astype
from fallline.ops.compare import not_equal
from fallline.ops.index import take
from fallline.ops.shape import concatenate

MOST_NAMED = 10  # columns that a message lists by name


@record
class Columns(Record):
    """All fitted columns of a table, in its order, and those that were left out, with the reasons.

    `transform` gives numbers (n, d) float32 for `feature_names` and codes (n, k) int32 for `code_names`,
    whose values lie below `cardinalities`.
    """

    fitted: tuple[NumberColumn | CategoryColumn, ...] = ()
    left_out: tuple[ColumnKind, ...] = ()
    target: str | None = None

    @classmethod
    def fit(
        cls,
        table: Table,
        *,
        target: str | None = None,
        kinds: Mapping[str, str] | None = None,
        rows: Any = None,
        scaling: str = "standard",
        one_hot_limit: int = 32,
        weights: np.ndarray | None = None,
    ) -> Columns:
        """Kinds from the whole table; fills, scales and levels from the training rows alone.

        target         the column that is not a feature
        kinds          overrides by name, see `decide_kinds`
        rows           the training rows; None = all
        scaling        "standard" (mean, standard deviation; the logarithm of heavy tails) or
                       "robust" (median, quartile range, outliers clipped smoothly; heavy tails as above)
        one_hot_limit  categories with more levels become codes for an embedding
        weights        of the training rows, above 0: 2 is the row twice; None = 1
        errors         DataError, naming column and row, for infinite cells and stray text
        """
        if scaling not in ("standard", "robust"):
            raise DataError(f"scaling={scaling!r}: {nearest(scaling, ('standard', 'robust'))}")
        if target is not None:
            table.column(target)
        decided = decide_kinds(table, target=target, kinds=kinds)
        train = table if rows is None else table.take(rows)
        if train.n_rows == 0:
            raise DataError(f"{table.name}: no training row is left to fit the columns on")
        fitted = tuple(
            fit_category(train, k.name, one_hot_limit, weights)
            if k.kind == "category"
            else fit_number(train, k, scaling, weights)
            for k in decided
            if k.used
        )
        return cls(fitted, tuple(k for k in decided if not k.used), target)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the d numbers: "Age", "Ca missing", "Thal=fixed"."""
        return tuple(f for c in self.fitted for f in c.features)

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The table's column behind each of the d numbers."""
        return tuple(c.name for c in self.fitted for _ in c.features)

    @property
    def code_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self._embedded)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Codes of each embedded column, counting slot 0 (unseen, missing or rare)."""
        return tuple(len(c.levels) + 1 for c in self._embedded)

    @property
    def _embedded(self) -> tuple[CategoryColumn, ...]:
        return tuple(c for c in self.fitted if isinstance(c, CategoryColumn) and c.embedded)

    def transform(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """numbers (n, d) float32 and codes (n, k) int32.

        Columns that the fit did not use are ignored, unseen categories are zeros (see `notes`).
        errors  DataError for missing columns (which, with near names), text among numbers, infinite cells
        """
        self._require(table)
        numbers = np.empty((table.n_rows, len(self.feature_names)), np.float32)
        at = 0
        for column in self.fitted:  # one after the other, so that only one of them is there in float64 as well
            width = len(column.features)
            if width:
                numbers[:, at : at + width] = column.encode(table)
                at += width
        codes = np.empty((table.n_rows, len(self._embedded)), np.int32)
        for k, embedded in enumerate(self._embedded):
            codes[:, k] = embedded.embedding_code(embedded.cell_codes(table))[:, 0]
        return numbers, codes

    def encoded(self, cells: Sequence[Any]) -> tuple[Any, Any]:
        """What `transform` gives, from cells that are numbers already, in ops: of Values it is a part of a program.

        cells  for each of `fitted` (n, 1): numbers float64, NaN where missing; categories as `cell_codes` has them
        """
        listed = list(zip(self.fitted, cells, np.cumsum([0, *(len(c.features) for c in self.fitted)]), strict=False))
        parts, places = [np.zeros((cells[0].shape[0], 0))], []  # and where their columns stand among the features
        numbers = [(c, x, first) for c, x, first in listed if isinstance(c, NumberColumn)]
        if numbers:
            settings = [c.settings() for c, _, _ in numbers]
            of_each = {key: np.array([each[key] for each in settings]) for key in settings[0]}
            parts = [scaled(concatenate([x for _, x, _ in numbers], axis=1), **of_each)]
            places = [first for _, _, first in numbers]
        for column, x, first in listed:
            if isinstance(column, CategoryColumn) and column.features:
                parts.append(column.one_hot(x))
                places += range(first, first + len(column.features))
            elif isinstance(column, NumberColumn):
                further = [astype(not_equal(x, x), "float64")] if column.indicator else []
                parts += [*further, *waves(x, column.periods)]
                places += range(first + 1, first + len(column.features))
        codes = [c.embedding_code(x) for c, x, _ in listed if isinstance(c, CategoryColumn) and c.embedded]
        order = np.argsort(places)
        joined = concatenate([p for p in parts if p.shape[1]] or parts, axis=1)
        in_order = joined if (np.diff(order) == 1).all() else take(joined, order, axis=1)
        return astype(in_order, "float32"), concatenate(codes, axis=1) if codes else None

    def notes(self, table: Table) -> list[str]:
        """What `transform` passes over in this table: unseen categories, wild numbers, columns that training lacked."""
        self._require(table)
        made = []
        for column in self.fitted:
            wild = column.outside(table) if isinstance(column, NumberColumn) else 0
            if wild:
                how = "far outside the training range are held at its widened edge"
                if wild == 1:
                    how = how.replace("are held", "is held")
                made.append(f"{column_label(column.name)}: {counted(wild, 'number')} {how}")
            unseen = column.unseen(table) if isinstance(column, CategoryColumn) else []
            if unseen:
                shown = ", ".join(map(cell_label, unseen[:3])) + (" …" if len(unseen) > 3 else "")
                how = (
                    "unseen or rare categories share one code"
                    if column.name in self.code_names
                    else "unseen categories are none of the known"
                )
                if len(unseen) == 1:
                    how = how.replace("categories share", "category shares").replace("categories are", "category is")
                made.append(f"{column_label(column.name)}: {len(unseen)} {how} ({shown})")
        known = {c.name for c in (*self.fitted, *self.left_out)} | {self.target}
        extra = [name for name in table.names if name not in known]
        if extra:
            made.append("columns that training did not have are ignored: " + ", ".join(map(repr, extra)))
        return made

    def describe(self) -> list[tuple[str, str, str]]:
        """Rows (column, taken for, detail) of every column, those left out last with the reason."""
        return [(c.name, c.kind, c.detail()) for c in self.fitted] + [
            (k.name, "left out", f"{k.kind}: {k.reason}") for k in self.left_out
        ]

    def _require(self, table: Table) -> None:
        present = set(table.names)
        lacking = [c.name for c in self.fitted if c.name not in present]
        if lacking:
            extra = [n for n in table.names if n not in {c.name for c in self.fitted}]
            near = nearest(lacking[0], extra) if extra else ""
            hint = f" ({near})" if near.startswith("did you mean") else ""
            if len(lacking) == len(self.fitted):  # more likely misread than foreign
                hint = f"; it has {', '.join(map(repr, table.names[:4]))}" + (" …" if len(table.names) > 4 else "")
            listed = ", ".join(map(repr, lacking[:MOST_NAMED]))
            more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
            raise DataError(
                f"{table.name} lacks {len(lacking)} of the {len(self.fitted)} columns that the model was trained on: "
                f"{listed}{more}{hint}"
            )
