"""Examples: inputs, targets and weights of rows, checked once and laid out for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.registry import nearest
from fallline.core.tree import leaves, map_leaves, records_in
from fallline.nn.layer import Layer

INT32_MAX = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Examples:
    """Rows to train on or to evaluate.

    x  inputs: an array or a tree of arrays, rows first
    y  targets as the loss takes them (class codes int32, or floats)
    w  weights of the rows, floats
    names  of the columns of x, where it came as a data frame
    """

    x: Any
    y: np.ndarray
    w: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray | slice) -> Examples:
        return Examples(take_rows(self.x, rows), self.y[rows], self.w[rows], self.names)

    @property
    def arrays(self) -> list[np.ndarray]:
        """The leaves in the order in which a step takes them."""
        return [*leaves(self.x).values(), self.y, self.w]


def drop_absent(examples: Examples) -> Examples:
    """Without the rows of weight 0, which are as good as absent; the others have a mean weight of 1."""
    kept = examples.take(np.flatnonzero(examples.w)) if not examples.w.all() else examples
    weights = np.ascontiguousarray(kept.w / kept.w.mean(dtype=np.float64), dtype=kept.w.dtype)
    return replace(kept, w=weights)


def take_rows(x: Any, rows: Any) -> Any:
    """Some rows of every array of a tree, in memory order."""
    return map_leaves(lambda _, leaf: np.ascontiguousarray(leaf[rows]), x)


def n_rows(x: Any) -> int:
    """The number of rows of a tree of arrays; DataError where the arrays differ."""
    sizes = {len(leaf) for leaf in leaves(x).values()}
    if len(sizes) != 1:
        raise DataError(
            f"the input arrays have {' and '.join(map(str, sorted(sizes)))} rows: they must have equally many"
        )
    return sizes.pop()


def as_inputs(x: Any, network: Layer, dtype: Any) -> Any:
    """Inputs as arrays of floats of that dtype; integers stay integers (int32) where the network reads codes.

    x       an array, a list, a numeric data frame, or a tuple or dict of such
    raises  DataError for what is no finite number
    """
    codes = any(isinstance(part, Layer) and part.takes_codes for _, part in records_in(network))
    if isinstance(x, tuple) or (isinstance(x, Mapping) and not hasattr(x, "to_numpy")):
        return map_leaves(lambda path, leaf: _as_input(leaf, codes, dtype, f"input {path}"), x)
    return _as_input(x, codes, dtype, "X")


def column_names(x: Any) -> tuple[str, ...]:
    """The names of a data frame's columns; empty for arrays, and where the columns are only numbered."""
    names = tuple(getattr(x, "columns", ()))
    return names if all(isinstance(name, str) for name in names) else ()


def in_order(x: Any, names: tuple[str, ...]) -> Any:
    """A data frame with the columns that training had, in their order; arrays as they are."""
    given = column_names(x)
    if not names or not given or given == names:
        return x
    lacking = [name for name in names if name not in given]
    if lacking:
        shown = ", ".join(map(repr, lacking[:5])) + (" …" if len(lacking) > 5 else "")
        raise DataError(f"X lacks the columns {shown} that training had: {nearest(lacking[0], given)}")
    return x[list(names)]


def _as_input(x: Any, codes: bool, dtype: Any, name: str) -> np.ndarray:
    names = list(getattr(x, "columns", []))
    if np.ma.is_masked(x):
        raise DataError(f"{name} is masked in some cells: fill or drop them (fl.read_table fills missing cells itself)")
    try:
        array = np.asarray(x.to_numpy() if hasattr(x, "to_numpy") else x)
    except ValueError:
        raise DataError(f"the rows of {name} differ in length: every row needs the same number of cells") from None
    if hasattr(x, "toarray") and array.ndim == 0:
        raise DataError(f"{name} is a sparse matrix: pass {name}.toarray()")
    if array.dtype.kind == "O":
        array = _from_objects(array, name)
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"{name} holds {array.dtype}, numbers are needed: use fl.read_table, or encode the text columns first"
        )
    if array.ndim == 0 or not len(array):
        raise DataError(f"{name} of shape {array.shape} has no rows")
    if not array.size:
        raise DataError(f"{name} of shape {array.shape} has no columns: give at least one number a row")
    if codes and array.dtype.kind in "iu":
        if array.max(initial=0) > INT32_MAX or array.min(initial=0) < -INT32_MAX:
            raise DataError(f"{name} holds codes beyond {INT32_MAX}: number the categories from 0")
        return np.ascontiguousarray(array, dtype=np.int32)
    array = np.ascontiguousarray(array, dtype=dtype)
    if not _is_finite(array):
        at = np.argwhere(~np.isfinite(array))[0]
        column = f", column {names[at[1]]!r}" if names and len(at) > 1 else f", column {at[1]}" if len(at) > 1 else ""
        value = array[tuple(at)]
        raise DataError(
            f"{name} holds {value} in row {at[0]}{column}: fill or drop it (fl.read_table fills missing cells itself)"
        )
    return array


