"""A fitted perceptron of scikit-learn as one of ours: the same weights, and training goes on where it stood."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from fallline.core.errors import DataError
from fallline.estimators import mlp_settings as settings
from fallline.estimators.mlp_runs import Progress
from fallline.optim.optimizer import Optimizer

E = TypeVar("E")
RECORD = (
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "n_layers_",
    "n_outputs_", "out_activation_", "n_features_in_", "feature_names_in_", "classes_",
)  # fmt: skip


def copied(cls: type[E], fitted: Any) -> E:
    """An estimator of the class with the parameters, weights and record of a fitted one of scikit-learn.

    Predictions are equal up to rounding. With "sgd" and "adam" the optimizer's averages come along, so partial_fit
    goes on as scikit-learn's would.
    """
    wanted = MLPClassifier if cls.__name__ == "MLPClassifier" else MLPRegressor
    if not isinstance(fitted, wanted):
        given = type(fitted).__name__
        raise DataError(
            f"{cls.__name__}.from_sklearn takes a fitted {wanted.__name__} of scikit-learn, given {given}: of a "
            "pipeline or a search give the estimator inside, model[-1] or search.best_estimator_"
        )
    check_is_fitted(fitted)
    known = inspect.signature(cls).parameters
    made: Any = cls(**{name: value for name, value in fitted.get_params(deep=False).items() if name in known})
    for name in RECORD:
        if hasattr(fitted, name):
            value = getattr(fitted, name)
            setattr(made, name, list(value) if isinstance(value, list) else value)
    made.coefs_, made.intercepts_ = [np.array(W) for W in fitted.coefs_], [np.array(b) for b in fitted.intercepts_]
    made._no_improvement_count = getattr(fitted, "_no_improvement_count", 0)
    made.validation_losses_ = None if getattr(fitted, "validation_scores_", None) is None else []
    if wanted is MLPClassifier:
        several = fitted.out_activation_ == "logistic" and fitted.n_outputs_ > 1
        made._kind = "multilabel" if several else "multiclass" if len(made.classes_) > 2 else "binary"
    made._loss = settings.loss_of(made, made._kind)
    made._fill_model(fitted.n_outputs_)
    progress = _progress(made, getattr(fitted, "_optimizer", None))
    if progress is not None:
        made._optimizer = progress
    return made


def _progress(made: Any, optimizer: Any) -> Progress | None:
    """Where scikit-learn's optimizer stands; None where it does not say."""
    n = len(made.coefs_)
    names = next((names for names in (("ms", "vs"), ("velocities",)) if hasattr(optimizer, names[0])), None)
    if names is None:
        return None
    lists = [getattr(optimizer, name) for name in names]
    arrays = [np.array(each[k + n * bias]) for k in range(n) for bias in (0, 1) for each in lists]
    factor = settings.factor_of(made, made.n_outputs_, made._kind)
    pace = settings.pace_of(made, factor)
    if pace is not None:
        pace.learning_rate = optimizer.learning_rate
    found = settings.minimizer_of(made, factor, pace)
    assert isinstance(found, Optimizer)  # only those have averages or velocities in scikit-learn
    if len(lists) == 2:  # their averages are of the gradient of factor · our objective
        arrays = [array / (factor if k % 2 == 0 else factor**2) for k, array in enumerate(arrays)]
    return Progress(found, arrays, int(getattr(optimizer, "t", 0)), pace)


__all__ = ["copied"]
