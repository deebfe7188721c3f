"""The lectures on networks, row by row: layers, neurons, classical models, features, depth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import SVC

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from fallline.data.table import read_table
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import assert_close

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
AND, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])


def overlapping(n=200, n_in=3, seed=0):
    """Rows of two classes that no line separates, labels 1 and -1."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_in))
    return X, np.where(X @ np.arange(1, n_in + 1) + 2.0 * rng.normal(size=n) > 0.5, 1, -1)


def last(fitted):
    """W and b of the last layer."""
    dense = fitted.model.network.layers[-1]
    return dense.W, dense.b


def test_row_065_the_number_of_inputs_is_that_of_the_data_and_the_summary_shows_shapes(rng):
    for d in (1, 4, 13):
        X = rng.normal(size=(30, d))
        network = fl.fit(fl.mlp(hidden=(3, 3)), (X, X[:, 0]), epochs=1).model.network
        rows = fl.summary(network, X.astype("float32"))
        assert [row.output for row in rows] == [(30, 3), (30, 3), (30, 3), (30, 3), (30, 1)]
        assert [row.n_parameters for row in rows] == [3 * d + 3, 0, 12, 0, 4]
        assert fl.count_parameters(network) == 3 * d + 3 + 12 + 4


def test_row_066_each_design_choice_is_one_keyword_and_can_be_searched():
    X, y = overlapping()
    changed = {"activation": "tanh", "loss": "hinge", "hidden": (5, 5, 5)}
    fitted = fl.preset("mlp").fit((X, y), **changed, epochs=1).model
    assert [layer.units for layer in fitted.network.layers[::2]] == [5, 5, 5, 1]  # layers, nodes, output layer
    assert isinstance(fitted.network.layers[1], fl.Tanh)
    assert isinstance(fitted.loss, fl.Hinge)
    found = fl.search((X, y), hidden=[(3,), (3, 3)], activation=["relu", "tanh"], loss=["bce", "hinge"], epochs=5)
    assert len(found) == 8
    assert set(found.best.choices) >= {"hidden", "activation", "loss"}
    ranked = found.columns["validation accuracy"]
    assert ranked == sorted(ranked, reverse=True)
    assert found.fit.model.network.layers[0].units == 3


@pytest.mark.parametrize("how", [{"solver": "exact"}, {"optimizer": "sgd(0.1)", "epochs": 300, "batch_size": "full"}])
def test_row_067_a_neuron_finds_slope_and_intercept(how):
    x = np.linspace(-1.0, 2.0, 40)
    W, b = last(fl.fit(fl.mlp(hidden=()), (x, 2.0 * x + 1.0), precision="float64", **how))
    assert_close(W, [[2.0]], "library32")  # 1e-4
    assert_close(b, [1.0], "library32")


def test_row_068_two_inputs_and_four_units_give_four_numbers():
    """W has shape (2, 4), so z = Wᵀx + b is (4, 2) times (2,) plus (4,)."""
    network = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)).build(np.zeros((1, 2)), 0)
    dense = network.layers[0]
    assert dense.W.shape == (2, 4)
    assert dense.b.shape == (4,)
    x = np.array([0.5, -2.0])
    assert_close(dense(x[None, :])[0], dense.W.T @ x + dense.b)
    assert [(row.path, row.output) for row in fl.summary(network, np.zeros((1, 2)))] == [
        ("layers.0", (1, 4)),
        ("layers.1", (1, 4)),
        ("layers.2", (1, 1)),
    ]
    with pytest.raises(ShapeError, match=r"layers\.0 Dense\(units=4.*f64\[1,3\].*\(1, 3\) and \(2, 4\)"):
        network(np.zeros((1, 3)))


def test_row_069_the_perceptron_separates_and():
    fitted = fl.preset("perceptron").fit((CORNERS, AND))
    np.testing.assert_array_equal(fitted.model.predict(CORNERS), AND)
    W, b = last(fitted)
    assert np.all((CORNERS @ W[:, 0] + b) * (2 * AND - 1) > 0)  # every row lies off the line, on its side
    assert fitted.reason == "every row is on its side of the line"
    assert fitted.history[-1]["epoch"] < 100


