"""Inputs by scikit-learn's conventions, refused in words that name the column, the row, the value and the cure."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from fallline.core.errors import DataError
from fallline.train.examples import column_names

SPARSE = ("csr", "csc")
READS_TABLES = "fl.TabularClassifier and fl.TabularRegressor"


def checked_rows(
    estimator: BaseEstimator,
    X: Any,
    *,
    reset: bool = False,
    sparse: Sequence[str] = (),
    dtype: Any = "numeric",
    finite: bool = True,
    nd: bool = False,
) -> Any:
    """X as a numeric array (or sparse matrix) that fits what the estimator has seen.

    reset   True in `fit`: sets n_features_in_ and feature_names_in_; False compares with them
    sparse  the formats of sparse matrices that are taken; dtype  one dtype or several, the first where none is given
    finite  whether NaN and infinity are refused;  nd  whether rows may have more axes than one
    raises  DataError, a ValueError;  TypeError for cells that are neither numbers nor text, and sparse X
    """
    return _validated(estimator, (X,), reset, sparse, dtype, finite, nd, {})


def checked_pair(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    reset: bool = True,
    sparse: Sequence[str] = (),
    dtype: Any = "numeric",
    finite: bool = True,
    nd: bool = False,
    multi_output: bool = True,
    any_labels: bool = False,
) -> tuple[Any, np.ndarray]:
    """(X, y): X as of `checked_rows`; y as an array, numbers for a regressor, labels for a classifier.

    A column y (n, 1) is taken as (n,), with a DataConversionWarning.
    multi_output  whether y may have several columns;  any_labels  whether the caller looks at the labels itself
    """
    told = {"multi_output": multi_output, "y_numeric": not is_classifier(estimator)}
    X, y = _validated(estimator, (X, y), reset, sparse, dtype, finite, nd, told)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if is_classifier(estimator) and y.dtype.kind == "O":
        _check_cells(y)
    if is_classifier(estimator) and not any_labels:
        checked_labels(estimator, y)
    return X, y


def checked_weights(sample_weight: Any, n_rows: int) -> np.ndarray | None:
    """Weights of rows, (n_rows,) float64; None where none are given. A single number is that of every row."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_rows, sample_weight)
    try:
        w = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight holds no numbers ({error}): give one number a row") from None
    if w.ndim != 1:
        raise DataError(f"Sample weights must be 1D array or scalar, given shape {w.shape}: give one number a row")
    if len(w) != n_rows:
        raise DataError(f"sample_weight.shape == {w.shape}, expected ({n_rows},): give one number a row")
    good = np.isfinite(w) & (w >= 0)
    if not good.all():
        row = int(np.argmin(good))
        if np.isfinite(w[row]):
            raise DataError(
                f"Negative values in data passed to `sample_weight`: {w[row]:g} in row {row}: give 0 or more"
            )
        raise DataError(f"Input sample_weight contains {_named(w[row])} in row {row}: give a finite number")
    if not w.any():
        raise DataError("every sample weight is zero: no row is left to train on")
    return w


def _validated(
    estimator: BaseEstimator, given: tuple[Any, ...], reset: bool, sparse: Any, dtype: Any, finite: bool, nd: bool,
    told: dict[str, Any],
) -> Any:  # fmt: skip
    settings = {"accept_sparse": list(sparse) or False, "dtype": dtype, "ensure_all_finite": False, "allow_nd": nd}
    try:
        found = validate_data(estimator, *given, reset=reset, **settings, **told)
    except TypeError as error:
        raise TypeError(_reworded(str(error), estimator, *given)) from None
    except ValueError as error:
        raise DataError(_reworded(str(error), estimator, *given)) from None
    if finite:
        _check_finite(found[0] if told else found, estimator, column_names(given[0]))
    return found


