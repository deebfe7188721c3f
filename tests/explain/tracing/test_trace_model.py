"""Traces of networks with a loss and of fitted models: the very functions that training uses, in evaluation mode."""

from __future__ import annotations

import cProfile
import time

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.train.step import row_scores
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
LABELS = np.where(X[:, 0] + 0.3 * RNG.normal(size=40) > 0, "yes", "no")
KINDS = np.array(["a", "b", "c"])[np.digitize(X[:, 1], [-0.5, 0.5])]


def net(*layers: fl.Layer, n: int = 1) -> fl.Layer:
    return fl.Sequential(*(layers or (fl.Dense(4), fl.Tanh())), fl.Dense(n))


def fitted(y: np.ndarray, network: fl.Layer, **options: object) -> fl.Model:
    return fl.fit(network, (X, y), epochs=3, precision="float64", **options).model


def table_model() -> tuple[fl.Model, fl.Table]:
    """A model of a table with numbers, a category that is one-hot and one that is embedded."""
    n = 120
    table = fl.read_table(
        {
            "age": RNG.normal(50, 10, n),
            "dose": RNG.normal(3, 1, n),
            "town": [f"town {i % 35}" for i in range(n)],
            "sex": RNG.choice(["f", "m"], n),
            "cost": RNG.normal(200, 20, n),
        }
    )
    run = prepare(table, "cost", TableOptions(hidden=(4,), epochs=1)).train()
    return run.fit.model, table


@pytest.mark.parametrize("row", range(6))
def test_a_prediction_is_the_probability_of_the_predicted_class(row):
    for y, network in ((LABELS, net()), (KINDS, net(n=3))):
        model = fitted(y, network)
        traced = fl.trace(model, X[row : row + 1])
        assert traced.goal.name == "prediction"
        assert traced.goal.where == "link"
        assert_close(float(traced.goal.value.item()), model.predict_proba(X)[row].max())
        assert traced.note == f"prediction is the probability of y = {model.predict(X)[row]}"
        assert traced.note in traced.table().text(80).replace("\n", " ")


def test_a_prediction_of_numbers_is_on_the_training_scale_and_says_how_to_leave_it():
    model, table = table_model()
    one = table.take(np.array([7]))
    traced = fl.trace(model, one)
    assert_close(
        float(traced.goal.value.item()) * model.target.scale + model.target.mean, model.predict(one)[0], "library"
    )
    assert traced.note.startswith("cost = prediction · ")


def test_a_loss_without_probabilities_gives_the_score():
    model = fitted(LABELS, net(), loss="hinge")
    traced = fl.trace(model, X[:1])
    assert_close(traced.goal.value.item(), model.scores(X[:1])[0])
    assert "decides for y = " in traced.note


def test_the_cost_is_the_mean_loss_of_the_rows():
    for y, network in ((LABELS, net()), (KINDS, net(n=3)), (X[:, 2] * 3, net())):
        model = fitted(y, network)
        traced = fl.trace(model, X, y)
        assert traced.goal.name == "J"
        assert traced.goal.where == "loss"
        assert_close(float(traced.goal.value), model.evaluate(X, y)["loss"])
        one = fl.trace(model, X[:1], y[:1])
        assert_close(float(one.goal.value.item()), model.evaluate(X[:1], y[:1])["loss"])


def test_one_full_step_of_gradient_descent_goes_along_the_partials():
    network = net().build(fl.spec((1, 3), "float64"), 1)
    traced = fl.trace(network, X, (LABELS == "yes").astype(float), loss="bce")
    run = fl.fit(
        network, (X, LABELS), optimizer=fl.SGD(0.25), batch_size="full", epochs=1, precision="float64", shuffle=False
    )
    for path, after in fl.leaves(run.model.network).items():
        assert_close(after, fl.leaves(network)[path] - 0.25 * traced[path].partial)


