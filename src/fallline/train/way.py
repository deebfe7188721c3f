"""Way: how one method went down from the start, and the clocks by which ways are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.registry import nearest
from fallline.core.tree import leaves
from fallline.engines.engine import get_engine
from fallline.optim.optimizer import Context, Minimizer, Optimizer
from fallline.optim.solver import as_minimizer
from fallline.train.descent import Descent
from fallline.train.examples import Examples, row_weights
from fallline.train.history import History
from fallline.train.judging import Judging
from fallline.train.trail import parted
from fallline.train.trainer import Fit
from fallline.train.variants import Clock, Outcome, Pair

CLOCKS = ("passes", "steps", "seconds")
WITH_GRADIENT = ("gradient_evaluations", "hessian_products")  # of the counts of an Objective
MOST_MARKS = 4  # columns of a table


@dataclass(frozen=True, eq=False)
class Way:
    """The points of one way down, an epoch or an iteration each, the start first.

    found      the Fit or the Descent that it is the way of
    losses     (points,) J there, penalties included
    path       (points, n_weights) the weights that are trained, None where they were not kept; averages of them (EMA,
               SWA, Lookahead), which such a method predicts with, are no way
    steps      (points,) changes of the weights so far;  seconds  (points,) since the start, None where nobody measured
    passes     (points,) runs through all rows so far, of a function its evaluations: with a gradient or without
    gradients  (points,) those with a gradient, of all rows at once or of as many in batches, or with a Hessian product
    """

    found: Fit | Descent
    losses: np.ndarray
    path: np.ndarray | None
    steps: np.ndarray
    passes: np.ndarray
    gradients: np.ndarray
    seconds: np.ndarray | None = None

    @property
    def functions(self) -> np.ndarray:
        """(points,) the passes without a gradient so far."""
        return self.passes - self.gradients

    @property
    def best(self) -> float:
        """The least loss on the way; NaN where there is none."""
        known = self.losses[np.isfinite(self.losses)]
        return float(known.min()) if known.size else float("nan")

    def clock(self, over: str) -> np.ndarray:
        """(points,) "passes", "steps" or "seconds" so far."""
        if over not in CLOCKS:
            raise ConfigError(f"over={over!r}: {nearest(str(over), CLOCKS)}")
        found = getattr(self, over)
        if found is None:
            raise ConfigError("over='seconds': the steps on a function are not timed; take over='passes' or 'steps'")
        return found

    def at(self, mark: float, over: str) -> float | None:
        """The loss when the clock has reached the mark; None where the way ended before."""
        clock = self.clock(over)
        if clock[-1] < mark:
            return None
        return float(self.losses[np.searchsorted(clock, mark, side="right") - 1])


def ways_of(outcome: Outcome, rows: Pair | None) -> tuple[Way, ...]:
    """How a variant went down, one way a seed; empty where it failed.   rows: what it was trained on"""
    if outcome.descent is not None:
        return (_way_of_descent(outcome.descent),)
    return tuple(_way_of_fit(outcome, *each, rows) for each in zip(outcome.fits, outcome.clocks, strict=True))


def _way_of_fit(outcome: Outcome, fit: Fit, clock: Clock, rows: Any) -> Way:
    epochs, class_weight = fit.history["epoch"], outcome.choices.get("class_weight")
    losses = fit.history["objective" if "objective" in fit.history else "train_loss"]
    path = None if fit.path is None else fit.path[: len(epochs)]
    if path is not None and not leaves(fit.model.network, "buffer"):
        losses = _judged(fit, path, rows, class_weight)
    if "evaluations" in fit.history:
        steps, passes, gradients = epochs, fit.history["evaluations"], _gradients(fit.history)
    else:  # an epoch of batches goes once through all rows, for each gradient that a step takes
        passes = gradients = epochs * gradients_in_step(as_minimizer(outcome.choices.get("optimizer", "adam")))
        steps = epochs * clock.steps
    return Way(fit, losses, path, steps, passes, gradients, clock.seconds[: len(epochs)])


def gradients_in_step(method: Minimizer) -> int:
    """How many gradients of its batch a step of an optimizer takes: 1, or more where it looks again (SAM, SVRG)."""
    if not isinstance(method, Optimizer) or not method.looks_again:
        return 1
    asked = []

    def gradient_at(params: Any) -> dict[str, Any]:
        asked.append(params)
        return dict(params)

    w = {"w": np.ones((2, 2))}
    context = Context(gradient_at, key=np.zeros(2, np.uint32))
    method.update(w, w, method.init(w), lr=0.1, t=1.0, context=context)
    return 1 + len(asked)


def _gradients(history: History) -> np.ndarray:
    """What a solver has asked for so far with a gradient, or as products with the Hessian."""
    known = [np.nan_to_num(history[name]) for name in WITH_GRADIENT if name in history]
    return np.sum([np.zeros(len(history)), *known], axis=0)


def _way_of_descent(descent: Descent) -> Way:
    path = descent.path.reshape(len(descent.path), -1)
    passes = np.sum(list(descent.evaluations.values()), axis=0)
    gradients = np.sum([descent.evaluations[name] for name in WITH_GRADIENT], axis=0)
    return Way(descent, descent.values, path, np.arange(len(path)), passes, gradients)


def _judged(fit: Fit, path: np.ndarray, rows: Pair, class_weight: Any) -> np.ndarray:
    """J at every point; the history of an optimizer has the mean over an epoch, in which the weights changed."""
    model = fit.model
    params, (x, y) = leaves(model.network, "param"), model.rows(*rows)
    examples = Examples(x, y, row_weights(None, class_weight, y, model.classes))
    judging = Judging(model.network, model.loss, examples, get_engine(model.engine))
    losses = []
    for w in path:
        weights = parted(w, params)
        judged = judging.look(weights)
        with np.errstate(over="ignore"):  # of weights that fly away
            penalty = sum(float(penalty(weights)) for penalty in fit.penalties)
        losses.append(np.nan if judged is None else judged.loss + penalty)
    return np.array(losses)


def marks_of(ways: Sequence[Way], over: str) -> list[float]:
    """Round places on the clock where the ways are compared: 1, 10, 100 …, with 3, 30 … between where there is room."""
    ends = [way.clock(over)[-1] for way in ways]
    firsts = [way.clock(over)[1] for way in ways if len(way.losses) > 1]
    if not firsts:
        return []
    low, high = max(min(firsts), 1e-4), max(ends)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found: list[float] = []
    for parts in ((1, 3), (1,)):
        found = [part * 10.0**d for d in decades for part in parts if low <= part * 10.0**d <= high]
        if len(found) <= MOST_MARKS:
            break
    return found[-MOST_MARKS:]


__all__ = ["CLOCKS", "Way", "marks_of", "ways_of"]
