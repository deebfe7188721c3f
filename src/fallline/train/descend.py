"""descend: a function of one's own, minimised step by step by any optimizer, with every step kept."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, FalllineError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.sgd import SGD
from fallline.optim.solver import Solver
from fallline.train.descent import DIGITS, Descent
from fallline.train.function import FunctionObjective, chosen_method, stages
from fallline.train.restarts import spread_text

FLAT = 1e-6  # a slope of this size is that of a minimum
BEYOND = 1e12  # times the first value: then there is no way back
RISES = 5  # so many last values that rise, above the first one, mean divergence
SAME = 1e-3  # of the range of the starts: ends nearer to each other than this are one minimum


def descend(
    f: Callable[..., Any],
    start: Any = None,
    *,
    optimizer: str | Minimizer = "sgd",
    learning_rate: Rate | None = None,
    steps: int = 100,
    tolerance: float | None = None,
    restarts: int | None = None,
    low: Any = None,
    high: Any = None,
    seed: int = 0,
) -> Descent:
    """Walks down a function from `start`: take the slope, step against it, repeat.

    f              a function of one number or array, written with Python's operators and fl's ops, with one number as
                   its result; f(w, rng) is noisy: rng is a NumPy generator to draw from, new numbers at each look
    optimizer      "sgd" (w <- w - learning_rate · slope), any other optimizer, or a solver ("newton", "random");
                   one with weight_decay decays all of w, also where w is one number or a vector
    learning_rate  a number or a schedule, of which every step is an epoch; None is 0.1, or the optimizer's own where
                   one is given with its settings
    tolerance      ends the walk as soon as |slope| is no larger; None takes all steps
    restarts       walks from so many random starts between `low` and `high` (numbers, or arrays of the shape of w),
                   the first of them `start` where it is given; the way to the lowest end is returned
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ConfigError(f"steps={steps!r}: give a whole number of steps")
    if tolerance is not None and not tolerance >= 0:
        raise ConfigError(f"tolerance={tolerance!r}: give a length of the slope of at least 0")
    method = chosen_method(optimizer, learning_rate)
    rng = np.random.default_rng(seed)
    starts = _starts(start, restarts, low, high, rng)
    noise = rng if _takes_noise(f) else None
    walks = [_walk(f, method, w, steps, tolerance, rng, noise) for w in starts]
    if restarts is None:
        return walks[0]
    best = min(walks, key=lambda walk: math.inf if math.isnan(walk.lowest) else walk.lowest)
    span = float(np.max(np.abs(_floats(high) - _floats(low))))
    return replace(best, restarts=_starts_listing(walks, best), minima=_minima_listing(walks, SAME * span))


def _walk(
    f: Callable[..., Any], method: Minimizer, start: np.ndarray, steps: int, tolerance: float | None,
    rng: np.random.Generator, noise: np.random.Generator | None,
) -> Descent:  # fmt: skip
    """One way down, and why it ended."""
    look = FunctionObjective(f, start, rng=noise)
    path, values, slopes = [], [], []
    looks: list[dict[str, int]] = []
    for stage in stages(method, look, steps, rng):
        value, done = stage.value, stage.done
        slope = look.look(stage.w)[1] if stage.gradient is None else stage.gradient
        path.append(stage.w.reshape(start.shape))
        values.append(value)
        slopes.append(slope.reshape(start.shape))
        looks.append(dict(look.counts) if isinstance(method, Solver) else {"gradient_evaluations": len(looks)})
        size = float(np.linalg.norm(slope))
        lost = not (math.isfinite(value) and math.isfinite(size)) or abs(value) > BEYOND * (1 + abs(values[0]))
        if lost or done or len(path) > steps or (tolerance is not None and size <= tolerance):
            break
    given = f, method, np.stack(path), np.array(values), np.stack(slopes)
    counts = {name: np.array([counted.get(name, 0) for counted in looks]) for name in look.counts}
    found = Descent(*given, reason="", converged=False, noisy=look.noisy, evaluations=counts)
    flat = size <= (FLAT if tolerance is None else tolerance)
    converged = bool(not lost and noise is None and (flat or done))
    return replace(found, converged=converged, reason=_reason(found, look, lost, flat, done))


def _starts(start: Any, restarts: int | None, low: Any, high: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """The points to start from."""
    if restarts is None:
        if low is not None or high is not None:
            raise ConfigError("low and high are for random starts: give restarts= too, or leave them out")
        if start is None:
            raise ConfigError("descend needs a start, such as 0.0; or restarts=10, low=-2, high=2")
        return [_floats(start)]
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1 or low is None or high is None:
        raise ConfigError(
            f"restarts={restarts!r}: give a whole number of starts and low= and high=, between which they lie"
        )
    low, high = _floats(low, "low"), _floats(high, "high")
    try:
        shape = np.broadcast_shapes(low.shape, high.shape, np.shape(start if start is not None else low))
    except ValueError:
        raise ConfigError(
            f"low {low.shape} and high {high.shape} differ in shape: give numbers, or arrays like w"
        ) from None
    if not (low <= high).all():
        raise ConfigError(f"low={low} lies above high={high}: give them the other way round")
    drawn = [np.asarray(rng.uniform(low, high, shape)) for _ in range(restarts)]
    return drawn if start is None else [np.broadcast_to(_floats(start), shape).copy(), *drawn[1:]]


def _floats(w: Any, name: str = "the start") -> np.ndarray:
    try:
        array = np.array(w, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} {w!r} is not a number or an array of numbers") from None
    if not np.isfinite(array).all():
        raise ConfigError(f"{name} {w!r} is not finite: give numbers")
    return array


def _takes_noise(f: Callable[..., Any]) -> bool:
    """Whether f has a second argument without a default."""
    try:
        given = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in given) > 1