def _reworded(message: str, estimator: BaseEstimator, X: Any, y: Any = None) -> str:
    """scikit-learn's message with the place and the cure; those about feature names keep their list."""
    name = type(estimator).__name__
    if message.startswith(("could not convert string to float", "dtype='numeric' is not compatible")):
        encode = f"encode text columns (sklearn's OneHotEncoder), or take {READS_TABLES}, which read categories"
        return f"{message.splitlines()[0]}{_text_cell(X)}: {encode}"
    if message.startswith("float() argument"):
        return f"{message}{_text_cell(X)}: {name} takes numbers"
    if "got 1D array" in message or "got scalar array" in message or "2-dimensional container" in message:
        given = f"Expected 2D array, X has shape {np.shape(X)}. Reshape your data"
        return f"{given}: X.reshape(-1, 1) if it is one column, X.reshape(1, -1) if it is one row"
    if message.startswith("The feature names should match"):
        had = list(map(str, estimator.feature_names_in_))
        shown = ", ".join(had[:8]) + (" …" if len(had) > 8 else "")
        return f"{message}{name} was trained on {shown}: X[list(model.feature_names_in_)] has them in order"
    if message.startswith(("Input contains", "Input y contains")):
        what = "NaN" if "NaN" in message else "infinity"
        return f"Input y contains {what}{_missing_row(y)}: leave out the rows without a target"
    if message.startswith("Complex data"):
        return f"Complex data not supported: X holds {np.asarray(X).dtype}, give its parts as columns"
    if message.startswith("Found input variables"):
        rows = message.partition("[")[2].rstrip("]").split(", ")
        return f"X has {rows[0]} rows and y {rows[-1]}: inconsistent numbers of samples"
    if message.startswith("Sparse data was passed"):
        return f"Sparse data was passed, {name} takes dense arrays: use X.toarray()"
    return " ".join(message.split())


def _text_cell(X: Any) -> str:
    """Where the first cell that is no number stands: " in row 3, column 'city'"; "" where it is not found."""
    names = column_names(X)
    cells = np.asarray(X, dtype=object)
    for at in np.ndindex(cells.shape[:2]):
        try:
            float(cells[at])
        except (TypeError, ValueError):
            return _place(at, names)
    return ""


def _missing_row(y: Any) -> str:
    """Where the first target that is missing or infinite stands: " in row 3"."""
    for row, cell in enumerate(np.asarray(y, dtype=object).reshape(np.shape(y)[0], -1)):
        if any(v is None or v != v or v in (np.inf, -np.inf) for v in cell):
            return f" in row {row}"
    return ""


def _place(at: Sequence[int], names: Sequence[str]) -> str:
    if len(at) < 2:
        return f" in row {at[0]}"
    return f" in row {at[0]}, column {names[at[1]] if names else at[1]!r}"


def _named(value: float) -> str:
    return "NaN" if np.isnan(value) else "infinity"


def _check_finite(X: Any, estimator: BaseEstimator, names: Sequence[str]) -> None:
    """DataError for NaN and infinity."""
    dense = not hasattr(X, "tocoo")
    numbers_in = X if dense else X.data
    if numbers_in.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):  # most often the sum tells, ten times sooner
        if np.isfinite(numbers_in.sum()) or np.isfinite(numbers_in).all():
            return
    if dense:
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(X))[0])
        value = X[at]
    else:
        spread = X.tocoo()
        k = int(np.argmin(np.isfinite(spread.data)))
        at, value = (int(spread.row[k]), int(spread.col[k])), spread.data[k]
    cure = (
        "fill it (sklearn's SimpleImputer) or leave the row out" if np.isnan(value) else "clip it or leave the row out"
    )
    also = f", or take {READS_TABLES}, which read missing cells" if np.isnan(value) else ""
    name = type(estimator).__name__
    raise DataError(f"Input X contains {_named(value)}{_place(at, names)}, {name} takes finite numbers: {cure}{also}")


def _check_cells(y: np.ndarray) -> None:
    """DataError for labels that are missing, or of kinds that have no common order."""
    if place := _missing_row(y):
        raise DataError(f"Input y contains NaN{place}: leave out the rows without a target")
    try:
        np.unique(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y.ravel().tolist()})
        raise DataError(f"y mixes {' and '.join(kinds)}: make all labels text, or all numbers") from None


def checked_labels(estimator: BaseEstimator, y: np.ndarray) -> None:
    """DataError for targets that are no labels."""
    if y.dtype.kind == "O":
        _check_cells(y)
    try:
        check_classification_targets(y)
    except ValueError as error:
        other = type(estimator).__name__.replace("Classifier", "Regressor")
        raise DataError(f"{' '.join(str(error).split())} fl.{other} takes them") from None


__all__ = ["SPARSE", "checked_labels", "checked_pair", "checked_rows", "checked_weights"]
