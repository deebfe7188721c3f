"""Table estimators: what they read, what they answer, what they keep and what they refuse."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.estimators.recipe import Recipe
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
N = 120
FRAME = pd.DataFrame(
    {
        "size": RNG.gamma(4.0, 20.0, N),
        "town": RNG.choice(["Ulm", "Bonn", "Kiel"], N, p=[0.5, 0.3, 0.2]),
        "sold": pd.date_range("2020-01-01", periods=N, freq="9D"),
        "new": RNG.random(N) < 0.4,
    }
)
FRAME.loc[[3, 50], "size"] = np.nan
FRAME.loc[7, "town"] = None
PRICE = FRAME["size"].fillna(80) + 30 * (FRAME["town"] == "Ulm") + RNG.normal(size=N)
DEAR = np.where(PRICE.median() < PRICE, "dear", "cheap")
PLAIN = {"preset": "plain", "hidden": (4,), "epochs": 3, "engine": "numpy"}
FULL = {**PLAIN, "epochs": 6, "batch_size": "full", "validation": 0, "dropout": 0.0, "precision": "float64"}


@pytest.fixture(scope="module")
def classifier():
    return fl.TabularClassifier(**PLAIN).fit(FRAME, DEAR)


@pytest.fixture(scope="module")
def regressor():
    return fl.TabularRegressor(**PLAIN).fit(FRAME, PRICE)


def frames():
    cells = {name: [None if pd.isna(v) else v for v in FRAME[name].tolist()] for name in FRAME}
    cells["sold"] = [v.to_pydatetime() for v in FRAME["sold"]]
    return {"polars": pl.DataFrame(cells), "arrow": pa.table(cells), "dict": cells, "pandas": FRAME.convert_dtypes()}


@pytest.mark.parametrize("kind", ["polars", "arrow", "dict", "pandas"])
def test_every_frame_says_the_same(classifier, kind):
    X = frames()[kind]
    assert_close(classifier.predict_proba(X), classifier.predict_proba(FRAME))
    again = fl.TabularClassifier(**PLAIN).fit(X, pl.Series(DEAR) if kind == "polars" else DEAR)
    assert_close(again.predict_proba(FRAME), classifier.predict_proba(FRAME))
    assert again.feature_names_in_.tolist() == list(FRAME)


def test_arrays_of_objects_and_sparse_matrices():
    X = FRAME[["size", "town", "new"]].to_numpy(dtype=object)
    made = fl.TabularRegressor(**PLAIN).fit(X, PRICE)
    assert made.predict(X).shape == (N,)
    assert made.n_features_in_ == 3
    assert not hasattr(made, "feature_names_in_")
    numbers = np.where(RNG.random((N, 4)) < 0.5, 0.0, RNG.normal(size=(N, 4)))
    dense = fl.TabularRegressor(**PLAIN).fit(numbers, PRICE)
    sparse = fl.TabularRegressor(**PLAIN).fit(sp.csr_array(numbers), PRICE)
    assert_close(sparse.predict(sp.coo_matrix(numbers)), dense.predict(numbers))


def test_order_of_columns_further_columns_and_unseen_categories(classifier):
    turned = FRAME[list(FRAME)[::-1]].assign(more=1.0)
    assert_close(classifier.predict_proba(turned), classifier.predict_proba(FRAME))
    new = FRAME.head(3).assign(town="Rom", size=np.nan)
    assert np.isfinite(classifier.predict_proba(new)).all()
    nothing = pd.DataFrame({name: [None, None] for name in FRAME})
    assert classifier.predict_proba(nothing).shape == (2, 2)


def test_what_a_classifier_answers(classifier, tmp_path):
    p = classifier.predict_proba(FRAME)
    assert_close(p.sum(axis=1), np.ones(N))
    assert classifier.classes_.tolist() == ["cheap", "dear"]
    assert (classifier.predict(FRAME) == classifier.classes_[p.argmax(axis=1)]).all()
    assert_close(np.exp(classifier.predict_log_proba(FRAME)), p)
    assert ((classifier.decision_function(FRAME) > 0) == (p[:, 1] > 0.5)).all()
    assert classifier.features(FRAME).shape == (N, 4)
    loaded = fl.load(classifier.save(tmp_path / "m.safetensors"), engine="numpy")
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), p)
    slopes = classifier.input_gradients(FRAME)
    assert slopes.shape == (N, 4)
    assert np.isnan(slopes[:, 1]).all()
    moved = [classifier.predict_proba(FRAME.assign(size=FRAME["size"] + d))[:, 1] for d in (0.1, -0.1)]
    kept = ~np.isnan(slopes[:, 0])
    assert_close(slopes[kept, 0], ((moved[0] - moved[1]) / 0.2)[kept], "fit")


def test_what_a_regressor_answers(regressor, tmp_path):
    ends = regressor.predict_interval(FRAME, alpha=0.2)
    assert ends.shape == (N, 2)
    assert ((ends[:, 0] <= regressor.predict(FRAME)) & (regressor.predict(FRAME) <= ends[:, 1])).all()
    loaded = fl.load(regressor.save(tmp_path / "m.safetensors"), engine="numpy")
    np.testing.assert_array_equal(loaded.predict_interval(FRAME, 0.2), ends)


def test_the_output_follows_the_target():
    numbers = FRAME["size"].fillna(80).to_numpy()
    made = fl.TabularRegressor(**PLAIN, distribution="normal").fit(FRAME, PRICE)
    mean, std = made.predict(FRAME, return_std=True)
    assert mean.shape == std.shape == (N,)
    assert (std > 0).all()
    many = fl.TabularRegressor(**PLAIN, quantiles=[0.9, 0.1, 0.5]).fit(FRAME, PRICE)
    assert (np.diff(many.predict(FRAME), axis=1) >= 0).all()
    assert many.model_.loss.q == (0.1, 0.5, 0.9)
    assert many.score(FRAME, PRICE) < 1
    assert many.predict_interval(FRAME, 0.2).shape == (N, 2)
    counts = fl.TabularRegressor(**PLAIN).fit(FRAME, np.random.default_rng(1).poisson(1.0, N))
    assert type(counts.model_.loss).__name__ == "Poisson"
    assert "y holds counts" in counts.notes_[0]
    positive = fl.TabularRegressor(**PLAIN, distribution="gamma").fit(FRAME, numbers)
    assert (positive.predict(FRAME) > 0).all()
    both = fl.TabularRegressor(**PLAIN).fit(FRAME, pd.DataFrame({"a": numbers, "b": -1000 * numbers}))
    assert both.predict(FRAME).shape == (N, 2)
    assert both.predict_interval(FRAME).shape == (N, 2, 2)
    assert both.model_.target.names == ("a", "b")
    assert both.score(FRAME, np.stack([numbers, -1000 * numbers], axis=1)) > 0


def test_labels_and_ordered_classes():
    labels = np.stack([PRICE > 100, FRAME["town"] == "Ulm", FRAME["new"]], axis=1).astype(int)
    many = fl.TabularClassifier(**PLAIN, threshold="f1").fit(FRAME, labels)
    assert many.predict(FRAME).shape == many.predict_proba(FRAME).shape == (N, 3)
    assert set(np.unique(many.predict(FRAME))) <= {0, 1}
    assert len(many.model_.thresholds) == 3
    grades = np.select([PRICE < 80, PRICE < 110], ["low", "mid"], "top")
    made = fl.TabularClassifier(**PLAIN, ordered=["low", "mid", "top"]).fit(FRAME, grades)
    cat = pd.Categorical(grades, categories=["top", "low", "mid"], ordered=True)
    other = fl.TabularClassifier(**PLAIN).fit(FRAME, pd.Series(cat))
    assert other.model_.classes == ("top", "low", "mid")
    assert other.classes_.tolist() == ["low", "mid", "top"]
    assert_close(other.predict_proba(FRAME), other.model_.predict_proba(FRAME)[:, [1, 2, 0]])
    assert "ordered classes, low < mid < top: cumulative logit" in made.notes_
    assert isinstance(fl.from_json(fl.to_json(made.model_.network)).layers[-1], (fl.CumulativeLogit, fl.Temperature))


def test_a_threshold_may_be_given(classifier):
    made = fl.TabularClassifier(**PLAIN, threshold=0.8).fit(FRAME, DEAR)
    assert ((made.predict(FRAME) == "dear") == (made.predict_proba(FRAME)[:, 1] > 0.8)).all()
    tuned = fl.TabularClassifier(**PLAIN, threshold="balanced_accuracy").fit(FRAME, DEAR)
    assert any(note.startswith("threshold") for note in tuned.notes_) == bool(tuned.model_.thresholds)


@pytest.mark.slow
def test_the_default_is_a_bag_whose_rows_judge_it():
    cheap = {"budget": "fast", "recipe": Recipe(hidden=(4,), epochs=3)}
    made = fl.TabularClassifier(**cheap).fit(FRAME, DEAR)
    assert len(made.members_) >= 2
    np.testing.assert_array_equal(clone(made).fit(FRAME, DEAR).predict_proba(FRAME), made.predict_proba(FRAME))
    told = fl.TabularRegressor(**cheap, n_jobs=1).fit(FRAME, PRICE)
    assert told.model_.intervals.n == N  # every row was judged by members that never saw it
    two = clone(told).set_params(n_jobs=2).fit(FRAME, PRICE)
    np.testing.assert_array_equal(told.predict(FRAME), two.predict(FRAME))
    wide = clone(told).set_params(recipe__hidden=(3,))
    assert wide.recipe.hidden == (3,)


@pytest.mark.slow
def test_in_the_ecosystem_of_scikit_learn(classifier):
    assert clone(classifier).get_params() == classifier.get_params()
    assert "TabularClassifier" in classifier._repr_html_()
    for again in (pickle.loads(pickle.dumps(classifier)), _through_joblib(classifier)):
        np.testing.assert_array_equal(again.predict_proba(FRAME), classifier.predict_proba(FRAME))
    parts = make_column_transformer(
        (StandardScaler(), ["size"]), remainder="passthrough", verbose_feature_names_out=False
    )
    piped = make_pipeline(parts.set_output(transform="pandas"), clone(classifier)).fit(FRAME, DEAR)
    assert_close(piped.predict_proba(FRAME), classifier.predict_proba(FRAME), "library32")
    grid = {"hidden": [(3,), ()], "optimizer__learning_rate": [0.01]}
    found = GridSearchCV(fl.TabularRegressor(**PLAIN, optimizer="adam"), grid, cv=2).fit(FRAME, PRICE)
    assert found.best_params_["hidden"] in ((3,), ())
    assert cross_val_score(fl.TabularClassifier(**PLAIN), FRAME, DEAR, cv=2).shape == (2,)
    sure = CalibratedClassifierCV(fl.TabularClassifier(**PLAIN), cv=2).fit(FRAME, DEAR)
    assert sure.predict_proba(FRAME).shape == (N, 2)


def _through_joblib(model):
    import io

    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def test_groups_are_not_divided():
    """The same rows three times in one group tell nothing of themselves: what judges is as hard as new rows."""
    noise, group = np.random.default_rng(4).normal(size=40), np.repeat(np.arange(40), 3)
    X = np.random.default_rng(5).normal(size=(40, 2))[group]
    made = fl.TabularRegressor(preset="plain", hidden=(64,), l2=0.0, epochs=60, dropout=0.0)
    told = made.fit(X, noise[group], groups=group).model_.intervals
    fooled = made.fit(X, noise[group]).model_.intervals
    assert np.median(told.scores[0]) > 1.5 * np.median(fooled.scores[0])


# What must change nothing.


def fitted(frame, y, weight=None, kind=fl.TabularRegressor, **changed):
    return kind(**{**FULL, **changed}).fit(frame, y, sample_weight=weight)


def test_a_weight_of_two_is_the_row_twice_and_0_the_row_absent():
    w = np.random.default_rng(2).integers(0, 3, N)
    rows = np.repeat(np.arange(N), w)
    weighted, repeated = fitted(FRAME, PRICE, w), fitted(FRAME.iloc[rows], PRICE.iloc[rows])
    assert_close(weighted.predict(FRAME), repeated.predict(FRAME), "run")
    classes = (
        fitted(FRAME, DEAR, w, fl.TabularClassifier),
        fitted(FRAME.iloc[rows], DEAR[rows], None, fl.TabularClassifier),
    )
    assert_close(classes[0].predict_proba(FRAME), classes[1].predict_proba(FRAME), "run")
    kept = np.flatnonzero(w)
    absent = fitted(FRAME, PRICE, (w > 0).astype(float)), fitted(FRAME.iloc[kept], PRICE.iloc[kept])
    np.testing.assert_array_equal(absent[0].predict(FRAME), absent[1].predict(FRAME))


def test_class_weights_are_weights_of_rows():
    by_class = {"cheap": 1.0, "dear": 3.0}
    a = fitted(FRAME, DEAR, None, fl.TabularClassifier, class_weight=by_class)
    b = fitted(FRAME, DEAR, np.where(DEAR == "dear", 3.0, 1.0), fl.TabularClassifier)
    np.testing.assert_array_equal(a.predict_proba(FRAME), b.predict_proba(FRAME))


@pytest.mark.slow
def test_the_penalty_does_not_depend_on_the_batch_size():
    """A linear model of least squares ends at the same weights in batches of any size."""
    slow = {"hidden": (), "epochs": 400, "l2": 1.0, "learning_rate": 0.01}
    whole, half = fitted(FRAME, PRICE, **slow), fitted(FRAME, PRICE, **slow, batch_size=N // 2, optimizer="ema(adam)")
    assert_close(whole.predict(FRAME) / 100, half.predict(FRAME) / 100, "statistics")


def test_order_of_rows_units_and_spelling_change_nothing():
    told = fitted(FRAME, PRICE).predict(FRAME)
    order = np.random.default_rng(3).permutation(N)
    assert_close(fitted(FRAME.iloc[order], PRICE.iloc[order]).predict(FRAME), told, "run")
    inches = FRAME.assign(size=FRAME["size"] / 2.54)
    assert_close(fitted(inches, PRICE).predict(inches), told, "run")
    cents = fitted(FRAME, 100 * PRICE).predict(FRAME) / 100
    assert_close(cents, told, "run")
    spelt = FRAME.assign(town=FRAME["town"].map({"Ulm": "ULM", "Bonn": "bonn", "Kiel": "K"}))
    np.testing.assert_array_equal(fitted(spelt, PRICE).predict(spelt), told)


def test_order_of_columns_changes_nothing():
    turned = FRAME[["new", "sold", "town", "size"]]
    assert_close(fitted(turned, PRICE).predict(FRAME), fitted(FRAME, PRICE).predict(FRAME), "run")


# What is refused, and how.


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"size": lambda c: c.where(c.index != 5, np.inf)}, "column 'size' is infinite in row 5: mend the cell"),
        (
            {"size": lambda c: c.astype(object).where(c.index != 5, "big")},
            r"column 'size' holds text \(\"big\" in row 5",
        ),
        ({"sold": lambda c: "soon"}, "column 'sold' holds \"soon\" in row 0 where a date is expected"),
    ],
)
def test_cells_are_refused_by_column_row_and_value(regressor, changed, told):
    with pytest.raises(DataError, match=told):
        regressor.predict(FRAME.assign(**{name: change(FRAME[name]) for name, change in changed.items()}))


def test_shapes_and_columns_are_refused(regressor):
    with pytest.raises(DataError, match="X lacks the columns 'size' that training had: did you mean 'siz'"):
        regressor.predict(FRAME.rename(columns={"size": "siz"}))
    made = fl.TabularRegressor(**PLAIN).fit(RNG.normal(size=(30, 3)), RNG.normal(size=30))
    with pytest.raises(DataError, match="X has 2 features, but TabularRegressor is expecting 3"):
        made.predict(np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"Reshape your data: X.reshape\(-1, 1\)"):
        made.predict(np.zeros(3))
    with pytest.raises(DataError, match="X has 120 rows and y 3"):
        made.fit(FRAME, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "kind, given, y, told",
    [
        (fl.TabularRegressor, {}, np.where(np.arange(N) == 4, np.nan, 1.0), "Input y contains NaN in row 4"),
        (fl.TabularClassifier, {}, [None, *DEAR[1:]], "missing in row 0"),
        (fl.TabularClassifier, {}, ["one"] * N, "y has one class, 'one': at least two"),
        (fl.TabularRegressor, {}, DEAR, "regression needs numbers: fl.TabularClassifier takes classes"),
        (fl.TabularClassifier, {}, PRICE, "Unknown label type: continuous"),
        (fl.TabularRegressor, {"distribution": "poisson"}, PRICE - 200, "Poisson takes a count of 0 or more"),
        (fl.TabularRegressor, {"distribution": "gamma"}, PRICE * 0, "Gamma takes a number above 0"),
        (fl.TabularRegressor, {"distribution": "gauss"}, PRICE, "distribution='gauss'"),
        (fl.TabularRegressor, {"distribution": "normal", "quantiles": [0.5]}, PRICE, "each says what is learned"),
        (fl.TabularRegressor, {"loss": "bce"}, PRICE, "is one of classification: take fl.TabularClassifier"),
        (fl.TabularClassifier, {"ordered": ["cheap"]}, DEAR, "y holds 'dear', which ordered=.* lacks"),
        (fl.TabularClassifier, {"preset": "plane"}, DEAR, "preset='plane': did you mean 'plain'"),
        (fl.TabularClassifier, {"budget": "best"}, DEAR, "belongs to preset='tabular'"),
        (fl.TabularClassifier, {"kinds": {"towns": "category"}}, DEAR, "no column is called 'towns'"),
    ],
)  # fmt: skip
def test_targets_and_parameters_are_refused(kind, given, y, told):
    with pytest.raises((DataError, ConfigError), match=told):
        kind(**{**PLAIN, **given}).fit(FRAME, y)


def test_text_is_left_out_with_advice():
    words = [f"a word no {i} that nobody said before" for i in range(N)]
    words[1] = words[0]
    with pytest.warns(UserWarning, match=r"column 'said' is left out: text, .* TfidfVectorizer .* kinds={'said'"):
        made = fl.TabularRegressor(**PLAIN).fit(FRAME.assign(said=words), PRICE)
    assert made.n_features_in_ == 5
    with pytest.raises(DataError, match=r"no column to learn from .*'said'"):
        fl.TabularRegressor(**PLAIN).fit(pd.DataFrame({"said": words}), PRICE)
