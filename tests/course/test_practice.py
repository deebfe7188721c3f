"""Mission rows 79, 113-117, 119 and 122: a table as it is, features, early stopping, penalties, dropout; what the
diagnosis says (112, 118, 120, 121) is in test_practice_diagnosis.py."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

import fallline as fl
from fallline.cli.main import run
from fallline.data.simulated import simulated_heart
from fallline.data.split import split_rows
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import assert_close

COLUMNS = [*simulated_heart()]
PUBLIC = Path(__file__).parents[3] / "shared" / "data" / "heart.csv"  # where the real table lies beside the repository
ONE_PERCENT = 0.01  # the row's own bound
RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 12))
LABELS = X[:, 0] + X[:, 1] + RNG.normal(size=150) > 0


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    """The simulated patients as the public file is written: quoted names, a nameless first column, "reversable"."""
    columns = simulated_heart()
    columns["Thal"] = [level and level.replace("reversible", "reversable") for level in columns["Thal"]]
    path = tmp_path_factory.mktemp("heart") / "heart.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerow(["", *columns])
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        for i, row in enumerate(zip(*columns.values(), strict=True), 1):
            rows.writerow([str(i), *("NA" if cell is None else cell for cell in row)])
    return path


def told(*argv):
    """What the command prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert run([str(word) for word in argv]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def trained(heart):
    """The folder of a run on that file, and the report of it."""
    folder = heart.parent / "run"
    return folder, told("train", heart, "--target", "AHD", "--epochs", 60, "--out", folder)


def test_row_079_the_heart_table_trains_unprepared_with_text_and_missing_cells(heart, trained):
    table = fl.read_table(heart)
    assert list(table.names[1:]) == COLUMNS
    assert (table.n_rows, table.column("Ca").null_count(), table.column("Thal").null_count()) == (303, 4, 2)
    folder, report = trained
    result = json.loads((folder / "result.json").read_text())
    assert (result["rows"], result["classes"]) == (303, ["No", "Yes"])
    assert result["metrics"]["test"]["auc"] > 0.8
    assert "4 levels, one-hot: asymptomatic, nonanginal, nontypical, typical" in report
    assert "reversable" in report, "levels are those found, however they are spelt"
    told("predict", folder, heart, "-o", folder / "out.csv")
    assert len((folder / "out.csv").read_text().splitlines()) == 304


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public table is not here")
def test_row_079_the_public_file_is_what_the_course_says_of_it():
    table = fl.read_table(PUBLIC)
    assert list(table.names[-14:]) == COLUMNS
    counts = dict(table.column("AHD").value_counts().iter_rows())
    assert (table.n_rows, counts) == (303, {"No": 164, "Yes": 139})
    assert (table.column("Ca").null_count(), table.column("Thal").null_count()) == (4, 2)
    assert table.column("ChestPain").n_unique() == 4
    assert "reversable" in table.column("Thal").to_list()


@pytest.mark.slow
@pytest.mark.skipif(not PUBLIC.exists(), reason="the public table is not here")
def test_row_079_in_five_folds_the_network_is_as_good_as_logistic_regression():
    """At least the accuracy and the AUC that the row states, and on the same folds no worse a log loss than
    scikit-learn's model, which has the fold's validation rows to learn from as well."""
    table = fl.read_table(PUBLIC)
    y = (table.column("AHD") == "Yes").to_numpy().astype(int)
    ours, linear = [], []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(y, y):
        part = np.full(303, "train", dtype=object)
        part[test] = "test"
        part[train[split_rows(len(train), validation=0.2, test=0, seed=0, y=y[train]).validation]] = "validation"
        parted = fl.read_table(table.frame.with_columns(part=pl.Series(part.tolist())))
        made = prepare(parted, "AHD", TableOptions(split="column:part")).train()
        ours.append([made.metrics["test"][name] for name in ("accuracy", "auc", "log_loss")])
        inputs = made.prepared.examples.x
        score = LogisticRegression(max_iter=1000).fit(inputs[train], y[train]).predict_log_proba(inputs[test])
        linear.append(-score[np.arange(len(test)), y[test]].mean())
    accuracy, auc, log_loss = np.mean(ours, axis=0)
    assert accuracy >= 0.845
    assert auc >= 0.909
    assert log_loss <= np.mean(linear)


def test_row_113_one_dimensional_input_is_read_as_a_column():
    x = np.array([-1.0, -0.400, -0.999, 0.25, 0.7, 1.0, -0.1, 0.33])
    y = 2.0 * x + 1.0
    assert "A batch (b,) is read as b rows of one number, (b, 1)" in fl.Dense.__doc__
    flat, column = (fl.fit(fl.mlp(hidden=(4,)), (given, y), epochs=3, precision="float64") for given in (x, x[:, None]))
    assert flat.history == column.history
    assert flat.model.network.layers[0].W.shape == (1, 4)
    for given in (x, x[:, None]):
        assert_close(flat.model.predict(given), column.model.predict(x), "exact")
    assert fl.summary(flat.model.network, x)[0].output == (8, 4)


def test_row_114_the_report_tells_type_range_missing_cells_and_scale_of_every_feature(heart, trained):
    lines = {line.split()[0]: line for line in trained[1].splitlines() if line.strip()}
    assert set(COLUMNS[:-1]) <= set(lines)
    ages = fl.read_table(heart).column("Age").to_numpy()
    ages = ages[prepare(fl.read_table(heart), "AHD", TableOptions()).split.train]
    number = r"number +(\d+) … (\d+), center ([\d.]+), scale ([\d.]+)"
    low, high, center, scale = map(float, re.search(number, lines["Age"]).groups())
    assert (low, high) == (ages.min(), ages.max())
    assert (center, scale) == (float(f"{ages.mean():.4g}"), float(f"{ages.std():.4g}"))
    assert re.search(r"number .* missing, filled with", lines["Ca"])
    assert re.search(r"category +4 levels", lines["ChestPain"])
    assert re.search(r"missing, a level of its own", lines["Thal"])
    before = told("inspect", heart, "--target", "AHD")
    assert re.search(r"Ca +number +4 +4  0 … 3", before)


def too_large(**settings):
    """A network that learns its forty rows by heart."""
    given = {"validation": (X[40:], LABELS[40:]), "epochs": 200, "learning_rate": 0.01} | settings
    return fl.fit(fl.mlp(hidden=(100,)), (X[:40], LABELS[:40]), **given)


@pytest.mark.parametrize("stopping", [None, 5, fl.EarlyStopping("auc", patience=8)])
def test_row_115_predict_uses_the_weights_that_were_best_on_the_validation_rows(stopping):
    metric = "auc" if isinstance(stopping, fl.EarlyStopping) else "loss"
    fit = too_large(early_stopping=stopping, metrics=["auc"], keep_path=True)
    judged = fit.history[f"validation_{metric}"]
    best = int(np.nanargmax(judged) if metric == "auc" else np.nanargmin(judged))
    assert best < len(fit.history) - 1, "it got worse afterwards"
    assert fit.history.best(metric)["epoch"] == best
    assert_close(fit.model.evaluate(X[40:], LABELS[40:])[metric], judged[best], "f32")
    kept = np.concatenate([leaf.ravel() for leaf in fl.leaves(fit.model.network).values()])
    assert_close(kept, fit.path[best], "exact")


def test_row_115_patience_and_metric_are_free():
    for patience in (3, 10):
        fit = too_large(early_stopping=patience)
        assert len(fit.history) - 1 == int(np.argmin(fit.history["validation_loss"])) + patience
        assert fit.reason == f"validation loss has not improved for {patience} epochs"
    by_auc = too_large(early_stopping=fl.EarlyStopping("auc", patience=4), metrics=["auc"])
    assert by_auc.reason == "auc has not improved for 4 epochs"
    assert by_auc.history[-1]["epoch"] < 200


def test_row_116_a_path_over_ten_strengths_is_one_call():
    strengths = [0.0, *np.geomspace(1e-3, 1.0, 9).round(6).tolist()]
    path = fl.compare((X, LABELS), l2=strengths, hidden=(), epochs=8, learning_rate=0.2, seeds=1)
    assert path.columns["l2"] == [str(strength) for strength in strengths]
    norms = [np.linalg.norm(outcome.fits[0].model.network.layers[0].W) for outcome in path.outcomes]
    assert norms[-1] < 0.3 * norms[0]
    assert path.best.choices["l2"] in strengths
    assert str(path).count("\n") > 10


def test_row_117_the_penalty_of_w_3_4_at_lambda_one_tenth_and_ten_rows():
    """(λ/2m) ‖w‖² is the strength λ/m here: .125, with the gradient λ w / m; the norm itself is 5."""
    w = {"layers.0.W": np.array([[3.0], [4.0]]), "layers.0.b": np.array([7.0])}
    penalty = fl.L2(0.1 / 10)
    assert_close(penalty(w), 0.125)
    assert_close(np.linalg.norm(w["layers.0.W"]), 5.0)
    slopes = fl.grad(penalty)(w)
    assert_close(slopes["layers.0.W"], 0.1 * w["layers.0.W"] / 10)
    assert_close(slopes["layers.0.b"], [0.0], "exact")  # biases are excluded


@pytest.mark.parametrize("batch_size", [1, 10, 20, "full"])
def test_row_117_its_strength_does_not_change_with_the_batch_size(batch_size):
    """Rows of zeros have no loss to change W: a step of rate r leaves 1 - r l2 of it, whatever the batch."""
    zeros, targets = np.zeros((20, 2)), np.arange(20.0)
    network = fl.Sequential(fl.Dense(1)).build(zeros, 0)
    fit = fl.fit(network, (zeros, targets), optimizer="sgd(0.1)", l2=0.5, epochs=3, batch_size=batch_size,
                 precision="float64", keep_path=True)  # fmt: skip
    steps = 3 * (1 if batch_size == "full" else 20 // batch_size)
    assert_close(fit.path[-1, :2], network.layers[0].W[:, 0] * (1 - 0.1 * 0.5) ** steps)
    assert fit.path[-1, 2] > 0, "the bias learns the targets"


def test_row_119_dropout_keeps_the_mean_and_is_off_in_predict():
    ones, layer = np.ones((400, 1000)), fl.Dropout(0.3)
    dropped = layer(ones, fl.Run(training=True, key=np.array([1, 2], np.uint32)))
    assert abs(dropped.mean() - 1) < ONE_PERCENT
    assert_close(np.unique(dropped), [0.0, 1 / 0.7])
    assert layer(ones) is ones
    fit = fl.fit(fl.mlp(hidden=(8,), dropout=0.5), (X, LABELS), epochs=2)
    plain = fl.Sequential(*(part for part in fit.model.network.layers if not isinstance(part, fl.Dropout)))
    assert_close(fit.model.scores(X), plain(X.astype(np.float32))[:, 0], "f32")
    assert_close(fit.model.scores(X), fit.model.scores(X), "exact")


def test_row_119_dropout_is_seedable_and_0_changes_nothing():
    def trained(rate, seed=0):
        network = fl.Sequential(fl.Dense(8), fl.ReLU(), fl.Dropout(rate), fl.Dense(1))
        return fl.fit(network, (X, LABELS), epochs=3, seed=seed, keep_path=True).path

    assert_close(trained(0.5), trained(0.5), "exact")
    assert (trained(0.5) != trained(0.5, seed=1)).any()
    without = fl.fit(fl.mlp(hidden=(8,)), (X, LABELS), epochs=3, keep_path=True).path
    assert_close(trained(0.0), without, "exact")
    assert (trained(0.5)[-1] != without[-1]).any()


def test_row_122_train_fits_a_network_and_logistic_regression_on_the_same_rows(trained):
    folder, report = trained
    network = fl.load(folder)
    assert isinstance(network.loss, fl.BinaryCrossEntropy)
    assert sum(isinstance(layer, fl.Dense) for layer in network.network.layers) == 3
    result = json.loads((folder / "result.json").read_text())
    assert set(result["metrics"]["test"]) == set(result["baseline"]["test"]) >= {"accuracy", "auc", "log_loss"}
    assert result["baseline"]["test"] != result["metrics"]["test"]
    assert result["baseline"]["test"]["auc"] > 0.7
    assert "linear baseline (test)" in report
