"""Data frames, dicts and arrays as a polars frame with plain column types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from fallline.core.errors import DataError
from fallline.core.numbers import plain
from fallline.data.text import unique_names

if TYPE_CHECKING:
    import narwhals as nw

ARRAY_COLUMN = "column_{}"  # the names of an array's columns, from 1
OURS = (np.ndarray, list, tuple)  # never a data frame or a column of one: narwhals need not be asked


def frame_of(source: Any, notes: list[str]) -> pl.DataFrame:
    """A polars frame of what is in memory.

    source  a data frame that narwhals reads (pandas, polars, PyArrow, Modin … eager or lazy), a dict of columns,
            or an array: (n,) is one column, (n, d) is d columns named column_1 … column_d
    errors  DataError for anything else
    """
    if isinstance(source, pl.DataFrame):
        return _named({s.name: s for s in source.get_columns()})
    if isinstance(source, Mapping):
        return _from_columns({str(name): _series(values) for name, values in source.items()})
    if isinstance(source, OURS):
        return _from_array(source)
    import narwhals as nw  # costs some 30 ms, which only data frames pay

    try:
        frame = nw.from_native(source)
    except TypeError:
        return _from_array(source)
    except Exception as error:  # narwhals passes on what the foreign frame raises, e.g. for duplicate names
        raise DataError(f"the data frame cannot be read: {_first_line(error)}") from None
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect(backend="polars")
    if isinstance(frame.to_native(), pl.DataFrame):
        return frame_of(frame.to_native(), notes)
    try:
        columns = [(str(name), _foreign_series(frame.get_column(name))) for name in frame.columns]
    except Exception as error:  # as above
        raise DataError(f"the data frame cannot be read: {_first_line(error)}") from None
    names = unique_names([name for name, _ in columns], notes)
    return _from_columns(dict(zip(names, [s for _, s in columns], strict=True)))


def cells_frame(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Columns of plain cells as they are: numbers, text, (nested) lists; None is missing.

    A column that mixes numbers with lists, or lists of several depths, holds Python objects.
    """
    return pl.DataFrame({name: _of_one_kind(cells) for name, cells in columns.items()})


def _of_one_kind(cells: list[Any]) -> pl.Series:
    if len({_depth(cell) for cell in cells if cell is not None}) > 1:
        return pl.Series(cells, dtype=pl.Object)
    return (
        pl.Series(cells, strict=False)
        if any(cell is not None for cell in cells)
        else pl.Series(cells, dtype=pl.Float64)
    )


def _depth(cell: Any) -> int | str:
    """How deeply lists are nested: 0 for a number; "text" for text."""
    if isinstance(cell, str):
        return "text"
    return 0 if not isinstance(cell, list) else 1 + max((int(_depth(c)) for c in cell[:1]), default=0)


def _from_array(source: Any) -> pl.DataFrame:
    try:
        array = np.asarray(source)
    except ValueError:
        raise DataError("the rows differ in length: every row needs the same number of cells") from None
    if array.ndim not in (1, 2) or array.dtype.kind in "cV":
        raise DataError(
            f"{type(source).__name__} of shape {array.shape} is not a table: "
            "give a file, a data frame, a dict of columns or an array (rows, columns)"
        )
    array = array[:, None] if array.ndim == 1 else array
    return _from_columns({ARRAY_COLUMN.format(i + 1): _series(array[:, i]) for i in range(array.shape[1])})


def _from_columns(columns: dict[str, pl.Series]) -> pl.DataFrame:
    lengths = {name: len(s) for name, s in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {n}" for name, n in list(lengths.items())[:4])
        raise DataError(f"the columns differ in length ({shown}): every column needs one cell for each row")
    return _named(columns)


def _named(columns: dict[str, pl.Series]) -> pl.DataFrame:
    # a dict keeps the name "", which a list of series would replace
    return pl.DataFrame({name: _plain(s) for name, s in columns.items()})


def _series(values: Any) -> pl.Series:
    """One column from a sequence, whatever it holds; mixed cells become text."""
    if isinstance(values, pl.Series):
        return values
    if not isinstance(values, OURS):
        import narwhals as nw  # as above

        try:
            native = nw.from_native(values, series_only=True)
        except TypeError:
            pass
        else:
            return _foreign_series(native)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return pl.Series(np.ascontiguousarray(values))
    cells = list(values)
    return _from_cells([None if _is_missing(v) else v for v in cells])


def _foreign_series(series: nw.Series) -> pl.Series:
    absent = series.is_null().to_numpy()
    if series.dtype.is_numeric() and not absent.any():
        return pl.Series(np.ascontiguousarray(series.to_numpy()))
    if series.dtype.is_float():
        return pl.Series(np.ascontiguousarray(series.to_numpy(), dtype=np.float64), nan_to_null=True)
    if str(series.dtype) == "String":
        return _text(series, absent)
    cells = zip(absent, series.to_list(), strict=True)
    return _from_cells([None if a or _is_missing(v) else v for a, v in cells])


def _text(series: nw.Series, absent: np.ndarray) -> pl.Series:
    """Cells of text, by Arrow where it is installed: then none of them becomes an object of Python."""
    try:
        return pl.Series(series.to_arrow()).cast(pl.String)
    except ImportError:
        return pl.Series([None if a else v for a, v in zip(absent, series.to_list(), strict=True)], dtype=pl.String)


def _from_cells(cells: list[Any]) -> pl.Series:
    cells = [plain(v) for v in cells]
    kinds = {
        bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v)
        for v in cells
        if v is not None
    }
    if len(kinds) > 1:
        return pl.Series([None if v is None else str(v) for v in cells], dtype=pl.String)
    try:
        return pl.Series(cells, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        return pl.Series([None if v is None else str(v) for v in cells], dtype=pl.String)


def _plain(series: pl.Series) -> pl.Series:
    """Columns of rarer types as text, numbers or dates."""
    dtype = series.dtype
    if dtype == pl.Null or dtype in (pl.Categorical, pl.Enum):
        return series.cast(pl.String)
    if dtype == pl.Decimal:
        return series.cast(pl.Float64)
    if dtype == pl.Duration:
        return (series.dt.total_microseconds() / 1e6).cast(pl.Float64)  # seconds
    if dtype == pl.Time:
        return series.cast(pl.Int64) / 1e9  # seconds
    if dtype == pl.Datetime:
        zone = getattr(dtype, "time_zone", None)
        return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else series
    if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
        return pl.Series(series.name, [None if v is None else str(v) for v in series.to_list()], dtype=pl.String)
    return series


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and value != value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
