"""One fitted column: numbers scaled, categories one-hot or as codes; missing cells filled and marked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from fallline.core.errors import DataError
from fallline.core.record import Record, record, setting
from fallline.data.cells import canonical_text, is_date, number_values, starts_like_date
from fallline.data.kinds import BOOLEAN_WORDS, ColumnKind, refuse_stray_text
from fallline.data.scaling import (
    SMOOTH_CLIP,
    has_heavy_tail,
    quantiles_of,
    robust,
    scaled,
    signed_log,
    standard,
    waves,
)
from fallline.data.table import Table, cell_label, column_label
from fallline.ops.arithmetic import astype
from fallline.ops.compare import equal, less, where

# The parts that dates are split into, by their length in days: the mean Gregorian year and month, week and day.
PERIODS = {365.2425: "year", 30.436875: "month", 7.0: "week", 1.0: "day"}
_TURN = 2.0 * math.pi
_SLICES, _FEWEST_SLICES = 7, 3  # a part is used where dates lie in so many slices of it


@record
class NumberColumn(Record):
    """z = (t(x) - center) / scale, with t(x) = x or sign(x) log(1 + |x|); missing cells are filled first.

    What was never seen cannot have been learned: t(x) is held within the training range, widened by its own width on
    each side, so that one wild cell does not decide a prediction (and a constant of the training rows never does).

    kind       "number", "boolean" (false 0, true 1) or "date" (days since 1970-01-01)
    fill       stands for a missing cell, in the unit of x
    transform  "none", "log" (t as above), or "clip": z / sqrt(1 + (z/3)²) after scaling
    indicator  whether a second feature says "missing" (1) or not (0): when cells were missing in training
    periods    of a date, in days (see PERIODS): sin(2π x / period) and the cosine are features too, of a missing cell 0
    low, high, n_missing  what the training rows held
    """

    name: str
    kind: str = setting("number", choices=("number", "boolean", "date"))
    fill: float = 0.0
    center: float = 0.0
    scale: float = setting(1.0, above=0.0)
    transform: str = setting("none", choices=("none", "log", "clip"))
    indicator: bool = False
    low: float = -math.inf
    high: float = math.inf
    n_missing: int = 0
    periods: tuple[float, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        parts = (f"{self.name} {PERIODS.get(p, f'{p:g} days')} {wave}" for p in self.periods for wave in ("sin", "cos"))
        return (self.name, *((f"{self.name} missing",) if self.indicator else ()), *parts)

    def encode(self, table: Table) -> np.ndarray:
        """(n, features) float64: the number; with the indicator "missing"; of a date sine and cosine of each period."""
        x = _numbers(table, self.name, self.kind)
        columns = [scaled(x, **self.settings()), *([np.isnan(x)] if self.indicator else []), *waves(x, self.periods)]
        return np.column_stack(columns)

    def settings(self) -> dict[str, Any]:
        """The arguments of `scaled` for this column."""
        low, high = self._edges()
        transform = {"log": self.transform == "log", "smooth": self.transform == "clip"}
        return {"fill": self.fill, "low": low, "high": high, "center": self.center, "scale": self.scale, **transform}

    def slopes(self, table: Table) -> np.ndarray:
        """(n, features) the derivative of each feature, per unit of x; NaN where the cell is missing."""
        x, slope = _numbers(table, self.name, self.kind), self.slope(table)
        turns = [_TURN / period for period in self.periods]
        waves = [part for turn in turns for part in (turn * np.cos(turn * x), -turn * np.sin(turn * x))]
        return np.column_stack([slope, *([0.0 * slope] if self.indicator else []), *waves])

    def slope(self, table: Table) -> np.ndarray:
        """dz/dx of each cell, per unit of x; 0 where x is held at the widened edge, NaN where the cell is missing."""
        x = _numbers(table, self.name, self.kind)
        t, (low, high) = self._t(x), self._edges()
        slope = np.where(np.isnan(x), np.nan, (t > low) & (t < high)) / self.scale
        if self.transform == "log":
            slope = slope / (1.0 + np.abs(x))
        if self.transform == "clip":
            slope = slope * (1.0 + ((t - self.center) / self.scale / SMOOTH_CLIP) ** 2) ** -1.5
        return slope

    def outside(self, table: Table) -> int:
        """How many cells lie so far outside the training range that they are held at its widened edge."""
        low, high = self._edges()
        x = self._t(_numbers(table, self.name, self.kind))
        return int(((x < low) | (x > high)).sum())

    def _t(self, x: np.ndarray) -> np.ndarray:
        return signed_log(x) if self.transform == "log" else x

    def _edges(self) -> tuple[float, float]:
        low, high = self._t(np.array([self.low, self.high]))
        width = float(high - low)
        return float(low) - width, float(high) + width

    def detail(self) -> str:
        if self.kind == "boolean":
            words = f"true in {100 * self.center:.0f} %" if self.center else "false 0, true 1"
        else:
            words = f"{self.low:g} … {self.high:g}, center {self.center:.4g}, scale {self.scale:.4g}"
        scaling = {"none": "", "log": ", logarithm of a heavy tail", "clip": ", outliers clipped smoothly"}[
            self.transform
        ]
        if self.periods:
            scaling += ", time of " + ", ".join(PERIODS.get(p, f"{p:g} days") for p in self.periods)
        return words + scaling + _missing_words(self.n_missing, f"filled with {self.fill:g}")


@record
class CategoryColumn(Record):
    """Levels as one-hot features, or as codes for an embedding: 0 = unseen, missing or rare; level i is i + 1.

    levels     as text, the most frequent first
    indicator  one-hot only: missing is a level of its own, when cells were missing in training
    """

    name: str
    levels: tuple[str, ...] = ()
    embedded: bool = False
    indicator: bool = False
    n_missing: int = 0

    @property
    def kind(self) -> str:
        return "category"

    @property
    def features(self) -> tuple[str, ...]:
        if self.embedded:
            return ()
        return (*(f"{self.name}={v}" for v in self.levels), *((f"{self.name} missing",) if self.indicator else ()))

    def codes(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the level's index, -1 for unseen or missing; (n,) whether the cell is missing."""
        return level_codes(table, self.name, self.levels), table.text(self.name).is_null().to_numpy()

    def encode(self, table: Table) -> np.ndarray:
        """(n, levels, plus one for missing) float64; an unseen level is a row of zeros."""
        return self.one_hot(self.cell_codes(table))

    def cell_codes(self, table: Table) -> np.ndarray:
        """(n, 1) int32: 0 for an unseen cell, from 1 on the levels in their order, and after them a missing cell."""
        codes, absent = self.codes(table)
        return np.where(absent, len(self.levels) + 1, codes + 1).astype(np.int32)[:, None]

    def one_hot(self, codes: Any) -> Any:
        """The features of cell codes (n, 1), arrays or Values."""
        return astype(equal(codes, np.arange(1, len(self.features) + 1, dtype=codes.dtype)), "float64")

    def embedding_code(self, codes: Any) -> Any:
        """(n, 1) int32, the code for an embedding: that of the cell, 0 where it is missing."""
        return astype(where(less(len(self.levels), codes), 0, codes), "int32")

    def unseen(self, table: Table) -> list[str]:
        """The different cells that are no level; of an embedded column, those seen once in training too."""
        codes, absent = self.codes(table)
        return table.text(self.name).filter(pl.Series((codes < 0) & ~absent)).unique(maintain_order=True).to_list()

    def detail(self) -> str:
        shown = ", ".join(self.levels[:4]) + (" …" if len(self.levels) > 4 else "")
        how = "embedded" if self.embedded else "one-hot"
        return f"{len(self.levels)} levels, {how}: {shown}" + _missing_words(
            self.n_missing, "code 0" if self.embedded else "a level of its own"
        )


