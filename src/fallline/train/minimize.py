"""minimize: the lowest value of any function of arrays, by every method that `fit` trains with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.numbers import counted, number_text
from fallline.core.record import records_of
from fallline.core.tree import leaves
from fallline.engines.engine import Engine
from fallline.optim.augmented_lagrangian import AugmentedLagrangian
from fallline.optim.constraints import as_constraints
from fallline.optim.lbfgs import LBFGS
from fallline.optim.levenberg_marquardt import LevenbergMarquardt
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.projection import residual
from fallline.optim.schedules import Rate
from fallline.optim.solver import Solver, blind
from fallline.train.events import Consumer, EpochEnded, tell
from fallline.train.function import FunctionObjective, Stage, chosen_method, float_leaves, stages
from fallline.train.history import History
from fallline.train.trail import joined

FLAT = 1e-6  # the gradient's norm at which an optimizer's run ends, which does not know an end itself
FLATTER = 1e-3  # share of the first gradient's norm, to which a run must have come that ends for rounding
DIGITS = 8
LISTED = 10  # entries of a vector that are shown one by one


@dataclass(frozen=True, eq=False)
class Minimum:
    """What `minimize` found; it prints as a short account.

    x              the best point, in the structure of the start;  value  of the function there, l1 included
    gradient_norm  ‖g‖ at x, which is 0 at a minimum: between bounds and with l1 that of w - prox(w - g); None for a
                   method without gradients
    iterations     steps of an optimizer, iterations of a solver
    evaluations    by kind: "function_evaluations" (f alone), "gradient_evaluations" (f and its gradient),
                   "hessian_products"
    reason         why it ended;  converged  whether at a minimum, as far as the method can tell
    history        a row for each iteration ("epoch" counts them): value, gradient_norm, evaluations, the method's notes
    violation      with constraints: how far the worst of them is from being satisfied
    """

    x: Any
    value: float
    gradient_norm: float | None
    iterations: int
    evaluations: Mapping[str, int]
    reason: str
    converged: bool
    method: Minimizer
    history: History = field(repr=False)
    violation: float | None = None

    @property
    def function_evaluations(self) -> int:
        """How often f alone was asked for."""
        return self.evaluations["function_evaluations"]

    @property
    def gradient_evaluations(self) -> int:
        """How often f was asked for with its gradient."""
        return self.evaluations["gradient_evaluations"]

    def __str__(self) -> str:
        facts = {"x": _shown(self.x), "value": number_text(self.value, DIGITS)}
        if self.gradient_norm is not None:
            facts["gradient norm"] = number_text(self.gradient_norm, 3)
        if self.violation is not None:
            facts["violation"] = number_text(self.violation, 3)
        spent = [counted(n, name.replace("_", " ").removesuffix("s")) for name, n in self.evaluations.items() if n]
        facts["spent"] = ", ".join([counted(self.iterations, "iteration"), *spent])
        facts["ended"] = self.reason
        head = f"{'Minimum' if self.converged else 'Not yet a minimum'} by {self.method!r}"
        return "\n".join([head, *(f"  {name:<14}{text}" for name, text in facts.items())])

    def __repr__(self) -> str:
        end = "converged" if self.converged else "not converged"
        return f"Minimum(x={_shown(self.x)}, value={number_text(self.value, DIGITS)}, {end}: {self.reason})"


def minimize(
    f: Callable[..., Any],
    x0: Any,
    *,
    optimizer: str | Minimizer = "lbfgs",
    learning_rate: Rate | None = None,
    iterations: int = 1000,
    tolerance: float | None = None,
    bounds: tuple[Any, Any] | None = None,
    constraints: Any = (),
    l1: Any = 0.0,
    seed: int = 0,
    engine: str | Engine = "auto",
    callbacks: Sequence[Consumer] = (),
) -> Minimum:
    """The lowest value of f near x0, or between the bounds.

    f              of x, with one number as its result; written with Python's operators and fl's ops, so that it has
                   derivatives. A method without gradients takes any Python function. For "levenberg_marquardt" f gives
                   the array of residuals r, and ½ Σ r² is minimised
    x0             a number, an array, or a tuple, dict or network of arrays; f and the result have the same structure.
                   A list of numbers is an array
    optimizer      a solver: "lbfgs", "newton_cg", "newton", "levenberg_marquardt", "coordinate_descent", "fista"; one
                   without gradients: "random"; or an optimizer of small steps: "adam"
    learning_rate  of an optimizer: a number or a schedule, of which every step is an epoch; None is 0.1, or its own
                   where it is given with its settings
    iterations     at most
    tolerance      the gradient's norm at which the run ends; None is the solver's own, and 1e-6 for optimizers
    bounds         (low, high), between which x stays: numbers, arrays or trees like x0; None on a side without any
    constraints    [fl.Equal(g, 1.0), fl.AtLeast(h, 0.0), fl.AtMost(h, 2.0)], functions like f: for "lbfgs", which then
                   is the inner solver of the augmented Lagrangian
    l1             strength of l1 · Σ |x|, added to f: a number, or a tree like x0. "fista", "coordinate_descent" and
                   "lbfgs" know its kinks
    seed           of a method that draws random numbers
    engine         what computes f's derivatives; "auto" is NumPy for small arrays and the fastest one for large ones
    callbacks      called with every row of the history as an EpochEnded event; one that answers Stop(reason) ends it
    raises         ConfigError; NonFiniteError where f(x0) is not finite
    """
    method = _method(chosen_method(optimizer, learning_rate), tolerance, as_constraints(constraints))
    if isinstance(iterations, bool) or not isinstance(iterations, (int, np.integer)) or iterations < 0:
        raise ConfigError(f"iterations={iterations!r}: give a whole number of at least 0")
    like = float_leaves(x0, "x0")
    if not leaves(like, "param"):
        raise ConfigError(f"x0={x0!r} holds no numbers: there is nothing to change")
    residuals = isinstance(method, LevenbergMarquardt)
    objective = _Bounded(f, like, residuals=residuals, engine=engine)
    objective.l1 = _vector(l1, objective, "l1") if np.any(joined(leaves(float_leaves(l1, "l1")).values())) else 0.0
    if (np.asarray(objective.l1) < 0).any():
        raise ConfigError(f"l1={l1!r}: a strength must be at least 0")
    if bounds is not None:
        _set_bounds(objective, method, bounds)
    return _descended(method, objective, int(iterations), tolerance, seed, callbacks)


def _descended(
    method: Minimizer, objective: _Bounded, iterations: int, tolerance: float | None, seed: int,
    callbacks: Sequence[Consumer],
) -> Minimum:  # fmt: skip
    """The run itself."""
    history, best, reason = History(), None, ""
    flat = FLAT if tolerance is None else tolerance
    for k, stage in enumerate(stages(method, objective, iterations, seed)):
        if not math.isfinite(stage.value):
            if best is None:
                raise NonFiniteError(f"f is {stage.value} at x0: start where it is finite")
            reason = f"f is {stage.value} after {counted(k, 'iteration')}{_cure(method)}"
            break
        size = _size(objective, stage)
        history.append(_row(k, stage, size, objective))
        settled = isinstance(method, Optimizer) and size is not None and size <= flat
        if best is None or isinstance(method, Solver) or stage.value < best[0].value or settled:
            best = stage, size
        done = stage.done or (f"the gradient norm {size:.2g} is within the tolerance {flat:g}" if settled else "")
        stopped = tell(callbacks, EpochEnded(history[-1]))
        reason = stopped.reason if stopped else done
        if reason or k >= iterations:
            break
    assert best is not None
    found, size = best
    counts = {name: int(n) for name, n in objective.counts.items()}
    sees = getattr(method, "takes_bounds", not method.uses_gradient)
    done_all = f"{counted(iterations, 'iteration')} {'is' if iterations == 1 else 'are'} done"
    ending = reason or done_all + ("" if sees else blind(objective))
    violation = found.notes.get("violation")
    flatter = size is None or size <= FLATTER * (1 + (history[0].get("gradient_norm") or 0.0))
    converged = bool(done) and flatter and not (violation is not None and violation > method_tolerance(method))
    return Minimum(
        objective.restored(found.w), found.value, size, len(history) - 1, counts, ending, converged, method, history,
        violation,
    )  # fmt: skip


def method_tolerance(method: Minimizer) -> float:
    """The method's own tolerance; infinite where it has none."""
    return float(getattr(method, "tolerance", math.inf))


