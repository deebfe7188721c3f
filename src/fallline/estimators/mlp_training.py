"""What scikit-learn's perceptrons do around the steps: the order of the rows, the pace, and when training is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy

from fallline.train.events import EpochEnded, Event, Stop
from fallline.train.stopping import Best

SLOWEST = 1e-6  # below this rate an adaptive pace is at its end
FLAT = 2.220446049250313e-09  # relative gain of an iteration below which L-BFGS is done, as in SciPy


class Orders:
    """The order of the rows of each epoch, drawn from a RandomState as scikit-learn draws it.

    A single batch holds all rows, whatever their order: it keeps them as they are.
    """

    def __init__(self, n_rows: int, batch_size: int, shuffle: bool, random_state: np.random.RandomState):
        self._rows = np.arange(n_rows)
        self._random = random_state if shuffle and batch_size < n_rows else None
        self._epoch: int | None = None

    def __call__(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch and self._random is not None:
            drawn = np.arange(len(self._rows))
            self._random.shuffle(drawn)
            self._rows = self._rows[drawn]
        self._epoch = epoch
        return self._rows


class Pace:
    """The learning rate of "sgd": init / (t + 1)^power_t after t rows, or a fifth of it after each standstill.

    factor  scikit-learn's objective is this times the one that is trained on, so the steps take factor times the rate
    """

    def __init__(self, kind: str, init: float, power: float, factor: float = 1.0):
        self.kind, self.init, self.power, self.factor = kind, float(init), float(power), factor
        self.learning_rate = self.init

    def __call__(self, step: int) -> float:
        return self.factor * self.learning_rate

    def seen(self, rows: int) -> None:
        """That many rows were gone through, counted from the first call of fit on."""
        if self.kind == "invscaling":
            self.learning_rate = self.init / (rows + 1) ** self.power

    def slower(self) -> bool:
        """Whether the pace was slowed down after a standstill; otherwise training is over."""
        if self.kind != "adaptive" or self.learning_rate <= SLOWEST:
            return False
        self.learning_rate /= 5.0
        return True


class Convergence:
    """Keeps an estimator's record of its training, epoch by epoch, and stops it when it no longer improves.

    Training is over when for more than `n_iter_no_change` epochs in a row the loss did not fall by `tol` below its best
    so far (with validation rows: their score did not rise by `tol` above it).

    owner     the estimator, whose attributes are kept;  n_rows  of training
    factor, offset  the owner's loss is factor · (loss of the history) + offset
    metric    the column of the validation score; "" without validation rows
    stops     whether a score that does not improve ends training
    max_fun   of a solver: runs through the data after which it stops; None for an optimizer
    converged, ran_out  whether training ended because it no longer improved, or because of max_fun
    """

    def __init__(self, owner: Any, n_rows: int, *, factor: float = 1.0, offset: float = 0.0, metric: str = "",
                 stops: bool = True, pace: Pace | None = None, max_fun: float | None = None):  # fmt: skip
        self.owner, self.n_rows, self.factor, self.offset = owner, n_rows, factor, offset
        self.best = Best(metric) if metric else None
        self.stops, self.pace, self.max_fun = stops, pace, max_fun
        self.before = 0  # epochs that do not count
        self._value = np.inf
        self.converged = self.ran_out = False
        self.improved = False  # whether a validation score was better than all before it, also those of earlier fits

    def __call__(self, event: Event) -> Stop | None:
        if not isinstance(event, EpochEnded):
            return None
        owner, row = self.owner, event.row
        owner.n_iter_ = int(row["epoch"]) - self.before
        owner.loss_ = self.factor * float(row.get("objective", row["train_loss"])) + self.offset
        if self.max_fun is not None:
            return self._solved(row)
        owner.t_ += self.n_rows
        owner.loss_curve_.append(owner.loss_)
        self._say("Iteration %d, loss = %.8f", owner.n_iter_, owner.loss_)
        if self.best is None:
            self._note_loss()
        else:
            self.note_score(self.best.value(row), float(row["validation_loss"]))
        if self.pace is not None:
            self.pace.seen(owner.t_)
        return self._standstill()

    def _note_loss(self) -> None:
        owner = self.owner
        best = np.inf if owner.best_loss_ is None else owner.best_loss_
        gained = not owner.loss_ > best - owner.tol
        owner._no_improvement_count = 0 if gained else owner._no_improvement_count + 1
        owner.best_loss_ = min(best, owner.loss_)

    def note_score(self, score: float, loss: float) -> None:
        """The score of the validation rows after an epoch, and their loss."""
        owner, sign = self.owner, 1.0 if self.best is None or self.best.higher else -1.0
        if owner.validation_scores_ is None:  # an earlier fit had no rows that judge
            owner.validation_scores_, owner.validation_losses_ = [], []
            owner.best_validation_score_ = -sign * np.inf
        owner.validation_scores_.append(score)
        owner.validation_losses_.append(self.factor * loss + self.offset)
        self._say("Validation score: %f", score)
        best = sign * owner.best_validation_score_
        gained = not sign * score < best + owner.tol
        owner._no_improvement_count = 0 if gained else owner._no_improvement_count + 1
        if sign * score > best:
            owner.best_validation_score_, self.improved = score, True

    def _standstill(self) -> Stop | None:
        owner = self.owner
        if not self.stops or not owner._no_improvement_count > owner.n_iter_no_change:
            return None
        what = "Training loss" if self.best is None else "Validation score"
        waited = f"{what} did not improve more than tol={owner.tol:f} for {owner.n_iter_no_change} consecutive epochs."
        if self.pace is not None and self.pace.slower():
            self._say(f"{waited} Setting learning rate to %f", self.pace.learning_rate)
            owner._no_improvement_count = 0
            return None
        small = self.pace is not None and self.pace.kind == "adaptive"
        self._say(f"{waited}{' Learning rate too small.' if small else ''} Stopping.")
        self.converged = True
        return Stop(waited)

    def _solved(self, row: dict[str, Any]) -> Stop | None:
        """Stop where a solver's iterations gain nothing any more, or have looked at the data too often."""
        owner = self.owner
        value, before = owner.loss_, self._value
        self._value = value
        self._say("Iteration %d, loss = %.8f", owner.n_iter_, owner.loss_)
        if self.max_fun is not None and row["evaluations"] >= self.max_fun:
            self.ran_out = True
            return Stop(f"max_fun={self.max_fun} evaluations are done")
        if np.isfinite(before) and before - value <= FLAT * max(abs(before), abs(value), 1.0):
            self.converged = True
            return Stop("the loss no longer falls")
        return None

    def _say(self, words: str, *values: Any) -> None:
        if self.owner.verbose:
            print(words % values if values else words)


