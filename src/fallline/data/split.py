"""Splits: which rows train, which choose the best weights (validation) and which judge the result (test)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import DataError

_SIDES = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers from 0, ascending; every row lies in exactly one part."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __repr__(self) -> str:
        return f"Split(train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)})"


def split_rows(
    n: int,
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    y: Any = None,
    groups: Any = None,
    time: Any = None,
    tail: bool = False,
    column: Any = None,
) -> Split:
    """Divides n rows, shuffled by the seed; the same arguments give the same parts.

    validation, test  a share of all rows (0 <= share < 1), or a number of rows (whole, from 1)
    y       (n,) class codes: each part holds every class's share to within one row; a class's last row trains
    groups  (n,) no group lies in two parts
    time    (n,) numbers, dates or text in order: the last rows are tested, those before them validate
    tail    the same in the order of the table
    column  (n,) "train", "validation" or "test" for each row, in any case
    errors  DataError for too few rows, shares that leave nothing to train on, missing values, two ways at once
    """
    ways = {"groups": groups is not None, "time": time is not None, "tail": tail, "column": column is not None}
    asked = [name for name, given in ways.items() if given]
    if len(asked) > 1:
        raise DataError(f"rows can be split one way: {' and '.join(asked)} were given; choose one")
    if column is not None:
        return _by_column(_per_row(column, n, "column"))
    n_validation, n_test = _part_sizes(n, validation, test)
    rng = np.random.default_rng(seed)
    if groups is not None:
        return _by_group(_per_row(groups, n, "groups"), n_validation, n_test, rng)
    if time is not None:
        return _last_rows(np.argsort(_per_row(time, n, "time"), kind="stable"), n_validation, n_test)
    if tail:
        return _last_rows(np.arange(n), n_validation, n_test)
    if y is not None:
        return _stratified(_per_row(y, n, "y"), n_validation, n_test, rng)
    return _last_rows(rng.permutation(n), n_validation, n_test)


def _part_sizes(n: int, validation: float, test: float) -> tuple[int, int]:
    sizes = []
    for name, share in (("validation", validation), ("test", test)):
        whole = isinstance(share, (int, np.integer)) and not isinstance(share, bool)
        number = whole or isinstance(share, (float, np.floating))
        if not number or not (share >= 0 if whole else 0 <= share < 1):
            raise DataError(f"{name}={share!r}: give a share of the rows (0 to below 1) or a whole number of rows")
        sizes.append(int(share) if whole else max(int(n * share + 0.5), int(share > 0)))
    halves_up = isinstance(validation, float) and isinstance(test, float) and validation + test < 1
    if halves_up and sum(sizes) == n and sizes[0] > 1:
        sizes[0] -= 1  # both shares were rounded up and took the last row to train on
    if sum(sizes) >= n:
        raise DataError(
            f"{n} rows are too few: validation={validation} and test={test} take {sum(sizes)}, none is left to train on"
        )
    return sizes[0], sizes[1]


def _per_row(values: Any, n: int, name: str) -> np.ndarray:
    """The values as an array (n,) that can be sorted; DataError if one is missing."""
    values = np.asarray(values)
    if values.shape != (n,):
        raise DataError(f"{name} has shape {values.shape}: one value for each of the {n} rows is needed")
    if values.dtype.kind == "O":
        absent = np.array([v is None or v != v for v in values], dtype=bool)
        if not absent.any() and len({type(v) for v in values}) > 1:
            values = values.astype(str)
    else:
        absent = values != values  # NaN and NaT alone differ from themselves
    if absent.any():
        raise DataError(f"{name} is missing in row {int(np.argmax(absent))}: the split needs it in every row")
    return values


def _split(side: np.ndarray) -> Split:
    """side (n,): 0 train, 1 validation, 2 test."""
    return Split(np.flatnonzero(side == 0), np.flatnonzero(side == 1), np.flatnonzero(side == 2))


def _last_rows(order: np.ndarray, n_validation: int, n_test: int) -> Split:
    """The last n_test rows of the order are tested, the n_validation before them validate."""
    side = np.zeros(len(order), np.int64)
    side[order[len(order) - n_test - n_validation :]] = 1
    side[order[len(order) - n_test :]] = 2
    return _split(side)


def _stratified(y: np.ndarray, n_validation: int, n_test: int, rng: np.random.Generator) -> Split:
    n = len(y)
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    test = _seats(counts, n_test, counts - 1)
    validation = _seats(counts, n_validation, counts - 1 - test)
    side = np.zeros(n, np.int64)
    for k in range(len(counts)):
        rows = rng.permutation(np.flatnonzero(codes == k))
        side[rows[: test[k]]] = 2
        side[rows[test[k] : test[k] + validation[k]]] = 1
    made = _split(side)
    for name, wanted, got in (("validation", n_validation, made.validation), ("test", n_test, made.test)):
        if wanted and not len(got):
            raise DataError(
                f"{n} rows of {len(counts)} classes are too few: none can be spared for {name}; "
                f"pass {name}=0 or give more rows"
            )
    return made


def _seats(counts: np.ndarray, total: int, most: np.ndarray) -> np.ndarray:
    """total * counts / sum(counts) by largest remainders: rounded down, up where most is lost; never above `most`."""
    quota = total * counts / counts.sum()
    seats = np.minimum(np.floor(quota).astype(np.int64), most)
    by_remainder = np.lexsort((-counts, -(quota - np.floor(quota))))
    for k in by_remainder:
        if seats.sum() < total and seats[k] < most[k]:
            seats[k] += 1
    return seats


def _by_group(groups: np.ndarray, n_validation: int, n_test: int, rng: np.random.Generator) -> Split:
    """The largest groups first, each to the part that lacks most rows; every part gets a group."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    lacking = np.array([len(groups) - n_validation - n_test, n_validation, n_test], dtype=np.int64)
    wanted = lacking > 0
    if len(counts) < wanted.sum():
        raise DataError(
            f"{len(counts)} groups are too few for {wanted.sum()} parts: each part needs a group of its own"
        )
    empty = wanted.copy()
    part = np.zeros(len(counts), np.int64)
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    for i, k in enumerate(order):
        open_parts = empty if len(order) - i <= empty.sum() else wanted
        part[k] = int(np.argmax(np.where(open_parts, lacking, -len(groups) - 1)))
        lacking[part[k]] -= counts[k]
        empty[part[k]] = False
    return _split(part[codes])


def _by_column(values: np.ndarray) -> Split:
    words: Sequence[str] = [str(v).strip().lower() for v in values]
    side = np.array([_SIDES.get(w, -1) for w in words], dtype=np.int64)
    if (side < 0).any():
        row = int((side < 0).argmax())
        raise DataError(f"the split column holds {str(values[row])!r} in row {row}: use train, validation or test")
    if not (side == 0).any():
        raise DataError("the split column gives no row to train on: mark some rows 'train'")
    return _split(side)