def _row(k: int, stage: Stage, size: float | None, objective: FunctionObjective) -> dict[str, Any]:
    row: dict[str, Any] = {"epoch": k, "value": stage.value}
    if size is not None:
        row["gradient_norm"] = size
    counts = {name: n for name, n in objective.counts.items() if n}
    return row | {"evaluations": objective.evaluations, **counts, **stage.notes}


def _size(objective: FunctionObjective, stage: Stage) -> float | None:
    """The norm of what is 0 at a minimum: of the gradient, where there are neither bounds nor an L1 penalty."""
    if stage.gradient is None or "optimality" in stage.notes:  # the method knows better: constraints, proximal steps
        return stage.notes.get("optimality")
    smooth = stage.gradient - objective.l1 * np.sign(stage.w)
    return float(np.linalg.norm(residual(stage.w, smooth, objective.l1, objective.bounds)))


def _cure(method: Minimizer) -> str:
    return ": take a lower learning_rate" if isinstance(method, Optimizer) else ""


def _method(method: Minimizer, tolerance: float | None, constraints: tuple[Any, ...]) -> Minimizer:
    """The method with that tolerance, and with these constraints."""
    if tolerance is not None and not tolerance >= 0:
        raise ConfigError(f"tolerance={tolerance!r}: give a norm of the gradient of at least 0")
    if constraints and isinstance(method, LBFGS):
        method = AugmentedLagrangian(constraints, inner=method)
    elif constraints and isinstance(method, AugmentedLagrangian):
        method = method.replace(constraints=(*method.constraints, *constraints))
    elif constraints:
        raise ConfigError(
            f"{method!r} does not follow constraints: take optimizer='lbfgs' or fl.AugmentedLagrangian(…)"
        )
    own = isinstance(method, Solver) and hasattr(method, "tolerance")
    return method.replace(tolerance=tolerance) if own and tolerance is not None else method


