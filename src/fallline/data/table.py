"""Table: typed cells beside the original ones; read from files, frames and packaged data, and written back."""

from __future__ import annotations

import difflib
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fallline.core.errors import DataError
from fallline.core.registry import nearest
from fallline.data import datasets
from fallline.data.cells import canonical_text, clean_text, typed, unread_form
from fallline.data.frames import frame_of
from fallline.data.text import read_text

_CELL_WIDTH = 40
_LOOKED_AT = 1000  # rows
_LISTED = 10_000  # rows
_PARQUET, _ZIP, _GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose cells are typed and whose missing cells are null, beside the cells as they came.

    frame   whole numbers, numbers, dates, true/false or text; null = missing
    raw     the same rows and columns as they stood in the source, for writing them back unchanged
    name    the file's name without suffix, the data set's name, or "table"
    notes   what reading decided by itself, one sentence each
    target  the target's name where the source knows it (packaged data), else None
    task    "classification" or "regression" where the source knows it, else None
    rows    (n_rows,) each row's number in the source, from 0; error messages use it
    lines   (n_rows,) each row's line in the text file, from 1; None for other sources
    missing the missing markers that were given beyond the usual ones
    """

    frame: pl.DataFrame
    raw: pl.DataFrame
    name: str = "table"
    notes: tuple[str, ...] = ()
    target: str | None = None
    task: str | None = None
    rows: np.ndarray | None = None
    lines: np.ndarray | None = None
    missing: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        return self.frame.height

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.n_rows} rows, {len(self.names)} columns)"

    def column(self, name: str) -> pl.Series:
        """The typed cells of a column; DataError with the nearest name if there is none."""
        try:
            return self.frame.get_column(name)
        except pl.exceptions.ColumnNotFoundError:
            raise DataError(f"no column is called {name!r} in {self.name}: {nearest(name, self.names)}") from None

    def text(self, name: str) -> pl.Series:
        """The cells of a column as text: exactly as in the source ("007") where it held text; null = missing."""
        cells, raw = self.column(name), self.raw.get_column(name)
        if cells.dtype == pl.String:
            return cells
        return clean_text(raw, self.missing) if raw.dtype == pl.String else canonical_text(cells)

    def take(self, rows: Any) -> Table:
        """The table of these rows, in the order given. rows: integers from 0."""
        rows = np.asarray(rows, dtype=np.int64)
        source = np.arange(self.n_rows) if self.rows is None else self.rows
        lines = None if self.lines is None else self.lines[rows]
        # Polars loads NumPy's masked arrays before it takes an array, which lasts longer than few rows as a list.
        picked: Any = rows.tolist() if len(rows) <= _LISTED else rows
        return replace(self, frame=self.frame[picked], raw=self.raw[picked], rows=source[rows], lines=lines)

    def ordered(self, names: Sequence[str]) -> Table:
        """The table with these columns, in this order."""
        return replace(self, frame=self.frame.select(names), raw=self.raw.select(names))

    def place(self, row: int) -> str:
        """Where a row stands in the source, for messages: "row 17", and its line if the source is a text file."""
        number = row if self.rows is None else int(self.rows[row])
        return f"row {number}" if self.lines is None else f"row {number}, line {int(self.lines[row])}"


def column_label(name: str) -> str:
    """A column's name for messages: quoted, or "the nameless column"."""
    return f"column {name!r}" if name else "the nameless column"