def test_the_scores_are_the_bits_of_the_training_step_itself():
    model = fitted(LABELS, net())
    program = fl.Program.of(lambda x: row_scores(model.network, x, fl.EVAL), X)
    assert np.array_equal(fl.trace(model, X, LABELS)["layers.2"].value[:, 0], program.run(X)[0])


def test_dropout_is_off_and_running_statistics_are_data():
    model = fitted(LABELS, net(fl.Dense(4), fl.BatchNorm(), fl.Dropout(0.5)))
    traced = fl.trace(model, X[:1])
    assert_close(float(traced.goal.value.item()), model.predict_proba(X[:1]).max())
    buffers = fl.leaves(model.network, "buffer")
    assert buffers
    assert all(traced[path].partial is None for path in buffers)
    assert all(traced[path].partial is not None for path in fl.leaves(model.network, "param"))


def test_targets_are_data_without_a_derivative():
    traced = fl.trace(fitted(LABELS, net()), X, LABELS)
    assert traced["y"].partial is None
    assert not any(edge.operand == "y" for node in traced for edge in node.edges)


def test_inputs_are_named_and_codes_have_no_derivative():
    model, table = table_model()
    traced = fl.trace(model, table.take(np.array([3])))
    assert [n.name for n in traced.inputs if "." not in n.name] == ["x", "codes"]
    assert traced["codes"].partial is None
    assert traced["x"].partial.shape == (1, 4)
    assert traced["layers.0.tables.0"].partial.shape == model.network.layers[0].tables[0].shape
    assert traced.table("forward", wrt="x[0, 1]").columns["d/dx[0, 1]"][-1].size == 1


def test_a_table_holds_its_targets_itself():
    model, table = table_model()
    some = table.take(np.arange(20))
    assert_close(float(fl.trace(model, some, some).goal.value), model.evaluate(some)["loss"], "library")


