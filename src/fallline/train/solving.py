"""Solving: training by a solver, one of its iterations on all rows in each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fallline.engines.engine import Engine
from fallline.optim.solver import Solver
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.objective import Arrays, TrainingObjective
from fallline.train.stepping import Round


class Solving:
    """The rounds of a solver; the attributes are those of `Stepping`.

    Beside what every row has, the history gets `evaluations` by kind (see Objective), the solver's own notes, and with
    penalties `objective`, J itself, which is what a solver lowers.
    """

    batches = 1

    def __init__(
        self, solver: Solver, model: Model, train: Examples, penalties: tuple[Any, ...], epochs: int, seed: int,
        engine: Engine,
    ):  # fmt: skip
        self.objective = TrainingObjective(model, train, penalties, engine)
        self.network = model.network
        self.solver, self.epochs, self.seed = solver, epochs, seed
        self.start = self.objective.weights
        self.state = solver.init(self.start)
        self.failure = self.reason = ""

    def rounds(self) -> Iterator[Round]:
        """Epoch 0 and then every iteration, until the solver is done."""
        w, state = self.start, self.state
        value = self.objective.look(w)[0]
        buffers = self.objective.buffers
        yield self._round(0, w, buffers, {})
        if not math.isfinite(value):
            self.failure = "the loss of the starting weights is not finite: check these weights and the data"
            return
        for epoch in range(1, self.epochs + 1):
            move = self.solver.iterate(self.objective, w, value, state, np.random.default_rng((self.seed, epoch)))
            w, value, state = move.w, move.value, move.state
            if not math.isfinite(value):
                self.failure = f"{self.solver!r} led to a loss that is not finite in epoch {epoch}"
                return
            buffers = self.objective.moved(buffers, w)
            yield self._round(epoch, w, buffers, dict(move.notes))
            if move.done:
                self.reason = move.done
                return

    def _round(self, epoch: int, w: np.ndarray, buffers: Arrays, notes: dict[str, Any]) -> Round:
        value, gradient = self.objective.look(w)
        penalty = self.objective.penalty(w)
        facts = {"gradient_norm": float(np.linalg.norm(gradient)), "train_loss": value - penalty}
        if self.objective.penalties:
            facts["objective"] = value
        counts = {name: n for name, n in self.objective.counts.items() if n}
        facts |= {"evaluations": self.objective.evaluations, **counts, **notes}
        return Round(epoch, self.objective.leaves_at(w, buffers), facts)
