"""Every metric against scikit-learn, on data with ties and weights; names; refusals."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from fallline.core.errors import DataError, UnknownNameError
from fallline.train import metrics as fl
from fallline.train.metrics import METRICS, classification_metrics, regression_metrics
from tests.tolerance import TOL, assert_close

Case = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _weights(draw: st.DrawFn, rng: np.random.Generator, n: int) -> np.ndarray | None:
    """None, whole numbers with zeros among them (the first few rows count for sure), or any positive numbers."""
    kind = draw(st.sampled_from(["none", "whole", "real"]))
    if kind == "none":
        return None
    if kind == "real":
        return rng.uniform(0.1, 3.0, n)
    w = rng.integers(0, 4, n).astype(float)
    w[:8] = 1.0
    return w


@st.composite
def classified(draw: st.DrawFn, k: int | None = None) -> Case:
    """(proba, codes, weights) with every class present and many equal scores."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    k = k or draw(st.integers(3, 5))
    n = draw(st.integers(8, 60))
    codes = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    steps = draw(st.sampled_from([2, 5, 1000]))
    if k == 2:
        return rng.integers(0, steps + 1, n) / steps, codes, _weights(draw, rng, n)
    counts = rng.integers(0, steps + 1, (n, k)) + np.eye(k, dtype=int)[rng.integers(0, k, n)]
    return counts / counts.sum(axis=1, keepdims=True), codes, _weights(draw, rng, n)


