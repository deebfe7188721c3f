"""Case: what the checks look at. What several of them ask for is computed once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import FalllineError
from fallline.core.tree import leaves
from fallline.explain.diagnosis.columns import Column, columns_of
from fallline.explain.diagnosis.layers import LayerFacts, layer_facts
from fallline.explain.diagnosis.subject import Subject
from fallline.explain.diagnosis.yardsticks import Yardsticks, predictions, target_matrix, yardsticks_of
from fallline.nn.collapse import collapse
from fallline.nn.dense import Dense
from fallline.train.history import LARGE_RISE
from fallline.train.objective import TrainingObjective
from fallline.train.pair import has_weights, through, tried
from fallline.train.pairing import Remark, remarks
from fallline.train.response import Response

POWER_STEPS = 100  # of the power iteration; the largest eigenvalue is then known to some digits, which is enough here
WORSE = 1.25  # times the train loss of a linear model that was trained beside the network
STUCK = 0.5  # of the outputs, or of the units


@dataclass(frozen=True, eq=False)
class Case:
    """A subject, and what can be computed of it.

    brief  at the end of every training: no gradients and no yardsticks, which cost more than the training may
    """

    subject: Subject
    brief: bool = False

    @cached_property
    def has(self) -> set[str]:
        """Which of the needs of checks are there."""
        subject, history = self.subject, self.subject.history
        given = {
            "history": history is not None and len(history) > 1 and "train_loss" in history,
            "validation": history is not None and len(history) > 1 and "validation_loss" in history,
            "trained": subject.is_trained,
            "rows": subject.x is not None,
            "loss": subject.pair is not None,
            "targets": subject.y is not None,
            "held": subject.held is not None,
        }
        return {need for need, there in given.items() if there}

    @cached_property
    def layers(self) -> list[LayerFacts]:
        """What every layer does on the rows."""
        return layer_facts(self.subject, {} if self.brief else self.subject.gradients)

    @cached_property
    def hidden(self) -> list[LayerFacts]:
        """The layers between the first and the last weights, but for step functions: a finding of their own."""
        weighted = [i for i, row in enumerate(self.layers) if has_weights(row.layer)]
        between = self.layers[weighted[0] + 1 : weighted[-1]] if weighted else []
        return [row for row in between if has_weights(row.layer) or not is_step(row)]

    @cached_property
    def is_stuck(self) -> bool:
        """Whether most of what some hidden layer gives has no slope: units at their ends, or dead."""
        return any(((row.saturated or 0) > STUCK and is_bounded(row)) or (row.dead or 0) > STUCK * row.units
                   for row in self.hidden)  # fmt: skip

    @cached_property
    def first_gradient(self) -> np.ndarray | None:
        """dJ/dW (n_in, units) of the first weights, where they read the inputs one by one."""
        found = next(iter(self.subject.gradients.values()), None)
        wide = getattr(self.subject.x, "shape", (0, 0))[-1]
        return found if found is not None and found.ndim == 2 and found.shape[0] == wide else None

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of the inputs as they were given; none where a row is no row of numbers."""
        return columns_of(self.subject)

    @cached_property
    def yardsticks(self) -> Yardsticks | None:
        """How well the rows are predicted, and how well simple methods would."""
        return None if self.brief else yardsticks_of(self.subject)

    @cached_property
    def predicted(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Targets and predictions of the rows, (n, k); None where they cannot be compared."""
        target = target_matrix(self.subject)
        found = None if target is None else predictions(self.subject, target.shape)
        return None if target is None or found is None else (target, found)

    @cached_property
    def failed(self) -> bool:
        """Whether training ended above where it began, or in numbers that are not finite."""
        fit, history = self.subject.fit, self.subject.history
        if fit is None or history is None or "history" not in self.has:
            return False
        losses = history["train_loss"]
        return fit.ended == "failed" or bool(losses[-1] > max(1.0, losses[0]) + abs(losses[0]))

    @cached_property
    def large_rises(self) -> list[tuple[int, int]]:
        """Where the train loss rose for three epochs or more and gave back a good part of what it had gained."""
        history = self.subject.history
        if history is None or "history" not in self.has:
            return []
        losses = dict(zip(history["epoch"].astype(int).tolist(), history["train_loss"].tolist(), strict=True))
        first = history["train_loss"][0]
        return [
            (start, end)
            for start, end in history.rises("train_loss", 3)
            if losses[end] - losses[start] > LARGE_RISE * max(abs(losses[start]), first - losses[start])
        ]

    @cached_property
    def suffers(self) -> bool:
        """Whether the network, trained, is clearly worse on its own training rows than a simple method would be."""
        if self.subject.beside is not None:
            ours, linear = self.subject.beside
            return self.failed or not ours <= WORSE * linear
        found = self.yardsticks if self.subject.is_trained and self.subject.y is not None else None
        return self.failed or (found is not None and found.trails_simple)

    @cached_property
    def behind(self) -> Yardsticks | None:
        """The yardsticks, where the network on its own training rows is clearly behind what a simple method tells of
        rows that it has not seen; None elsewhere.
        """
        found = self.yardsticks if self.subject.is_trained else None
        return found if found is not None and found.trails_simple else None

    @cached_property
    def remarks(self) -> dict[str, Remark]:
        """What fit says of the network beside its loss."""
        return {} if self.subject.pair is None else remarks(self.subject.pair)

    @cached_property
    def matrices(self) -> list[str]:
        """The paths of the weights, arrays with two axes or more."""
        return [path for path, leaf in leaves(self.subject.network, "param").items() if leaf.ndim >= 2]

    @cached_property
    def collapsed(self) -> Dense | None:
        """The one linear layer that the network equals, None where it bends."""
        with np.errstate(all="ignore"):
            try:
                return collapse(self.subject.network)
            except FalllineError:
                return None

    @cached_property
    def largest_curvature(self) -> float | None:
        """L_max, the largest eigenvalue of the Hessian of J on these rows, where it is the same for all weights.

        So it is for the squared error of scores that are linear in the weights. J is that of the fit, with its
        penalties and weights of rows. Found by power iteration with products H d.
        """
        objective = self.subject.objective
        if objective is None:
            return None
        with np.errstate(all="ignore"):
            try:
                objective.check_quadratic()
            except FalllineError:
                return None
            return _curvature(objective)


def is_step(row: LayerFacts) -> bool:
    """Whether a layer changes its value in steps: its slope is 0 everywhere."""
    if row.slope is None or row.slope.any():
        return False
    found = tried(row.layer)
    return found is not None and found.is_step


def is_bounded(row: LayerFacts) -> bool:
    """Whether a layer is a function with ends, such as tanh."""
    return not has_weights(row.layer) and Response.of(partial(through, [row.layer]), row.units).is_bounded


def _curvature(objective: TrainingObjective) -> float:
    w = np.zeros_like(objective.weights)
    direction, size = np.random.default_rng(0).normal(size=w.shape), 0.0
    for _ in range(POWER_STEPS):
        size = float(np.linalg.norm(direction))
        if size == 0 or not np.isfinite(size):
            break
        direction = objective.hvp(w, direction / size)
    return size


__all__ = ["Case", "is_bounded", "is_step"]
