"""Yardsticks: how well rows are predicted, beside a linear model, the nearest rows and the mean, all in one unit.

The unit is the skill 1 - Σ (t - p)² / Σ (t - mean)²: 0 is what the mean of the training targets is worth (for classes
their shares, t one-hot and p probabilities), 1 is perfect. The linear model and the neighbours are judged on rows that
they have not seen, each row left out once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.tree import leaves
from fallline.explain.diagnosis.subject import Subject
from fallline.losses.loss import Loss
from fallline.train.model import score_rows

MOST_ROWS = 1500  # that yardsticks learn from: leaving one out costs n² for the neighbours
MOST_NUMBERS = 2000  # of a row
FEWEST_ROWS = 30
NEIGHBOURS = 10
RIDGES = (1e-4, 1e-2, 1.0)  # times n: strengths of which the best one counts
CLEAR = 0.05  # of the variance: a smaller difference of skill does not matter
SURE = 2.0  # standard errors
DECISIONS = 0.01  # of the rows are decided wrongly, above those of the simple method


@dataclass(frozen=True, eq=False)
class Yardsticks:
    """Squared errors of rows, Σ over the outputs.

    target, found  (n, k) of all rows: targets, and the network's predictions
    X      (n, d) inputs, standardised by the training rows
    train  numbers of the rows to learn from, a sample of them;  held  of those that judge, or None
    """

    target: np.ndarray
    found: np.ndarray
    X: np.ndarray
    train: np.ndarray
    held: np.ndarray | None
    shares: bool

    @cached_property
    def mean(self) -> np.ndarray:
        return self.target[self.train].mean(axis=0)

    @cached_property
    def errors(self) -> np.ndarray:
        """(n,) of the network."""
        return ((self.target - self.found) ** 2).sum(axis=1)

    def base(self, rows: np.ndarray) -> float:
        """The mean error of always giving the mean of the training targets."""
        return float(((self.target[rows] - self.mean) ** 2).sum(axis=1).mean())

    def skill(self, errors: np.ndarray, rows: np.ndarray) -> float:
        base = self.base(rows)
        return 1.0 - float(errors.mean()) / base if base > 0 else 0.0

    @property
    def network(self) -> float:
        """The network's skill on its training rows."""
        return self.skill(self.errors[self.train], self.train)

    @property
    def network_held(self) -> float | None:
        return None if self.held is None else self.skill(self.errors[self.held], self.held)

    @cached_property
    def linear_found(self) -> np.ndarray:
        """(n_train, k) of a ridge regression, each row left out once; of several strengths the best."""
        return min((guess for _, guess in self._ridges), key=lambda guess: float(self._errors_of(guess).mean()))

    def _errors_of(self, guess: np.ndarray) -> np.ndarray:
        """(n_train,) of predictions of the training rows."""
        return ((self.target[self.train] - guess) ** 2).sum(axis=1)

    @property
    def linear(self) -> float:
        return self.skill(self._errors_of(self.linear_found), self.train)

    @cached_property
    def near_found(self) -> np.ndarray:
        """(n_train, k) of the mean of the nearest other rows."""
        X, T = self.X[self.train], self.target[self.train]
        squares = (X * X).sum(axis=1)
        distance = squares[:, None] + squares - 2 * (X @ X.T)
        distance[distance <= 1e-9 * (1 + squares[:, None])] = np.inf  # itself, and copies of the row
        k = min(NEIGHBOURS, len(X) // 5)
        near = np.argpartition(distance, k, axis=1)[:, :k]
        return T[near].mean(axis=1)

    @property
    def near(self) -> float:
        return self.skill(self._errors_of(self.near_found), self.train)

    @cached_property
    def trails_simple(self) -> bool:
        """Whether the network is clearly worse on its training rows than the better simple method on rows left out."""
        return self._trails(self.linear_found if self.linear >= self.near else self.near_found)

    @property
    def best_simple(self) -> tuple[str, float]:
        """Name and skill of the better one of the two."""
        if self.linear >= self.near:
            return "a linear model", self.linear
        return "the mean of the nearest rows", self.near

    def _trails(self, guess: np.ndarray) -> bool:
        """Whether the network's errors on its training rows are larger, by much and by no accident.

        Of classes its decisions must be worse as well: a penalty makes probabilities mild and leaves decisions right.
        """
        more = self.errors[self.train] - self._errors_of(guess)
        mean, base = float(more.mean()), self.base(self.train)
        if mean <= max(CLEAR * base, SURE * float(more.std()) / np.sqrt(len(more))):
            return False
        if not self.shares:
            return True
        wrong = [
            np.mean(self._decided(p) != self._decided(self.target[self.train])) for p in (self.found[self.train], guess)
        ]
        return bool(wrong[0] > wrong[1] + DECISIONS)

    def _decided(self, shares: np.ndarray) -> np.ndarray:
        return shares[:, 0] > 0.5 if shares.shape[1] == 1 else shares.argmax(axis=1)

    @cached_property
    def linear_held(self) -> np.ndarray:
        """(n_held,) errors of the ridge regression on the held rows."""
        assert self.held is not None
        weights, _ = min(self._ridges, key=lambda pair: float(self._errors_of(pair[1]).mean()))
        centre = self.X[self.train].mean(axis=0)
        guess = self._shown((self.X[self.held] - centre) @ weights + self.mean)
        return ((self.target[self.held] - guess) ** 2).sum(axis=1)

    def _shown(self, guess: np.ndarray) -> np.ndarray:
        return np.clip(guess, 0.0, 1.0) if self.shares else guess

    @cached_property
    def _ridges(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weights, predictions of rows left out) for each strength.

        t_i - r_i / (1 - h_i), r the residuals and h the diagonal of the hat matrix
        """
        X, T = self.X[self.train], self.target[self.train]
        n, centred = len(X), X - X.mean(axis=0)
        U, s, V = np.linalg.svd(centred, full_matrices=False)
        made = []
        for ridge in RIDGES:
            shrink = s * s / (s * s + ridge * n)
            leverage = np.minimum((U * U) @ shrink + 1.0 / n, 1 - 1e-6)
            fitted = U @ (shrink[:, None] * (U.T @ (T - self.mean))) + self.mean
            left_out = self._shown(T - (T - fitted) / (1 - leverage)[:, None])
            weights = V.T @ ((shrink / np.maximum(s, 1e-12))[:, None] * (U.T @ (T - self.mean)))
            made.append((weights, left_out))
        return made


def yardsticks_of(subject: Subject) -> Yardsticks | None:
    """None without targets, for too few rows or too many numbers a row, with weights of rows, and for a loss whose
    predictions are no means (quantiles).
    """
    if subject.loss is None or subject.y is None or (subject.fit is not None and subject.fit.row_weights is not None):
        return None
    target, X = target_matrix(subject), input_matrix(subject.x)
    if target is None or X is None or len(subject.train) < FEWEST_ROWS:
        return None
    train = sample(subject.train, MOST_ROWS)
    with np.errstate(all="ignore"):
        found = predictions(subject, target.shape)
        if found is None:
            return None
        X = (X - X[train].mean(axis=0)) / np.maximum(X[train].std(axis=0), 1e-9 * (1 + np.abs(X[train]).max(axis=0)))
    return Yardsticks(target, found, X, train, subject.held, subject.loss.task == "classification")


def sample(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, by chance but always the same."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def target_matrix(subject: Subject) -> np.ndarray | None:
    """The targets as (n, k) float64: classes one-hot (of two the second), numbers as they are."""
    if subject.loss is None or subject.y is None:
        return None
    y = subject.y
    if subject.loss.task != "classification":
        return y.reshape(len(y), -1).astype(np.float64)
    if subject.loss.target_dtype == "int32":
        return np.eye(max(len(subject.classes), int(y.max()) + 1))[y]
    return (y > 0).astype(np.float64)[:, None]


def input_matrix(x: Any) -> np.ndarray | None:
    """The inputs as (n, d) float64, codes one-hot; None where that is too wide."""
    blocks = []
    for leaf in leaves(x).values():
        flat = leaf.reshape(len(leaf), -1)
        if flat.shape[1] > MOST_NUMBERS:
            return None
        if leaf.dtype.kind == "f":
            blocks.append(flat.astype(np.float64))
            continue
        for j in range(flat.shape[1]):
            levels, codes = np.unique(flat[:, j], return_inverse=True)
            blocks += [np.eye(len(levels))[codes]] if len(levels) <= MOST_NUMBERS // 10 else []
    return np.concatenate(blocks, axis=1) if blocks else None


def predictions(subject: Subject, shape: tuple[int, ...]) -> np.ndarray | None:
    """What the network predicts, as targets of this shape are written: probabilities, decisions or numbers."""
    loss = subject.loss
    assert loss is not None
    scores = score_rows(subject.network, subject.x, subject.engine).astype(np.float64)
    if loss.task != "classification":
        found = np.asarray(loss.predict(scores)).reshape(len(scores), -1)
        return found if found.shape == shape and _aims_at_the_mean(loss) else None
    if loss.probabilistic:
        found = np.asarray(loss.predict(scores))
        return found if found.ndim == 2 else found[:, None]
    codes = np.asarray(loss.decide(scores))
    return codes[:, None].astype(np.float64) if shape[1] == 1 else np.eye(shape[1])[codes]


def _aims_at_the_mean(loss: Loss) -> bool:
    """Whether errors to both sides cost the same, as they do not for a quantile, or the link is one of its own."""
    if loss.link != "identity":
        return True
    sides = np.asarray(loss(np.array([-0.7, 0.7]), np.zeros(2)))
    return bool(np.isclose(sides[0], sides[1]))


__all__ = ["CLEAR", "SURE", "Yardsticks", "predictions", "sample", "target_matrix", "yardsticks_of"]