def fit_number(train: Table, decided: ColumnKind, scaling: str, weights: np.ndarray | None = None) -> NumberColumn:
    """The column filled with the median and scaled as `scaling` says, learned from these rows (with weights)."""
    x = _numbers(train, decided.name, decided.kind)
    given = ~np.isnan(x)
    present, w = x[given], None if weights is None else weights[given]
    n_missing = len(x) - len(present)
    if len(present) == 0:  # its few cells all lie outside the training rows
        return NumberColumn(decided.name, decided.kind, indicator=True, low=0.0, high=0.0, n_missing=n_missing)
    made = NumberColumn(
        decided.name,
        decided.kind,
        fill=_median(present) if w is None else float(quantiles_of(present, 0.5, w)),
        indicator=n_missing > 0,
        low=float(present.min()),
        high=float(present.max()),
        n_missing=n_missing,
    )
    if decided.kind == "date":
        made = made.replace(periods=tuple(period for period in PERIODS if _varies(present, period)))
    if decided.kind == "number" and has_heavy_tail(present, w):
        made, present = made.replace(transform="log"), signed_log(present)
    elif scaling == "robust" and decided.kind != "boolean":
        center, scale = robust(present, w)
        return made.replace(transform="clip", center=center, scale=scale)
    center, scale = standard(present, w)
    return made.replace(center=center, scale=scale)