@st.composite
def measured(draw: st.DrawFn) -> Case:
    """(prediction, y, weights), one output or three."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, shape = draw(st.integers(8, 60)), draw(st.sampled_from([(), (3,)]))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    return rng.normal(size=(n, *shape)) * scale, rng.normal(size=(n, *shape)) * scale, _weights(draw, rng, n)


@given(classified(k=2))
def test_two_classes_agree_with_sklearn(case: Case) -> None:
    proba, codes, w = case
    guess = (proba > 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(codes, guess, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(codes, guess, sample_weight=w),
        "f1": sk.f1_score(codes, guess, sample_weight=w, zero_division=0),
        "f1_macro": sk.f1_score(codes, guess, sample_weight=w, average="macro", zero_division=0),
        "auc": sk.roc_auc_score(codes, proba, sample_weight=w),
        "log_loss": sk.log_loss(codes, proba, sample_weight=w),
        "brier": sk.brier_score_loss(codes, proba, sample_weight=w),
    }
    found = classification_metrics(proba, codes, w, names=expected)
    assert_close(list(found.values()), list(expected.values()))
    two_columns = classification_metrics(np.stack([1 - proba, proba], axis=1), codes, w, names=expected)
    assert two_columns == found


@given(classified())
def test_several_classes_agree_with_sklearn(case: Case) -> None:
    proba, codes, w = case
    guess = proba.argmax(axis=1)
    labels = range(proba.shape[1])
    macro: dict[str, Any] = {"sample_weight": w, "average": "macro"}
    expected = {
        "accuracy": sk.accuracy_score(codes, guess, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(codes, guess, sample_weight=w),
        "f1": sk.f1_score(codes, guess, zero_division=0, **macro),
        "f1_macro": sk.f1_score(codes, guess, zero_division=0, **macro),
        "auc": sk.roc_auc_score(codes, proba, multi_class="ovr", **macro),
        "log_loss": sk.log_loss(codes, proba, sample_weight=w, labels=labels),
        "brier": sk.brier_score_loss(codes, proba, sample_weight=w, labels=labels),
    }
    found = classification_metrics(proba, codes, w, classes=list("abcde")[: proba.shape[1]], names=expected)
    assert_close(list(found.values()), list(expected.values()))


@given(measured())
def test_regression_agrees_with_sklearn(case: Case) -> None:
    prediction, y, w = case
    expected = {
        "mse": sk.mean_squared_error(y, prediction, sample_weight=w),
        "rmse": sk.root_mean_squared_error(y, prediction, sample_weight=w),
        "mae": sk.mean_absolute_error(y, prediction, sample_weight=w),
        "r2": sk.r2_score(y, prediction, sample_weight=w),
    }
    found = regression_metrics(prediction, y, w, names=expected)
    assert_close(list(found.values()), list(expected.values()))


@given(measured())
def test_poisson_deviance_agrees_with_sklearn(case: Case) -> None:
    prediction, y, w = case
    rate, counts = np.exp(np.clip(prediction, -3, 3)), np.floor(np.abs(np.clip(y, -9, 9)) * 3)
    if rate.ndim == 1:
        assert_close(fl.poisson_deviance(rate, counts, w), sk.mean_poisson_deviance(counts, rate, sample_weight=w))
    else:
        columns = [fl.poisson_deviance(rate[:, i], counts[:, i], w) for i in range(3)]
        assert_close(fl.poisson_deviance(rate, counts, w), np.mean(columns))


def test_subset_accuracy_agrees_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    proba, labels, w = rng.random((40, 2)), rng.integers(0, 2, (40, 2)), rng.random(40)
    assert_close(fl.subset_accuracy(proba, labels, w), sk.accuracy_score(labels, proba > 0.5, sample_weight=w))


def test_every_metric_is_compared_with_sklearn() -> None:
    compared = {"accuracy", "balanced_accuracy", "f1", "f1_macro", "auc", "log_loss", "brier"}
    compared |= {"mse", "rmse", "mae", "r2", "poisson_deviance", "subset_accuracy"}
    assert set(METRICS) == compared


def test_default_names() -> None:
    assert list(classification_metrics([0.2, 0.7], [0, 1])) == ["accuracy", "auc", "log_loss"]
    assert list(regression_metrics([0.2, 0.7], [0, 1])) == ["rmse", "mae", "r2"]


def test_float32_probabilities_of_zero_and_one_give_a_finite_log_loss() -> None:
    proba = np.array([0.0, 1.0, 0.25], np.float32)
    assert_close(fl.log_loss(proba, [1, 0, 0]), sk.log_loss([1, 0, 0], proba), "f32")


def test_auc_of_a_missing_class_is_the_mean_over_the_others() -> None:
    proba = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]])
    codes = np.array([0, 1, 1, 0])  # class 2 never occurs
    kept = [sk.roc_auc_score(codes == c, proba[:, c]) for c in (0, 1)]
    assert_close(fl.auc(proba, codes), np.mean(kept))


def test_auc_of_one_class_alone_is_undefined() -> None:
    assert math.isnan(fl.auc([0.1, 0.7], [1, 1]))
    assert math.isnan(fl.auc([0.1, 0.7, 0.3], [1, 1, 0], [1.0, 1.0, 0.0]))


def test_auc_of_all_ties_is_one_half() -> None:
    assert fl.auc([0.3] * 5, [0, 1, 0, 1, 1]) == 0.5


def test_r2_of_a_constant_target() -> None:
    assert fl.r2([2.0, 2.0], [2.0, 2.0]) == sk.r2_score([2.0, 2.0], [2.0, 2.0])
    assert fl.r2([2.0, 3.0], [2.0, 2.0]) == sk.r2_score([2.0, 2.0], [2.0, 3.0])
    assert math.isnan(fl.r2([2.0], [2.0]))


def test_poisson_deviance_of_zero_predicted() -> None:
    assert fl.poisson_deviance([0.0], [0.0]) == 0.0
    assert fl.poisson_deviance([0.0], [1.0]) == math.inf


def test_diverged_output_gives_nan_in_every_metric() -> None:
    assert all(math.isnan(v) for v in classification_metrics([0.3, math.nan], [0, 1]).values())
    assert all(math.isnan(v) for v in regression_metrics([0.3, math.inf], [0, 1]).values())


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: classification_metrics([0.2, 0.7], [0, 2]), "class codes 0..2, but there are 2 classes"),
        (lambda: classification_metrics([0.2, 0.7], [0, 0.5]), "whole numbers"),
        (lambda: classification_metrics([0.2, 0.7], [[0], [1]]), "one code per row"),
        (lambda: classification_metrics([], []), "(rows,) for two classes"),
        (lambda: classification_metrics([[0.2, 0.8]], [0], classes="abc"), "3 classes but probabilities for 2"),
        (lambda: classification_metrics([0.2], [0], names=["rmse"]), "use accuracy, auc"),
        (lambda: regression_metrics([0.2], [0], names=["auc"]), "use mae, mse"),
        (lambda: regression_metrics([0.2, 1.0], [[0.0], [1.0]]), "pass one shape"),
        (lambda: fl.mse([0.2, 1.0], [0.0, 1.0], [0.0, 0.0]), "not all 0"),
        (lambda: fl.mse([0.2, 1.0], [0.0, 1.0], [1.0, -0.5]), ">= 0"),
        (lambda: fl.mse([0.2, 1.0], [0.0, 1.0], [1.0]), "pass 2 numbers"),
        (lambda: fl.accuracy([0, 1], [0, 1, 1]), "two vectors of one length"),
        (lambda: fl.poisson_deviance([1.0], [-1.0]), "at least 0"),
    ],
)
def test_refusals_say_what_to_do(call: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        classification_metrics([0.2], [0], names=["acuracy"])
    with pytest.raises(UnknownNameError, match="did you mean 'loss'"):
        fl.higher_is_better("validation_los")


@pytest.mark.parametrize(
    "given_name, column, higher",
    [
        ("val_loss", "validation_loss", False),
        ("validation-ROC-AUC", "validation_auc", True),
        ("training acc", "train_accuracy", True),
        ("R2", "r2", True),
        ("gradient_norm", "gradient_norm", False),
        ("test_rmse", "test_rmse", False),
    ],
)
def test_column_names(given_name: str, column: str, higher: bool) -> None:
    assert fl.column_name(given_name) == column
    assert fl.higher_is_better(given_name) is higher


def test_a_bare_name_means_validation_before_train() -> None:
    assert fl.find_column("auc", ["train_auc", "validation_auc"]) == "validation_auc"
    assert fl.find_column("auc", ["train_auc"]) == "train_auc"
    assert fl.find_column("my column", ["my column"]) == "my column"
    assert fl.find_column("auc", ["loss"]) is None


def test_direction_of_every_metric_is_right(rng: np.random.Generator) -> None:
    """A good prediction beats a bad one in the direction that the table states."""
    codes = rng.integers(0, 2, 200)
    good, bad = np.where(codes == 1, 0.9, 0.1), rng.uniform(0.01, 0.99, 200)
    for metric in METRICS.values():
        better, worse = metric.of(good, codes), metric.of(bad, codes)
        assert (better > worse) == (metric.better == "higher"), metric.name
        assert abs(better - worse) > TOL["statistics"]


def test_import_needs_neither_sklearn_nor_matplotlib_nor_polars_nor_rich() -> None:
    modules = "metrics, fallline.train.history, fallline.train.progress, fallline.train.stopping"
    code = f"import sys, fallline.train.{modules}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HEAVY = ["sklearn", "scipy", "matplotlib", "polars", "rich"]
