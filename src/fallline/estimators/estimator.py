"""Estimators: a network and how it is trained, as scikit-learn wants it: for its searches, pipelines and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import Record, as_record
from fallline.core.registry import nearest
from fallline.estimators.inputs import checked_pair, checked_rows, checked_weights
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer
from fallline.optim.optimizer import Minimizer
from fallline.train.examples import as_targets, column_names
from fallline.train.trainer import Fit
from fallline.train.variants import DESIGN, fit_choices


class Estimator(BaseEstimator):
    """What the estimators share: parameters that name settings of the records in them, fit and predict.

        optimizer__learning_rate, network__layers__0__units, loss__delta

    network   a recipe, which stays as it is; None is the network of `fl.mlp`, with as many outputs as the targets need
    hidden, activation, norm, dropout, features  of `fl.mlp`
    all others  as in `fl.fit`
    attributes  fit_  the Fit, with the history;  model_  the Model;  n_features_in_, feature_names_in_
    """

    task: ClassVar[str] = ""
    _families: ClassVar[dict[str, type[Record]]] = {"optimizer": Minimizer, "loss": Loss, "network": Layer}

    def __init__(
        self,
        network: Layer | None = None,
        *,
        hidden: Any = (64,),
        activation: Any = "relu",
        norm: str | None = None,
        dropout: float = 0.0,
        features: Any = None,
        loss: Any = None,
        optimizer: Any = "adam",
        learning_rate: Any = None,
        epochs: int = 100,
        batch_size: int | str = 64,
        validation: float | None = None,
        early_stopping: Any = None,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: Any = None,
        seed: int = 0,
        restarts: int = 1,
        precision: str | None = None,
        engine: Any = "auto",
        threads: int | None = None,
        progress: bool = False,
    ):
        self.network, self.hidden, self.activation, self.norm = network, hidden, activation, norm
        self.dropout, self.features, self.loss, self.optimizer = dropout, features, loss, optimizer
        self.learning_rate, self.epochs, self.batch_size, self.validation = (
            learning_rate,
            epochs,
            batch_size,
            validation,
        )
        self.early_stopping, self.l1, self.l2, self.class_weight = early_stopping, l1, l2, class_weight
        self.seed, self.restarts, self.precision, self.engine = seed, restarts, precision, engine
        self.threads, self.progress = threads, progress

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Estimator:
        """Trains on rows X (n, …) and their targets; a data frame's columns are remembered by name."""
        names = column_names(X)
        if not _is_tree(X):
            X, y = checked_pair(self, X, y, nd=True)
            sample_weight = checked_weights(sample_weight, len(X))
        choices = self._choices() | {"loss": self._loss_for(y)}
        made = fit_choices((X, y), choices, sample_weight=sample_weight, strict=False)
        self.model_ = replace(made.model, feature_names=names)
        self.fit_: Fit = replace(made, model=self.model_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class, or the number, of each row."""
        rows = self._rows(X)
        return self.model_.predict(rows)

    def _rows(self, X: Any) -> Any:
        """X as an array with the columns that training had."""
        check_is_fitted(self)
        return X if _is_tree(X) else checked_rows(self, X, nd=True)

    def set_params(self, **params: Any) -> Estimator:
        """Sets parameters, also those of the records in them: optimizer__learning_rate=0.01.

        Names are those of `get_params`, in any order; a record is replaced by a changed one, as none can change.
        """
        whole = {name: value for name, value in params.items() if "__" not in name}
        super().set_params(**whole)
        for name in params.keys() - whole.keys():
            head, _, rest = name.partition("__")
            if head not in self.get_params(deep=False):
                raise ValueError(f"{type(self).__name__} has no parameter {head!r}: {nearest(head, self.get_params())}")
            holder = getattr(self, head)
            if head in self._families and isinstance(holder, (str, type)):  # "adam" has settings too
                holder = as_record(holder, self._families[head])
            if not isinstance(holder, Record):
                raise ValueError(f"{name}: {head} is {holder!r}, which has no settings of its own")
            setattr(self, head, holder.set_params(**{rest: params[name]}))
        return self

    def _choices(self) -> dict[str, Any]:
        """The parameters as keywords of `mlp` and `fit`; those of mlp are left out beside a network."""
        given = self.get_params(deep=False)
        dropped = {"network"} if self.network is None else set(DESIGN)
        return {name: value for name, value in given.items() if name not in dropped}

    def _loss_for(self, y: Any) -> Loss:
        """The loss; ConfigError for one of the other task."""
        loss = as_record(self._usual_loss(y) if self.loss is None else self.loss, Loss)
        if loss.task != self.task:
            name, kinds = type(self).__name__, ("Regressor", "Classifier")
            other = name.replace(*kinds) if name.endswith("Regressor") else name.replace(*kinds[::-1])
            raise ConfigError(f"loss={self.loss!r} is one of {loss.task}: take fl.{other}, or leave the loss out")
        return loss

    def _usual_loss(self, y: Any) -> str:
        """The name of the loss where none is given."""
        raise TypeError(f"{type(self).__name__} must define _usual_loss(y): take fl.Classifier or fl.Regressor")


def _is_tree(X: Any) -> bool:
    """Whether X is several arrays, for a network that takes them; scikit-learn has no word for these."""
    return isinstance(X, tuple) or (isinstance(X, Mapping) and not hasattr(X, "shape"))


class Classifier(ClassifierMixin, Estimator):
    """A network as a scikit-learn classifier: `fl.Classifier(hidden=(16,), optimizer="adam(0.01)").fit(X, y)`."""

    task = "classification"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:
        """Trains on rows X (n, …) with a label each; numbers are labels too."""
        super().fit(X, y, sample_weight)
        self.classes_ = np.unique(as_targets(y))
        return self

    def _usual_loss(self, y: Any) -> str:
        classes = np.unique(y)
        if len(classes) < 2:
            raise DataError(f"y has one class, {classes.tolist()[0]!r}: at least two classes are needed")
        return "BinaryCrossEntropy" if len(classes) == 2 else "CategoricalCrossEntropy"

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each of `classes_`.   -> (n, n_classes)"""
        rows = self._rows(X)
        return self.model_.predict_proba(rows)

    def decision_function(self, X: Any) -> np.ndarray:
        """The scores before the link.   -> (n,) of two classes, else (n, n_classes)"""
        rows = self._rows(X)
        return self.model_.scores(rows)


class Regressor(RegressorMixin, Estimator):
    """A network as a scikit-learn regressor: `fl.Regressor(hidden=(16,), l2=1e-3).fit(X, y)`."""

    task = "regression"

    def _usual_loss(self, y: Any) -> str:
        return "SquaredError"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


__all__ = ["Classifier", "Estimator", "Regressor"]
