"""The gradient checker: derivatives by the graph against central differences, entry by entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fallline.autodiff.functions import positions_of, value_and_grad
from fallline.autodiff.numeric import best_step, numeric_gradient
from fallline.core.errors import ConfigError
from fallline.core.tree import leaves, map_leaves
from fallline.core.views import VIEWS

# Relative error that is taken as agreement: above the error of central differences at the best step, which is
# about eps^(2/3), and far below that of a wrong rule.
TOLERANCES = {"float64": 1e-6, "float32": 1e-2}


@dataclasses.dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradients` found; true when every entry agrees.

    error     the largest |analytic - numeric| / max(|analytic|, |numeric|, noise / tolerance) of all entries
    where     the entry with that error: argument, path and index
    checked   number of entries that were compared
    noise     what a difference at that entry may come to by rounding alone, 10 ε max(1, |f|) / h with the rounding
              unit ε: an error up to this size is not seen, one above it is, unless it is within the tolerance
    seen      False where every derivative is within the noise (and not 0), so that nothing could be compared
    """

    ok: bool
    error: float
    tolerance: float
    where: str
    analytic: float
    numeric: float
    checked: int
    mode: str = "reverse"
    noise: float = 0.0
    seen: bool = True

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        verdict = "gradients agree" if self.ok else "gradients differ"
        worst = f"worst relative error {self.error:.2g} (tolerance {self.tolerance:.2g})"
        entries = "1 entry" if self.checked == 1 else f"{self.checked} entries"
        numbers = f"{self.mode} {self.analytic:.9g}, numeric {self.numeric:.9g}"
        blind = f"; no derivative stands out of the noise of {self.noise:.2g}: multiply the function by a large number"
        return f"{verdict}: {entries}, {worst} at {self.where}: {numbers}" + ("" if self.seen else blind)


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

    The derivatives by the weights are checked in float64, in evaluation mode; each weight costs two runs. An entry
    agrees where the difference is within the tolerance, or within the rounding noise of (f(x + h) - f(x - h)) / 2h:
    for f near 1 in float64 that is 3.7e-10, so a wrong entry of 1e-8 is found beside others of 1, one of 1e-10 is not.

    f          a function with one number as its result, smooth near the arguments (no kink within h), or what has a
               method `objective(*args)` that gives such a function and the weights to put in
    args       numbers, arrays, trees of them, models
    wrt        positions to check (default: every argument that holds floats and no integer arrays)
    step       h, the same for all entries (default: the cube root of the rounding unit of each array's dtype,
               times max(1, |x|) of each entry)
    tolerance  of the relative error (default: 1e-6 in float64, 1e-2 in float32)
    loss       of a layer: a loss or its name
    """
    if loss is not None:
        f = VIEWS["model"](f, loss, *args)
    f = getattr(f, "model", f) if not callable(f) else f  # of a Fit
    if hasattr(f, "objective"):
        J, weights = f.objective(*args)
        report = check_gradients(J, weights, mode=mode, step=step, tolerance=tolerance)
        return dataclasses.replace(report, where=report.where.removeprefix("argument 0, "))
    _need_positive(step=step, tolerance=tolerance)
    positions = _float_positions(args) if wrt is None else positions_of(wrt, args)
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
    _need_movement(xs, step)
    value, analytic = value_and_grad(chosen, tuple(range(len(xs))), mode=mode)(*xs)
    theirs = leaves(numeric_gradient(chosen, xs, step), "param")
    pairs = {path: (ours, theirs[path]) for path, ours in leaves(analytic, "param").items() if ours.size}
    found = [_compared(path, *pair, float(value), tolerance, step) for path, pair in pairs.items()]
    return _report(found, positions, sum(ours.size for ours, _ in pairs.values()), mode)


class _Compared(NamedTuple):
    """One array: its entry with the largest error, and the largest derivative of all its entries."""

    path: str
    error: float
    tolerance: float
    at: tuple[int, ...]
    analytic: float
    numeric: float
    noise: float
    largest: float


def _compared(
    path: str, analytic: Any, numeric: np.ndarray, value: float, tolerance: float | None, step: float | None
) -> _Compared:
    tolerance = TOLERANCES[str(analytic.dtype)] if tolerance is None else tolerance
    ours, theirs = np.asarray(analytic, np.float64), np.asarray(numeric, np.float64)
    h = best_step(analytic.dtype) if step is None else step
    noise = 10 * float(np.finfo(analytic.dtype).eps) * max(1.0, abs(value)) / h
    sizes = np.maximum(np.abs(ours), np.abs(theirs))
    finite = np.isfinite(ours) & np.isfinite(theirs)
    errors = np.where(finite, np.abs(ours - theirs) / np.maximum(sizes, noise / tolerance), np.inf)
    at = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
    largest = float(np.max(np.where(finite, sizes, np.inf)))
    return _Compared(path, float(errors[at]), tolerance, at, float(ours[at]), float(theirs[at]), noise, largest)


def _report(found: Sequence[_Compared], positions: Sequence[int], checked: int, mode: str) -> GradientReport:
    worst = max(found, key=lambda one: one.error / one.tolerance)
    number, _, rest = worst.path.partition(".")
    where = f"argument {positions[int(number)]}" + (f", {rest}" if rest else "")
    where += str(list(worst.at)) if worst.at else ""
    numbers = worst.error, worst.tolerance, where, worst.analytic, worst.numeric
    seen = all(one.largest == 0 for one in found) or any(one.largest > one.noise for one in found)
    return GradientReport(worst.error <= worst.tolerance, *numbers, checked, mode, worst.noise, seen)


def _need_positive(**given: float | None) -> None:
    for name, number in given.items():
        if number is not None and not 0 < number < np.inf:
            raise ConfigError(f"{name}={number:g}: give a number above 0, or leave it out")


def _need_movement(xs: tuple[Any, ...], step: float | None) -> None:
    """ConfigError for a step so small that x + h is x."""
    for leaf in leaves(xs, "param").values() if step is not None else ():
        if leaf.dtype.kind == "f" and leaf.size and not np.all(leaf + np.asarray(step, leaf.dtype) != leaf):
            least = float(np.max(np.spacing(np.abs(leaf))))
            raise ConfigError(
                f"step={step:g} changes no digit of {leaf.dtype} numbers here: give more than {least:.1g}"
            )


def _float_positions(args: Sequence[Any]) -> tuple[int, ...]:
    """The arguments that hold floats only (buffers aside)."""
    kinds = [{np.asarray(leaf).dtype.kind for leaf in leaves(a, "param").values()} for a in args]
    return tuple(i for i, found in enumerate(kinds) if found == {"f"})


__all__ = ["GradientReport", "check_gradients"]
