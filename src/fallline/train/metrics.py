"""Metrics: how good predictions are, in NumPy alone, by name; and which direction is better.

Every function takes (predicted, target, weights=None) and returns a float. What `predicted` is stands in the table
METRICS: class codes, probabilities, or numbers. Each agrees with scikit-learn's function of the same meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fallline.core.errors import DataError, UnknownNameError
from fallline.core.registry import Registry, nearest


class Metric(NamedTuple):
    """A named metric.  better: "higher" or "lower";  needs: "classes", "proba" or "prediction"."""

    name: str
    function: Callable[..., float]
    better: str
    needs: str

    def of(self, output: Any, target: Any, weights: Any = None) -> float:
        """The metric of a model's output (probabilities, or predicted numbers); NaN if the output is not finite."""
        output = np.asarray(output)
        if not np.isfinite(output).all():
            return float("nan")
        if self.needs == "prediction":
            return self.function(output, target, weights)
        proba = _proba(output)
        codes = _codes(target, n_classes_of(proba))
        if self.needs == "proba":
            return self.function(proba, codes, weights)
        if self.function is f1:
            return f1(classes_of(proba), codes, weights, n_classes=n_classes_of(proba))
        return self.function(classes_of(proba), codes, weights)


METRICS: Registry[Metric] = Registry("metric")
CLASS_METRICS = ("accuracy", "auc", "log_loss")  # what is computed when nothing else is asked for
NUMBER_METRICS = ("rmse", "mae", "r2")


def classification_metrics(
    proba: Any,
    codes: Any,
    weights: Any = None,
    classes: Sequence[Any] | None = None,
    names: Iterable[str] = CLASS_METRICS,
) -> dict[str, float]:
    """The named metrics of predicted probabilities.

    proba    (rows,) probability of class 1, or (rows, k)
    codes    (rows,) class codes 0..k-1
    classes  the labels of the codes; only their number is checked
    """
    proba = _proba(proba)
    if classes is not None and len(classes) != n_classes_of(proba):
        raise DataError(f"{len(classes)} classes but probabilities for {n_classes_of(proba)}: pass a column per class")
    return _named(names, proba, codes, weights, wrong="prediction")


def regression_metrics(
    prediction: Any, y: Any, weights: Any = None, names: Iterable[str] = NUMBER_METRICS
) -> dict[str, float]:
    """The named metrics of predicted numbers, (rows,) or (rows, outputs)."""
    return _named(names, prediction, y, weights, wrong="classes proba")


def _named(names: Iterable[str], output: Any, target: Any, weights: Any, *, wrong: str) -> dict[str, float]:
    found = [METRICS[name] for name in names]
    for metric in found:
        if metric.needs in wrong.split():
            fit = [m.name for m in METRICS.values() if m.needs not in wrong.split()]
            raise DataError(f"metric {metric.name!r} needs {metric.needs}, absent in this task: use {', '.join(fit)}")
    return {metric.name: metric.of(output, target, weights) for metric in found}


# Names of history columns: a metric, with the part of the data before it.

_PARTS = {  # the part as given -> as written
    "validation_": "validation_",
    "val_": "validation_",
    "train_": "train_",
    "training_": "train_",
    "test_": "test_",
}
_LOWER = ("loss", "gradient_norm")
_LABELS = {"auc": "AUC", "f1": "F1", "mae": "MAE", "mse": "MSE", "r2": "R²", "rmse": "RMSE"}


def column_name(name: str) -> str:
    """The spelling that history rows use: "val_loss" -> "validation_loss", "validation-ROC-AUC" -> "validation_auc"."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    for given, part in _PARTS.items():
        if plain.startswith(given):
            return part + _base_name(plain[len(given) :])
    return _base_name(plain)


def higher_is_better(name: str) -> bool:
    """Whether the better of two values in that column is the higher one; "did you mean" for an unknown metric."""
    column = column_name(name)
    part = next((p for p in _PARTS.values() if column.startswith(p)), "")
    base = column[len(part) :]
    if base in _LOWER:
        return False
    if base not in METRICS:
        raise UnknownNameError(f"no metric is called {name!r}: {nearest(base, [*METRICS, *_LOWER])}")
    return METRICS[base].better == "higher"


def metric_label(name: str) -> str:
    """A metric's name for the eye: AUC, R², log loss."""
    return _LABELS.get(name, name.replace("_", " "))


