"""Entries by integer index: rows of a table, entries along an axis, and their transposes that add back."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import DataError, DtypeError, ShapeError
from fallline.core.spec import Spec
from fallline.graph.op import as_operand, linear
from fallline.graph.sample import cases
from fallline.ops.shape import axis_of, transpose


def _need_integers(indices: Any, name: str) -> None:
    if indices.dtype.kind not in "iu":
        raise DtypeError(f"{name}: indices must be integers, given {indices.dtype}")


def _take_front(apply: Any, x: Any, indices: Any, axis: int = 0) -> Any:
    x, indices = as_operand(x), as_operand(indices)
    _need_integers(indices, "take")
    if x.ndim == 0:
        raise ShapeError("take of a single number: it has no rows")
    at = axis_of(axis, x.ndim, "take")
    if at == 0:
        return apply(x, indices)
    if indices.ndim != 1:
        raise ShapeError(f"take along axis {at}: the indices must be one-dimensional, given {indices.shape}")
    order = (at, *(i for i in range(x.ndim) if i != at))
    back = tuple(int(i) for i in np.argsort(order))
    return transpose(apply(transpose(x, order), indices), back)


def _take_infer(x: Spec, indices: Spec) -> Spec:
    return x.with_shape(indices.shape + x.shape[1:])


def _take_forward(x: Any, indices: Any, out: Any = None) -> Any:
    """Every engine counts rows from the front, so a negative index is refused like one beyond the end."""
    if indices.size and not (indices.min() >= 0 and indices.max() < len(x)):
        wrong = int(indices.min() if indices.min() < 0 else indices.max())
        raise DataError(f"take: row {wrong} of an array of {len(x)} rows: give indices from 0 to {len(x) - 1}")
    return np.take(x, indices, axis=0, out=out, mode="clip")


take = linear(
    "take",
    _take_infer,
    _take_forward,
    lambda g, x, indices: put_add(g, indices, rows=x.shape[0]),
    front=_take_front,
    sample=cases(
        lambda rng: ((rng.normal(size=(5, 3)), np.array([4, 0, 0, 2])), {}),
        lambda rng: ((rng.normal(size=(5,)), np.array([[1, 1], [3, 4]])), {}),
    ),
)


def _put_infer(g: Spec, indices: Spec, *, rows: int) -> Spec:
    return g.with_shape((rows, *g.shape[indices.ndim :]))


def _put_forward(g: Any, indices: Any, out: Any = None, *, rows: int) -> Any:
    out = np.empty((rows, *g.shape[indices.ndim :]), g.dtype) if out is None else out
    out.fill(0)
    np.add.at(out, indices, g)
    return out


# The transpose of take: rows are added up where their index says.
put_add = linear(
    "put_add", _put_infer, _put_forward, lambda g, x, indices, rows: take(g, indices),
    sample=cases(lambda rng: ((rng.normal(size=(4, 3)), np.array([4, 0, 0, 2])), {"rows": 5})),
)  # fmt: skip


def _along_front(apply: Any, x: Any, indices: Any, axis: int = -1, **attrs: Any) -> Any:
    x, indices = as_operand(x), as_operand(indices)
    _need_integers(indices, "take_along")
    at = axis_of(axis, x.ndim, "take_along")
    if indices.ndim != x.ndim or any(
        a != b for k, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)) if k != at
    ):
        raise ShapeError(f"take_along of {x.shape} by {indices.shape}: all axes but axis {at} must be equal")
    return apply(x, indices, axis=at, **attrs)


def _along_forward(x: Any, indices: Any, out: Any = None, *, axis: int) -> Any:
    found = np.take_along_axis(x, indices, axis)
    if out is None:
        return found
    np.copyto(out, found)
    return out


def _add_along_forward(g: Any, indices: Any, out: Any = None, *, axis: int, size: int) -> Any:
    shape = tuple(size if k == axis else d for k, d in enumerate(g.shape))
    out = np.empty(shape, g.dtype) if out is None else out
    out.fill(0)
    where = list(np.ogrid[tuple(np.s_[:d] for d in indices.shape)])
    where[axis] = indices
    np.add.at(out, tuple(where), g)
    return out


take_along = linear(
    "take_along", lambda x, indices, *, axis: x.with_shape(indices.shape), _along_forward,
    lambda g, x, indices, axis: add_along(g, indices, axis=axis, size=x.shape[axis]), front=_along_front,
    sample=cases(lambda rng: ((rng.normal(size=(3, 5)), rng.integers(0, 5, (3, 2))), {"axis": 1})),
)  # fmt: skip

# The transpose of take_along.
add_along = linear(
    "add_along",
    lambda g, indices, *, axis, size: g.with_shape(tuple(size if k == axis else d for k, d in enumerate(g.shape))),
    _add_along_forward,
    lambda g, x, indices, axis, size: take_along(g, indices, axis=axis),
    front=_along_front,
    sample=cases(lambda rng: ((rng.normal(size=(3, 2)), rng.integers(0, 5, (3, 2))), {"axis": 1, "size": 5})),
)

__all__ = ["add_along", "put_add", "take", "take_along"]
