"""Finding: one thing that is wrong with a model, and the check that found it. A new check is one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fallline.autodiff.functions import grad, jvp
from fallline.core.errors import FalllineError
from fallline.core.tree import leaves, with_leaves
from fallline.explain.diagnosis.layers import LayerFacts, layer_facts
from fallline.explain.diagnosis.subject import Subject
from fallline.explain.reports.report import Part
from fallline.graph.program import Program
from fallline.losses.regression import SquaredError
from fallline.nn.collapse import collapse
from fallline.nn.dense import Dense
from fallline.nn.run import EVAL
from fallline.ops.composite import mean
from fallline.train.pairing import Remark, remarks
from fallline.train.step import row_losses

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

        So it is for one linear layer with squared error. Found by power iteration with products H d.
        """
        subject = self.subject
        if subject.y is None or not isinstance(subject.loss, SquaredError):
            return None
        if self.collapsed is None or len(self.matrices) != 1:
            return None
        with np.errstate(all="ignore"):
            return _curvature(subject)


def _curvature(subject: Subject) -> float:
    params, loss = leaves(subject.network, "param"), subject.loss
    assert loss is not None

    def cost(found: dict) -> object:
        _, losses = row_losses(with_leaves(subject.network, found), loss, subject.x, subject.y, EVAL)
        return mean(losses)

    times = Program.of(lambda w, d: jvp(grad(cost), (w,), (d,))[1], params, params)
    rng = np.random.default_rng(0)
    direction = {path: rng.normal(size=leaf.shape).astype(leaf.dtype) for path, leaf in params.items()}
    size = 0.0
    for _ in range(POWER_STEPS):
        size = float(np.sqrt(sum(float(np.square(d, dtype=np.float64).sum()) for d in direction.values())))
        if size == 0 or not np.isfinite(size):
            break
        direction = times(params, {path: (d / size).astype(d.dtype) for path, d in direction.items()})
    return size


__all__ = ["Case", "Check", "Finding"]
