"""MLPClassifier and MLPRegressor: scikit-learn's perceptrons, trained by compiled steps."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from fallline.core.errors import DataError
from fallline.data.target import ClassTarget, NumberTarget
from fallline.estimators import mlp_settings as settings
from fallline.estimators.mlp_base import MLP
from fallline.losses.loss import Loss
from fallline.train.examples import finite_targets


def _goes_on(estimator: Any) -> bool:
    """Whether there is a partial_fit; AttributeError with the reason where there is none."""
    if not settings.is_stochastic(estimator):
        given = estimator.solver if estimator.optimizer is None else estimator.optimizer
        raise AttributeError(f"partial_fit is only available for stochastic optimizers. {given} is not stochastic.")
    return True


class MLPClassifier(ClassifierMixin, MLP):
    """scikit-learn's MLPClassifier: the same parameters, defaults, attributes and results, in a fraction of the time.

    With the same random_state training starts from the same weights and takes the rows in the same order, so it ends
    where scikit-learn's ends, up to rounding: steps are in float32 where that pays, beyond a million products an epoch,
    whatever X is in (precision="float64" for float64; "lbfgs" takes it by itself). What scikit-learn does not have:

    activation   any of ours by name ("gelu", "leaky_relu(0.1)") or as a layer, and a list of them, one a hidden layer
    solver       any optimizer or solver of ours, by name (at learning_rate_init) or as a record with its own rate
    learning_rate  a schedule of ours, such as fl.Cosine(0.01)
    optimizer    takes the place of solver
    loss         "log_loss", or any of ours for classes
    dropout      share of the hidden units that is switched off at each step
    batch_norm   whether each hidden layer is normalised over the batch, in front of its activation
    class_weight  "balanced" or {class: weight}, times sample_weight
    validation_data  (X, y) that judges every epoch; the best epoch's weights are kept
    validation_metric  what the rows that judge are scored by ("auc", "log_loss" …), "accuracy" where it is None
    callbacks    called with every event of training; one that answers fl.Stop(reason) ends it
    precision    "float32", "float64", or "bf16x3" and "bf16" where the CPU has them
    engine       what computes the steps;  n_jobs  threads, None for as many as the work is worth, -1 for all

    attributes   scikit-learn's, and model_, the fl.Model; history_, one row an epoch; validation_losses_. coefs_ and
                 intercepts_ are the model's own arrays: what is changed in them counts, in predictions and training
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **MLP._parameter_constraints,
        "class_weight": [dict, str, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        dropout: float = 0.0,
        batch_norm: bool = False,
        class_weight: Any = None,
        validation_data: Any = None,
        validation_metric: str | None = None,
        callbacks: Any = (),
        precision: str | None = None,
        engine: Any = "auto",
        n_jobs: int | None = None,
        optimizer: Any = None,
    ):
        _keep(self, locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPClassifier:
        """Trains on rows X (n, n_features), dense or sparse, and labels y (n,), or (n, n_labels) of 0 and 1.

        sample_weight  importance of each row: 2 is the row twice, 0 is the row absent
        """
        super().fit(X, y, sample_weight)
        return self

    @available_if(_goes_on)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch on these rows, from where the last call ended.

        classes  all labels that will ever come; needed in the first call
        """
        if not hasattr(self, "classes_"):
            self._check_settings()
            if classes is None:
                raise DataError(
                    "classes must be passed on the first call to partial_fit: all labels that will ever come"
                )
            self._set_classes(y if type_of_target(y).startswith("multilabel") else classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            was = f"is not the same as on last call to partial_fit, was: {self.classes_!r}"
            raise DataError(f"`classes={classes!r}` {was}")
        if self.class_weight == "balanced":
            raise DataError(
                'class_weight="balanced" is unknown in partial_fit, which sees some rows: give {class: weight}'
            )
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each row, or 0 and 1 for each of several labels."""
        scores = self._scores(X)
        codes = np.asarray(self.model_.loss.decide(scores))
        return (
            codes.astype(np.int64)
            if self._kind == "multilabel"
            else self.classes_[codes.clip(max=len(self.classes_) - 1)]
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_`.   -> (n, n_classes)"""
        scores = self._scores(X)
        if self._kind == "multilabel":
            found = np.asarray(self.model_.loss.predict(scores))
        else:
            found = self.model_.probabilities(scores)
        return found.astype(self.coefs_[0].dtype, copy=False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log of `predict_proba`, -inf where a probability is 0"""
        found = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(found, out=found)

    def _set_classes(self, y: Any) -> None:
        several = type_of_target(y).startswith("multilabel")
        self.classes_ = np.arange(np.shape(y)[1]) if several else unique_labels(y)
        self._kind = "multilabel" if several else "multiclass" if len(self.classes_) > 2 else "binary"

    def _learn_targets(self, y: np.ndarray, anew: bool) -> None:
        if anew or not hasattr(self, "classes_"):
            self._set_classes(y)
            return
        if not self.warm_start:
            return
        found = np.arange(y.shape[1]) if y.ndim > 1 else np.unique(y)
        if set(found.tolist()) != set(self.classes_.tolist()):
            raise DataError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {found}"
            )

    def _loss_for(self, y: np.ndarray) -> Loss:
        return settings.loss_of(self, self._kind)

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        if (self._kind == "multilabel") != (y.ndim == 2):
            raise DataError(f"y has shape {y.shape}, training began with {self._kind} targets: start anew with fit")
        if self._kind == "multilabel":
            return np.asarray(y != 0, dtype=np.float64)
        codes = np.searchsorted(self.classes_, y)
        wrong = codes >= len(self.classes_)
        wrong[~wrong] = self.classes_[codes[~wrong]] != y[~wrong]
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"`y` has classes not in `self.classes_`: {y[row]} in row {row} is none of {self.classes_}")
        return codes

    def _labels(self) -> tuple[Any, ...]:
        return () if self._kind == "multilabel" else tuple(self.classes_.tolist())

    def _class_weight(self) -> Any:
        return self.class_weight

    def _target(self) -> Any:
        return NumberTarget("y") if self._kind == "multilabel" else ClassTarget("y", self._labels())

    def _count_scores(self, y: np.ndarray) -> int:
        classes = 2 if self._kind == "multilabel" else max(2, len(self.classes_))
        return self._loss.n_scores(classes, 1 if y.ndim == 1 else y.shape[1])

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        return y[:, None] > 0 if self._kind == "binary" else None

    def _metric_name(self) -> str:
        return self.validation_metric or ("subset_accuracy" if self._kind == "multilabel" else "accuracy")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, MLP):
    """scikit-learn's MLPRegressor: the same parameters, defaults, attributes and results, in a fraction of the time.

    loss  "squared_error" (half of it, summed over the outputs) and "poisson" as in scikit-learn, or any of ours for
          numbers: "huber", fl.Quantile(0.9), "gaussian"
    validation_metric  "r2" where it is None
    Everything else is said under `MLPClassifier`; a target that is not near 0 and 1 in size is learnt sooner when it is
    scaled (sklearn's TransformedTargetRegressor), here as there.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = MLP._parameter_constraints
    _kind = "numbers"

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        batch_norm: bool = False,
        validation_data: Any = None,
        validation_metric: str | None = None,
        callbacks: Any = (),
        precision: str | None = None,
        engine: Any = "auto",
        n_jobs: int | None = None,
        optimizer: Any = None,
    ):
        _keep(self, locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Trains on rows X (n, n_features), dense or sparse, and numbers y (n,) or (n, n_outputs).

        sample_weight  importance of each row: 2 is the row twice, 0 is the row absent
        """
        super().fit(X, y, sample_weight)
        return self

    @available_if(_goes_on)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch on these rows, from where the last call ended."""
        if not hasattr(self, "coefs_"):
            self._check_settings()
        self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number, or the numbers, of each row."""
        scores = self._scores(X)
        return self.model_.predicted(scores).astype(self.coefs_[0].dtype, copy=False)

    def _learn_targets(self, y: np.ndarray, anew: bool) -> None:
        """Numbers are as they are."""

    def _loss_for(self, y: np.ndarray) -> Loss:
        return settings.loss_of(self, self._kind)

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        found = finite_targets(y)
        bad = ~self._loss.allowed(found).reshape(len(found), -1).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"y holds {found[row]} in row {row}: loss={self.loss!r} takes {self._loss.takes}")
        return found

    def _target(self) -> Any:
        return NumberTarget("y")

    def _count_scores(self, y: np.ndarray) -> int:
        return self._loss.n_scores(0, 1 if y.ndim == 1 else y.shape[1])

    def _metric_name(self) -> str:
        return self.validation_metric or "r2"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _keep(owner: Any, given: dict[str, Any]) -> None:
    """Sets the parameters, each under its own name, as scikit-learn wants it."""
    for name, value in given.items():
        if name not in ("self", "__class__"):
            setattr(owner, name, value)


__all__ = ["MLPClassifier", "MLPRegressor"]
