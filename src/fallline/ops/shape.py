"""Ops that move entries without changing them: reshape, transpose, broadcast, slice, flip, concatenate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.errors import ShapeError
from fallline.core.spec import Spec
from fallline.graph.op import OPS, as_operand, linear, primitive, promote
from fallline.graph.sample import cases
from fallline.graph.value import Value

Shape = tuple[int, ...]


def axis_of(axis: Any, ndim: int, name: str) -> int:
    """The axis as a number from 0 on; ShapeError where the array has no such axis."""
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{name} along axis {axis}: the array has {ndim} axes")
    return int(axis) % ndim


def _reshape_front(apply: Any, x: Any, shape: Any) -> Any:
    x = as_operand(x)
    wanted = [int(d) for d in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    size = math.prod(x.shape)
    if wanted.count(-1) == 1:
        rest = math.prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = size // rest if rest else 0
    if math.prod(wanted) != size or min(wanted, default=0) < 0:
        raise ShapeError(f"reshape of {x.shape} to {shape}: {size} entries do not fit")
    return x if tuple(wanted) == x.shape else apply(x, shape=tuple(wanted))


reshape = linear(
    "reshape", lambda x, *, shape: x.with_shape(shape), lambda x, out=None, *, shape: np.reshape(x, shape),
    lambda g, x, shape: reshape(g, x.shape), view=True, front=_reshape_front,
    sample=cases(lambda rng: ((rng.normal(size=(3, 4)),), {"shape": (2, 6)})),
)  # fmt: skip


def _transpose_front(apply: Any, x: Any, axes: Any = None) -> Any:
    x = as_operand(x)
    named = reversed(range(x.ndim)) if axes is None else axes
    order = tuple(axis_of(a, x.ndim, "transpose") for a in named)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose of {x.shape} by {tuple(axes)}: name each of the {x.ndim} axes once")
    return x if order == tuple(range(x.ndim)) else apply(x, axes=order)


def _untranspose(g: Any, x: Any, axes: Shape) -> Any:
    return transpose(g, tuple(int(a) for a in np.argsort(axes)))


transpose = linear(
    "transpose",
    lambda x, *, axes: x.with_shape(tuple(x.shape[a] for a in axes)),
    lambda x, out=None, *, axes: np.transpose(x, axes),
    _untranspose,
    view=True,
    front=_transpose_front,
    sample=cases(
        lambda rng: ((rng.normal(size=(3, 4)),), {"axes": (1, 0)}),
        lambda rng: ((rng.normal(size=(2, 3, 4)),), {"axes": (2, 0, 1)}),
    ),
)


def _broadcast_front(apply: Any, x: Any, shape: Shape) -> Any:
    x, shape = as_operand(x), tuple([int(d) for d in shape])
    if not _fits(x.shape, shape):
        raise ShapeError(f"broadcast of {x.shape} to {shape}: each axis must be equal or 1")
    return x if x.shape == shape else apply(x, shape=shape)


def _fits(small: Shape, shape: Shape) -> bool:
    """Whether an array of the first shape can be repeated to fill the second."""
    behind = shape[len(shape) - len(small) :]
    return len(small) <= len(shape) and all(d in (1, n) for d, n in zip(small, behind, strict=True))


def _unbroadcast(g: Any, x: Any, shape: Shape) -> Any:
    extra = len(shape) - len(x.shape)
    axes = tuple(i for i, d in enumerate(shape) if i < extra or x.shape[i - extra] != d)
    return reshape(OPS["sum"](g, axis=axes), x.shape)


broadcast_to = linear(
    "broadcast_to", lambda x, *, shape: x.with_shape(shape), lambda x, out=None, *, shape: np.broadcast_to(x, shape),
    _unbroadcast, view=True, front=_broadcast_front,
    sample=cases(
        lambda rng: ((rng.normal(size=(4,)),), {"shape": (3, 4)}),
        lambda rng: ((rng.normal(size=(3, 1)),), {"shape": (2, 3, 4)}),
        lambda rng: ((rng.normal(size=()),), {"shape": (3,)}),
    ),
)  # fmt: skip

flip = linear(
    "flip",
    lambda x, *, axis: x,
    lambda x, out=None, *, axis: np.flip(x, axis),
    lambda g, x, axis: flip(g, axis),
    view=True,
    front=lambda apply, x, axis=-1: apply(as_operand(x), axis=axis_of(axis, as_operand(x).ndim, "flip")),
    sample=cases(lambda rng: ((rng.normal(size=(3, 4)),), {"axis": 0})),
)

Bounds = tuple[tuple[int, int, int], ...]  # start, stop, step (>= 1) of each axis


def _slice_infer(x: Spec, *, bounds: Bounds) -> Spec:
    return x.with_shape(tuple(len(range(*b)) for b in bounds))


def _as_slices(bounds: Bounds) -> tuple[slice, ...]:
    return tuple(np.s_[a:b:c] for a, b, c in bounds)


def _slice_front(apply: Any, x: Any, index: Any) -> Any:
    """NumPy's basic indexing (integers, slices, None, …), and rows by an integer array."""
    x = as_operand(x)
    items = list(index) if isinstance(index, tuple) else [index]
    if len(items) == 1 and (isinstance(items[0], Value) or (isinstance(items[0], np.ndarray) and items[0].ndim)):
        return OPS["take"](x, items[0])
    named = len([i for i in items if i is not None and i is not Ellipsis])
    if named > x.ndim:
        raise ShapeError(f"{named} indices for an array of shape {x.shape}")
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    items[at : at + 1] = [np.s_[:]] * (x.ndim - named)
    bounds: list[tuple[int, int, int]] = []
    flips, shape = [], []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        axis = len(bounds)
        found = _bound(item, x.shape, axis)
        if found[2] < 0:
            flips.append(axis)
            n = len(range(*found))
            found = (found[0] + (n - 1) * found[2], found[0] + 1, -found[2]) if n else (0, 0, 1)
        bounds.append(found)
        if isinstance(item, slice):
            shape.append(len(range(*found)))
    whole = all(b == (0, d, 1) for b, d in zip(bounds, x.shape, strict=True))
    part = x if whole else apply(x, bounds=tuple(bounds))
    for axis in flips:
        part = flip(part, axis)
    return reshape(part, tuple(shape))