class _Bounded(FunctionObjective):
    """A function whose arguments are kept between bounds where the method does not do so itself."""

    clipped = False

    def tree(self, w: np.ndarray) -> Any:
        return super().tree(np.clip(w, *self.bounds) if self.clipped and self.bounds is not None else w)

    def restored(self, w: np.ndarray) -> Any:
        """x as the user gave it: a number is a number."""
        found = self.tree(w)
        return float(found) if isinstance(found, np.generic) else found


def _set_bounds(objective: _Bounded, method: Minimizer, bounds: Any) -> None:
    """Gives the objective its bounds; ConfigError where the method cannot follow any."""
    if isinstance(method, Solver) and method.uses_gradient and not method.takes_bounds:
        able = ", ".join(repr(n) for n, c in records_of(Solver).items() if c.takes_bounds and c.uses_gradient)
        raise ConfigError(f"{method!r} does not follow bounds: take one of {able}, or an optimizer such as 'adam'")
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ConfigError(f"bounds={bounds!r}: give (low, high), each a number, None, or an array or tree like x0")
    low, high = (
        np.full(len(objective.start), side) if given is None else _vector(given, objective, "bounds", finite=False)
        for given, side in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    if (low > high).any():
        j = int(np.argmax(low > high))
        raise ConfigError(f"bounds: low {low[j]:g} lies above high {high[j]:g}: give (low, high)")
    objective.bounds = low, high
    objective.clipped = not method.uses_gradient
    objective.start = np.clip(objective.start, low, high)
    objective.params = objective.parts(objective.start)


def _vector(given: Any, objective: FunctionObjective, name: str, *, finite: bool = True) -> np.ndarray:
    """A number, array or tree as one entry for each weight."""
    parts = list(leaves(float_leaves(given, name, finite=finite)).values())
    params = list(objective.params.values())
    if len(parts) == 1:
        parts = parts * len(params) if parts[0].ndim == 0 else parts
    if len(parts) != len(params):
        raise ConfigError(
            f"{name} has {counted(len(parts), 'array')} and x0 {len(params)}: give a number, or a tree alike"
        )
    try:
        return joined([np.broadcast_to(a, p.shape) for a, p in zip(parts, params, strict=True)])
    except ValueError:
        shapes = f"{[a.shape for a in parts]} and x0 {[p.shape for p in params]}"
        raise ConfigError(f"{name} has the shapes {shapes}: give a number, or arrays like those of x0") from None


def _shown(x: Any) -> str:
    """x on one line; of large arrays the shape."""
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.size <= LISTED:
        return f"[{', '.join(number_text(v, DIGITS) for v in x)}]"
    if isinstance(x, (float, np.ndarray, np.generic)):
        return number_text(x, DIGITS)
    if isinstance(x, Mapping):
        return "{" + ", ".join(f"{k!r}: {_shown(v)}" for k, v in x.items()) + "}"
    if isinstance(x, (tuple, list)):
        return "(" + ", ".join(map(_shown, x)) + ")"
    return repr(x)


__all__ = ["Minimum", "minimize"]