def _is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are; most often their sum tells, which is found ten times sooner."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        if any(cell is None or type(cell).__name__ in ("NAType", "NaTType") for cell in array.flat):
            raise DataError(
                f"{name} holds missing cells: fill or drop them (fl.read_table fills missing cells itself)"
            ) from None
        raise DataError(f"{name} holds text ({error}): use fl.read_table, or encode the text columns first") from None


def as_targets(y: Any) -> np.ndarray:
    """Targets as an array; a column (n, 1) is taken as (n,)."""
    try:
        array = np.asarray(y)
    except ValueError:
        raise DataError("the rows of y differ in length: give one label or number a row") from None
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def class_codes(classes: tuple[Any, ...], y: Any) -> np.ndarray:
    """The code of each label, (n,) int32; DataError for a label that is none of the classes."""
    known = {label: code for code, label in enumerate(classes)}
    given = as_targets(y)
    if given.ndim != 1:
        raise DataError(f"y has shape {given.shape}: one label a row is needed, shape (n,)")
    values = np.asarray(classes)
    if values.dtype.kind in "biuf" and given.dtype.kind in "biuf" and (values[:-1] < values[1:]).all():  # many at once
        codes = np.searchsorted(values, given).clip(max=len(values) - 1)
        if (values[codes] == given).all():
            return codes.astype(np.int32)
    labels = given.tolist()
    try:
        return np.array([known[label] for label in labels], dtype=np.int32)
    except KeyError as error:
        label = error.args[0]
        shown = ", ".join(map(repr, classes[:6])) + (" …" if len(classes) > 6 else "")
        raise DataError(
            f"y holds {label!r} in row {labels.index(label)}, which is none of the classes ({shown})"
        ) from None


def finite_targets(y: Any) -> np.ndarray:
    """Targets of a regression as float64; DataError for text, missing or infinite ones."""
    array = as_targets(y)
    if array.dtype.kind == "O":
        array = _from_objects(array, "y")
    if array.dtype.kind not in "fiub":
        kind = "text" if array.dtype.kind in "US" else array.dtype
        raise DataError(f"y holds {kind}, a regression needs numbers: use a classification loss, or another target")
    array = array.astype(np.float64)
    if not _is_finite(array):
        at = np.argwhere(~np.isfinite(array))[0]
        raise DataError(f"y holds {array[tuple(at)]} in row {at[0]}: leave out the rows without a target")
    return array


def row_weights(sample_weight: Any, class_weight: Any, y: np.ndarray, classes: tuple[Any, ...]) -> np.ndarray:
    """The weight of each row: its sample weight times the weight of its class.

    sample_weight  None, or one number >= 0 a row
    class_weight   None, "balanced" (n / (k · n_class)), or {class: weight}
    """
    try:
        w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"sample_weight={sample_weight!r}: give one number a row") from None
    if w.shape != (len(y),):
        raise DataError(f"sample_weight has shape {w.shape} for {len(y)} rows: give one number a row")
    if not np.isfinite(w).all() or (w < 0).any():
        raise DataError(f"sample_weight holds {w[~np.isfinite(w) | (w < 0)][0]}: weights must be finite and at least 0")
    if not w.any():
        raise DataError("every sample_weight is 0: no row is left to train on")
    if class_weight is None:
        return w
    if not classes:
        raise ConfigError("class_weight needs a classification target: drop it, or pass sample_weight")
    return w * _class_weights(class_weight, y, classes)[np.asarray(y, dtype=np.int64)]


def _class_weights(class_weight: Any, y: np.ndarray, classes: tuple[Any, ...]) -> np.ndarray:
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ConfigError(f'class_weight={class_weight!r}: pass "balanced" or {{class: weight}}')
        counts = np.bincount(np.asarray(y, dtype=np.int64), minlength=len(classes))
        return len(y) / (len(classes) * np.maximum(counts, 1))
    if not isinstance(class_weight, Mapping):
        raise ConfigError(f'class_weight={class_weight!r}: pass "balanced" or {{class: weight}}')
    by_text = {str(c): i for i, c in enumerate(classes)}
    weights = np.ones(len(classes))
    for label, weight in class_weight.items():
        if str(label) not in by_text:
            raise ConfigError(f"class_weight names the class {label!r}: {nearest(str(label), by_text)}")
        if not (isinstance(weight, (int, float, np.number)) and np.isfinite(weight) and weight >= 0):
            raise ConfigError(f"class_weight of {label!r} is {weight!r}: it must be a finite number of at least 0")
        weights[by_text[str(label)]] = weight
    return weights