def _varies(days: np.ndarray, period: float) -> bool:
    """Whether dates cover the period more than once, and not always at the same time of it."""
    if days.max() - days.min() < 1.5 * period:
        return False
    return len(np.unique(np.floor(days / period % 1.0 * _SLICES))) >= _FEWEST_SLICES


def _median(numbers: np.ndarray) -> float:
    """The middle of finite numbers, or the mean of the two there; NumPy's own loads its masked arrays for it."""
    middle = np.sort(numbers)[(len(numbers) - 1) // 2 : len(numbers) // 2 + 1]
    return float(middle.mean())


def fit_category(train: Table, name: str, one_hot_limit: int, weights: np.ndarray | None = None) -> CategoryColumn:
    """The column's levels in these rows (with weights); with more than `one_hot_limit` of them it is embedded."""
    text = train.text(name)
    if weights is None:
        counted = text.drop_nulls().alias("level").value_counts()
    else:
        rows = pl.DataFrame({"level": text, "weight": weights}).drop_nulls("level")
        counted = rows.group_by("level").agg(pl.col("weight").sum().alias("count"))
    counted = counted.sort(["count", "level"], descending=[True, False])
    embedded = counted.height > one_hot_limit
    if embedded:  # levels seen once share slot 0, so that it is trained before it has to stand for unseen ones
        counted = counted.filter(pl.col("count") > 1)
    n_missing = text.null_count()
    levels = tuple(counted.get_column("level").to_list())
    return CategoryColumn(name, levels, embedded, indicator=n_missing > 0 and not embedded, n_missing=n_missing)


def _numbers(table: Table, name: str, kind: str) -> np.ndarray:
    """The cells of a number, boolean or date column as float64, NaN where missing; DataError naming column and row."""
    cells = table.column(name)
    if kind == "boolean" and cells.dtype == pl.String:
        cells = _word_values(table, name)
    elif cells.dtype == pl.String:
        if kind == "date" and cells.null_count() < len(cells):
            row = int((cells.is_not_null() & ~starts_like_date(cells)).arg_max() or 0)
            shown = cell_label(cells[row])
            raise DataError(f"{column_label(name)} holds {shown} in {table.place(row)} where a date is expected")
        refuse_stray_text(table, name)
    elif is_date(cells) != (kind == "date"):
        given, expected = ("a date", f"a {kind}") if is_date(cells) else ("a number", "a date")
        raise DataError(f"{column_label(name)} holds {given} in {table.place(0)} where {expected} is expected")
    x = number_values(cells)
    if np.isinf(x).any():
        row = int(np.isinf(x).argmax())
        raise DataError(f"{column_label(name)} is infinite in {table.place(row)}: mend the cell or leave out the row")
    return x


def _word_values(table: Table, name: str) -> pl.Series:
    """Words such as yes and no as 1.0 and 0.0."""
    words = table.column(name).str.to_lowercase()
    value = {word: float(i) for pair in BOOLEAN_WORDS for i, word in enumerate(pair)} | {"0": 0.0, "1": 1.0}
    wrong = (words.is_not_null() & ~words.is_in(list(value))).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        shown = cell_label(table.column(name)[row])
        raise DataError(f"{column_label(name)} holds {shown} in {table.place(row)} where true or false is expected")
    return words.replace_strict(value, return_dtype=pl.Float64)


def level_codes(table: Table, name: str, levels: tuple[str, ...]) -> np.ndarray:
    """(n,) int32: the index of each cell among the levels, -1 for none of them.

    Text counts as it stands ("01"); failing that, numbers by value (1.0 is "1") and true/false in any case.
    """
    cells = table.column(name)
    codes = _lookup(table.text(name), levels)
    if cells.dtype != pl.String:
        codes = np.where(codes < 0, _lookup(canonical_text(cells), levels), codes)
    lowered = tuple(v.lower() for v in levels)
    if set(lowered) <= {"true", "false"}:
        codes = np.where(codes < 0, _lookup(canonical_text(cells).str.to_lowercase(), lowered), codes)
    return codes


def _lookup(text: pl.Series, levels: tuple[str, ...]) -> np.ndarray:
    if not levels:
        return np.full(len(text), -1, np.int32)
    codes = text.replace_strict(list(levels), list(range(len(levels))), default=-1, return_dtype=pl.Int32)
    return codes.fill_null(-1).to_numpy()


def _missing_words(n_missing: int, how: str) -> str:
    return f"; {n_missing} missing, {how}" if n_missing else ""