def test_row_069_the_perceptron_fails_on_xor_and_says_so():
    with pytest.warns(UserWarning, match=r"\d of 4 rows are still wrong after 100 epochs: no straight line") as told:
        fitted = fl.preset("perceptron").fit((CORNERS, XOR))
    assert fitted.reason == str(told[0].message)
    assert np.any(fitted.model.predict(CORNERS) != XOR)
    bent = fl.preset("mlp").fit((CORNERS, XOR), hidden=(8,), loss="bce", activation="tanh", learning_rate=0.1)
    np.testing.assert_array_equal(bent.model.predict(CORNERS), XOR)


def test_row_069_logistic_regression_has_scikit_learns_coefficients():
    X, y = overlapping()
    W, b = last(fl.preset("logistic_regression").fit((X, y)))
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    assert_close(W.T, expected.coef_, "library")
    assert_close(b, expected.intercept_, "library")


def test_row_069_linear_regression_is_least_squares(rng):
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, -2.0, 0.5] + 3.0 + rng.normal(size=60)
    W, b = last(fl.preset("linear_regression").fit((X, y)))
    expected = LinearRegression().fit(X, y)
    assert_close(W[:, 0], expected.coef_)
    assert_close(b[0], expected.intercept_)


def test_row_069_the_linear_svm_reaches_the_objective_of_libsvm():
    X, y = overlapping()

    def objective(w, b):
        """|w|²/2 + C Σ max(0, 1 - y (w·x + b)), C = 1"""
        return 0.5 * w @ w + np.maximum(0.0, 1.0 - y * (X @ w + b)).sum()

    W, b = last(fl.preset("linear_svm").fit((X, y), precision="float64"))
    expected = SVC(kernel="linear", C=1.0, tol=1e-8).fit(X, y)
    best = objective(expected.coef_[0], expected.intercept_[0])
    assert_close(objective(W[:, 0], b[0]), best, "fit")


def test_row_069_adaline_is_least_squares_on_signs_and_answers_with_labels():
    X, y = overlapping()
    fitted = fl.preset("adaline").fit((X, y), optimizer="newton", learning_rate=None)
    W, b = last(fitted)
    expected = LinearRegression().fit(X, y)
    assert_close(W[:, 0], expected.coef_)
    assert_close(b[0], expected.intercept_)
    np.testing.assert_array_equal(fitted.model.predict(X), np.sign(expected.predict(X)))
    by_rows = fl.preset("adaline").fit((X, y)).model  # the rule of Widrow and Hoff ends near it
    agree = np.mean(by_rows.predict(X) == fitted.model.predict(X))
    assert agree > 0.95


def test_row_069_the_pairs_are_listed():
    listed = fl.presets()
    names = ["perceptron", "adaline", "linear_regression", "linear_svm", "logistic_regression", "mlp"]
    assert listed.columns["name"] == names
    pairs = dict(zip(names, zip(listed.columns["activation"], listed.columns["loss"], strict=True), strict=True))
    assert pairs["perceptron"] == ("unit step", "perceptron_loss")
    assert pairs["linear_svm"] == ("linear", "hinge")
    assert "hinge" in listed.text(80)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_row_070_without_hidden_layers_it_is_logistic_regression(n_classes, rng):
    X = rng.normal(size=(150, 3))
    y = np.argmax(X @ rng.normal(size=(3, n_classes)) + rng.gumbel(size=(150, n_classes)), axis=1)
    network = fl.mlp(hidden=(), n_outputs=1 if n_classes == 2 else n_classes)
    model = fl.fit(network, (X, y), optimizer="newton").model
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, y).predict_proba(X)
    assert_close(model.predict_proba(X), expected, "library")


def test_row_070_without_hidden_layers_it_is_linear_regression(rng):
    X = rng.normal(size=(50, 2))
    y = X @ [2.0, -1.0] + rng.normal(size=50)
    model = fl.fit(fl.mlp(hidden=()), (X, y), solver="exact").model
    assert_close(model.predict(X), LinearRegression().fit(X, y).predict(X))