def test_a_filled_layer_with_a_loss_is_the_same():
    model = fitted(KINDS, net(n=3))
    codes = np.searchsorted(["a", "b", "c"], KINDS)
    ours, theirs = fl.trace(model.network, X, codes, loss="cross_entropy"), fl.trace(model, X, KINDS)
    assert_close(ours.goal.value, theirs.goal.value)
    assert [n.name for n in ours] == [n.name for n in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert (a.partial is None) == (b.partial is None)
        if a.partial is not None:
            assert_close(a.partial, b.partial)
    assert fl.trace(model.network, X[:1], loss="cross_entropy").goal.name == "prediction"


@fl.record
class Own(fl.Layer):
    """x³ under names of its own."""

    def __call__(self, x, run=fl.EVAL):
        squared = x * x
        return squared * x


@fl.record
class OwnLoss(fl.Loss):
    """(score - target)⁴"""

    def formula(self, score, target):
        gap = score - target
        return gap * gap * gap * gap


def test_variables_of_a_layer_and_of_a_loss_keep_their_names_behind_the_path():
    network = net(fl.Dense(2), Own(), fl.Dense(2), Own()).build(fl.spec((1, 3), "float64"), 0)
    traced = fl.trace(network, X, X[:, 0], loss=OwnLoss())
    for path in ("layers.1", "layers.3"):
        assert_close(traced[f"{path}.squared"].value, np.square(traced[f"layers.{int(path[-1]) - 1}"].value))
    assert_close(traced["loss.gap"].value, traced["layers.4"].value[:, 0] - X[:, 0])


def test_blocks_of_a_model_are_its_layers_and_the_loss():
    table = fl.trace(fitted(LABELS, net()), X, LABELS).table(by="module")
    assert list(dict.fromkeys(table.groups)) == ["loss", "layers.2", "layers.1", "layers.0"]


def test_the_block_of_the_loss_begins_with_its_formula():
    model = fitted(LABELS, net())
    for table in (
        fl.trace(model, X, LABELS).table(by="module"),
        fl.trace(model, X, LABELS).table("forward", by="module"),
    ):
        lines = [line for line in table.text(100).splitlines() if line.startswith("[loss]")]
        assert lines == ["[loss] BinaryCrossEntropy: -t log(p) - (1 - t) log(1 - p); p = σ(s)"]
        assert "<th colspan" in table._repr_html_()
        assert "loss BinaryCrossEntropy: -t log(p)" in table._repr_html_()
    focal = fitted(LABELS, net(), loss=fl.BinaryCrossEntropy(gamma=2.0))  # which is not the formula any more
    assert "\n[loss] BinaryCrossEntropy(gamma=2.0)\n" in fl.trace(focal, X, LABELS).table(by="module").text(100)


def test_a_profiler_that_runs_is_left_alone():
    def f(x):
        t = x * x
        return fl.sin(t)

    profile = cProfile.Profile()
    profile.enable()
    try:
        traced = fl.trace(f, 2.0)
    finally:
        profile.disable()
    assert_close(traced["x"].partial, 4.0 * np.cos(4.0))
    assert fl.trace(f, 2.0)["t"].value == 4.0


def test_a_wide_model_is_traced_within_a_second_and_fits_a_terminal():
    rows = RNG.normal(size=(64, 20))
    network = net(fl.Dense(310), fl.ReLU(), fl.Dense(300), fl.ReLU())
    model = fl.fit(network, (rows, rows[:, 0] > 0), epochs=1).model
    assert fl.count_parameters(model.network) > 100_000
    start = time.process_time()
    traced = fl.trace(model, rows[:1])
    tables = [traced.table().text(80), traced.table(by="module").text(80), traced.table("forward").text(80)]
    assert time.process_time() - start < 1.0
    for text in tables:
        assert max(map(len, text.splitlines())) <= 80
    assert "∂layers.2.W += layers.1ᵀ @ ∂v" in tables[0]  # whole, not cut


def test_what_cannot_be_traced_is_answered():
    model = fitted(LABELS, net())
    run = fl.fit(net(), (X, LABELS), epochs=1)
    with pytest.raises(ShapeError, match="the prediction for one row, given 40: pass one, or the targets too"):
        fl.trace(model, X)
    assert_close(fl.trace(run, X, LABELS).goal.value, fl.trace(run.model, X, LABELS).goal.value, "exact")
    assert fl.check_gradients(run, X[:3], LABELS[:3])
    with pytest.raises(ConfigError, match="a fitted model has its own"):
        fl.trace(model, X, LABELS, loss="bce")
    with pytest.raises(ConfigError, match="belongs to a layer, given function"):
        fl.trace(lambda x: x, 1.0, loss="bce")
    with pytest.raises(ConfigError, match="given 3 arguments: several arrays for X go into a tuple"):
        fl.trace(model, X, X, LABELS)
    with pytest.raises(DataError, match="X has 40 rows and y 39"):
        fl.trace(model, X, LABELS[:39])
    with pytest.raises(DataError, match="holds 3 in row 0, which is none of the classes"):
        fl.trace(net(n=3).build(fl.spec((1, 3)), 0), X, np.full(40, 3), loss="cross_entropy")
    with pytest.raises(ConfigError, match="no weights yet"):
        fl.trace(net(), X[:1])
    with pytest.raises(ShapeError, match="predicts 2 numbers a row"):
        fl.trace(fitted(X[:, :2], net(n=2)), X[:1])


def test_the_derivative_of_a_prediction_by_an_input_is_its_slope():
    model = fitted(LABELS, net())
    traced = fl.trace(model, X[:1])
    h = 1e-6
    chosen = list(model.classes).index(model.predict(X[:1])[0])
    for j in range(3):
        moved = [X[:1] + sign * h * np.eye(3)[j] for sign in (1, -1)]
        high, low = (model.predict_proba(m)[0, chosen] for m in moved)
        assert traced["x"].partial[0, j] == pytest.approx((high - low) / (2 * h), rel=TOL["second"], abs=TOL["central"])
