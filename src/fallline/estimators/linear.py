"""The linear member of a bag: (multinomial) logistic or ridge regression, its strength from cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.engines.engine import Engine
from fallline.estimators.folds import Fold, padded
from fallline.estimators.mixing import mean_loss
from fallline.nn.layer import Layer
from fallline.optim.lbfgs import LBFGS
from fallline.optim.solver import Objective
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.objective import TrainingObjective
from fallline.train.step import scorer

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(6, -5, -1))  # λ of (λ/2m) Σw², strong ones first
WORSE = 2  # strengths in a row beyond the best one, after which weaker ones are not tried
ITERATIONS = 60
SOLVER = LBFGS(tolerance=3e-4)


@dataclass(frozen=True)
class LinearMember:
    """The network fitted to all rows, the scores of each row by a fit that did not see it, and the strength λ."""

    network: Layer
    scores: np.ndarray
    strength: float
    loss: float


class _Ridge(Objective):
    """J(w) + λ/2 Σw² of the weights, without recompiling for another λ."""

    def __init__(self, data: TrainingObjective, shrunk: np.ndarray, strength: float):
        super().__init__()
        self.data, self.shrunk, self.strength = data, shrunk, strength
        self.eps = data.eps

    def compute(self, w: np.ndarray) -> float:
        return self.data.compute(w) + 0.5 * self.strength * float(np.sum(self.shrunk * w * w))

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.data.differentiate(w)
        shrunk = self.strength * self.shrunk * w
        return value + 0.5 * float(shrunk @ w), gradient + shrunk

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return self.data.multiply(w, direction) + self.strength * self.shrunk * direction

    def closed_form(self) -> np.ndarray:
        return self.data.closed_form()


def fit_linear(
    model: Model, rows: Examples, folds: Sequence[Fold], engine: Engine, strengths: Sequence[float] = STRENGTHS
) -> LinearMember:
    """The linear model of the strength with which the rows of each fold are told best by the fits to the others.

    model  untrained, its network without hidden layers;  rows  in float64;  strengths  that are tried, strong first
    """
    size = max(len(fold.train) for fold in folds)
    parts = [_Part(model, padded(rows.take(fold.train), size), engine) for fold in folds]
    best, behind = (np.inf, 0.0, np.zeros(0)), 0
    for strength in strengths:
        scores = _held_out(model, rows, folds, [part.fit(strength) for part in parts], engine)
        loss = mean_loss(scores, rows.y, rows.w, model.loss)
        best, behind = ((loss, strength, scores), 0) if loss < best[0] else (best, behind + 1)
        if behind == WORSE:
            break
    loss, strength, scores = best
    whole = _Part(model, rows, engine)
    fitted = whole.fit(strength)
    network = map_leaves(lambda _, leaf: leaf.astype(np.float32) if leaf.dtype.kind == "f" else leaf, fitted)
    return LinearMember(network, scores, strength, loss)


class _Part:
    """The fits to some rows, one strength after the other, each from where the one before ended."""

    def __init__(self, model: Model, rows: Examples, engine: Engine):
        self.model, self.total = model, float(rows.w.sum())
        self.objective = TrainingObjective(model, rows, (), engine)
        params = leaves(model.network, "param")
        self.shrunk = np.concatenate([np.full(leaf.size, float(leaf.ndim > 1)) for leaf in params.values()])
        self.w = np.zeros(len(self.shrunk))

    def fit(self, strength: float) -> Layer:
        objective = _Ridge(self.objective, self.shrunk, strength / self.total)
        value, _ = objective.differentiate(self.w)
        state, rng = SOLVER.init(self.w), np.random.default_rng(0)
        for _ in range(ITERATIONS):
            move = SOLVER.iterate(objective, self.w, value, state, rng)
            self.w, value, state = move.w, move.value, move.state
            if move.done:
                break
        return with_leaves(self.model.network, self.objective.leaves_at(self.w, self.objective.buffers))


def _held_out(
    model: Model, rows: Examples, folds: Sequence[Fold], networks: Sequence[Layer], engine: Engine
) -> np.ndarray:
    """(n, …) the scores of every row by the network that did not see it."""
    parts = []
    size = max(len(fold.judge) for fold in folds)
    for fold, network in zip(folds, networks, strict=True):
        given = padded(rows.take(fold.judge), size)
        call = scorer(network, given.x, engine)
        parts.append(call(*leaves(network).values(), *leaves(given.x).values())[0][: len(fold.judge)])
    scores = np.empty((len(rows), *parts[0].shape[1:]))
    for fold, part in zip(folds, parts, strict=True):
        scores[fold.judge] = part
    return scores


__all__ = ["LinearMember", "fit_linear"]
