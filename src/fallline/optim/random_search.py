"""Random search: the method that needs no derivative and no thought."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective, Solver


@record
class RandomSearch(Solver):
    """w' = w + scale · N(0, 1) in every weight; w' is kept if J(w') < J(w), else forgotten

    The best weights so far are always the ones that are kept, so J never rises. In n dimensions a trial of useful
    length goes downhill by chance alone: the cost per improvement grows with n, where a gradient costs the same.
    scale   standard deviation of the changes, in units of the weights
    trials  in one epoch
    notes   "improvements" so far, and "evaluations_per_improvement"
    source  Rastrigin 1963 (random search of fixed step size)
    """

    scale: float = setting(0.1, above=0)
    trials: int = setting(100, at_least=1)

    aliases: ClassVar[tuple[str, ...]] = ("random",)
    uses_gradient: ClassVar[bool] = False

    def init(self, w: np.ndarray) -> Arrays:
        return {"trials": np.zeros((), np.int64), "improvements": np.zeros((), np.int64)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        better = 0
        for _ in range(self.trials):
            tried = w + self.scale * rng.standard_normal(len(w))
            found = objective.value(tried)
            if found < value:
                w, value, better = tried, found, better + 1
        counts = {"trials": self.trials, "improvements": better}
        state = {name: np.asarray(state[name] + more) for name, more in counts.items()}
        notes: dict[str, float] = {"improvements": int(state["improvements"])}
        if state["improvements"]:
            notes["evaluations_per_improvement"] = float(state["trials"] / state["improvements"])
        return Move(w, value, state, notes)


__all__ = ["RandomSearch"]
