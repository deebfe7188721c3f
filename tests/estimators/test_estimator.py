"""Estimators: parameters by name down into the records, and what scikit-learn's searches make of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fallline as fl
from fallline.core.errors import ConfigError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")
NUMBERS = 2 * X[:, 0] - X[:, 1]
NET = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))


def test_an_estimator_is_what_fit_gives():
    made = fl.Classifier(hidden=(4,), activation="tanh", optimizer="adam(0.05)", epochs=5).fit(X, LABELS)
    alone = fl.fit(fl.mlp(4, activation="tanh"), (X, LABELS), optimizer="adam(0.05)", epochs=5)
    np.testing.assert_array_equal(made.predict_proba(X), alone.model.predict_proba(X))
    np.testing.assert_array_equal(made.predict(X), alone.model.predict(X))
    np.testing.assert_array_equal(made.decision_function(X), alone.model.scores(X))
    assert made.fit_.history == alone.history
    assert made.classes_.tolist() == ["no", "yes"]
    assert made.score(X, LABELS) == np.mean(made.predict(X) == LABELS)
    three = fl.Classifier(hidden=(), epochs=1).fit(X, np.arange(60) % 3)
    assert three.predict_proba(X).shape == (60, 3)


def test_the_task_is_that_of_the_class_and_not_guessed():
    counts = np.arange(60) % 2
    assert fl.Regressor(epochs=1).fit(X, counts).model_.classes == ()
    assert fl.Classifier(epochs=1).fit(X, np.arange(60) // 2 + 0.0).classes_.shape == (30,)
    assert is_classifier(fl.Classifier())
    assert is_regressor(fl.Regressor())
    with pytest.raises(ConfigError, match=r"loss='mse' is one of regression: take fl\.Regressor"):
        fl.Classifier(loss="mse").fit(X, LABELS)


def test_parameters_go_down_into_the_records():
    made = fl.Regressor(NET, optimizer="adam", epochs=7)
    assert made.get_params()["network__layers__0__units"] == 4
    changed = clone(made).set_params(network__layers__0__units=9, optimizer__learning_rate=0.5, epochs=2)
    assert changed.network == fl.Sequential(fl.Dense(9), fl.Tanh(), fl.Dense(1))
    assert changed.optimizer == fl.Adam(0.5)
    assert (made.network, made.optimizer, made.epochs) == (NET, "adam", 7)
    assert clone(changed).get_params() == changed.get_params()
    assert changed.set_params(optimizer=fl.SGD(0.1), optimizer__learning_rate=0.2).optimizer == fl.SGD(0.2)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"optimiser__beta1": 1}, "Classifier has no parameter 'optimiser': did you mean 'optimizer'"),
        ({"optimizer__bet1": 1}, "Adam has no setting 'bet1': did you mean 'beta1'"),
        ({"hidden__units": 1}, r"hidden__units: hidden is \(64,\), which has no settings of its own"),
        ({"epohs": 1}, "Invalid parameter 'epohs'"),
    ],
)
def test_a_name_that_is_none_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        fl.Classifier().set_params(**given)


def test_grids_and_random_searches_of_scikit_learn():
    piped = make_pipeline(StandardScaler(), fl.Classifier(epochs=4))
    grid = {"classifier__hidden": [(), (3,)], "classifier__optimizer__learning_rate": [1e-5, 0.1]}
    found = GridSearchCV(piped, grid, cv=2).fit(X, LABELS)
    assert found.best_params_["classifier__optimizer__learning_rate"] == 0.1
    space = {"network__layers__0__units": fl.IntUniform(2, 30), "optimizer__learning_rate": fl.LogUniform(1e-4, 0.1)}
    drawn = [
        RandomizedSearchCV(fl.Regressor(NET, epochs=2), space, n_iter=3, cv=2, random_state=4).fit(X, NUMBERS)
        for _ in range(2)
    ]
    assert drawn[0].cv_results_["params"] == drawn[1].cv_results_["params"]
    assert drawn[0].best_estimator_.network.layers[0].units == drawn[0].best_params_["network__layers__0__units"]
    halving = {"resource": "epochs", "max_resources": 8, "min_resources": 2, "n_candidates": 4, "cv": 2}
    rates = {"optimizer__learning_rate": fl.LogUniform(1e-4, 0.1)}
    halved = HalvingRandomSearchCV(fl.Regressor(NET), rates, random_state=0, **halving).fit(X, NUMBERS)
    assert halved.best_params_["epochs"] > 2
    assert cross_val_score(fl.Regressor(NET, epochs=1), X, NUMBERS, cv=2).shape == (2,)


def test_rows_have_weights_and_frames_have_names():
    weight = np.r_[np.ones(30), np.zeros(30)]
    made = fl.Regressor(hidden=(), epochs=3).fit(X, NUMBERS, sample_weight=weight)
    alone = fl.fit(fl.mlp(()), (X, NUMBERS), loss="mse", epochs=3, sample_weight=weight)
    np.testing.assert_array_equal(made.predict(X), alone.model.predict(X))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named = fl.Regressor(hidden=(), epochs=1).fit(frame, NUMBERS)
    assert named.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(named.predict(frame), named.model_.predict(X))
    with pytest.raises(ValueError, match=r"trained on a, b, c: X\[list\(model.feature_names_in_\)\] has them in order"):
        named.predict(frame[["c", "a", "b"]])
    with pytest.raises(NotFittedError):
        fl.Regressor().predict(X)
