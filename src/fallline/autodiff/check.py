"""The gradient checker: derivatives by the graph against central differences, entry by entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.autodiff.functions import value_and_grad
from fallline.autodiff.numeric import best_step, numeric_gradient
from fallline.core.errors import ConfigError
from fallline.core.tree import leaves, map_leaves
from fallline.core.views import VIEWS

# Relative error that is taken as agreement: above the error of central differences at the best step, which is
# about eps^(2/3), and far below that of a wrong rule.
TOLERANCES = {"float64": 1e-6, "float32": 1e-2}


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found; true when every entry agrees.

    error     the largest |analytic - numeric| / max(|analytic|, |numeric|, floor) of all entries; below the
              floor both are rounding noise
    where     the entry with that error: argument, path and index
    checked   number of entries that were compared
    """

    ok: bool
    error: float
    tolerance: float
    where: str
    analytic: float
    numeric: float
    checked: int
    mode: str = "reverse"

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        verdict = "gradients agree" if self.ok else "gradients differ"
        worst = f"worst relative error {self.error:.2g} (tolerance {self.tolerance:.2g})"
        entries = "1 entry" if self.checked == 1 else f"{self.checked} entries"
        numbers = f"{self.mode} {self.analytic:.9g}, numeric {self.numeric:.9g}"
        return f"{verdict}: {entries}, {worst} at {self.where}: {numbers}"


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    wrt: int | Sequence[int] | None = None,
    mode: str = "reverse",
    step: float | None = None,
    tolerance: float | None = None,
    loss: Any = None,
) -> GradientReport:
    """Compares df/dx with (f(x + h) - f(x - h)) / 2h for every entry of the arguments, and reports the worst one.

        check_gradients(f, x, …)                    a function of ops
        check_gradients(model, X, y)                a fitted model: dJ/dw of the mean loss J by every weight
        check_gradients(layer, X, y, loss="bce")    a filled layer with a loss, in the same way

    The derivatives by the weights are checked in float64, in evaluation mode; each weight costs two runs.

    f          a function with one number as its result, smooth near the arguments (no kink within h), or what has a
               method `objective(*args)` that gives such a function and the weights to put in
    args       numbers, arrays, trees of them, models
    wrt        positions to check (default: every argument that holds floats and no integer arrays)
    step       h for numbers of size 1 (default: the cube root of the rounding unit of each array's dtype)
    tolerance  of the relative error (default: 1e-6 in float64, 1e-2 in float32)
    loss       of a layer: a loss or its name
    """
    if loss is not None:
        f = VIEWS["model"](f, loss, *args)
    if hasattr(f, "objective"):
        J, weights = f.objective(*args)
        report = check_gradients(J, weights, mode=mode, step=step, tolerance=tolerance)
        return dataclasses.replace(report, where=report.where.removeprefix("argument 0, "))
    positions = _float_positions(args) if wrt is None else ((wrt,) if isinstance(wrt, int) else tuple(wrt))
    if not any(np.size(leaf) for p in positions for leaf in leaves(args[p], "param").values()):
        raise ConfigError("check_gradients found no floats in the arguments: give an array of floats, or wrt=")
    given = list(args)
    for p in positions:
        given[p] = map_leaves(
            lambda _, leaf: np.asarray(leaf, float if isinstance(leaf, (int, float)) else None), args[p]
        )

    def chosen(*xs: Any) -> Any:
        return f(*(xs[positions.index(i)] if i in positions else a for i, a in enumerate(given)))

    chosen.__name__ = getattr(f, "__name__", "the function")
    xs = tuple(given[p] for p in positions)
    value, analytic = value_and_grad(chosen, tuple(range(len(xs))), mode=mode)(*xs)
    found, theirs = leaves(analytic, "param"), leaves(numeric_gradient(chosen, xs, step), "param")
    limits = {path: tolerance or TOLERANCES[str(a.dtype)] for path, a in found.items()}
    reports = [_worst(path, a, theirs[path], float(value), limits[path], step) for path, a in found.items() if a.size]
    error, path, index, ours, numeric = max(reports, key=lambda r: r[0] / limits[r[1]])
    at, _, rest = path.partition(".")
    where = f"argument {positions[int(at)]}" + (f", {rest}" if rest else "") + (str(list(index)) if index else "")
    checked = sum(a.size for a in found.values())
    return GradientReport(error <= limits[path], error, limits[path], where, ours, numeric, checked, mode)


def _worst(
    path: str, analytic: Any, numeric: np.ndarray, value: float, tolerance: float, step: float | None
) -> tuple[float, str, tuple[int, ...], float, float]:
    """The entry of one array with the largest error: error, path, index, both derivatives."""
    ours, theirs = np.asarray(analytic, np.float64), np.asarray(numeric, np.float64)
    rounding = float(np.finfo(analytic.dtype).eps) * max(1.0, abs(value)) / (step or best_step(analytic.dtype))
    size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), 10 * rounding / tolerance)
    errors = np.where(np.isfinite(ours) & np.isfinite(theirs), np.abs(ours - theirs) / size, np.inf)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
    return float(errors[index]), path, index, float(ours[index]), float(theirs[index])


def _float_positions(args: Sequence[Any]) -> tuple[int, ...]:
    """The arguments that hold floats only (buffers aside)."""
    kinds = [{np.asarray(leaf).dtype.kind for leaf in leaves(a, "param").values()} for a in args]
    return tuple(i for i, found in enumerate(kinds) if found == {"f"})


__all__ = ["GradientReport", "check_gradients"]
