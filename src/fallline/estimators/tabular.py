"""fl.TabularClassifier and fl.TabularRegressor: from a table that nobody prepared to predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from fallline.core.errors import ConfigError, DataError
from fallline.data.multiple import LabelsTarget
from fallline.estimators.calibration import temperature_of, thresholds_of
from fallline.estimators.inputs import checked_labels
from fallline.estimators.plain import Trained
from fallline.estimators.tabular_base import SHARED, Tabular
from fallline.estimators.targets import Encoded, Task, read_classes, read_labels, read_numbers
from fallline.losses.regression import Quantile
from fallline.nn.containers import Sequential
from fallline.nn.outputs import Temperature
from fallline.train.examples import Examples
from fallline.train.intervals import Intervals
from fallline.train.model import Model


class TabularClassifier(ClassifierMixin, Tabular):
    """A classifier of tables: two classes, several, labels of which a row has any number, or classes in an order.

        fl.TabularClassifier().fit(frame, y).predict_proba(new)

    class_weight  "balanced", or {class: weight}, which multiplies the weights of rows
    ordered       the classes from the lowest to the highest, or True for the order in which they sort; a pandas
                  Categorical that is ordered brings its own. Then one score and rising thresholds make probabilities
                  (cumulative logit)
    calibrate     whether a temperature makes probabilities as sure as they are right, on rows that no training saw
    threshold     None (the most probable class), a number (of two classes), or a metric that thresholds are to make
                  best on rows that no training saw: "f1", "balanced_accuracy", "accuracy"

    """

    __doc__ += SHARED

    task = "classification"

    def __init__(
        self,
        *,
        preset: str = "tabular",
        budget: str = "default",
        time_limit: float | None = None,
        recipe: Any = None,
        ensemble: int | None = None,
        hidden: Any = None,
        activation: Any = None,
        dropout: float | None = None,
        l2: float | None = None,
        optimizer: Any = None,
        learning_rate: float | None = None,
        batch_size: int | str | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        loss: Any = None,
        ordered: Any = None,
        class_weight: Any = None,
        calibrate: bool = True,
        threshold: Any = None,
        categorical: Sequence[Any] | None = None,
        kinds: Mapping[Any, str] | None = None,
        validation: Any = None,
        metric: str | None = None,
        random_state: Any = 0,
        engine: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        verbose: int = 0,
        callbacks: Sequence[Any] = (),
    ):
        self.preset, self.budget, self.time_limit, self.recipe = preset, budget, time_limit, recipe
        self.ensemble, self.hidden, self.activation, self.dropout, self.l2 = ensemble, hidden, activation, dropout, l2
        self.optimizer, self.learning_rate, self.batch_size, self.epochs = optimizer, learning_rate, batch_size, epochs
        self.patience, self.loss, self.ordered, self.class_weight = patience, loss, ordered, class_weight
        self.calibrate, self.threshold, self.categorical, self.kinds = calibrate, threshold, categorical, kinds
        self.validation, self.metric, self.random_state, self.engine = validation, metric, random_state, engine
        self.n_jobs, self.precision, self.verbose, self.callbacks = n_jobs, precision, verbose, callbacks

    def _read_target(self, y: np.ndarray, names: Any, order: Any, weights: np.ndarray | None) -> Encoded:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        checked_labels(self, y)
        if y.ndim == 2 and type_of_target(y) != "multilabel-indicator":
            raise DataError(
                f"y has shape {y.shape} with several classes a column: give one column of classes, labels as 0 and 1, "
                "or fit one estimator for each column (sklearn's MultiOutputClassifier)"
            )
        if y.ndim == 2:
            self.classes_ = np.arange(y.shape[1]) if names is None else np.array(names, dtype=object)
            encoded = read_labels(y, None if names is None else names, self.loss)
        else:
            encoded = read_classes(y, self.loss, order if self.ordered is None else self.ordered)
            self.classes_ = np.unique(y)
        return encoded

    def _class_weights(self, encoded: Encoded) -> Any:
        if self.class_weight is not None and isinstance(encoded.target, LabelsTarget):
            raise ConfigError(f"class_weight={self.class_weight!r}: labels have no classes to weigh, use sample_weight")
        return self.class_weight

    def _finished(self, trained: Trained, task: Task, examples: Examples) -> Model:
        model, seen = self._model(trained, task), _seen(trained, examples)
        self.temperature_ = 1.0
        if not (len(seen) and task.loss.probabilistic):
            if self.threshold is not None and not isinstance(self.threshold, (int, float)):
                raise ConfigError(f"threshold={self.threshold!r} needs rows outside training, and probabilities: "
                                  "give validation=0.2 and more rows, and a loss with probabilities")  # fmt: skip
            seen = examples.take(np.zeros(0, np.int64))
        scores, w = trained.scores, seen.w.astype(np.float64)
        if len(seen) and self.calibrate:
            self.temperature_ = temperature_of(scores, seen.y, w)
        if self.temperature_ != 1.0:
            layer = Temperature(np.asarray(self.temperature_, model.dtype))
            model, scores = replace(model, network=Sequential(model.network, layer)), scores / self.temperature_
        if self.threshold is None:
            return model
        y = seen.y if len(seen) else examples.y[:1]
        probabilities = model.probabilities(scores) if len(seen) else np.full((1, len(model.classes)), 0.5)
        found, note = thresholds_of(self.threshold, probabilities, y, w)
        self.notes_ += [note] if note else []
        return replace(model, thresholds=found)

    @property
    def _order(self) -> Any:
        """Where each of `classes_` stands among the model's classes, which may be in an order of their own."""
        known = list(self.model_.classes)
        if isinstance(self.model_.target, LabelsTarget) or known == list(self.classes_):
            return slice(None)
        return [known.index(label) for label in self.classes_.tolist()]

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row.   -> (n,), or (n, labels) of 0 and 1"""
        table = self._table(X)
        found = self.model_.predict(table)
        return found if found.ndim == 2 else found.astype(self.classes_.dtype, copy=False)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_`, or of each label.   -> (n, n_classes)"""
        table = self._table(X)
        return self.model_.predict_proba(table)[:, self._order]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """The scores before the link.   -> (n,) of two classes: above 0 is the second; else (n, n_classes)"""
        table = self._table(X)
        scores = self.model_.scores(table)
        return scores if scores.ndim == 1 else scores[:, self._order]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class TabularRegressor(RegressorMixin, Tabular):
    """A regressor of tables: numbers, several at once, counts, positive numbers, a distribution or quantiles.

        fl.TabularRegressor().fit(frame, y).predict_interval(new, alpha=0.1)

    distribution  None (squared error; rare counts are noticed), "normal" (mean and variance: `predict(X,
                  return_std=True)`), "poisson" (counts) or "gamma" (positive numbers: errors in parts of the mean)
    quantiles     one number, or several, between 0 and 1: `predict` gives these quantiles, (n, q); they never cross

    """

    __doc__ += SHARED

    task = "regression"

    def __init__(
        self,
        *,
        preset: str = "tabular",
        budget: str = "default",
        time_limit: float | None = None,
        recipe: Any = None,
        ensemble: int | None = None,
        hidden: Any = None,
        activation: Any = None,
        dropout: float | None = None,
        l2: float | None = None,
        optimizer: Any = None,
        learning_rate: float | None = None,
        batch_size: int | str | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        loss: Any = None,
        distribution: str | None = None,
        quantiles: Any = None,
        categorical: Sequence[Any] | None = None,
        kinds: Mapping[Any, str] | None = None,
        validation: Any = None,
        metric: str | None = None,
        random_state: Any = 0,
        engine: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        verbose: int = 0,
        callbacks: Sequence[Any] = (),
    ):
        self.preset, self.budget, self.time_limit, self.recipe = preset, budget, time_limit, recipe
        self.ensemble, self.hidden, self.activation, self.dropout, self.l2 = ensemble, hidden, activation, dropout, l2
        self.optimizer, self.learning_rate, self.batch_size, self.epochs = optimizer, learning_rate, batch_size, epochs
        self.patience, self.loss, self.distribution, self.quantiles = patience, loss, distribution, quantiles
        self.categorical, self.kinds, self.validation, self.metric = categorical, kinds, validation, metric
        self.random_state, self.engine, self.n_jobs, self.precision = random_state, engine, n_jobs, precision
        self.verbose, self.callbacks = verbose, callbacks

    def _read_target(self, y: np.ndarray, names: Any, order: Any, weights: np.ndarray | None) -> Encoded:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        w = np.ones(len(y)) if weights is None else weights
        given = {"loss": self.loss, "distribution": self.distribution, "quantiles": self.quantiles}
        return read_numbers(_numbers(y), w, None if names is None else tuple(map(str, names)), **given)

    def _finished(self, trained: Trained, task: Task, examples: Examples) -> Model:
        model, seen = self._model(trained, task), _seen(trained, examples)
        if not len(seen):
            return model
        y = task.target.decode(seen.y.astype(np.float64))
        return replace(model, intervals=Intervals.of(task.loss, task.target, trained.scores, y, seen.w))

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The number of each row.   -> (n,), (n, k) of k targets, or (n, q) of q quantiles

        return_std  also σ of each prediction, for distribution="normal": (prediction, σ)
        """
        table = self._table(X)
        scores = self.model_.scores(table)
        found = self.model_.predicted(scores)
        return (found, self.model_.deviations(scores)) if return_std else found

    def predict_interval(self, X: Any, alpha: float = 0.1) -> np.ndarray:
        """The ends of an interval that holds the target with a probability of at least 1 - alpha.

        Split conformal prediction, from rows that no training saw; of quantiles from their pair nearest to alpha/2.
        -> (n, 2), or (n, 2, k) of k targets
        """
        table = self._table(X)
        return self.model_.predict_interval(table, alpha)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions; of quantiles the share of the pinball loss of constants that they save (D²)."""
        found = self.predict(X)
        loss = self.model_.loss
        if not isinstance(loss, Quantile):
            return super().score(X, y, sample_weight)
        t = np.asarray(y, dtype=np.float64)
        w = np.ones(len(t)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        constant = np.stack([np.quantile(t, q) for q in np.atleast_1d(loss.q)])
        constants = np.broadcast_to(constant if found.ndim == 2 else constant[0], found.shape)
        saved, whole = (float(np.average(loss(np.asarray(s, np.float64), t), weights=w)) for s in (found, constants))
        return 1.0 - saved / whole if whole > 0 else float(saved == 0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _seen(trained: Trained, examples: Examples) -> Examples:
    """The rows that no training saw when it scored them, and that its scores belong to."""
    return examples.take(trained.rows) if trained.held is None else trained.held


def _numbers(y: np.ndarray) -> np.ndarray:
    """Targets of a regression as float64; DataError for text."""
    try:
        return y.astype(np.float64)
    except (TypeError, ValueError):
        row = next((i for i, v in enumerate(y.ravel()) if not isinstance(v, (int, float, np.number))), 0)
        raise DataError(
            f"y holds {y.ravel()[row]!r} in row {row}, regression needs numbers: fl.TabularClassifier takes classes"
        ) from None


__all__ = ["TabularClassifier", "TabularRegressor"]
