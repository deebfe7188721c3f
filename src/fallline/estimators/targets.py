"""What is predicted: from the targets as they are given to a loss, their encoding, and the output of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.data.columns import Columns
from fallline.data.multiple import LabelsTarget, NumbersTarget, Target
from fallline.data.scaling import quantiles_of, standard
from fallline.data.target import ClassTarget, NumberTarget
from fallline.losses.classification import BinaryCrossEntropy, CategoricalCrossEntropy
from fallline.losses.loss import Loss
from fallline.losses.regression import AbsoluteError, Gamma, GaussianNLL, Poisson, Quantile, SquaredError
from fallline.nn.layer import Layer
from fallline.nn.outputs import Ascending, CumulativeLogit

DISTRIBUTIONS = {"normal": GaussianNLL(), "poisson": Poisson(), "gamma": Gamma()}
# Whole numbers from 0 with this share of zeros at least, and no larger a mean, are counted events.
_ZEROS, _LARGEST_MEAN = 0.05, 10.0


@dataclass(frozen=True)
class Task:
    """What is trained for: all that a training needs to know beside the rows.

    loss, target  how scores become predictions;  columns  how a table becomes inputs
    n_scores  of a row, from the last Dense;  output  a layer that follows it (Ascending, CumulativeLogit), or None
    start     (n_scores,) what the last Dense should say of every row before training: the best constant
    codes     (n,) classes that every fold has its share of, or None;  groups  (n,) that no fold may divide, or None
    notes     what was decided, in words
    """

    loss: Loss
    target: Target
    columns: Columns
    n_scores: int
    output: Layer | None = None
    codes: np.ndarray | None = None
    groups: np.ndarray | None = None
    start: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Targets read: as the loss takes them, how to undo it, and the loss."""

    y: np.ndarray
    target: Target
    loss: Loss
    ordered: bool = False
    notes: tuple[str, ...] = ()

    def task(self, columns: Columns, weights: np.ndarray, groups: np.ndarray | None = None) -> Task:
        """The task of these targets."""
        n_outputs = 1 if self.y.ndim == 1 else self.y.shape[1]
        n_scores = self.loss.n_scores(self.target.n_classes, n_outputs)
        codes = self.y if isinstance(self.target, ClassTarget) else None
        start = best_constant(self.loss, self.y, weights, n_scores)
        output: Layer | None = None
        if self.ordered and n_scores > 2:
            shares = np.bincount(self.y, weights, minlength=n_scores)
            n_scores, output, start = 1, CumulativeLogit.from_shares(shares, np.float32), (0.0,)
        elif isinstance(self.loss, Quantile) and isinstance(self.loss.q, tuple):
            output, start = Ascending(), tuple(Ascending.inverse(start))
        return Task(self.loss, self.target, columns, n_scores, output, codes, groups, start, self.notes)


def read_classes(y: np.ndarray, loss: Any = None, ordered: Any = None) -> Encoded:
    """Labels (n,) as codes.   ordered  the classes in their order, or True for the order in which they sort"""
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"y has one class, {classes[0].item()!r}: at least two classes are needed")
    known = classes.tolist()
    if ordered is not None and ordered is not True and ordered is not False:
        known = _ordered_classes(known, ordered)
        place = {label: i for i, label in enumerate(known)}
        codes = np.array([place[label] for label in classes.tolist()])[codes]
    usual = BinaryCrossEntropy() if len(known) == 2 else CategoricalCrossEntropy()
    chosen = usual if loss is None else as_record(loss, Loss)
    chosen.n_scores(len(known), 1)  # refuses a loss for two classes where there are more
    is_ordered = ordered is not None and ordered is not False and isinstance(chosen, CategoricalCrossEntropy)
    notes = (f"ordered classes, {' < '.join(map(str, known[:6]))}: cumulative logit",) if is_ordered else ()
    codes = codes.astype(np.int32 if chosen.target_dtype == "int32" else np.float32)
    return Encoded(codes, ClassTarget("y", tuple(known)), chosen, is_ordered, notes)


def _ordered_classes(known: list[Any], ordered: Sequence[Any]) -> list[Any]:
    order = list(ordered)
    missing = [label for label in known if label not in order]
    if missing:
        raise ConfigError(
            f"y holds {missing[0]!r}, which ordered={order!r} lacks: name every class once, from the lowest upwards"
        )
    if len(set(order)) != len(order):
        raise ConfigError(f"ordered={order!r} names a class twice: name every class once")
    return [label for label in order if label in known]


def read_labels(y: np.ndarray, names: Sequence[Any] | None, loss: Any = None) -> Encoded:
    """An indicator matrix (n, labels) of 0 and 1."""
    chosen = BinaryCrossEntropy() if loss is None else as_record(loss, Loss)
    if chosen.target_dtype == "int32":
        raise ConfigError(f"{type(chosen).__name__} takes one class a row, y has {y.shape[1]} labels: leave out loss=")
    return Encoded(y.astype(np.float32), LabelsTarget(tuple(names or range(y.shape[1]))), chosen)