def _reason(walk: Descent, look: FunctionObjective, lost: bool, flat: bool, done: str) -> str:
    """Why a walk ended, and what to do about it."""
    values, size = walk.values, number_text(float(np.linalg.norm(np.ravel(walk.slopes[-1]))), 3)
    last, n = number_text(float(values[-1]), 4), walk.steps
    steps = f"{n} step{'s' * (n != 1)}"
    done_all = f"{steps} {'is' if n == 1 else 'are'} done"
    rose = n > RISES and values[-1] > values[0] and bool((np.diff(values[-RISES:]) > 0).all()) and not walk.noisy
    if rose or (lost and not values[-1] < values[0]):
        return f"diverged: f rose from {number_text(float(values[0]), 4)} to {last} in {steps}{_cure(walk, look)}"
    if lost:
        return f"f falls without bound: it is {last} after {steps}, so it has no minimum in this direction"
    if walk.noisy:
        return f"{done_all}; f is noisy, and over the last half {_hover(walk.path[len(walk.path) // 2 :])}"
    if done:
        return f"converged after {steps}: {done}"
    if flat:
        return f"converged: |slope| is {size} after {steps}"
    changes = np.diff(walk.path[-3:].reshape(min(n + 1, 3), -1), axis=0)
    back = len(changes) == 2 and float(changes[0] @ changes[1]) < 0
    hint = "w goes back and forth, so take a lower learning rate" if back else "take more steps, or longer ones"
    return f"{done_all} and |slope| is still {size}: {hint}"


def _hover(tail: np.ndarray) -> str:
    return f"w hovers at {number_text(tail.mean(axis=0), 4)} ± {number_text(tail.std(axis=0), 2)}"


def _cure(walk: Descent, look: FunctionObjective) -> str:
    """What to do against divergence; for plain gradient descent with the bound that the curvature sets."""
    method = walk.minimizer
    if not isinstance(method, Optimizer):
        return ""
    rate = method.learning_rate
    if type(method) is SGD and isinstance(rate, (int, float)):
        try:
            bound = 2 / look.curvature(walk.minimum)
        except (FalllineError, ZeroDivisionError, np.linalg.LinAlgError):
            bound = 0.0
        if 0 < bound <= rate:
            return f": the learning rate {rate:g} is above 2 / curvature = {bound:.3g}; take a lower one"
    return f": the learning rate {rate:g} is too high; take a lower one" if isinstance(rate, (int, float)) else ""


def _starts_listing(walks: list[Descent], best: Descent) -> Listing:
    columns = {
        "start": [walk.path[0] for walk in walks],
        "w": [walk.minimum for walk in walks],
        "f(w)": [walk.lowest for walk in walks],
        "steps": [walk.steps for walk in walks],
        "": ["best" if walk is best else "" if walk.converged else "not converged" for walk in walks],
    }
    note = f"f(w): {spread_text(columns['f(w)'])}"
    return Listing(f"{len(walks)} starts", columns, [""] * len(walks), note, DIGITS)


def _minima_listing(walks: list[Descent], near: float) -> Listing:
    """The different ends of the walks that converged, the lowest first."""
    ends: list[Descent] = []
    counts: list[int] = []
    for walk in sorted((walk for walk in walks if walk.converged), key=lambda walk: walk.lowest):
        known = [i for i, end in enumerate(ends) if np.max(np.abs(np.asarray(end.minimum) - walk.minimum)) <= near]
        if known:
            counts[known[0]] += 1
        else:
            ends.append(walk)
            counts.append(1)
    columns = {
        "w": [end.minimum for end in ends],
        "f(w)": [end.lowest for end in ends],
        "starts": counts,
        "": ["lowest" if i == 0 else "local" for i in range(len(ends))],
    }
    spread = f"f(w): {spread_text([walk.lowest for walk in walks])}"
    on_the_way = sum(not walk.converged for walk in walks)
    if on_the_way:
        spread += f"; {on_the_way} of {len(walks)} walks have not arrived yet and are not counted: take more steps"
    title = f"{len(ends)} minim{'um' if len(ends) == 1 else 'a'} found from {len(walks)} starts"
    return Listing(title, columns, [""] * len(ends), spread, DIGITS)


__all__ = ["descend"]
