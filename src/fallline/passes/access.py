"""Access: which entries of which array a value reads, so that reshapes, transposes, slices and broadcasts are free."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from fallline.graph.value import Value

Shape = tuple[int, ...]


class Access(NamedTuple):
    """Entry (i, j, …) of a value is entry offset + i · strides[0] + j · strides[1] … of the array of `root`.

    root     the value whose array is read, which lies in memory row by row without gaps
    strides  one for each axis of the value, in entries; 0 where it is broadcast, negative where it is flipped
    """

    root: Value
    offset: int
    shape: Shape
    strides: Shape

    @property
    def dense(self) -> bool:
        """Whether the value is the root's array itself, entry by entry in order."""
        size = math.prod(self.shape)
        return self.offset == 0 and size == self.root.size and _same(self.shape, self.strides, row_major(self.shape))


def _same(shape: Shape, a: Shape, b: Shape) -> bool:
    return all(x == y for d, x, y in zip(shape, a, b, strict=True) if d > 1)


@cache
def row_major(shape: Shape) -> Shape:
    """The strides of an array that lies in memory row by row."""
    strides, step = [], 1
    for d in reversed(shape):
        strides.append(step)
        step *= d
    return tuple(reversed(strides))


def whole(value: Value) -> Access:
    """The access to an array of its own."""
    return Access(value, 0, value.shape, row_major(value.shape))


def through(node: Value, source: Access) -> Access | None:
    """The access of a view node, given the access of its argument; None where only a copy can give it."""
    root, offset, shape, strides = source
    name, attrs = node.op.name, node.attrs
    if name == "reshape":
        found = _reshaped(shape, strides, node.shape)
        return None if found is None else Access(root, offset, node.shape, found)
    if name == "transpose":
        return Access(root, offset, node.shape, tuple(strides[a] for a in attrs["axes"]))
    if name == "broadcast_to":
        extra = len(node.shape) - len(shape)
        kept = tuple(
            0 if d == 1 or node.shape[extra + k] != d else s
            for k, (d, s) in enumerate(zip(shape, strides, strict=True))
        )
        return Access(root, offset, node.shape, (0,) * extra + kept)
    if name == "slice":
        bounds = attrs["bounds"]
        moved = offset + sum(b[0] * s for b, s in zip(bounds, strides, strict=True)) if node.size else 0
        return Access(root, moved, node.shape, tuple(b[2] * s for b, s in zip(bounds, strides, strict=True)))
    if name == "flip":
        axis = attrs["axis"]
        moved = offset + (shape[axis] - 1) * strides[axis] if node.size else 0
        return Access(root, moved, node.shape, tuple(-s if k == axis else s for k, s in enumerate(strides)))
    return None


def _reshaped(shape: Shape, strides: Shape, wanted: Shape) -> Shape | None:
    """The strides after a reshape, or None where the entries do not lie evenly any more."""
    if math.prod(shape) == 0:
        return row_major(wanted)
    old = [(d, s) for d, s in zip(shape, strides, strict=True) if d != 1]
    found: list[int] = []
    at = 0
    k = 0
    while k < len(wanted):
        if wanted[k] == 1:
            found.append(0)
            k += 1
            continue
        taken, until, have = 1, at, 1
        end = k
        while True:  # the shortest runs of old and new axes with the same number of entries
            if have < taken or have == 1 == taken:
                if until == len(old):
                    return None
                have *= old[until][0]
                until += 1
            if have == taken:
                break
            if taken < have:
                taken *= wanted[end]
                end += 1
        run = old[at:until]
        if any(a[1] != b[0] * b[1] for a, b in pairwise(run)):
            return None
        step = run[-1][1]
        steps = []
        for d in reversed(wanted[k:end]):
            steps.append(step)
            step *= d
        found.extend(reversed(steps))
        at, k = until, end
    return tuple(found)


__all__ = ["Access", "row_major", "through", "whole"]
