"""Tables end to end: the head follows from the target, the baseline trains on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.data.table import read_table
from fallline.train.tabular import PRIOR, TableOptions, embedding_units, prepare
from tests.tolerance import assert_close

DATA = Path(__file__).parents[3] / "shared" / "data"
QUICK = TableOptions(epochs=3, hidden=(8,))


def prepared(y, options=QUICK, n=100):
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(size=n), "kind": rng.choice(["u", "v", "w"], n), "y": y}
    return prepare(read_table(table), "y", options)


HEADS = {
    "binary": (["yes", "no"] * 50, "BinaryCrossEntropy", 1),
    "classes": (["a", "b", "c", "d"] * 25, "CategoricalCrossEntropy", 4),
    "numbers": (np.linspace(0.5, 9.25, 100), "SquaredError", 1),
    "counts": (np.arange(100) % 30, "SquaredError", 1),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_output_unit_and_the_loss_follow_from_the_target(kind):
    y, loss, units = HEADS[kind]
    found = prepared(y)
    assert found.kind == kind
    assert type(found.model.loss).__name__ == loss
    assert found.model.network.layers[-1].units == units


def test_counts_may_choose_poisson():
    run = prepared(
        np.random.default_rng(0).poisson(8, 100),
        TableOptions(epochs=40, hidden=(), loss="poisson", optimizer="adam(0.05)"),
    ).train()
    assert run.prepared.model.target.scale == 1.0
    assert (run.fit.model.predict({"x": [0.0, 1.0], "kind": ["u", "v"]}) > 0).all()
    assert run.metrics["test"]["rmse"] < 8


def test_the_scale_of_a_numeric_target_is_that_of_the_training_rows():
    found = prepared(np.linspace(100.5, 900.25, 100))
    y = np.linspace(100.5, 900.25, 100)[found.split.train]
    assert_close(found.model.target.mean, y.mean())
    assert_close(found.model.target.scale, y.std())


def test_the_baseline_is_the_linear_model_on_the_same_rows():
    """On a linear target the baseline finds the least-squares solution that scikit-learn finds."""
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=300)
    table = read_table({**{f"x{i}": x[:, i] for i in range(3)}, "y": y})
    found = prepare(table, "y", TableOptions(epochs=300, patience=300, hidden=(4,), l2=0.0, batch_size="full"))
    run = found.train()
    train = found.split.train
    residual = LinearRegression().fit(x[train], y[train]).predict(x[train]) - y[train]
    loss = run.baseline.history["train_loss"][-1] * found.model.target.scale**2  # in the target's unit
    assert_close(loss, np.mean(residual**2), "fit")


def test_the_default_penalty_counts_the_training_rows():
    found = prepared(["yes", "no"] * 50)
    explicit = prepared(["yes", "no"] * 50, QUICK.replace(l2=PRIOR / len(found.split.train)))
    a, b = found.train().fit, explicit.train().fit
    assert a.history == b.history


def test_many_categories_are_embedded():
    rng = np.random.default_rng(0)
    table = read_table(
        {"town": [f"t{i % 50}" for i in range(300)], "x": rng.normal(size=300), "y": rng.choice(["n", "p"], 300)}
    )
    found = prepare(table, "y", QUICK)
    first = found.model.network.layers[0]
    assert type(first).__name__ == "ColumnEmbedding"
    assert first.units == (embedding_units(51),)
    run = found.train()
    assert np.isfinite(run.fit.model.predict_proba({"town": ["t1", "never seen"], "x": [0.0, 0.0]})).all()


def test_evaluate_on_the_table_equals_the_reported_metrics():
    rng = np.random.default_rng(2)
    table = read_table({"x": rng.normal(size=100), "z": rng.choice(["u", "v"], 100), "y": ["yes", "no"] * 50})
    run = prepare(table, "y", QUICK).train()
    test = table.take(run.prepared.split.test)
    for name, value in run.fit.model.evaluate(test).items():
        assert_close(value, run.metrics["test"][name], "f32")


SPLIT_TABLE = {
    "x": list(np.random.default_rng(5).normal(size=100)),
    "patient": [f"p{i // 4}" for i in range(100)],
    "day": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(100)],
    "part": ["train"] * 60 + ["validation"] * 20 + ["test"] * 20,
    "y": ["yes", "no"] * 50,
}


def split_by(way):
    return prepare(read_table(SPLIT_TABLE), "y", QUICK.replace(split=way))


def test_a_group_lies_in_one_part():
    found = split_by("group:patient")
    groups = [
        {SPLIT_TABLE["patient"][i] for i in rows}
        for rows in (found.split.train, found.split.validation, found.split.test)
    ]
    assert all(groups)
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert "patient" not in found.model.columns.feature_columns


def test_the_latest_rows_judge():
    found = split_by("time:day")
    parts = (found.split.train, found.split.validation, found.split.test)
    train, validation, test = (sorted(SPLIT_TABLE["day"][i] for i in rows) for rows in parts)
    assert train[-1] <= validation[0]
    assert validation[-1] <= test[0]


def test_the_last_rows_judge():
    np.testing.assert_array_equal(split_by("tail").split.test, np.arange(80, 100))


def test_a_column_says_which_rows_judge():
    found = split_by("column:part")
    np.testing.assert_array_equal(found.split.validation, np.arange(60, 80))
    assert "part" not in found.model.columns.feature_columns


@pytest.mark.parametrize("way", ["random", "group", "tail:x", "grup:patient"])
def test_an_unknown_split_is_refused(way):
    with pytest.raises(ConfigError, match="give shuffled, tail, group:NAME"):
        split_by(way)


def test_a_split_by_an_absent_column_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'patient'"):
        split_by("group:patients")


def test_too_few_rows():
    with pytest.raises(DataError, match="has 6 rows, too few"):
        prepare(read_table({"x": list(range(6)), "y": ["a", "b"] * 3}), "y", QUICK)


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="no column to learn from"):
        prepare(read_table({"x": [1.0] * 20, "y": ["a", "b"] * 10}), "y", QUICK)


@pytest.mark.parametrize("bad", [{"dropout": 1.0}, {"epochs": 0}, {"l2": -1.0}, {"seed": -1}])
def test_options_have_ranges(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        TableOptions(**bad)


@pytest.mark.skipif(not DATA.exists(), reason="the tables for trying things on are not here")
@pytest.mark.slow
def test_heart_keeps_up_with_its_linear_baseline():
    table, ours, linear = read_table(DATA / "heart.csv"), [], []
    for seed in range(10):
        run = prepare(table, "AHD", TableOptions(seed=seed)).train()
        ours.append(run.metrics["test"]["auc"])
        linear.append(run.baseline_metrics["test"]["auc"])
    assert np.mean(ours) >= 0.89
    assert np.mean(ours) >= np.mean(linear) - 0.01


@pytest.mark.skipif(not DATA.exists(), reason="the tables for trying things on are not here")
@pytest.mark.slow
def test_adult_trains_unprepared():
    run = prepare(read_table(DATA / "adult.csv.gz"), None, TableOptions()).train()
    assert run.metrics["test"]["auc"] >= 0.905


def test_public_names_of_the_example_work():
    """The example of the design, on a small set."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 5)), rng.integers(0, 2, 80)
    net = fl.Sequential(fl.Dense(64), fl.ReLU(), fl.Dropout(0.2), fl.Dense(1))
    fit = fl.fit(
        net, (X, y), loss=fl.BinaryCrossEntropy(), optimizer=fl.Adam(1e-3), epochs=5, validation=0.2,
        early_stopping=fl.EarlyStopping(patience=20), seed=0,
    )  # fmt: skip
    assert set(fit.model.predict(X)) <= {0, 1}