def read_numbers(
    y: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    loss: Any = None,
    distribution: str | None = None,
    quantiles: Any = None,
) -> Encoded:
    """Numbers (n,) or (n, k), each column on its own scale; loss, distribution or quantiles may say what is learned."""
    chosen, notes = _number_loss(y, loss, distribution, quantiles)
    if y.ndim == 2 and isinstance(chosen, Quantile) and isinstance(chosen.q, tuple):
        raise ConfigError(f"quantiles={list(chosen.q)} of {y.shape[1]} targets: fit one estimator for each target")
    taken = chosen.allowed(y)
    if not taken.all():
        at = tuple(int(i) for i in np.argwhere(~taken)[0])
        advice = "'poisson' takes 0" if isinstance(chosen, Gamma) else "loss='mse' takes any number"
        raise DataError(
            f"y is {y[at]:g} in row {at[0]}, {type(chosen).__name__} takes {chosen.takes}: leave out the row, or "
            f"change what is learned ({advice})"
        )
    centred, scaled = bool(chosen.allowed(np.array([-1.0])).all()), not isinstance(chosen, Poisson)
    target = _number_target(y, weights, names, centred, scaled, bool(notes))
    encoded = (y - np.asarray(target.mean)) / np.asarray(target.scale)
    return Encoded(encoded.astype(np.float32), target, chosen, notes=notes)


def _number_loss(y: np.ndarray, loss: Any, distribution: Any, quantiles: Any) -> tuple[Loss, tuple[str, ...]]:
    given = {"loss": loss, "distribution": distribution, "quantiles": quantiles}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(f'{n}={given[n]!r}' for n in asked)}: each says what is learned, give one")
    if loss is not None:
        return as_record(loss, Loss), ()
    if quantiles is not None:
        single = isinstance(quantiles, (int, float))
        return Quantile(float(quantiles) if single else tuple(float(q) for q in np.sort(np.ravel(quantiles)))), ()
    if distribution is not None:
        if distribution not in DISTRIBUTIONS:
            raise ConfigError(f"distribution={distribution!r}: {nearest(str(distribution), DISTRIBUTIONS)}, or None")
        return DISTRIBUTIONS[distribution], ()
    if _is_counted(y):
        return Poisson(), (
            "y holds counts (whole, from 0, many zeros): Poisson loss; loss='mse' takes them as amounts",
        )
    return SquaredError(), ()


def _is_counted(y: np.ndarray) -> bool:
    """Whether these are counts of rare events, whose spread follows their mean; larger ones are amounts like others."""
    if (y < 0).any() or y.max() < 2 or (y != np.round(y)).any():
        return False
    return float(np.mean(y == 0)) >= _ZEROS and float(y.mean()) <= _LARGEST_MEAN


def _number_target(
    y: np.ndarray, weights: np.ndarray, names: Sequence[str] | None, centred: bool, scaled: bool, counted: bool
) -> NumberTarget | NumbersTarget:
    pairs = []
    for column in y.reshape(len(y), -1).T:
        if centred:
            pairs.append(standard(column, weights))
        else:
            pairs.append((0.0, float(np.average(column, weights=weights)) or 1.0) if scaled else (0.0, 1.0))
    if y.ndim == 1:
        return NumberTarget("y", *pairs[0], kind="counts" if counted else "numbers")
    told = tuple(names or (f"y{j}" for j in range(len(pairs))))
    return NumbersTarget(told, tuple(m for m, _ in pairs), tuple(s for _, s in pairs))


def best_constant(loss: Loss, y: np.ndarray, w: np.ndarray, n_scores: int) -> tuple[float, ...]:
    """The scores with the least loss that are the same for every row; zeros where no formula is known.

    y  encoded targets (n,) or (n, k);  w  weights of the rows
    """
    columns = y.reshape(len(y), -1).astype(np.float64)
    means = np.average(columns, axis=0, weights=w)
    if isinstance(loss, CategoricalCrossEntropy):
        shares = np.bincount(y.astype(int), w, minlength=n_scores) / w.sum()
        return tuple(np.log(np.maximum(shares, 1e-6)))
    if isinstance(loss, BinaryCrossEntropy):
        p = np.clip(means, 1e-6, 1 - 1e-6)
        return tuple(np.log(p) - np.log1p(-p))
    if isinstance(loss, (Poisson, Gamma)):
        return tuple(np.log(np.maximum(means, 1e-6)))
    if isinstance(loss, Quantile):
        q = np.atleast_1d(loss.q)
        return tuple(np.concatenate([quantiles_of(column, q, w) for column in columns.T]))
    if isinstance(loss, AbsoluteError):
        return tuple(float(quantiles_of(column, [0.5], w)[0]) for column in columns.T)
    if isinstance(loss, GaussianNLL):
        variance = np.average((columns - means) ** 2, axis=0, weights=w)
        spread = np.log(np.maximum(variance, 1e-6)) if loss.sigma is None else np.zeros(0)
        return (*means, *spread)
    return tuple(means) if isinstance(loss, SquaredError) else (0.0,) * n_scores
