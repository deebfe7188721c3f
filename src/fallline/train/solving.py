"""Solving: training by a solver, one of its iterations on all rows in each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fallline.engines.engine import Engine
from fallline.optim.solver import Solver, size_of
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.objective import TrainingObjective
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
        self.w = self.objective.weights
        self.value = math.nan
        self.state = solver.init(self.w)
        self.buffers = self.objective.buffers
        self.notes: dict[str, Any] = {}
        self.epoch = 0
        self.failure = self.reason = ""

    def rounds(self) -> Iterator[Round]:
        """Epoch 0 and then every iteration, until the solver is done; what was taken up goes on with its own epoch."""
        if not self.epoch:
            self.value = self.objective.look(self.w)[0]
        yield self.round()
        if not math.isfinite(self.value):
            self.failure = "the loss of the starting weights is not finite: check these weights and the data"
            return
        rng = np.random.default_rng(self.seed)
        while self.epoch < self.epochs and not self.reason:
            if self.solver.draws:
                rng = np.random.default_rng((self.seed, self.epoch + 1))
            move = self.solver.iterate(self.objective, self.w, self.value, self.state, rng)
            if not math.isfinite(move.value):
                self.failure = f"{self.solver!r} led to a loss that is not finite in epoch {self.epoch + 1}"
                return
            self.w, self.value, self.state, self.notes = move.w, move.value, move.state, dict(move.notes)
            self.buffers = self.objective.moved(self.buffers, move.w)
            self.epoch, self.reason = self.epoch + 1, move.done
            yield self.round()

    def round(self) -> Round:
        """The weights now, and what is known of them."""
        value, gradient = self.objective.look(self.w)
        penalty = self.objective.penalty(self.w)
        facts = {"gradient_norm": size_of(gradient), "train_loss": value - penalty}
        if self.objective.penalties:
            facts["objective"] = value
        counts = {name: n for name, n in self.objective.counts.items() if n}
        facts |= {"evaluations": self.objective.evaluations, **counts, **self.notes}
        return Round(self.epoch, self.objective.leaves_at(self.w, self.buffers), facts)

    def kept(self) -> dict[str, Any]:
        """The place as plain data and arrays; `take_up` undoes it."""
        names = ("epoch", "w", "value", "state", "notes", "buffers", "reason")
        return {**{name: getattr(self, name) for name in names}, "objective": self.objective.kept()}

    def take_up(self, kept: dict[str, Any]) -> None:
        """Goes on from a place that was kept."""
        for name in kept.keys() - {"objective"}:
            setattr(self, name, kept[name])
        self.objective.take_up(self.w, kept["objective"])