def cell_label(value: object) -> str:
    """A cell for messages, in one short line: text in quotes, numbers bare."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 2] + ('…"' if isinstance(value, str) else "…")


def read_table(
    source: Any,
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    missing: Iterable[object] | object | None = None,
) -> Table:
    """The table in a file, a packaged data set, a data frame, a dict of columns or an array (n,) or (n, d).

    source     a path (.csv .tsv .txt .parquet, each also .gz) or a packaged name ("iris"), as text or Path
    delimiter  one character; header True or False; encoding a Python codec: None = found by itself
    missing    further missing markers, beyond the empty cell, ?, NA, N/A, NaN and null in any case
    errors     DataError in one line for anything that is not a table with at least one row
    """
    markers = _markers(missing)
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if not path.exists() and isinstance(source, str) and datasets.is_dataset(source):
            packed = datasets.load_dataset(source)
            table = _table(frame_of(packed.columns, []), packed.name, list(packed.notes), markers)
            return replace(table, target=packed.target, task=packed.task)
        return _read_file(path, delimiter, header, encoding, markers)
    notes: list[str] = []
    return _table(frame_of(source, notes), "table", notes, markers, keep_empty=True)


def write_table(table: Table, path: str | Path, new: Mapping[str, Any] | None = None) -> None:
    """Writes the original cells, in their order, and then the new columns, to .parquet, or to .csv / .tsv (also .gz).

    new  name -> one value for each row; a name that the table has already becomes name_2
    """
    frame = table.raw
    for name, values in (new or {}).items():
        column = frame_of({"new": values}, []).get_column("new")
        if len(column) != table.n_rows:
            raise DataError(f"column {name!r} has {len(column)} values for {table.n_rows} rows")
        free, k = name, 2
        while free in frame.columns:
            free, k = f"{name}_{k}", k + 1
        frame = frame.with_columns(column.alias(free))
    path = Path(path).expanduser()
    suffixes = [s.lower() for s in path.suffixes]
    buffer = io.BytesIO()
    if suffixes[-1:] == [".parquet"]:
        frame.write_parquet(buffer)
    else:
        frame.write_csv(buffer, separator="\t" if ".tsv" in suffixes[-2:] else ",")
    data = gzip.compress(buffer.getvalue(), mtime=0) if suffixes[-1:] == [".gz"] else buffer.getvalue()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None


def _markers(missing: Iterable[object] | object | None) -> tuple[str, ...]:
    if missing is None:
        return ()
    given = [missing] if isinstance(missing, (str, int, float)) or not isinstance(missing, Iterable) else list(missing)
    return tuple(str(m) for m in given)


def _table(
    raw: pl.DataFrame,
    name: str,
    notes: list[str],
    markers: tuple[str, ...],
    *,
    lines: np.ndarray | None = None,
    decimal_comma: bool = False,
    keep_empty: bool = False,
) -> Table:
    """Types the columns; rows of a file without a single cell are left out, those in memory have a number to keep."""
    if raw.width == 0 or raw.height == 0:
        raise DataError(f"{name} has {raw.height} rows and {raw.width} columns: at least one of each is needed")
    frame = pl.DataFrame({s.name: typed(s, markers, decimal_comma=decimal_comma) for s in raw.get_columns()})
    numeric = [s for s in raw.get_columns() if s.dtype == pl.String and frame.get_column(s.name).dtype.is_numeric()]
    if decimal_comma and any(bool(s.str.contains(",").any()) for s in numeric):
        notes.append("decimal commas: 1,5 is read as 1.5")
    notes += _unread(frame)
    rows = np.arange(raw.height)
    if keep_empty:
        return Table(frame, raw, name, tuple(notes), rows=rows, missing=markers)
    empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    if empty.all():
        raise DataError(f"{name} holds no cell that is not missing: {raw.height} rows, {raw.width} columns")
    if empty.any() and raw.width > 1:
        rows = np.flatnonzero(~empty)
        frame, raw = frame[rows], raw[rows]
        lines = None if lines is None else lines[rows]
        notes.append(f"empty rows left out: {int(empty.sum())}")
    return Table(frame, raw, name, tuple(notes), rows=rows, lines=lines, missing=markers)


def _unread(frame: pl.DataFrame) -> list[str]:
    """A note for each column of text that looks like numbers or dates."""
    made = []
    for cells in frame.get_columns():
        found = unread_form(cells[:_LOOKED_AT]) if cells.dtype == pl.String else None
        if found is not None:
            first = cell_label(cells.drop_nulls()[0])
            made.append(f"{column_label(cells.name)} looks like {found[0]} ({first}) and is taken as text: {found[1]}")
    return made


def _read_file(
    path: Path, delimiter: str | None, header: bool | None, encoding: str | None, markers: tuple[str, ...]
) -> Table:
    data = _file_bytes(path)
    name = path.name.split(".")[0] or path.name
    if data.startswith(_PARQUET):
        try:
            frame = pl.read_parquet(io.BytesIO(data))
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{path} is not a whole Parquet file: {str(error).splitlines()[0]}") from None
        return _table(frame_of(frame, []), name, [], markers)
    text = read_text(data, str(path), delimiter=delimiter, header=header, encoding=encoding)
    return _table(text.cells, name, list(text.notes), markers, lines=text.lines, decimal_comma=text.delimiter != ",")


def _file_bytes(path: Path) -> bytes:
    """The file's bytes, unpacked; which format they are is told by the bytes, not by the suffix."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no such file: {path}{_near_file(path)}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder: give one CSV, TSV or Parquet file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise DataError(f"{path} is not a whole .gz file: fetch or pack it again") from None
    if not data:
        raise DataError(f"{path} is empty: a table needs a line for each row")
    if data.startswith(_ZIP):
        raise DataError(f"{path} is a zip archive or an Excel workbook: save the table as CSV")
    if path.suffix.lower() == ".parquet" and not data.startswith(_PARQUET):
        raise DataError(f"{path} is not a Parquet file: it does not begin with PAR1")
    return data


def _near_file(path: Path) -> str:
    """The tail of "no such file": the nearest file beside it or, for a bare name, the nearest packaged data set."""
    bare = path.parent == Path() and not path.suffix
    if bare:
        return f"; and no packaged data set has that name: {nearest(str(path), datasets.dataset_names())}"
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {str(path.parent / close[0])!r}?" if close else ""