def test_row_070_every_table_is_trained_beside_its_linear_baseline(rng):
    x = rng.normal(size=(80, 2))
    table = read_table({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "yes", "no")})
    run = prepare(table, "y", TableOptions(epochs=3, hidden=(4,))).train()
    assert [type(layer) for layer in run.baseline.model.network.layers] == [fl.Dense]
    assert set(run.baseline_metrics["test"]) == set(run.metrics["test"])


def test_row_071_twenty_starts_of_a_linear_model_end_in_the_same_loss():
    X, y = overlapping(100)
    linear = [fl.fit(fl.mlp(()), (X, y), optimizer="newton", seed=s).history["train_loss"] for s in range(20)]
    starts, ends = np.array([h[0] for h in linear]), np.array([h[-1] for h in linear])
    assert np.ptp(starts) > 0.1
    assert_close(ends, np.full(20, ends[0]), "step")  # 1e-8
    bent = fl.mlp(2, activation="tanh")  # capacity beyond a line, and local minima with it
    others = [fl.fit(bent, (X, y), optimizer="newton", seed=s).history["train_loss"][-1] for s in range(5)]
    assert np.ptp(others) > 100 * np.ptp(ends)
    assert max(others) < ends[0]


def test_row_072_chosen_features_fit_what_a_line_cannot_and_overfit_without_prior_knowledge():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (120, 1))
    y = x[:, 0] ** 2 + 0.1 * rng.normal(size=120)
    maps = [None, "poly(2)", "rbf(300, gamma=20.0)"]
    found = fl.compare((x, y), hidden=(), features=maps, optimizer="exact", validation=0, test=0.5, seeds=1)
    train, test, gap = (np.array(found.columns[name]) for name in ("train loss", "test loss", "gap"))
    assert_close(gap, test - train)
    line, parabola, general = range(3)
    assert test[parabola] < 0.5 * test[line]
    assert train[general] < train[parabola]  # a transform that fits everything
    assert gap[general] > 10 * abs(gap[parabola])  # and learns the noise
    assert found.best.choices["features"] == "poly(2)"
    assert all(word in found.text(80) for word in ("gap", "poly(2)", "rbf(300"))


def test_row_073_a_linear_model_on_the_features_reproduces_the_scores():
    X, y = overlapping()
    fitted = fl.fit(fl.mlp((6, 5), activation="tanh", dropout=0.2), (X, y), epochs=20, precision="float64")
    phi = fitted.model.features(X)
    W, b = last(fitted)
    assert phi.shape == (200, 5)
    assert_close(phi @ W[:, 0] + b, fitted.model.scores(X))
    own = LogisticRegression(C=np.inf, max_iter=2000).fit(phi, y)  # the same features, another fit of W and b
    assert own.score(phi, y) >= fitted.model.evaluate(X, y)["accuracy"] - 0.02


def test_row_073_features_of_a_table(rng):
    n = 80
    columns = {"a": rng.normal(size=n), "kind": rng.choice(list("uvwxyz"), n)}
    table = read_table({**columns, "y": np.where(columns["a"] > 0, "yes", "no")})
    fitted = prepare(table, "y", TableOptions(epochs=3, hidden=(7, 4))).train().fit
    W, b = last(fitted)
    phi = fitted.model.features(columns)
    assert phi.shape == (n, 4)
    assert_close(phi @ W[:, 0] + b, fitted.model.scores(columns), "f32")