def _bound(item: Any, shape: Shape, axis: int) -> tuple[int, int, int]:
    size = shape[axis]
    if isinstance(item, slice):
        return item.indices(size)
    if not isinstance(item, (int, np.integer)) or isinstance(item, bool):
        raise ShapeError(f"index {item!r}: use integers, slices, None or …; take(x, rows) for a list of rows")
    if not -size <= item < size:
        raise IndexError(f"index {item} of axis {axis}: the array has shape {shape}")
    return int(item) % size, int(item) % size + 1, 1


slice_of = linear(
    "slice",
    _slice_infer,
    lambda x, out=None, *, bounds: x[_as_slices(bounds)],
    lambda g, x, bounds: unslice(g, bounds=bounds, shape=x.shape),
    view=True,
    front=_slice_front,
    sample=cases(
        lambda rng: ((rng.normal(size=(5, 6)),), {"index": np.s_[1:4, ::2]}),
        lambda rng: ((rng.normal(size=(5, 6)),), {"index": np.s_[::-2]}),
    ),
)


def _unslice_forward(x: Any, out: Any = None, *, bounds: Bounds, shape: Shape) -> Any:
    out = np.empty(shape, x.dtype) if out is None else out
    out.fill(0)
    out[_as_slices(bounds)] = x
    return out


# The transpose of slice: an array of zeros with x at the given places.
unslice = linear(
    "unslice",
    lambda x, *, bounds, shape: x.with_shape(shape),
    _unslice_forward,
    lambda g, x, bounds, shape: slice_of.apply(g, bounds=bounds),
    sample=cases(lambda rng: ((rng.normal(size=(2, 3)),), {"bounds": ((1, 4, 2), (0, 3, 1)), "shape": (5, 4)})),
)


def _concatenate_front(apply: Any, parts: Any, axis: int = 0) -> Any:
    parts = promote(tuple(as_operand(p) for p in parts), "concatenate")
    if not parts:
        raise ShapeError("concatenate of no arrays: give at least one")
    at = axis_of(axis, parts[0].ndim, "concatenate")
    first = parts[0].shape
    for p in parts[1:]:
        if p.ndim != len(first) or any(a != b for k, (a, b) in enumerate(zip(p.shape, first, strict=True)) if k != at):
            raise ShapeError(f"concatenate of {first} and {p.shape} along axis {at}: the other axes must be equal")
    return parts[0] if len(parts) == 1 else apply(*parts, axis=at)


def _concatenate_infer(*parts: Spec, axis: int) -> Spec:
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    return parts[0].with_shape(tuple(shape))


def _concatenate_vjp(g: Any, y: Any, *parts: Any, axis: int) -> tuple[Any, ...]:
    grads, start = [], 0
    for p in parts:
        stop = start + p.shape[axis]
        grads.append(slice_of(g, (np.s_[:],) * axis + (np.s_[start:stop],)))
        start = stop
    return tuple(grads)


def _concatenate_jvp(tangents: tuple[Any, ...], y: Any, *parts: Any, axis: int) -> Any:
    if all(t is None for t in tangents):
        return None
    return concatenate(
        [np.zeros(p.shape, p.dtype) if t is None else t for t, p in zip(tangents, parts, strict=True)], axis
    )


concatenate = primitive(
    "concatenate", _concatenate_infer, lambda *parts, out=None, axis: np.concatenate(parts, axis=axis, out=out),
    vjp=_concatenate_vjp, jvp=_concatenate_jvp, front=_concatenate_front,
    sample=cases(lambda rng: (([rng.normal(size=(3, 2)), rng.normal(size=(3, 4))],), {"axis": 1})),
)  # fmt: skip


def expand_dims(x: Any, axis: int) -> Any:
    """The same entries with an axis of length 1 inserted."""
    shape = list(as_operand(x).shape)
    shape.insert(axis_of(axis, len(shape) + 1, "expand_dims"), 1)
    return reshape(x, tuple(shape))


def squeeze(x: Any, axis: int) -> Any:
    """The same entries without an axis of length 1."""
    shape = list(as_operand(x).shape)
    at = axis_of(axis, len(shape), "squeeze")
    if shape[at] != 1:
        raise ShapeError(f"squeeze of axis {axis} of {tuple(shape)}: its length must be 1")
    del shape[at]
    return reshape(x, tuple(shape))


def stack(parts: Any, axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis."""
    return concatenate([expand_dims(p, axis) for p in parts], axis)


__all__ = [
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "flip",
    "reshape",
    "slice_of",
    "squeeze",
    "stack",
    "transpose",
    "unslice",
]
