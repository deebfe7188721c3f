"""Reductions over axes: sum, max, argmax, and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import DtypeError, ShapeError
from fallline.core.spec import Spec
from fallline.graph.op import as_operand, linear, primitive
from fallline.graph.sample import cases
from fallline.ops.compare import equal
from fallline.ops.shape import axis_of, broadcast_to, flip, reshape

Axes = int | tuple[int, ...] | None


def axes_of(axis: Axes, ndim: int, name: str) -> tuple[int, ...]:
    """The axes as sorted non-negative numbers; None means all."""
    given = range(ndim) if axis is None else (axis if isinstance(axis, (tuple, list)) else (axis,))
    found = sorted(axis_of(a, ndim, name) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"{name} along axes {axis}: name each axis once")
    return tuple(found)


def _reduce_front(name: str) -> Any:
    def front(apply: Any, x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
        x = as_operand(x)
        axes = axes_of(axis, x.ndim, name)
        _check_entries(x, axes, name)
        return apply(x, axis=axes, keepdims=bool(keepdims))

    return front


def _check_entries(x: Any, axes: tuple[int, ...], name: str) -> None:
    """A sum of booleans would be a boolean, and no entries have no maximum."""
    if name in ("sum", "cumsum") and x.dtype.kind == "b":
        raise DtypeError(f"{name} of booleans: count them with .astype('float32') or .astype('int64') first")
    if name in ("max", "argmax") and any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"{name} of no entries: the array has shape {x.shape}")


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape that is left when these axes are reduced."""
    if keepdims:
        return tuple(1 if i in axis else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axis)


def _reduce_infer(x: Spec, *, axis: tuple[int, ...], keepdims: bool) -> Spec:
    return x.with_shape(reduced_shape(x.shape, axis, keepdims))


def _spread(small: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """A reduced array broadcast back over the axes it was reduced over."""
    return broadcast_to(reshape(small, reduced_shape(x.shape, axis, True)), x.shape)


def _sum_forward(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.add.reduce(x, axis=axis, dtype=x.dtype, out=out, keepdims=keepdims)


sum = linear(
    "sum", _reduce_infer, _sum_forward, lambda g, x, axis, keepdims: _spread(g, x, axis), front=_reduce_front("sum"),
    sample=cases(
        lambda rng: ((rng.normal(size=(3, 4)),), {"axis": (0,), "keepdims": False}),
        lambda rng: ((rng.normal(size=(3, 4)),), {"axis": (0, 1), "keepdims": True}),
        lambda rng: ((rng.normal(size=(2, 3, 4)),), {"axis": (0, 2), "keepdims": False}),
    ),
)  # fmt: skip


def _max_forward(x: Any, out: Any = None, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.maximum.reduce(x, axis=axis, out=out, keepdims=keepdims)


def _winners(y: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """The share of each entry in the maximum: 1 for the winner, 1/k for k equal ones."""
    hit = equal(x, _spread(y, x, axis)).astype(x.dtype)
    return hit / _spread(sum(hit, axis=axis), x, axis)


def _max_vjp(g: Any, y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> tuple[Any, ...]:
    return (_spread(g, x, axis) * _winners(y, x, axis),)


def _max_jvp(tangents: tuple[Any, ...], y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    return None if tangents[0] is None else sum(tangents[0] * _winners(y, x, axis), axis=axis, keepdims=keepdims)


max = primitive(
    "max", _reduce_infer, _max_forward, vjp=_max_vjp, jvp=_max_jvp, front=_reduce_front("max"),
    sample=cases(
        lambda rng: ((rng.normal(size=(3, 4)),), {"axis": (1,), "keepdims": False}),
        lambda rng: ((rng.normal(size=(3, 4)),), {"axis": (0, 1), "keepdims": True}),
    ),
)  # fmt: skip


def _axis_front(name: str) -> Any:
    def front(apply: Any, x: Any, axis: int = -1) -> Any:
        x = as_operand(x)
        at = axis_of(axis, x.ndim, name)
        _check_entries(x, (at,), name)
        return apply(x, axis=at)

    return front


def _argmax_infer(x: Spec, *, axis: int) -> Spec:
    return Spec(reduced_shape(x.shape, (axis,), False), np.dtype("int64"))


argmax = primitive(
    "argmax", _argmax_infer, lambda x, out=None, *, axis: np.argmax(x, axis=axis, out=out), front=_axis_front("argmax"),
    sample=cases(lambda rng: ((rng.normal(size=(3, 4)),), {"axis": 1}), smooth=False),
)  # fmt: skip


def _argsort_forward(x: Any, out: Any = None, *, axis: int) -> Any:
    order = np.argsort(x, axis=axis, kind="stable")
    if out is None:
        return order
    np.copyto(out, order)
    return out


argsort = primitive(
    "argsort", lambda x, *, axis: x.with_dtype("int64"), _argsort_forward, front=_axis_front("argsort"),
    sample=cases(lambda rng: ((rng.normal(size=(3, 4)),), {"axis": 1}), smooth=False),
)  # fmt: skip

cumsum = linear(
    "cumsum",
    lambda x, *, axis: x,
    lambda x, out=None, *, axis: np.cumsum(x, axis=axis, out=out, dtype=x.dtype),
    lambda g, x, axis: flip(cumsum(flip(g, axis), axis=axis), axis),
    front=_axis_front("cumsum"),
    sample=cases(
        lambda rng: ((rng.normal(size=(3, 4)),), {"axis": 1}), lambda rng: ((rng.normal(size=(3, 4)),), {"axis": 0})
    ),
)

__all__ = ["argmax", "argsort", "cumsum", "max", "sum"]
