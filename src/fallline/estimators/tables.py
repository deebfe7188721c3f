"""Tables by scikit-learn's conventions: data frames, dicts, arrays and sparse matrices, their names and their count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array

from fallline.core.errors import DataError
from fallline.core.registry import nearest
from fallline.data.table import Table, read_table
from fallline.train.examples import column_names

MOST_CELLS = 2_000_000_000  # of a sparse matrix that is made dense: 8 GB in float32


def table_of(estimator: BaseEstimator, X: Any, *, reset: bool) -> Table:
    """X as a table; sets n_features_in_ and feature_names_in_ (reset), or compares with them.

    Frames are read by the names of their columns, in any order; arrays by position, as column_1, column_2 …
    """
    if _is_frame(X):
        return _frame_table(estimator, X, reset)
    cells = _array(estimator, X)
    n = cells.shape[1]
    if reset:
        estimator.n_features_in_ = n
        vars(estimator).pop("feature_names_in_", None)
        return read_table(cells)
    name = type(estimator).__name__
    if n != estimator.n_features_in_:
        raise DataError(f"X has {n} features, but {name} is expecting {estimator.n_features_in_} features as input")
    table = read_table(cells)
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return table
    return read_table({str(known): cells[:, i] for i, known in enumerate(names)})


def _is_frame(X: Any) -> bool:
    if hasattr(X, "toarray"):  # one format of sparse matrices is a Mapping
        return False
    return isinstance(X, (Mapping, Table)) or hasattr(X, "columns") or hasattr(X, "column_names")


def _frame_table(estimator: BaseEstimator, X: Any, reset: bool) -> Table:
    names = list(X.names if isinstance(X, Table) else X if isinstance(X, Mapping) else _names(X))
    if not names:
        raise DataError("Found array with 0 feature(s) (columns): X is a data frame without columns")
    table = read_table(X)
    if reset:
        estimator.n_features_in_ = len(names)
        vars(estimator).pop("feature_names_in_", None)
        if all(isinstance(name, str) for name in names):
            estimator.feature_names_in_ = np.array(names, dtype=object)
        return table
    known = getattr(estimator, "feature_names_in_", None)
    if known is None and len(names) != estimator.n_features_in_:
        expected = f"{type(estimator).__name__} is expecting {estimator.n_features_in_} features as input"
        raise DataError(f"X has {len(names)} features, but {expected}")
    if known is None:
        return _renamed(table, [f"column_{i + 1}" for i in range(len(names))], estimator)
    lacking = [name for name in known if name not in table.names]
    if lacking:
        shown = ", ".join(map(repr, lacking[:5])) + (" …" if len(lacking) > 5 else "")
        raise DataError(f"X lacks the columns {shown} that training had: {nearest(lacking[0], table.names)}")
    return table


def _names(X: Any) -> list[Any]:
    return list(X.columns if not hasattr(X, "column_names") else X.column_names)


def _renamed(table: Table, names: list[str], estimator: BaseEstimator) -> Table:
    """A frame where training had an array: its columns by position."""
    fitted = estimator.model_.columns
    if {c.name for c in fitted.fitted} <= set(table.names):
        return table
    given = dict(zip(table.names, names, strict=True))
    return read_table(Table(table.frame.rename(given), table.raw.rename(given), rows=table.rows))


def _array(estimator: BaseEstimator, X: Any) -> np.ndarray:
    if hasattr(X, "toarray"):
        if np.prod(X.shape, dtype=float) > MOST_CELLS:
            raise DataError(
                f"X is a sparse matrix of {X.shape[0]:,} × {X.shape[1]:,} cells, too many to be made dense: reduce the "
                "columns first (sklearn's TruncatedSVD)"
            )
        if X.dtype.kind == "c":
            raise DataError("Complex data not supported: X holds complex numbers, give their parts as columns")
        X = X.toarray()
    try:
        return check_array(X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X")
    except ValueError as error:
        words = " ".join(str(error).split())
        if "Expected 2D array" in words:
            shape = np.shape(X)
            words = (
                f"Expected 2D array, X has shape {shape}. Reshape your data: X.reshape(-1, 1) if it is one column, "
                "X.reshape(1, -1) if it is one row"
            )
        raise DataError(words) from None


def target_of(y: Any, n_rows: int, name: str) -> tuple[np.ndarray, tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """y as an array (n,) or (n, k), the names of its columns, and the order of a categorical column that has one."""
    if y is None:
        raise DataError(f"{name} requires y to be passed, but the target y is None")
    if hasattr(y, "toarray"):
        y = y.toarray()
    dtype: Any = getattr(y, "dtype", None)
    order = tuple(dtype.categories) if getattr(dtype, "ordered", False) and hasattr(dtype, "categories") else None
    names = tuple(column_names(y)) or None
    try:
        found = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    except ValueError:
        raise DataError("the rows of y differ in length: give one label or number a row") from None
    if found.dtype.kind == "c":
        raise DataError("Complex data not supported: y holds complex numbers")
    if found.ndim not in (1, 2):
        raise DataError(f"y has shape {found.shape}: give one value a row, shape (n,), or one column for each target")
    if len(found) != n_rows:
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: X has {n_rows} rows and y {len(found)}"
        )
    _refuse_missing(found)
    return found, names, order


def _refuse_missing(y: np.ndarray) -> None:
    if y.dtype.kind in "biuUSM":
        return
    if y.dtype.kind == "f":
        wrong = np.argwhere(~np.isfinite(y))
        if len(wrong):
            value = y[tuple(wrong[0])]
            word = "NaN" if np.isnan(value) else "infinity"
            raise DataError(f"Input y contains {word} in row {wrong[0][0]}: leave out the rows without a target")
        return
    cells = y.ravel()
    absent = [i for i, v in enumerate(cells) if v is None or v != v or type(v).__name__ in ("NAType", "NaTType")]
    if absent:
        row = absent[0] // max(1, y.size // len(y))
        count = f"{len(absent)} of {len(cells)} cells"
        raise DataError(f"Input y contains NaN, it is missing in row {row} ({count}): leave these rows out")
