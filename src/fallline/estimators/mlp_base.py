"""What the perceptrons share: one training loop, the arrays that scikit-learn's users read, and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fallline.core.errors import DataError
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.estimators import mlp_settings as settings
from fallline.estimators.from_sklearn import copied
from fallline.estimators.inputs import SPARSE, checked_pair, checked_rows, checked_weights
from fallline.estimators.mlp_runs import go_on, train_on
from fallline.estimators.mlp_training import glorot_starts
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.layer import Layer
from fallline.train.examples import Examples, row_weights
from fallline.train.feeding import SparseRows
from fallline.train.judging import CHUNK
from fallline.train.metrics import METRICS
from fallline.train.model import Model, score_rows

FLOATS = (np.float64, np.float32)
OUTPUTS = {"sigmoid": "logistic", "softmax": "softmax", "exp": "exp", "identity": "identity"}  # scikit-learn's names
LARGE = 1 << 28  # bytes that sparse rows may take as a dense array
TOO_FEW = "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."


class MLP(BaseEstimator):
    """The base of `MLPClassifier` and `MLPRegressor`, which say how targets are encoded and scores are read."""

    _parameter_constraints: ClassVar[dict[str, Any]] = settings.CONSTRAINTS
    model_: Model
    _step_dtype: np.dtype
    _kind: str  # of the targets: "binary", "multiclass", "multilabel" or "numbers"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLP:
        """Trains on rows X (n, n_features), dense or sparse, and y (n,) or (n, n_outputs).

        sample_weight  importance of each row: 2 is the row twice, 0 is the row absent
        """
        self._check_settings()
        first = not (self.warm_start and hasattr(self, "coefs_"))
        X, y, w = self._checked(X, y, sample_weight, first, anew=not self.warm_start)
        self._random_state = check_random_state(self.random_state)
        self._start(X, y, first)
        self._step_dtype = settings.dtype_of(self, X)
        train, judged = self._parts(self._examples(X, y, w))
        train_on(self, train, judged)
        return self

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """This estimator with the parameters and weights of a fitted one of scikit-learn; training can go on.

        raises  DataError for another estimator
        """
        return copied(cls, fitted)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        """One epoch on these rows, from where the last call of fit or partial_fit ended."""
        first = not hasattr(self, "coefs_")
        X, y, w = self._checked(X, y, sample_weight, first, anew=False)
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._random_state = check_random_state(self.random_state)
        self._start(X, y, first)
        if first or self.precision is not None or not hasattr(self, "_step_dtype"):
            self._step_dtype = settings.dtype_of(self, X)
        go_on(self, self._examples(X, y, w))

    def _check_settings(self) -> None:
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
            settings.check_named(self)

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, first: bool, anew: bool
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """X, the encoded targets and the weights of the rows.   anew: the classes of earlier calls are forgotten"""
        known = not (first or anew)  # labels are then compared with those that are known
        X, y = checked_pair(self, X, y, reset=first, sparse=SPARSE, dtype=FLOATS, any_labels=known)
        weights = checked_weights(sample_weight, X.shape[0])
        y = y.toarray() if hasattr(y, "toarray") else y
        self._learn_targets(y, anew)
        self._loss = self._loss_for(y) if first or not hasattr(self, "model_") else self.model_.loss
        encoded = self._encoded(y)
        return X, encoded, row_weights(weights, self._class_weight(), encoded, self._labels())

    def _labels(self) -> tuple[Any, ...]:
        """The classes of which each row has one; empty for numbers and several labels a row."""
        return ()

    def _class_weight(self) -> Any:
        return None

    def _start(self, X: Any, y: np.ndarray, first: bool) -> None:
        """Weights and a model, where training does not go on."""
        n_scores = self._count_scores(y)
        if first:
            self._draw_start(X, n_scores)
        elif hasattr(self, "model_") and n_scores != self.n_outputs_:
            raise DataError(
                f"y needs {n_scores} output units, training began with {self.n_outputs_}: start anew with fit"
            )
        if not hasattr(self, "model_"):
            self._fill_model(n_scores)

    def _draw_start(self, X: Any, n_scores: int) -> None:
        """The first weights, and an empty record of training."""
        sizes = [X.shape[1], *settings.hidden_sizes(self), n_scores]
        factors = [settings.start_factor(self, k) for k in range(len(sizes) - 1)]
        self.coefs_, self.intercepts_ = glorot_starts(sizes, factors, self._random_state, X.dtype)
        for name in {"model_", "_optimizer", "_going"} & vars(self).keys():
            delattr(self, name)
        self.n_iter_, self.t_ = 0, 0
        self.n_layers_ = len(sizes)
        self.out_activation_ = OUTPUTS.get(self._loss.link, self._loss.link)
        self._blank_record()

    def _blank_record(self) -> None:
        self._no_improvement_count = 0
        scored = bool(self.early_stopping or self.validation_data)
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if scored else np.inf
        self.validation_scores_: list[float] | None = [] if scored else None
        self.validation_losses_: list[float] | None = [] if scored else None
        worst = np.inf if self._metric().better == "lower" else -np.inf
        self.best_validation_score_ = worst if scored else None

    def _fill_model(self, n_scores: int) -> None:
        """`model_`, whose dense layers hold the arrays of coefs_ and intercepts_ themselves."""
        self.n_outputs_ = n_scores
        if not hasattr(self, "validation_losses_"):  # coefs_ were set by hand
            self._blank_record()
        dtype = np.asarray(self.coefs_[0]).dtype
        spec = Spec((2, len(self.coefs_[0])), dtype if dtype.kind == "f" else np.dtype("float64"))
        network = settings.recipe_of(self, n_scores).build(spec, np.random.default_rng(0))
        names = tuple(getattr(self, "feature_names_in_", ()))
        row = spec.with_shape(spec.shape[1:])
        self.model_ = Model(self._with_arrays(network), self._loss, self._target(), feature_names=names, row=row)

    def _with_arrays(self, network: Layer) -> Layer:
        """The network with the arrays that stand in coefs_ and intercepts_ now."""
        changed = {}
        for (path, layer), W, b in zip(_dense_in(network), self.coefs_, self.intercepts_, strict=True):
            if layer.W is not W:
                changed[f"{path}.W"] = np.ascontiguousarray(W, layer.W.dtype)
            if layer.b is not b:
                changed[f"{path}.b"] = np.ascontiguousarray(b, layer.b.dtype)
        return with_leaves(network, leaves(network) | changed) if changed else network

    def _synced(self) -> Model:
        """The model with the arrays that stand in coefs_ and intercepts_ now, which users may change."""
        network = self._with_arrays(self.model_.network)
        return self.model_ if network is self.model_.network else replace(self.model_, network=network)

    def _take(self, found: Mapping[str, np.ndarray]) -> None:
        """The trained leaves by path, as the estimator's arrays, in the dtype of the first rows."""
        network = map_leaves(lambda path, old: np.array(found[path], dtype=old.dtype), self.model_.network)
        self.model_ = replace(self.model_, network=network)
        self._show_arrays()

    def _show_arrays(self) -> None:
        """coefs_ and intercepts_ are the arrays of the model's dense layers."""
        dense = [layer for _, layer in _dense_in(self.model_.network)]
        self.coefs_[:], self.intercepts_[:] = [layer.W for layer in dense], [layer.b for layer in dense]

    def _examples(self, X: Any, y: np.ndarray, w: np.ndarray) -> Examples:
        """The rows in the dtype of training; those of weight 0 are left out."""
        dtype = self._step_dtype
        present = np.flatnonzero(w)
        if len(present) < len(w):
            X, y, w = X[present], y[present], w[present]
        with np.errstate(over="ignore"):  # infinite values end training with a reason
            x = self._step_rows(X, dtype)
        targets = np.ascontiguousarray(y, dtype=np.int32 if self._loss.target_dtype == "int32" else dtype)
        return Examples(x, targets, np.ascontiguousarray(w, dtype=dtype))

    def _step_rows(self, X: Any, dtype: np.dtype) -> Any:
        """The rows for the steps; large sparse ones become dense only batch by batch."""
        if not hasattr(X, "toarray"):
            return np.ascontiguousarray(X, dtype=dtype)
        if settings.is_stochastic(self) and X.shape[0] * X.shape[1] * dtype.itemsize > LARGE:
            return SparseRows(X, dtype)
        return np.ascontiguousarray(X.toarray(), dtype=dtype)

    def _parts(self, rows: Examples) -> tuple[Examples, Examples | None]:
        """The rows to train on, and those that judge: of validation_data, or a share of the rows for early_stopping."""
        if self.validation_data is not None:
            if len(self.validation_data) != 2:
                raise DataError(f"validation_data must be a pair (X, y), given {len(self.validation_data)} parts")
            X, y = self.validation_data
            X, y = checked_pair(self, X, y, reset=False, sparse=SPARSE, dtype=FLOATS)
            return rows, self._examples(X, self._encoded(y), np.ones(X.shape[0]))
        if not self.early_stopping:
            return rows, None
        train, judged = train_test_split(
            np.arange(len(rows)), random_state=self._random_state, test_size=self.validation_fraction,
            stratify=self._strata(rows.y),
        )  # fmt: skip
        if len(judged) < 2:
            raise DataError(TOO_FEW)
        if isinstance(rows.x, SparseRows):
            return Examples(rows.x.part(train), rows.y[train], rows.w[train]), rows.take(judged)
        return rows.take(train), rows.take(judged)

    def _strata(self, y: np.ndarray) -> np.ndarray | None:
        """What is shared out evenly between training and validation, as scikit-learn does it; None for nothing."""
        return None

    def _metric(self) -> Any:
        return METRICS[self._metric_name()]

    def _scores(self, X: Any) -> np.ndarray:
        """The scores of rows, (n,) or (n, n_outputs)."""
        check_is_fitted(self)
        X = checked_rows(self, X, sparse=SPARSE)
        model, n = self._synced(), X.shape[0]
        parts = []
        for start in range(0, n, CHUNK):
            part = X[start : start + CHUNK]
            part = part.toarray() if hasattr(part, "toarray") else part
            parts.append(score_rows(model.network, _padded(part, model.dtype), model.engine)[: len(part)])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def save(self, path: str | Path) -> Path:
        """Writes one safetensors file, which `fl.load` reads as a Model."""
        check_is_fitted(self)
        return self._synced().save(path)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_going"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _padded(rows: np.ndarray, dtype: Any) -> np.ndarray:
    """The rows and behind them zeros, up to a power of two: few shapes, so that few programs are compiled."""
    n = 1 << max(0, len(rows) - 1).bit_length()
    if n == len(rows):
        return rows
    made = np.zeros((n, rows.shape[1]), dtype)
    made[: len(rows)] = rows
    return made


def _dense_in(network: Layer) -> list[tuple[str, Dense]]:
    """The dense layers of a network with their paths, in order."""
    assert isinstance(network, Sequential)  # a perceptron's layers stand in a row
    return [(f"layers.{k}", layer) for k, layer in enumerate(network.layers) if isinstance(layer, Dense)]
