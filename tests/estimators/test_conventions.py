"""scikit-learn's own checks of an estimator, and the words with which bad input is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    check_methods_subset_invariance,
    check_sample_weight_equivalence_on_dense_data,
    estimator_checks_generator,
)

import fallline as fl

pytestmark = pytest.mark.filterwarnings("ignore")  # the checks provoke warnings, and look at those that matter

EXACT = (check_sample_weight_equivalence_on_dense_data, check_methods_subset_invariance)
# Both compare seven digits, which float32 does not keep where sums are made in another order; in float64 they pass.
ROUNDED = {check.__name__: "float32 rounds what is compared to seven digits" for check in EXACT}
FAST = {"max_iter": 60, "learning_rate_init": 0.01}
FIT = {"epochs": 60, "learning_rate": 0.02}
ESTIMATORS = {
    "MLPClassifier": (fl.MLPClassifier(**FAST), {}),
    "MLPRegressor": (fl.MLPRegressor(**FAST), {}),
    "Classifier": (fl.Classifier(**FIT), ROUNDED),
    "Regressor": (fl.Regressor(**FIT), ROUNDED),
}
QUICK = (  # the checks that look at what the estimators do themselves, and cost little
    "check_estimator_cloneable", "check_no_attributes_set_in_init", "check_n_features_in_after_fitting",
    "check_estimators_nan_inf", "check_dtype_object", "check_complex_data", "check_fit1d", "check_supervised_y_2d",
    "check_classifiers_regression_target", "check_estimators_pickle",
    "check_fit2d_1sample", "check_estimators_unfitted", "check_requires_y_none", "check_sample_weights_not_an_array",
)  # fmt: skip


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor", "Classifier"])
def test_the_checks_that_tell_most(name):
    estimator, _ = ESTIMATORS[name]
    chosen = estimator.set_params(**{"max_iter" if "MLP" in name else "epochs": 3})
    ran = []
    for made, check in estimator_checks_generator(chosen):
        if check.func.__name__ in QUICK:
            check(made)
            ran.append(check.func.__name__)
    assert set(QUICK) - set(ran) <= {"check_classifiers_regression_target"}
    check_dataframe_column_names_consistency(name, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_check_passes(name):
    estimator, excused = ESTIMATORS[name]
    for result in check_estimator(estimator, expected_failed_checks=excused, on_skip=None):
        assert result["status"] in ("passed", "xfail", "skipped"), result
        assert (result["status"] == "xfail") <= (result["check_name"] in excused)


@pytest.mark.parametrize("kind", [fl.Classifier, fl.Regressor])
def test_what_is_excused_in_float32_passes_in_float64(kind):
    for check in EXACT:
        check(kind.__name__, kind(hidden=(4,), epochs=5, precision="float64"))


FRAME = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "height": [1.0, 0.5, 0.2, 2.0]})
LABELS = [0, 1, 0, 1]


def holding(value):
    return FRAME.astype(object).replace({"height": {0.2: value}})


@pytest.mark.parametrize(
    "X, y, told",
    [
        (
            holding(np.nan).astype(float),
            LABELS,
            r"X contains NaN in row 2, column 'height', .* takes finite numbers: fill",
        ),
        (holding(np.inf).astype(float), LABELS, r"X contains infinity in row 2, column 'height', .*: clip it or leave"),
        (sp.csr_array(holding(np.nan).astype(float)), LABELS, r"X contains NaN in row 2, column 1"),
        (holding("tall"), LABELS, r"could not convert string to float: 'tall' in row 2, column 'height': encode text"),
        (FRAME["age"], LABELS, r"Expected 2D array, X has shape \(4,\). Reshape your data: X.reshape\(-1, 1\)"),
        (FRAME, LABELS[:3], r"X has 4 rows and y 3: inconsistent numbers of samples"),
        (FRAME + 1j, LABELS, r"Complex data not supported: X holds complex128, give its parts as columns"),
        (FRAME, ["a", None, "b", "a"], r"Input y contains NaN in row 1: leave out the rows without a target"),
        (FRAME, np.array(["a", 1, "b", 2], dtype=object), r"y mixes int and str: make all labels text, or all numbers"),
        (FRAME, [0, 1, np.nan, 1], r"Input y contains NaN in row 2"),
        (FRAME, [0.5, 0.1, 0.7, 0.2], r"Unknown label type: continuous.* fl.MLPRegressor takes them"),
        (FRAME, [[0], [1, 2], [3], [1]], r"y"),
    ],
)
def test_bad_rows_are_named(X, y, told):
    with pytest.raises(ValueError, match=told):
        fl.MLPClassifier(max_iter=1).fit(X, y)


@pytest.mark.parametrize(
    "weights, told",
    [
        ([1, 2, 3], r"sample_weight.shape == \(3,\), expected \(4,\): give one number a row"),
        ([1, -2, 3, 1], r"Negative values in data passed to `sample_weight`: -2 in row 1: give 0 or more"),
        ([1, np.nan, 3, 1], r"Input sample_weight contains NaN in row 1: give a finite number"),
        ([0, 0, 0, 0], r"every sample weight is zero: no row is left to train on"),
        ("abcd", r"sample_weight holds no numbers"),
        ([[1, 1, 1, 1]], r"Sample weights must be 1D array or scalar, given shape \(1, 4\)"),
    ],
)
def test_bad_weights_are_named(weights, told):
    with pytest.raises(ValueError, match=told):
        fl.MLPClassifier(max_iter=1).fit(FRAME, LABELS, sample_weight=weights)


def test_columns_in_another_order_are_refused_with_their_order():
    model = fl.Classifier(hidden=(), epochs=1).fit(FRAME, LABELS)
    with pytest.raises(
        ValueError, match=r"same order .*\n?.*trained on age, height: X\[list\(model.feature_names_in_\)\]"
    ):
        model.predict(FRAME[["height", "age"]])
    with pytest.raises(ValueError, match="X has 1 features, but Classifier is expecting 2"):
        model.predict(FRAME[["age"]].to_numpy())
    with pytest.raises(ValueError, match="y has one class, 7: at least two classes are needed"):
        model.fit(FRAME, [7, 7, 7, 7])
