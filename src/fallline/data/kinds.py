"""What each column is: number, boolean, category or date, or left out (identifier, text, constant), and why."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from fallline.core.errors import DataError
from fallline.core.record import Record, record, setting
from fallline.core.registry import nearest
from fallline.data.cells import is_date, is_mostly_numbers, is_whole, stray_text
from fallline.data.table import Table, cell_label, column_label

USED = ("number", "boolean", "category", "date")
LEFT_OUT = ("identifier", "text", "constant", "ignored")
BOOLEAN_WORDS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"))

# Text with more levels than this, more than half of them different, is free text or names.
_TEXT_LEVELS = 100
_NAMELESS = re.compile(r"(|unnamed: ?\d+|index|_?row_?(number|num|id|nr)?|column_\d+|#|no\.?|nr\.?)", re.IGNORECASE)
_ID_NAME = re.compile(r"(?i:(.*[_\-. ])?(id|uid|uuid|guid))|(?i:id[_\-. ].*)|.*[a-z](Id|ID)")


@record
class ColumnKind(Record):
    """A column's name, what it is taken for (one of USED or LEFT_OUT) and why."""

    name: str
    kind: str = setting(choices=USED + LEFT_OUT)
    reason: str = ""

    @property
    def used(self) -> bool:
        return self.kind in USED


def decide_kinds(
    table: Table, *, target: str | None = None, kinds: Mapping[str, str] | None = None
) -> tuple[ColumnKind, ...]:
    """The kind of every column but the target, in the table's order.

    kinds   overrides, name -> "number", "boolean", "category", "date" or "ignored"
    errors  DataError for an override of an unknown column or kind, a mostly numeric column that holds text,
            a table in which no column is left
    """
    kinds = dict(kinds or {})
    for name, kind in kinds.items():
        table.column(name)
        if kind not in (*USED, "ignored"):
            raise DataError(f"{column_label(name)}: {kind!r} is no kind of column: {nearest(kind, (*USED, 'ignored'))}")
    found = []
    for name in table.names:
        if name == target:
            continue
        if name in kinds:
            found.append(ColumnKind(name, kinds[name], "asked for"))
        else:
            found.append(_kind_of(table, name))
    found = _keep_lone_counter(found)
    if not any(k.used for k in found):
        why = "; ".join(f"{column_label(k.name)}: {k.reason}" for k in found[:3]) or "it has no other column"
        raise DataError(f"{table.name} has no column to learn from ({why}): pass kinds= to use one anyway")
    return tuple(found)


def boolean_words(text: pl.Series) -> tuple[str, str] | None:
    """The pair (false, true) that holds every clean text cell, if both or one of them occur."""
    words = set(text.drop_nulls().str.to_lowercase().unique())
    return next((pair for pair in BOOLEAN_WORDS if words and words <= set(pair)), None)


def refuse_stray_text(table: Table, name: str) -> None:
    """DataError naming the first cell that is not a number, in a text column that should hold numbers."""
    cells = table.column(name)
    if cells.dtype == pl.String:
        stray = stray_text(cells).to_numpy()
        if stray.any():
            row = int(stray.argmax())
            value = cells[row]
            raise DataError(
                f"{column_label(name)} holds text ({cell_label(value)} in {table.place(row)}): "
                f"pass missing=[{cell_label(value)}] or drop it"
            )


def _kind_of(table: Table, name: str) -> ColumnKind:
    cells = table.column(name)
    present = cells.drop_nulls()
    n, levels = len(present), present.n_unique()
    if n == 0:
        return ColumnKind(name, "constant", "every cell is missing")
    if levels == 1 and n == len(cells):
        return ColumnKind(name, "constant", f"every cell is {cell_label(present[0])}")
    if cells.dtype == pl.Boolean:
        return ColumnKind(name, "boolean", "true or false")
    if is_date(cells):
        return ColumnKind(name, "date", "dates, as days since 1970-01-01")
    if cells.dtype == pl.String:
        return _kind_of_text(table, name, present, levels)
    return _kind_of_numbers(name, cells, n, levels)


def _kind_of_numbers(name: str, cells: pl.Series, n: int, levels: int) -> ColumnKind:
    if levels == n == len(cells) and n > 1 and is_whole(cells):
        if _NAMELESS.fullmatch(name) and cells[0] in (0, 1) and bool((cells.diff().drop_nulls() == 1).all()):
            return ColumnKind(name, "identifier", "row numbers")
        if _ID_NAME.fullmatch(name):
            return ColumnKind(name, "identifier", "every cell is different and the name is that of an identifier")
    return ColumnKind(name, "number", f"{'whole ' if is_whole(cells) else ''}numbers, {levels} different")


def _kind_of_text(table: Table, name: str, present: pl.Series, levels: int) -> ColumnKind:
    pair = boolean_words(present)
    if pair and levels > 1:
        return ColumnKind(name, "boolean", f"{pair[0]} or {pair[1]}")
    if is_mostly_numbers(present):
        refuse_stray_text(table, name)
    if levels == len(present) and levels > 1:
        return ColumnKind(name, "identifier", "text, every cell is different")
    if levels > _TEXT_LEVELS and levels > len(present) / 2:
        return ColumnKind(name, "text", f"text, {levels} different cells in {len(present)} rows")
    return ColumnKind(name, "category", f"text, {levels} different")


def _keep_lone_counter(found: list[ColumnKind]) -> list[ColumnKind]:
    """Row numbers are used after all where they are the only column there is (x = 1, 2, 3 …)."""
    if any(k.used for k in found):
        return found
    return [
        ColumnKind(k.name, "number", "whole numbers, the only column") if k.reason == "row numbers" else k
        for k in found
    ]
