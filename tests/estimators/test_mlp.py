"""The perceptrons: they end where scikit-learn's end; weights of rows; and what scikit-learn does not have."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import sklearn.neural_network as sk
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import fallline as fl
from fallline.engines.engine import COMPILED
from tests.tolerance import assert_close

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS, FLOWER = load_iris(return_X_y=True)
RNG = np.random.default_rng(0)
ROWS = RNG.permutation(150)[:90]
X, Y = IRIS[ROWS] / 4 - 1, FLOWER[ROWS]
TWO, NUMBERS = np.where(Y > 0, "other", "setosa"), X[:, 0] * X[:, 1] + X[:, 2]
LABELS = np.stack([Y > 0, Y > 1, X[:, 0] > 0], axis=1).astype(int)
W = RNG.uniform(0.2, 3.0, len(Y))
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 7, "batch_size": 32, "random_state": 3}
CLASSIFIERS = {
    "default": (Y, {}),
    "two classes": (TWO, {"solver": "sgd", "learning_rate": "invscaling", "alpha": 0.5}),
    "labels": (LABELS, {"activation": "tanh", "shuffle": False}),
    "early": (TWO, {"activation": "logistic", "early_stopping": True, "learning_rate_init": 0.02}),
    "adaptive": (Y, {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1, "momentum": 0.5,
                     "nesterovs_momentum": False, "max_iter": 12}),
    "one class": (np.full(len(Y), "x"), {"activation": "identity", "hidden_layer_sizes": 5}),
}  # fmt: skip
REGRESSORS = {
    "default": (NUMBERS, {}),
    "several": (X[:, :2] * 3, {"solver": "sgd", "hidden_layer_sizes": (5, 4), "alpha": 0.0}),
    "counts": (Y, {"loss": "poisson", "early_stopping": True, "validation_fraction": 0.3}),
}


def ours(theirs, params):
    """Our estimator of the same name, in the precision of theirs."""
    return getattr(fl, type(theirs).__name__)(precision="float64", **params)


def check_equal(mine, theirs, *, rows=X):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(theirs, name), strict=True):
            assert_close(a, b, "run")
    curves = ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_", "t_", "n_iter_", "n_layers_")
    for name in (*curves, "n_outputs_", "out_activation_", "n_features_in_", "_no_improvement_count"):
        mine_is, theirs_is = getattr(mine, name), getattr(theirs, name)
        if isinstance(theirs_is, (list, float)):
            assert_close(mine_is, theirs_is, "library")  # of several outputs the penalty counts a little differently
        else:
            assert mine_is == theirs_is, name
    np.testing.assert_array_equal(mine.predict(rows), theirs.predict(rows)) if hasattr(theirs, "classes_") else None
    with np.errstate(divide="ignore"):
        for name in ("predict_proba", "predict_log_proba") if hasattr(theirs, "classes_") else ("predict",):
            assert_close(getattr(mine, name)(rows), getattr(theirs, name)(rows), "run")


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_classifier_ends_where_scikit_learns_ends(kind, weighted):
    y, given = CLASSIFIERS[kind]
    params = SMALL | given
    w = W if weighted else None
    theirs = sk.MLPClassifier(**params).fit(X, y, sample_weight=w)
    mine = ours(theirs, params).fit(X, y, sample_weight=w)
    check_equal(mine, theirs)
    np.testing.assert_array_equal(mine.classes_, theirs.classes_)
    if not given.get("early_stopping"):  # both go on from where they stand, first to some rows and then to all
        for rows in (slice(0, 40), slice(None)):
            for each in (mine, theirs):
                each.partial_fit(X[rows], y[rows])
        check_equal(mine, theirs)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_regressor_ends_where_scikit_learns_ends(kind):
    y, given = REGRESSORS[kind]
    params = SMALL | given
    theirs = sk.MLPRegressor(**params).fit(X, y)
    mine = ours(theirs, params).fit(X, y)
    check_equal(mine, theirs)


def test_a_warm_start_goes_on_as_scikit_learns_does():
    params = SMALL | {"warm_start": True, "early_stopping": True, "random_state": 1}
    theirs = sk.MLPRegressor(**params)
    mine = ours(theirs, params)
    for _ in range(2):
        check_equal(mine.fit(X, NUMBERS), theirs.fit(X, NUMBERS))


def test_lbfgs_finds_the_minimum_that_scikit_learns_finds():
    params = SMALL | {
        "solver": "lbfgs",
        "max_iter": 300,
        "alpha": 1.0,
        "hidden_layer_sizes": (3,),
        "activation": "tanh",
    }
    mine, theirs = fl.MLPClassifier(**params), sk.MLPClassifier(**params)
    assert_close(mine.fit(X, Y, W).loss_, theirs.fit(X, Y, W).loss_, "fit")
    assert mine.n_iter_ < 300
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 2 iteration.*Increase max_iter"):
        fl.MLPClassifier(**params | {"max_iter": 2}).fit(X, Y)
    assert not hasattr(mine, "partial_fit")


def test_float32_steps_keep_the_dtype_of_the_rows():
    theirs = sk.MLPRegressor(**SMALL).fit(X, NUMBERS).predict(X)
    for dtype, precision, kind in (("float32", None, "f32"), ("float64", "float32", "f32"), ("float64", None, "run")):
        mine = fl.MLPRegressor(**SMALL, precision=precision).fit(X.astype(dtype), NUMBERS)
        assert {a.dtype for a in (*mine.coefs_, *mine.intercepts_, mine.predict(X.astype(dtype)))} == {np.dtype(dtype)}
        assert_close(mine.predict(X.astype(dtype)), theirs, kind)


def test_steps_are_in_float32_where_that_pays(monkeypatch):
    small = fl.MLPRegressor(**SMALL).fit(X, NUMBERS)
    monkeypatch.setattr("fallline.estimators.mlp_settings.FREE", 90 * (4 * 6 + 6) - 1)
    large = fl.MLPRegressor(**SMALL).fit(X, NUMBERS)
    assert np.any(large.coefs_[0] != small.coefs_[0])
    np.testing.assert_array_equal(large.coefs_[0], large.coefs_[0].astype(np.float32))
    assert_close(large.predict(X), small.predict(X), "f32")


def test_a_weight_of_two_is_the_row_twice_and_zero_is_the_row_absent():
    full = SMALL | {"batch_size": "auto", "precision": "float64", "alpha": 0.3}
    weights = np.arange(len(Y)) % 3
    repeated = np.repeat(np.arange(len(Y)), weights)
    for solver in ("adam", "lbfgs"):
        weighted = fl.MLPClassifier(**full | {"solver": solver}).fit(X, Y, sample_weight=weights)
        by_rows = fl.MLPClassifier(**full | {"solver": solver}).fit(X[repeated], Y[repeated])
        assert_close(weighted.predict_proba(X), by_rows.predict_proba(X), "engines")
    kept = np.flatnonzero(weights == 1)
    batches = SMALL | {"precision": "float64", "batch_size": 16}
    absent = fl.MLPClassifier(**batches).fit(X, Y, sample_weight=weights == 1)
    np.testing.assert_array_equal(
        absent.predict_proba(X), fl.MLPClassifier(**batches).fit(X[kept], Y[kept]).predict_proba(X)
    )


def test_class_weights_are_the_equivalent_weights_of_rows():
    chosen = {0: 3.0, 1: 0.5, 2: 1.0}
    by_class = fl.MLPClassifier(**SMALL, class_weight=chosen).fit(X, Y, sample_weight=W)
    by_row = fl.MLPClassifier(**SMALL).fit(X, Y, sample_weight=W * np.array([chosen[c] for c in Y]))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    balanced = fl.MLPClassifier(**SMALL, class_weight="balanced")
    counts = np.bincount(Y)
    by_row = fl.MLPClassifier(**SMALL).fit(X, Y, sample_weight=(len(Y) / (3 * counts))[Y])
    np.testing.assert_array_equal(balanced.fit(X, Y).predict_proba(X), by_row.predict_proba(X))
    with pytest.raises(ValueError, match='class_weight="balanced" is unknown in partial_fit'):
        fl.MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="class_weight names the class 7"):
        fl.MLPClassifier(class_weight={7: 1.0}).fit(X, Y)


def test_the_order_of_the_columns_changes_nothing_but_the_order_of_the_weights():
    order = [2, 0, 3, 1]
    first = fl.MLPRegressor(**SMALL, warm_start=True, precision="float64")
    first.set_params(max_iter=1).fit(X, NUMBERS)
    second = copy.deepcopy(first)
    second.coefs_[0] = first.coefs_[0][order]
    for model, rows in ((first, X), (second, X[:, order])):
        model.set_params(max_iter=5).fit(rows, NUMBERS)
    assert_close(second.predict(X[:, order]), first.predict(X), "run")


def test_rows_in_another_order_change_nothing_in_a_full_batch():
    full = SMALL | {"batch_size": 90, "precision": "float64"}
    order = RNG.permutation(90)
    found = [fl.MLPClassifier(**full).fit(X[rows], Y[rows]).predict_proba(X) for rows in (np.arange(90), order)]
    assert_close(*found, "run")


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(threads):
    alone = fl.MLPClassifier(**SMALL).fit(X, Y)
    np.testing.assert_array_equal(fl.MLPClassifier(**SMALL, n_jobs=threads).fit(X, Y).coefs_[0], alone.coefs_[0])


def test_sparse_rows_are_the_dense_ones():
    thin = np.where(X > 0, X, 0.0)
    dense = fl.MLPClassifier(**SMALL).fit(thin, Y)
    sparse = fl.MLPClassifier(**SMALL).fit(sp.csr_array(thin), Y)
    for rows in (thin, sp.csr_array(thin), sp.csc_matrix(thin)):
        np.testing.assert_array_equal(sparse.predict_proba(rows), dense.predict_proba(thin))


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"batch_norm": True}])
def test_large_sparse_rows_become_dense_batch_by_batch(monkeypatch, given):
    thin = sp.csr_array(np.where(X > 0, X, 0.0))
    at_once = fl.MLPClassifier(**SMALL | given).fit(thin, Y, W)
    monkeypatch.setattr("fallline.estimators.mlp_base.LARGE", 100)
    monkeypatch.setattr("fallline.train.feeding.DENSE_AT_ONCE", 40 * 4 * 8)
    by_batches = fl.MLPClassifier(**SMALL | given).fit(thin, Y, W)
    np.testing.assert_array_equal(by_batches.coefs_[0], at_once.coefs_[0])
    for model in (by_batches, at_once):
        model.set_params(early_stopping=False).partial_fit(thin[:40], Y[:40])
    np.testing.assert_array_equal(by_batches.predict_proba(thin), at_once.predict_proba(thin))


def test_going_on_compiles_nothing():
    model = fl.MLPClassifier(random_state=0, hidden_layer_sizes=(5,))
    model.partial_fit(X[:16], Y[:16], classes=[0, 1, 2])
    before, first = COMPILED.builds, model.coefs_[0]
    for start in range(0, 80, 16):
        model.partial_fit(X[start : start + 16], Y[start : start + 16], sample_weight=W[:16])
    assert COMPILED.builds == before
    assert model.coefs_[0] is first  # the arrays are changed in place, as in scikit-learn
    assert (model.n_iter_, model.t_, len(model.loss_curve_)) == (1, 6 * 16, 6)


def test_arrays_that_a_user_changes_count():
    model = fl.MLPRegressor(**SMALL).fit(X, NUMBERS)
    model.coefs_[-1] = np.zeros_like(model.coefs_[-1])
    model.intercepts_[-1][:] = 2.5
    np.testing.assert_array_equal(model.predict(X), 2.5)
    model.partial_fit(X, NUMBERS)
    assert np.abs(model.predict(X) - 2.5).max() < 0.1


def test_what_is_pickled_goes_on_where_it_stood():
    model = fl.MLPClassifier(**SMALL).fit(X, Y)
    thawed = pickle.loads(pickle.dumps(model))
    for each in (model, thawed):
        for _ in range(2):
            each.partial_fit(X, Y)
    np.testing.assert_array_equal(thawed.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("kind", ["default", "labels"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_fitted_one_of_scikit_learn_is_taken_over(kind, solver):
    y = CLASSIFIERS[kind][0]
    theirs = sk.MLPClassifier(**SMALL | {"solver": solver}).fit(X, y)
    mine = fl.MLPClassifier.from_sklearn(theirs).set_params(precision="float64")
    assert_close(mine.predict_proba(X), theirs.predict_proba(X), "library")
    for _ in range(2):
        assert_close(mine.partial_fit(X, y).predict_proba(X), theirs.partial_fit(X, y).predict_proba(X), "engines")


def test_a_fitted_regressor_is_taken_over():
    theirs = sk.MLPRegressor(**SMALL, solver="lbfgs").fit(pd.DataFrame(X, columns=list("abcd")), NUMBERS)
    mine = fl.MLPRegressor.from_sklearn(theirs)
    assert_close(mine.predict(pd.DataFrame(X, columns=list("abcd"))), theirs.predict(theirs_rows(theirs)), "library")
    assert mine.get_params()["solver"] == "lbfgs"
    with pytest.raises(
        ValueError, match=r"MLPRegressor.from_sklearn takes a fitted MLPRegressor .* given MLPClassifier"
    ):
        fl.MLPRegressor.from_sklearn(sk.MLPClassifier())
    with pytest.raises(NotFittedError):
        fl.MLPRegressor.from_sklearn(sk.MLPRegressor())


def theirs_rows(fitted):
    return pd.DataFrame(X, columns=fitted.feature_names_in_)


def test_what_scikit_learn_does_not_have():
    deep = fl.MLPClassifier(
        (6, 5), activation=["gelu", "leaky_relu(0.1)"], dropout=0.2, batch_norm=True, solver="adamw(0.01)", max_iter=30,
        random_state=0, batch_size=32,
    ).fit(X, Y)  # fmt: skip
    assert [type(layer).__name__ for layer in deep.model_.network.layers[:4]] == [
        "Dense",
        "BatchNorm",
        "GELU",
        "Dropout",
    ]
    assert deep.score(X, Y) > 0.8
    assert len(deep.coefs_) == 3
    assert deep.model_.loss == fl.CategoricalCrossEntropy()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(deep)).predict_proba(X), deep.predict_proba(X))
    before = deep.predict_proba(X)
    assert np.any(deep.partial_fit(X, Y).predict_proba(X) != before)
    robust = fl.MLPRegressor("huber", (4,), optimizer=fl.Lion(0.01), max_iter=5, random_state=0).fit(X, NUMBERS)
    assert robust.model_.loss == fl.Huber()
    hinged = fl.MLPClassifier((4,), loss="hinge", max_iter=5, random_state=0).fit(X, TWO)
    assert set(hinged.predict(X)) <= {"other", "setosa"}
    linear = fl.MLPRegressor(hidden_layer_sizes=(), learning_rate="cosine(0.1)", max_iter=150, random_state=0)
    assert linear.fit(X, X[:, 0]).score(X, X[:, 0]) > 0.9


def test_rows_that_judge_by_any_metric():
    held = X[60:], TWO[60:]
    chosen = {"validation_data": held, "validation_metric": "auc", "early_stopping": True, "n_iter_no_change": 3}
    model = fl.MLPClassifier(**SMALL | chosen | {"max_iter": 40, "learning_rate_init": 0.05}).fit(X[:60], TWO[:60])
    assert len(model.validation_scores_) == len(model.validation_losses_) == model.n_iter_ < 40
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert [row["validation_auc"] for row in model.history_] == model.validation_scores_
    low = fl.MLPClassifier(**SMALL | chosen | {"validation_metric": "log_loss"}).fit(X[:60], TWO[:60])
    assert low.best_validation_score_ == min(low.validation_scores_)
    assert_close(low.validation_scores_, low.validation_losses_, "f32")
    judged = fl.MLPClassifier(**SMALL | {"validation_data": held}).fit(X[:60], TWO[:60])
    assert judged.n_iter_ == 7  # without early_stopping they only tell, and choose the epoch


def test_rows_that_judge_may_come_and_go():
    model = fl.MLPClassifier(**SMALL, warm_start=True).fit(X, Y)
    model.set_params(early_stopping=True).fit(X, Y)
    assert len(model.validation_scores_) == 7
    model.set_params(early_stopping=False).fit(X, Y)
    assert len(model.loss_curve_) == 21
    assert model.best_loss_ == min(model.loss_curve_)


def test_callbacks_see_every_epoch_and_may_stop():
    seen = []

    def watch(event):
        if type(event).__name__ == "EpochEnded":
            seen.append(event.row["epoch"])
        return fl.Stop("enough") if len(seen) == 3 else None

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fl.MLPClassifier(**SMALL, callbacks=watch).fit(X, Y)
    assert seen == [1, 2, 3]
    assert model.n_iter_ == len(model.loss_curve_) == len(model.history_) == 3


def test_an_interrupt_keeps_what_there_is():
    def interrupt(event):
        if type(event).__name__ == "EpochEnded" and event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = fl.MLPClassifier(**SMALL, callbacks=[interrupt]).fit(X, Y)
    assert model.n_iter_ == 2
    assert model.predict(X).shape == (90,)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"alpha": -1}, "The 'alpha' parameter of MLPClassifier must be a float in the range"),
        ({"solver": "adamm"}, r"The 'solver' parameter .* no optimizer is called 'adamm': did you mean 'Adam'"),
        ({"activation": "relux"}, "The 'activation' parameter .* did you mean 'ReLU'"),
        ({"activation": ["relu", "tanh"]}, "give one for all hidden layers, or one for each of the 1"),
        ({"learning_rate": "cosin"}, "scikit-learn's names are constant, invscaling, adaptive"),
        ({"hidden_layer_sizes": (4, 0)}, r"hidden_layer_sizes must be > 0, got \[4, 0\]"),
        ({"loss": "mse"}, "is one of regression"),
        ({"validation_metric": "acc2", "early_stopping": True}, "no metric is called 'acc2'"),
        ({"validation_data": (1, 2, 3)}, r"validation_data must be a pair \(X, y\), given 3 parts"),
        ({"optimizer": "snapshots(adam(0.01))"}, "it makes several networks of one: take fl.Classifier"),
        ({"n_jobs": 0}, "give a number of threads, -1 for all cores, or None"),
        ({"precision": "float16"}, "The 'precision' parameter"),
    ],
)
def test_a_value_that_means_nothing_is_refused(given, told):
    with pytest.raises((ValueError, LookupError), match=told):
        fl.MLPClassifier(**SMALL | given).fit(X, Y)


def test_rows_that_do_not_fit_are_refused():
    model = fl.MLPClassifier(**SMALL).fit(X, Y)
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(
        ValueError, match=r"Input X contains NaN in row 7, column 'c', MLPClassifier takes finite numbers"
    ):
        model.fit(pd.DataFrame(bad, columns=list("abcd")), Y)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`: 9 in row 1"):
        fl.MLPClassifier(**SMALL).fit(X, Y).partial_fit(X[:2], [0, 9])
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        fl.MLPRegressor(**SMALL).fit(X * 1e300, NUMBERS)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        fl.MLPClassifier().partial_fit(X, Y)


def test_a_call_that_fails_or_is_interrupted_harms_no_later_one():
    model = fl.MLPRegressor(hidden_layer_sizes=(4,), random_state=0)
    alone = fl.MLPRegressor(hidden_layer_sizes=(4,), random_state=0)
    for each in (model, alone):
        each.partial_fit(X, NUMBERS)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.partial_fit(X * 1e300, NUMBERS)
    for each in (model, alone):
        each.partial_fit(X, NUMBERS)
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))
    model.set_params(callbacks=lambda event: os.kill(os.getpid(), signal.SIGINT) if hasattr(event, "row") else None)
    vars(model).pop("_going")
    for _ in range(2):
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            model.partial_fit(X, NUMBERS)
    assert np.any(model.predict(X) != alone.predict(X))


def test_a_search_of_scikit_learn_takes_it(tmp_path):
    grid = {"activation": ["tanh", "gelu"], "alpha": [1e-4]}
    found = GridSearchCV(fl.MLPClassifier(**SMALL), grid, cv=2).fit(X, TWO)
    assert found.best_params_["activation"] in ("tanh", "gelu")
    best = found.best_estimator_
    loaded = fl.load(best.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(loaded.predict(X), best.predict(X))


def test_many_labels_are_scored_whole():
    rows, labels = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
    params = SMALL | {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 4}
    theirs = sk.MLPClassifier(**params).fit(rows, labels)
    check_equal(ours(theirs, params).fit(rows, labels), theirs, rows=rows)


def test_it_takes_part_in_scikit_learn(tmp_path):
    model = fl.MLPClassifier(**SMALL).fit(X, Y)
    joblib.dump(model, tmp_path / "m.joblib")
    np.testing.assert_array_equal(joblib.load(tmp_path / "m.joblib").predict_proba(X), model.predict_proba(X))
    assert "MLPClassifier" in model._repr_html_()
    assert clone(model).get_params() == model.get_params()
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(MinMaxScaler(), fl.MLPClassifier(**SMALL).set_fit_request(sample_weight=True))
        with_weights = routed.fit(X, Y, sample_weight=W).predict_proba(X)
    assert np.any(with_weights != make_pipeline(MinMaxScaler(), fl.MLPClassifier(**SMALL)).fit(X, Y).predict_proba(X))
    calibrated = CalibratedClassifierCV(fl.MLPClassifier(**SMALL), cv=2).fit(X, Y)
    assert calibrated.predict_proba(X).shape == (90, 3)
