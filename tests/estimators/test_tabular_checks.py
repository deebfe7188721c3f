"""scikit-learn's own checks of estimators, all of them: weights of rows too, which one network on all rows keeps."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import check_estimator

import fallline as fl

# All rows in each step and none kept back: then a row of weight 2 is the row twice to the last digit that is compared.
WHOLE = {"preset": "plain", "batch_size": "full", "validation": 0, "dropout": 0.0, "precision": "float64"}
SMALL = {**WHOLE, "hidden": (8,), "epochs": 50, "learning_rate": 0.05, "engine": "numpy"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [fl.TabularClassifier, fl.TabularRegressor])
def test_scikit_learns_checks(kind):
    found = check_estimator(kind(**SMALL), on_skip=None, on_fail=None)
    assert [row["check_name"] for row in found if row["status"] == "failed"] == []
    assert len(found) > 50