def find_column(name: str, columns: Iterable[str]) -> str | None:
    """The column that a metric's name means: itself, or without a part of the data first validation, then train."""
    known, column = set(columns), column_name(name)
    for candidate in (name, column, f"validation_{column}", f"train_{column}"):
        if candidate in known:
            return candidate
    return None


def _base_name(base: str) -> str:
    return METRICS[base].name if base in METRICS else base


# Classification from class codes.


def accuracy(predicted: Any, codes: Any, weights: Any = None) -> float:
    """Share of the weight on which predicted == codes."""
    predicted, codes, w = _pair(predicted, codes, weights)
    return float(np.average(predicted == codes, weights=w))


def balanced_accuracy(predicted: Any, codes: Any, weights: Any = None) -> float:
    """Mean over the classes that occur in `codes` of the share recognized (recall)."""
    hit, support, _ = _counts(predicted, codes, weights)
    occurs = support > 0
    return float(np.mean(hit[occurs] / support[occurs]))


def f1(predicted: Any, codes: Any, weights: Any = None, *, n_classes: int | None = None) -> float:
    """2 precision recall / (precision + recall): of class 1 for two classes, otherwise `f1_macro`.

    n_classes  default: as many as the codes show
    """
    if (n_classes or 1 + max(np.max(predicted, initial=1), np.max(codes, initial=1))) > 2:
        return f1_macro(predicted, codes, weights)
    return float(_f1_by_class(*_counts(predicted, codes, weights))[1])


def f1_macro(predicted: Any, codes: Any, weights: Any = None) -> float:
    """Mean of F1 over the classes that occur in `predicted` or `codes`."""
    occurs = np.union1d(predicted, codes).astype(np.int64)
    return float(np.mean(_f1_by_class(*_counts(predicted, codes, weights))[occurs]))