def test_row_074_one_hidden_layer_approximates_a_sine_the_wider_the_better():
    """max |f̂(x) - sin 3x| on [-2, 2] between the rows that were learned."""
    x, between = np.linspace(-2, 2, 60), np.linspace(-2, 2, 1001)
    errors = []
    for width in (2, 10, 50):
        spread = fl.Normal(4.0)  # units that bend at different places from the start
        network = fl.mlp(width, activation="tanh", init=spread, bias_init=spread, output_init="auto")
        fitted = fl.fit(network, (x, np.sin(3 * x)), optimizer="newton", epochs=20, restarts=2)
        errors.append(np.abs(fitted.model.predict(between) - np.sin(3 * between)).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_row_075_depths_are_compared_at_equal_parameter_count():
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (300, 4))
    y = np.sin(3 * X[:, 0] * X[:, 1]) + X[:, 2] * X[:, 3] + 0.05 * rng.normal(size=300)
    found = fl.compare((X, y), depths=[1, 2, 3], hidden=(40,), params="equal", seeds=2, epochs=20, activation="tanh")
    assert found.columns["depth"] == [1, 2, 3]
    assert found.columns["hidden"][0] == "40"
    counts = np.array(found.columns["parameters"])
    assert counts[0] == 40 * 4 + 40 + 40 + 1
    assert np.all(np.abs(counts / counts[0] - 1) < 0.03)
    for outcome, mean, spread in zip(found.outcomes, found.columns["test loss"], found.columns["±"], strict=True):
        losses = outcome.metrics["test"]["loss"]
        assert_close(mean, losses.mean())
        assert_close(spread, losses.std(ddof=1))
        assert losses[0] != losses[1]
    shown = found.text(80)
    assert all(word in shown for word in ("depth", "params", "test", "gap", "ms/epoch", "*"))
    assert max(map(len, shown.splitlines())) <= 80


def test_row_075_depth_pays_where_the_target_is_a_function_of_a_function():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1000, 2))
    y = np.sin(4 * np.sin(4 * X[:, 0]) + 2 * X[:, 1])
    found = fl.compare((X, y), depths=[1, 3], seeds=1, epochs=200, activation="tanh", learning_rate=0.02)
    shallow, deep = found.columns["test loss"]
    assert deep < 0.2 * shallow
    assert found.columns["best"] == ["", "*"]


def rings(n=300, seed=0):
    """Two rings: class 0 at radius 1, class 1 at radius 2, both with noise of 0.15."""
    rng = np.random.default_rng(seed)
    inner, angle = np.arange(n) % 2 == 0, rng.uniform(0, 2 * np.pi, n)
    radius = np.where(inner, 1.0, 2.0) + 0.15 * rng.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), np.where(inner, "inner", "outer")


def test_row_076_rings_are_a_line_in_polar_coordinates():
    X, y = rings()
    polar = np.stack([np.hypot(*X.T), np.arctan2(X[:, 1], X[:, 0])], axis=1)
    flat = fl.preset("logistic_regression").fit((X, y)).model
    assert flat.evaluate(X, y)["accuracy"] < 0.65
    assert fl.preset("logistic_regression").fit((polar, y), epochs=8).model.evaluate(polar, y)["accuracy"] > 0.98


def test_row_076_hidden_units_find_a_representation_in_which_rings_are_linear():
    X, y = rings()
    model = fl.fit(fl.mlp(8, activation="tanh"), (X, y), optimizer="adam(0.05)", epochs=60).model
    assert model.evaluate(X, y)["accuracy"] > 0.98
    phi = model.features(X)
    assert LogisticRegression(C=100.0, max_iter=2000).fit(phi, y).score(phi, y) > 0.98
    panels = [axes for axes in fl.plot_units(model, X).axes if axes.collections or axes.images]
    assert len(panels) >= 8  # one a hidden unit


def test_row_076_depth_is_repeated_composition():
    X, y = rings(60)
    model = fl.fit(fl.mlp((5, 4), activation="tanh"), (X, y), epochs=2, precision="float64").model
    first, _, second, _, third = model.network.layers
    composed = np.tanh(np.tanh(X @ first.W + first.b) @ second.W + second.b) @ third.W + third.b
    assert_close(model.scores(X), composed[:, 0])


def test_features_of_a_network_that_is_no_chain_are_refused():
    X, y = overlapping()
    model = fl.fit(fl.Dense(1), (X, y), epochs=1).model
    with pytest.raises(ConfigError, match=r"features needs layers in a row, given Dense: write Sequential\(Dense"):
        model.features(X)
