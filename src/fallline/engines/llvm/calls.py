"""Native kernels of the ops that are neither elementwise loops nor matrix products.

argmax, argsort, cumsum, take, put_add, take_along, add_along; all arrays are dense and row-major.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fallline.core.errors import DataError
from fallline.engines.llvm import indexing, scans, sorting
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.lines import View, lines_per_unit, units_of
from fallline.engines.llvm.plan import Fault
from fallline.graph.value import Value

COUNTED = 2**31 - 1  # entries along an axis that 32-bit places can name
TOGETHER = 64  # neighbouring lines that a unit keeps together where vectors run across them


class CallPlan(NamedTuple):
    """A kernel, and what it is to be called with.

    extents        of its arguments: [address of the output, addresses of the inputs in order, *extents, fault]
    units          parts of the work, at least 1
    scratch_bytes  memory of its own that each thread gives it
    faults         whether it reads indices: `fault` is then the address of an int64 that is 0 before the first call. A
                   kernel that meets an index outside the array makes the word another number (and goes on, inside the
                   array); `index_error` says what it means. Kernels that read no indices never look at `fault`.
    """

    kernel: Kernel
    extents: tuple[int, ...]
    units: int
    scratch_bytes: int = 0
    faults: bool = False


def plan_call(node: Value) -> CallPlan | None:
    """How the node is computed natively; None where it is not, and the reference engine has to."""
    plan = _PLANS.get(node.op.name)
    return None if plan is None else plan(node)


def fault_of(node: Value) -> Fault:
    """What is to be known of a node that looks up by index, should an index be outside."""
    target = node if node.op.name in ("put_add", "add_along") else node.args[0]
    axis = node.attrs.get("axis", 0)
    return Fault(node.op.name, axis, target.shape[axis])


def index_error(fault: Fault, word: int) -> Exception:
    """The error that the reference engine raises for the index that a kernel has found.

    word  the int64 at the address `fault`, not 0.  Of several such indices it names the lowest if one is negative, else
          the highest; np.add.at and np.take_along_axis name the first.
    """
    index, rows = indexing.fault_index(word), fault.rows
    if fault.op == "take":
        return DataError(f"take: row {index} of an array of {rows} rows: give indices from 0 to {rows - 1}")
    return IndexError(f"index {index} is out of bounds for axis {fault.axis} with size {rows}")


def _argmax(node: Value) -> CallPlan | None:
    x = node.args[0]
    view = View.of(x.shape, node.attrs["axis"])
    if not 0 < view.n <= COUNTED:
        return None
    return _scan(scans.argmax(x.dtype, view.inner == 1), view)


def _cumsum(node: Value) -> CallPlan | None:
    view = View.of(node.shape, node.attrs["axis"])
    if node.dtype.kind == "b" or view.n == 0:
        return None
    return _scan(scans.cumsum(node.dtype, view.inner == 1), view)


def _scan(kernel: Kernel, view: View) -> CallPlan:
    per_unit = lines_per_unit(view.lines, view.n, 1 if view.inner == 1 else TOGETHER)
    return CallPlan(kernel, (view.lines, view.n, max(1, view.inner), per_unit), units_of(view.lines, per_unit))


def _argsort(node: Value) -> CallPlan | None:
    x = node.args[0]
    view = View.of(x.shape, node.attrs["axis"])
    if view.n > COUNTED:
        return None
    merges = sorting.passes(view.n)
    per_unit = lines_per_unit(view.lines, view.n * (merges + 2))
    extents = (view.lines, view.n, max(1, view.inner), per_unit, merges)
    return CallPlan(
        sorting.argsort(x.dtype), extents, units_of(view.lines, per_unit), sorting.scratch_bytes(x.dtype, view.n)
    )


def _take(node: Value) -> CallPlan | None:
    x, indices = node.args
    rows, width = _rows(x.shape)
    if rows == 0 or not _are_indices(indices):
        return None
    per_unit = lines_per_unit(indices.size, width)
    kernel = indexing.take(x.dtype, indices.dtype)
    return CallPlan(kernel, (indices.size, rows, width, per_unit), units_of(indices.size, per_unit), faults=True)


def _put_add(node: Value) -> CallPlan | None:
    g, indices = node.args
    rows, width = _rows(node.shape)
    if not _are_indices(indices) or (rows == 0 and indices.size):
        return None
    # Each range of units passes over all indices, so a unit is worth its own rows and its share of what is added.
    work = width * (rows + indices.size) // max(1, rows)
    per_unit = lines_per_unit(rows, work)
    kernel = indexing.put_add(g.dtype, indices.dtype)
    return CallPlan(kernel, (indices.size, rows, width, per_unit), units_of(rows, per_unit), faults=True)


def _take_along(node: Value) -> CallPlan | None:
    return _along(node, indexing.take_along, node.args[0].shape[node.attrs["axis"]])


def _add_along(node: Value) -> CallPlan | None:
    return _along(node, indexing.add_along, node.attrs["size"])


def _along(node: Value, kernel_of: Callable[[np.dtype, np.dtype, bool], Kernel], size: int) -> CallPlan | None:
    x, indices = node.args
    view = View.of(indices.shape, node.attrs["axis"])
    if not _are_indices(indices) or (size == 0 and indices.size):
        return None
    work = view.n + (size if node.op.name == "add_along" else 0)
    per_unit = lines_per_unit(view.lines, work, 1 if view.inner == 1 else TOGETHER)
    extents = (view.lines, size, view.n, max(1, view.inner), per_unit)
    kernel = kernel_of(x.dtype, indices.dtype, view.inner == 1)
    return CallPlan(kernel, extents, units_of(view.lines, per_unit), faults=True)


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, entries of a row)."""
    return shape[0], math.prod(shape[1:])


def _are_indices(indices: Value) -> bool:
    return indices.dtype.kind in "iu"


_PLANS: dict[str, Callable[[Value], CallPlan | None]] = {
    "argmax": _argmax,
    "argsort": _argsort,
    "cumsum": _cumsum,
    "take": _take,
    "put_add": _put_add,
    "take_along": _take_along,
    "add_along": _add_along,
}