def _f1_by_class(hit: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    total = support + predicted
    return np.divide(2 * hit, total, out=np.zeros(len(hit)), where=total > 0)  # 0/0 counts as 0


def _counts(predicted: Any, codes: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By class: weight recognized, weight in codes, weight predicted."""
    predicted, codes, w = _pair(predicted, codes, weights)
    predicted, codes = predicted.astype(np.int64), codes.astype(np.int64)
    n = 1 + max(int(predicted.max()), int(codes.max()), 1)
    hit = predicted == codes
    return (
        np.bincount(codes[hit], w[hit], n),
        np.bincount(codes, w, n),
        np.bincount(predicted, w, n),
    )


# Classification from probabilities.


def auc(proba: Any, codes: Any, weights: Any = None) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties counting half.

    For k > 2 classes the plain mean over one class against the rest. A class that never occurs (or is the only
    one) has no curve and is left out of the mean; NaN only if no class has one.
    """
    proba = _proba(proba)
    codes, w = _codes(codes, n_classes_of(proba)), _weights(weights, len(proba))
    if proba.ndim == 1:
        return _rank_auc(proba, codes == 1, w)
    areas = [_rank_auc(proba[:, c], codes == c, w) for c in range(proba.shape[1])]
    kept = [a for a in areas if not np.isnan(a)]
    return float(np.mean(kept)) if kept else float("nan")


def _rank_auc(score: np.ndarray, positive: np.ndarray, w: np.ndarray) -> float:
    """Sum over groups of equal score of (positives there) x (negatives below + half of those there)."""
    order = np.argsort(score, kind="stable")
    s, up = score[order], np.where(positive, w, 0.0)[order]
    down = w[order] - up
    starts = np.concatenate([[0], np.flatnonzero(s[1:] != s[:-1]) + 1])
    up, down = np.add.reduceat(up, starts), np.add.reduceat(down, starts)
    total = up.sum() * down.sum()
    if not total > 0:
        return float("nan")
    return float(np.sum(up * (np.cumsum(down) - down / 2)) / total)


def log_loss(proba: Any, codes: Any, weights: Any = None) -> float:
    """-mean log p(true class), natural logarithm; p is clipped to [eps, 1 - eps], eps that of proba's dtype."""
    proba = _proba(proba)
    codes, w = _codes(codes, n_classes_of(proba)), _weights(weights, len(proba))
    by_class = np.stack([1 - proba, proba], axis=1) if proba.ndim == 1 else proba
    p = by_class[np.arange(len(codes)), codes]
    eps = np.finfo(proba.dtype).eps
    return float(-np.average(np.log(np.clip(p, eps, 1 - eps), dtype=np.float64), weights=w))


def brier(proba: Any, codes: Any, weights: Any = None) -> float:
    """Mean (p - y)² for two classes; for k > 2 the mean over rows of the sum over classes of (p - one-hot)²."""
    proba = _proba(proba)
    codes, w = _codes(codes, n_classes_of(proba)), _weights(weights, len(proba))
    p = proba.astype(np.float64)
    if p.ndim == 1:
        return float(np.average((p - codes) ** 2, weights=w))
    onehot = codes[:, None] == np.arange(p.shape[1])
    return float(np.average(((p - onehot) ** 2).sum(axis=1), weights=w))


# Regression; several outputs count equally.


def mse(prediction: Any, y: Any, weights: Any = None) -> float:
    """Mean squared error, in squared units of y."""
    return float(np.mean(_mse_by_output(prediction, y, weights)))


def rmse(prediction: Any, y: Any, weights: Any = None) -> float:
    """Root of the mean squared error, in units of y (the root is taken for each output)."""
    return float(np.mean(np.sqrt(_mse_by_output(prediction, y, weights))))


def mae(prediction: Any, y: Any, weights: Any = None) -> float:
    """Mean absolute error, in units of y."""
    p, t, w = _numbers(prediction, y, weights)
    return float(np.mean(np.average(np.abs(p - t), axis=0, weights=w)))


def r2(prediction: Any, y: Any, weights: Any = None) -> float:
    """1 - sum (y - prediction)² / sum (y - mean y)²: 1 is perfect, 0 as good as the mean, negative worse than it.

    A constant y gives 1 when it is met exactly and 0 otherwise; fewer than two rows give NaN.
    """
    p, t, w = _numbers(prediction, y, weights)
    if len(t) < 2:
        return float("nan")
    left = (w[:, None] * (t - p) ** 2).sum(axis=0)
    spread = (w[:, None] * (t - np.average(t, axis=0, weights=w)) ** 2).sum(axis=0)
    by_output = np.where(left == 0, 1.0, 0.0)
    np.divide(left, spread, out=by_output, where=(spread > 0) & (left > 0))
    by_output = np.where((spread > 0) & (left > 0), 1 - by_output, by_output)
    return float(np.mean(by_output))


def subset_accuracy(prediction: Any, y: Any, weights: Any = None) -> float:
    """Share of the weight of rows all of whose labels are right: of probabilities, (rows, labels), and 0s and 1s."""
    p, t, w = _numbers(prediction, y, weights)
    return float(np.average(((p > 0.5) == (t > 0.5)).all(axis=1), weights=w))


def poisson_deviance(prediction: Any, y: Any, weights: Any = None) -> float:
    """Mean 2 (y log(y / prediction) - y + prediction), for counts y >= 0; infinite where 0 is predicted for y > 0."""
    p, t, w = _numbers(prediction, y, weights)
    if (t < 0).any() or (p < 0).any():
        raise DataError("poisson_deviance: y and prediction must be at least 0: use another metric for signed numbers")
    with np.errstate(divide="ignore"):
        ratio = np.divide(t, p, out=np.ones_like(t), where=t > 0)
    return float(np.mean(np.average(2 * (t * np.log(ratio) - t + p), axis=0, weights=w)))


def _mse_by_output(prediction: Any, y: Any, weights: Any) -> np.ndarray:
    p, t, w = _numbers(prediction, y, weights)
    return np.average((p - t) ** 2, axis=0, weights=w)


# What the functions share: reading their arguments.


def classes_of(proba: Any) -> np.ndarray:
    """The most probable class codes; a tie goes to the lower code."""
    proba = _proba(proba)
    return (proba > 0.5).astype(np.int64) if proba.ndim == 1 else proba.argmax(axis=1)


def n_classes_of(proba: np.ndarray) -> int:
    return 2 if proba.ndim == 1 else proba.shape[1]


def _proba(proba: Any) -> np.ndarray:
    """(rows,) of class 1 when there are two classes, (rows, k) otherwise; a floating dtype is kept."""
    p = np.asarray(proba)
    if p.dtype.kind != "f":
        p = p.astype(np.float64)
    if p.ndim == 2 and p.shape[1] in (1, 2):
        p = p[:, -1]
    if p.ndim not in (1, 2) or not p.size:
        raise DataError(f"probabilities of shape {p.shape}: pass (rows,) for two classes or (rows, classes)")
    return p


def _codes(codes: Any, n_classes: int) -> np.ndarray:
    c = np.asarray(codes)
    whole = c.astype(np.int64)
    if c.dtype.kind not in "iub" and not (whole == c).all():
        raise DataError("class codes must be whole numbers 0, 1, …: encode the labels first")
    if c.ndim != 1 or not c.size:
        raise DataError(f"class codes of shape {c.shape}: pass a vector, one code per row, not empty")
    if whole.min() < 0 or whole.max() >= n_classes:
        raise DataError(
            f"class codes {whole.min()}..{whole.max()}, but there are {n_classes} classes: use 0..{n_classes - 1}"
        )
    return whole


def _weights(weights: Any, n_rows: int) -> np.ndarray:
    if weights is None:
        return np.ones(n_rows)
    w = np.asarray(weights, np.float64)
    if w.shape != (n_rows,) or not w.sum() > 0 or (w < 0).any():
        raise DataError(f"weights of shape {w.shape}, sum {w.sum():g}: pass {n_rows} numbers >= 0, not all 0")
    return w


def _pair(predicted: Any, target: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, t = np.asarray(predicted), np.asarray(target)
    if p.shape != t.shape or p.ndim != 1 or not p.size:
        raise DataError(
            f"predicted classes {p.shape}, true classes {t.shape}: pass two vectors of one length, not empty"
        )
    return p, t, _weights(weights, len(p))


def _numbers(prediction: Any, y: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 (rows, outputs), (rows, outputs) and weights (rows,)."""
    p, t = np.asarray(prediction, np.float64), np.asarray(y, np.float64)
    if p.shape != t.shape or p.ndim not in (1, 2) or not p.size:
        raise DataError(f"prediction {p.shape}, y {t.shape}: pass one shape, (rows,) or (rows, outputs), not empty")
    return p.reshape(len(p), -1), t.reshape(len(t), -1), _weights(weights, len(p))


for _metric, _aliases in (
    (Metric("accuracy", accuracy, "higher", "classes"), ("acc",)),
    (Metric("balanced_accuracy", balanced_accuracy, "higher", "classes"), ()),
    (Metric("f1", f1, "higher", "classes"), ("f1_score",)),
    (Metric("f1_macro", f1_macro, "higher", "classes"), ()),
    (Metric("auc", auc, "higher", "proba"), ("roc_auc", "roc_auc_score")),
    (Metric("log_loss", log_loss, "lower", "proba"), ("cross_entropy",)),
    (Metric("brier", brier, "lower", "proba"), ("brier_score",)),
    (Metric("mse", mse, "lower", "prediction"), ("mean_squared_error",)),
    (Metric("rmse", rmse, "lower", "prediction"), ("root_mean_squared_error",)),
    (Metric("mae", mae, "lower", "prediction"), ("mean_absolute_error",)),
    (Metric("r2", r2, "higher", "prediction"), ("r2_score",)),
    (Metric("subset_accuracy", subset_accuracy, "higher", "prediction"), ()),
    (Metric("poisson_deviance", poisson_deviance, "lower", "prediction"), ("mean_poisson_deviance",)),
):
    METRICS.add(_metric.name, _metric, _aliases)
