"""Losses as pictures: the cost over the score for each target, its derivative, and the cost over the prediction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fallline.autodiff.functions import jvp
from fallline.core.facts import facts_of
from fallline.explain.figures.figure import (
    draw_broken,
    dress,
    limits,
    new_picture,
    round_ticks,
    zero_lines,
)
from fallline.explain.figures.labels import mark, say
from fallline.explain.figures.plain import (
    COLORS,
    INK,
    LINE,
    TEXT,
    number_label,
)
from fallline.losses.classification import CategoricalCrossEntropy
from fallline.losses.loss import Loss
from fallline.losses.regression import GaussianNLL, Quantile
from fallline.ops.shape import concatenate

REACH = 5.0
POINTS = 1001  # with 0 and the kinks at ±1 among them


class Case(NamedTuple):
    """One curve of a loss: what stands beside it, and the losses of scores (n,) -> (n,)."""

    label: str
    f: Callable[[Any], Any]


def draw_loss(loss: Loss) -> Figure:
    """The cost and its derivative over the score; where the prediction is a probability, the cost over it too."""
    cases = cases_of(loss)
    reach = min(REACH, 3.0) if loss.link == "exp" else REACH
    over = loss.probabilistic and loss.link == "sigmoid"
    figure = new_picture(4.2, 10.0 if over else 7.5)
    panels = list(figure.subplots(1, 3 if over else 2))
    grid = np.linspace(-reach, reach, POINTS)
    formula = facts_of(type(loss)).get("formula", "")
    figure.suptitle(
        f"{repr(loss).removesuffix('()')}:  {formula}".replace("<=", "≤").replace("-", "−"),
        fontsize=TEXT, color=INK, x=0.02, ha="left",
    )  # fmt: skip
    costs = [case.f(grid) for case in cases]
    slopes = [_slope(case.f, grid) for case in cases]
    labels = [case.label for case in cases]
    _draw_curves(panels[-2], "cost over the score", grid, costs, labels)
    _draw_curves(panels[-1], "its derivative", grid, slopes, labels)
    if over:
        _draw_over_probability(panels[0], loss, cases)
    if len(cases) > 1:
        _label_curves(panels[-2], grid, costs, labels)
        _label_curves(panels[-1], grid, slopes, labels)
    return figure


def cases_of(loss: Loss) -> list[Case]:
    """A curve for each target that says something new: both classes, a few counts, one number."""
    if isinstance(loss, CategoricalCrossEntropy):
        return [Case("the target's score", _moving(loss, 0, 0)), Case("another score", _moving(loss, 0, 1))]
    if isinstance(loss, GaussianNLL) and loss.sigma is None:
        return [Case(f"log σ² = {v}".replace("-", "−"), _moving(loss, v, 0.0, n=2)) for v in (-1, 0, 1)]
    if isinstance(loss, Quantile) and isinstance(loss.q, tuple):
        return [Case(f"q = {q:g}", partial(_against, Quantile(q), 0.0)) for q in loss.q]
    targets: tuple[float, ...] = (0.0,)
    if loss.task == "classification":
        targets = (1.0, 0.0)
    elif not loss.allowed(np.array([-1.0])).all():
        targets = (0.0 if loss.allowed(np.zeros(1)).all() else 0.5, 2.0, 5.0)
    return [Case(f"target {t:g}", partial(_against, loss, t)) for t in targets]


def _against(loss: Loss, target: float, score: Any) -> Any:
    """The losses of scores (n,) against one target."""
    return loss(score, np.full(score.shape, target))


def _moving(loss: Loss, others: float, target: float, n: int = 3) -> Callable[[Any], Any]:
    """The losses of rows of n scores, of which the first one moves.   (rows,) -> (rows,)"""

    def losses(first: Any) -> Any:
        rows = first.shape[0]
        column = first.reshape(rows, 1)
        scores = concatenate([column, *[0.0 * column + others] * (n - 1)], 1)
        return loss(scores, np.full(rows, target, "int32" if loss.target_dtype == "int32" else "float64"))

    return losses


def _slope(f: Callable[[Any], Any], grid: np.ndarray) -> np.ndarray:
    return np.asarray(jvp(f, (grid,), (np.ones_like(grid),))[1])


def _draw_over_probability(axes: Axes, loss: Loss, cases: list[Case]) -> None:
    """The cost over the predicted probability: -log ŷ and -log(1 - ŷ) of the two targets."""
    scores = np.linspace(-7.0, 7.0, POINTS)
    p = np.asarray(loss.predict(scores))
    dress(axes, "cost over the prediction", "ŷ, the probability of class 1")
    for case, color in zip(cases, COLORS, strict=False):
        axes.plot(p, case.f(scores), color=color, linewidth=1.5 * LINE)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.4, 5.6)
    round_ticks(axes.xaxis, 5)
    round_ticks(axes.yaxis)
    for y in (0.01, 0.99):
        cost = float(cases[0].f(np.array([np.log(y / (1.0 - y))]))[0])
        mark(axes, y, cost, COLORS[0])
        say(axes, f"{number_label(cost)} at ŷ = {y}", (y, cost), COLORS[0])
    for case, color, score in zip(cases, COLORS, (-1.4, 1.4), strict=False):
        place = np.array([score])
        say(axes, case.label, (float(loss.predict(place)[0]), float(case.f(place)[0])), color)


def _draw_curves(axes: Axes, title: str, grid: np.ndarray, curves: list[np.ndarray], labels: list[str]) -> None:
    dress(axes, title, "score" if len(curves) > 1 else f"score, for the {labels[0]}")
    zero_lines(axes)
    for y, color in zip(curves, COLORS, strict=False):
        draw_broken(axes, grid, y, color, 1.5 * LINE)
    axes.set_xlim(grid[0], grid[-1])
    low, high = limits(np.concatenate(curves))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    round_ticks(axes.xaxis)
    round_ticks(axes.yaxis)


def _label_curves(axes: Axes, grid: np.ndarray, curves: list[np.ndarray], labels: list[str]) -> None:
    for i, (y, label, color) in enumerate(zip(curves, labels, COLORS, strict=False)):
        at = _label_place(axes, y, i)
        say(axes, label, (float(grid[at]), float(y[at])), color)


def _label_place(axes: Axes, y: np.ndarray, i: int) -> int:
    """The index of a point inside the frame for the label of curve i: where the curves lie far from each other."""
    low, high = axes.get_ylim()
    seen = np.flatnonzero((y > low) & (y < high))
    share = (0.15, 0.85, 0.5)[i]
    return int(seen[int(share * (len(seen) - 1))])


__all__ = ["cases_of", "draw_loss"]
