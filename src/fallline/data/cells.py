"""Cells: missing markers, and text cells read as whole numbers, numbers or dates."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

# Compared without regard to case, after blanks at both ends are stripped.
MISSING_MARKERS = ("", "?", "na", "n/a", "#na", "#n/a", "<na>", "nan", "-nan", "null")
# Missing only in a column whose other cells are numbers; elsewhere they may be a category's name.
MISSING_AMONG_NUMBERS = ("none", "nil", "-", "--", ".", "*")

# A cell that starts like one of these is tried with the format; a column is dates when every cell fits one format.
_DATE_START = r"^\d{4}-\d{2}-\d{2}"
_DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
)
# Text that a reader takes for numbers or dates and that stays text: told, not guessed (1,234 may be two numbers).
_UNREAD = (
    (
        r"^[$€£¥]?\s?[+-]?[$€£¥]?\d+([.,' ]\d{3})*([.,]\d+)?\s?[%$€£¥]?$",
        "numbers",
        "write numbers such as 1234.5",
    ),
    (r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b", "dates", "write dates such as 2021-03-05"),
    (r"^\d{4}[./]\d{1,2}[./]\d{1,2}\b", "dates", "write dates such as 2021-03-05"),
    (_DATE_START + r"[T ]\d\d:.*[+-]\d\d:?\d\d$", "dates", "write times in one zone, without its offset"),
)
# A column with at most this share of other cells holds numbers, and those cells are mistakes.
_FEW_STRAY = 0.1
_MICROSECONDS_PER_DAY = 86_400_000_000
_REPEATED = 4  # from so many rows to a different cell on, the different ones are looked at instead


def clean_text(text: pl.Series, missing: Iterable[object] = ()) -> pl.Series:
    """Text cells without blanks at their ends; the missing markers, and those in `missing`, become null."""
    stripped = text.str.strip_chars()
    markers = [*MISSING_MARKERS, *(str(m).strip().lower() for m in missing)]
    return stripped.set(stripped.str.to_lowercase().is_in(markers), None)


def decimal_points(text: pl.Series) -> pl.Series:
    """Text cells with each number 1,5 written as 1.5."""
    return text.str.replace(r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", "${1}.${2}")


def is_mostly_numbers(text: pl.Series) -> bool:
    """Whether at most a tenth of the clean text cells present are no numbers (mistakes among numbers)."""
    present = text.drop_nulls()
    return len(present) > 0 and float(stray_text(present).to_numpy().mean()) <= _FEW_STRAY


def unread_form(text: pl.Series) -> tuple[str, str] | None:
    """What nearly all clean text cells look like, "numbers" or "dates", and how to write them so that they are read."""
    present = text.drop_nulls()
    for form, looks, advice in _UNREAD:
        if len(present) and float(present.str.contains(form).to_numpy().mean()) >= 1 - _FEW_STRAY:
            return looks, advice
    return None


def typed(cells: pl.Series, missing: Iterable[object] = (), *, decimal_comma: bool = False) -> pl.Series:
    """The cells in the narrowest type that holds all of them: whole numbers, numbers, dates, true/false or text.

    Missing cells (markers, NaN, those in `missing`) are null. Whole numbers stay exact up to 64 bits.
    decimal_comma  1,5 is a number too, where (nearly) all cells of the column are numbers then
    """
    missing = tuple(missing)
    if cells.dtype == pl.String:
        known = cells.unique()
        if len(known) * _REPEATED < len(cells) and not decimal_comma:
            again = _typed_by_level(cells, known, missing)
            if again is not None:
                return again
        text = clean_text(cells, missing)
        pointed = decimal_points(text) if decimal_comma else text
        return _typed_text(pointed if decimal_comma and is_mostly_numbers(pointed) else text)
    if cells.dtype.is_float():
        cells = cells.cast(pl.Float64).fill_nan(None)
    if cells.dtype.is_numeric():
        numbers = [m for m in map(_number_or_none, missing) if m is not None]
        return cells.set(cells.is_in(numbers).fill_null(False), None) if numbers else cells
    return cells


def _typed_by_level(cells: pl.Series, known: pl.Series, missing: tuple[object, ...]) -> pl.Series | None:
    """Text cells of few different ones, of which each is looked at once; None where they are no text after all."""
    made = typed(known, missing)
    if made.dtype != pl.String:
        return None
    changed = made.ne_missing(known)
    return cells.replace(known.filter(changed), made.filter(changed)) if bool(changed.any()) else cells


def parse_numbers(text: pl.Series) -> pl.Series:
    """Clean text cells as float64: null where missing or not a number (compare with `stray_text`)."""
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def stray_text(text: pl.Series) -> pl.Series:
    """True for each clean text cell that is neither missing nor a number."""
    among = text.str.to_lowercase().is_in(MISSING_AMONG_NUMBERS).fill_null(False)
    return text.is_not_null() & ~among & parse_numbers(text).is_null()


def number_values(cells: pl.Series) -> np.ndarray:
    """Numbers, true/false and dates (days since 1970-01-01) as float64 (n,), NaN where missing."""
    if cells.dtype == pl.String:
        cells = parse_numbers(cells)
    elif cells.dtype == pl.Date:
        cells = cells.cast(pl.Int32)
    elif cells.dtype == pl.Datetime:
        return _floats(cells.cast(pl.Datetime("us")).cast(pl.Int64)) / _MICROSECONDS_PER_DAY
    return _floats(cells)


def canonical_text(cells: pl.Series) -> pl.Series:
    """Cells as the text under which they are compared as categories: 1, 1.0 and "01" read as a number are all "1"."""
    if cells.dtype == pl.String:
        return cells
    if cells.dtype.is_float():
        whole = cells.is_finite() & (cells == cells.round()) & (cells.abs() < 2.0**53)
        if bool((whole | cells.is_null()).all()):
            cells = cells.cast(pl.Int64)
    return cells.cast(pl.String)


def starts_like_date(text: pl.Series) -> pl.Series:
    return text.str.contains(_DATE_START).fill_null(False)


def is_date(cells: pl.Series) -> bool:
    return cells.dtype in (pl.Date, pl.Datetime)


def is_whole(cells: pl.Series) -> bool:
    """Whether every number present is whole, as an integer type or as a float."""
    if cells.dtype.is_integer():
        return True
    present = cells.drop_nulls()
    return cells.dtype.is_float() and bool((present.is_finite() & (present == present.round())).all())


def _typed_text(text: pl.Series) -> pl.Series:
    present = text.drop_nulls()
    if present.is_empty():
        return text
    numbers = parse_numbers(text)
    if numbers.null_count() == text.null_count() or not bool(stray_text(present).any()):
        return _narrowest_number(text, numbers)
    if starts_like_date(present.head(1)).item():
        for form in _DATE_FORMATS:
            dtype: type[pl.Date] | type[pl.Datetime] = pl.Date if form == _DATE_FORMATS[0] else pl.Datetime
            dates = present.str.strptime(dtype, form, strict=False, exact=True)
            if dates.null_count() == 0:
                return text.str.strptime(dtype, form, strict=False, exact=True)
    return text


def _narrowest_number(text: pl.Series, numbers: pl.Series) -> pl.Series:
    """The cells as whole numbers where they are, else as the numbers that were read."""
    if numbers.null_count() == len(text):
        return text
    for dtype in (pl.Int64, pl.UInt64):
        whole = text.cast(dtype, strict=False)
        if whole.null_count() == numbers.null_count():
            return whole
    return numbers


def _floats(cells: pl.Series) -> np.ndarray:
    return cells.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _number_or_none(marker: object) -> float | None:
    try:
        return float(str(marker))
    except ValueError:
        return None
