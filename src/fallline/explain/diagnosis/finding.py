"""Finding: one thing that is wrong with a model, and the check that found it. A new check is one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import FalllineError
from fallline.core.tree import leaves
from fallline.explain.diagnosis.layers import LayerFacts, layer_facts
from fallline.explain.diagnosis.subject import Subject
from fallline.explain.reports.report import Part
from fallline.nn.collapse import collapse
from fallline.nn.dense import Dense
from fallline.train.objective import TrainingObjective
from fallline.train.pairing import Remark, remarks

POWER_STEPS = 100  # of the power iteration; the largest eigenvalue is then known to some digits, which is enough here


class Finding(NamedTuple):
    """What is wrong, in one sentence; the numbers that led to it; what to do.

    evidence  sentences, Facts and Listings
    """

    name: str
    verdict: str
    evidence: tuple[Part, ...]
    cure: str


class Check(NamedTuple):
    """One check: its name, what it needs (the names in `Case.has`), and the function itself."""

    name: str
    needs: tuple[str, ...]
    look: Callable[[Case], Finding | None]


@dataclass(frozen=True, eq=False)
class Case:
    """What the checks look at. What several of them ask for is computed once, when it is first asked for."""

    subject: Subject

    @cached_property
    def has(self) -> set[str]:
        """Which of the needs of checks are there."""
        subject, history = self.subject, self.subject.history
        given = {
            "history": history is not None and len(history) > 1 and "train_loss" in history,
            "validation": history is not None and len(history) > 1 and "validation_loss" in history,
            "rows": subject.x is not None,
            "loss": subject.pair is not None,
            "targets": subject.y is not None,
        }
        return {need for need, there in given.items() if there}

    @cached_property
    def layers(self) -> list[LayerFacts]:
        """What every layer does on the rows."""
        return layer_facts(self.subject)

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


def _curvature(objective: TrainingObjective) -> float:
    w = np.zeros_like(objective.weights)
    direction, size = np.random.default_rng(0).normal(size=w.shape), 0.0
    for _ in range(POWER_STEPS):
        size = float(np.linalg.norm(direction))
        if size == 0 or not np.isfinite(size):
            break
        direction = objective.hvp(w, direction / size)
    return size


__all__ = ["Case", "Check", "Finding"]