def poisson_offset(y: np.ndarray, w: np.ndarray) -> float:
    """The mean of t log t - t - log Γ(t + 1) over the rows, by which half the Poisson deviance differs from -log P.

    y  (n,) or (n, k), over which it is summed;  w  weights of the rows
    """
    each = np.asarray(xlogy(y, y) - y - gammaln(y + 1.0), dtype=np.float64).reshape(len(y), -1).sum(axis=1)
    return float(np.average(each, weights=w))


def glorot_starts(
    sizes: Sequence[int], factors: Sequence[float], random_state: np.random.RandomState, dtype: Any
) -> Any:
    """(weights, biases) of every layer: uniform on ± sqrt(factor / (n_in + n_out)), the biases too.

    source  Glorot & Bengio 2010, eq. 16, drawn in scikit-learn's order
    """
    weights, biases = [], []
    for n_in, n_out, factor in zip(sizes, sizes[1:], factors, strict=False):
        limit = np.sqrt(factor / (n_in + n_out))
        weights.append(random_state.uniform(-limit, limit, (n_in, n_out)).astype(dtype, copy=False))
        biases.append(random_state.uniform(-limit, limit, n_out).astype(dtype, copy=False))
    return weights, biases


__all__ = ["Convergence", "Orders", "Pace", "glorot_starts", "poisson_offset"]
