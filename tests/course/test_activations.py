"""Rows 41-63 of the course: activations, what they do to gradients, and why a network needs them, by their numbers.

Expected values are from mathematics, NumPy or SciPy; "printed" ones are given with ten decimals.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import as_record
from fallline.train.pairing import PairingWarning
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 5))
TWO = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 1 + RNG.normal(size=200)
GRID = np.linspace(-4.3, 4.4, 30)


def values(layer, *z):
    return layer(np.array(z, float))


def slopes(layer, *z):
    return fl.grad(lambda v: layer(v).sum())(np.array(z, float))


def filled(network, dtype="float64"):
    return network.build(fl.spec(X.shape, dtype), 0)


def documented(name):
    return next(row for row in fl.activations() if row.name == name)


@pytest.mark.parametrize(
    "step, expected, surrogates",
    [(fl.Heaviside, [0, 0.5, 1], ("sigmoid", "piecewise_linear")), (fl.Sign, [-1, 0, 1], ("tanh", "hard_tanh"))],
)
def test_row_041_and_042_training_through_a_step_is_refused_or_uses_a_named_surrogate(step, expected, surrogates):
    assert_close(values(step(), -1, 0, 1), np.array(expected, float), "exact")
    assert_close(slopes(step(), -1, 0, 1), np.zeros(3), "exact")
    assert documented(step.__name__).derivative.startswith("0")
    network = fl.Sequential(fl.Dense(4), step(), fl.Dense(1))
    with pytest.raises(ConfigError) as refused:
        fl.fit(network, (X, TWO))
    assert "has derivative 0 everywhere, so the weights in front of it would never change" in str(refused.value)
    for name in surrogates:
        layer = step(surrogate=name)
        assert repr(layer) in str(refused.value)
        assert_close(values(layer, -1, 0, 1), np.array(expected, float), "exact")
        fit = fl.fit(fl.Sequential(fl.Dense(4), layer, fl.Dense(1)), (X, TWO), epochs=20, optimizer=fl.Adam(0.05))
        assert fit.history["train_loss"][-1] < 0.9 * fit.history["train_loss"][0]


def test_row_041_the_unit_step():
    assert as_record("heaviside", fl.Layer) == as_record("unit_step", fl.Layer) == fl.Heaviside()
    assert_close(values(fl.Heaviside(), -1, 0, 1), np.array([0, 0.5, 1]), "exact")


def test_row_042_the_sign():
    assert_close(values(fl.Sign(), -1, 0, 1), np.array([-1.0, 0.0, 1.0]), "exact")


def test_row_043_linear_is_the_identity():
    assert_close(fl.Linear()(GRID), GRID, "exact")
    assert_close(slopes(fl.Linear(), *GRID), np.ones(30), "exact")


def test_row_043_a_network_without_hidden_layer_is_least_squares():
    design = np.c_[X, np.ones(len(X))]
    best = np.linalg.lstsq(design, NUMBERS, rcond=None)[0]
    options = {"optimizer": fl.SGD(0.3), "batch_size": "full", "epochs": 200, "precision": "float64"}
    network = fl.fit(fl.mlp(hidden=()), (X, NUMBERS), **options).model.network
    assert_close(np.r_[network.layers[0].W[:, 0], network.layers[0].b], best, "library")


def test_row_044_piece_wise_linear():
    layer = fl.PiecewiseLinear()
    assert_close(values(layer, -0.5, 0, 0.25, 0.5), np.array([0, 0.5, 0.75, 1]), "exact")
    assert_close(slopes(layer, -2, -0.6, -0.4, 0, 0.4, 0.6, 2), np.array([0, 0, 1, 1, 1, 0, 0.0]), "exact")


def test_row_045_sigmoid():
    assert_close(values(fl.Sigmoid(), 0, -1000, 1000), np.array([0.5, 0, 1]), "exact")  # a warning is an error
    assert_close(slopes(fl.Sigmoid(), 0, -1000, 1000), np.array([0.25, 0, 0]), "exact")
    assert_close(fl.Sigmoid()(GRID), 1 / (1 + np.exp(-GRID)))


def test_row_046_tanh():
    assert_close(values(fl.Tanh(), 1000, -1000), np.array([1.0, -1.0]), "exact")
    assert_close(slopes(fl.Tanh(), 0), np.ones(1), "exact")
    assert_close(fl.Tanh()(GRID), (np.exp(GRID) - np.exp(-GRID)) / (np.exp(GRID) + np.exp(-GRID)))
    assert_close(fl.Tanh()(GRID), 2 * fl.Sigmoid()(2 * GRID) - 1)


def test_row_047_relu():
    assert_close(values(fl.ReLU(), -2, 0, 2), np.array([0.0, 0.0, 2.0]), "exact")
    assert_close(slopes(fl.ReLU(), -2, 0, 2), np.array([0.0, 0.0, 1.0]), "exact")
    assert "0 -> 0" in documented("ReLU").slopes


def test_row_048_softplus():
    assert_close(values(fl.Softplus(), 0, 1000), np.array([0.6931471806, 1000.0]), "printed")
    assert_close(slopes(fl.Softplus(), *GRID), special.expit(GRID))


def test_row_049_leaky_relu_with_slope_one_tenth():
    assert_close(values(fl.LeakyReLU(slope=0.1), -2, 2), np.array([-0.2, 2.0]))
    assert_close(fl.LeakyReLU(slope=0.1)(GRID), np.maximum(0.1 * GRID, GRID))


def test_row_050_the_slope_is_a_parameter_with_a_documented_default():
    assert fl.LeakyReLU() == fl.LeakyReLU(slope=0.01)
    assert_close(fl.LeakyReLU()(GRID), np.maximum(0.01 * GRID, GRID))
    assert "0.01 (the default)" in fl.LeakyReLU.__doc__
    with pytest.raises(ConfigError, match=r"slope must be at most 1, or max\(slope·z, z\) bends the positive side"):
        fl.LeakyReLU(slope=1.5)


@pytest.mark.parametrize(
    "name, layer",
    [
        ("leaky_relu", fl.LeakyReLU()),
        ("leaky_relu(0.1)", fl.LeakyReLU(slope=0.1)),
        ("elu", fl.ELU()),
        ("sigmoid", fl.Sigmoid()),
        ("tanh", fl.Tanh()),
        ("relu", fl.ReLU()),
    ],
)
def test_row_051_activations_by_name(name, layer):
    assert as_record(name, fl.Layer) == layer
    assert fl.mlp((3,), activation=name).layers[1] == layer


def test_row_052_maxout_with_a_second_piece_of_zeros_is_relu():
    layer = filled(fl.Maxout(3, pieces=2))
    W, b = RNG.normal(size=(5, 3)), RNG.normal(size=3)
    layer = fl.with_leaves(layer, {"W": np.c_[W, 0 * W], "b": np.r_[b, 0 * b]})
    assert_close(layer(X), np.maximum(X @ W + b, 0))


def test_row_052_the_gradient_goes_to_the_winner_only():
    layer = filled(fl.Maxout(1, pieces=2))
    row = X[:1]
    gradient = fl.grad(lambda W: fl.with_leaves(layer, {"W": W})(row).sum())(layer.W)
    winner = int((row @ layer.W).argmax())
    assert_close(gradient[:, winner], row[0])
    assert_close(gradient[:, 1 - winner], np.zeros(5), "exact")


def test_row_053_elu():
    assert_close(values(fl.ELU(), -1, 2), np.array([-0.6321205588, 2.0]), "printed")
    assert_close(slopes(fl.ELU(), 1000, -1000), np.array([1.0, 0.0]), "exact")
    assert_close(fl.ELU(alpha=0.5)(GRID), np.where(GRID >= 0, GRID, 0.5 * np.expm1(GRID)))


def test_row_054_e_swish():
    assert_close(values(fl.ESwish(beta=1.5), 1), np.array([1.0965878679]), "printed")
    assert_close(fl.ESwish(beta=1.0)(GRID), fl.SiLU()(GRID))
    assert_close(fl.SiLU()(GRID), GRID * special.expit(GRID))
    assert as_record("swish", fl.Layer) == fl.SiLU()


THE_LIST = (
    *("Heaviside", "Sign", "Linear", "PiecewiseLinear", "Sigmoid", "Tanh", "ReLU", "Softplus", "LeakyReLU", "Maxout"),
    *("ELU", "ESwish", "Softmax", "LogSoftmax", "GELU", "SiLU", "Mish", "SELU", "PReLU", "HardTanh", "HardSigmoid"),
    *("HardSwish", "Softsign", "GLU", "Sparsemax"),
)


def test_row_055_all_activations_are_listed_with_formula_and_derivative():
    rows = {row.name: row for row in fl.activations()}
    assert set(THE_LIST) <= set(rows)
    for row in rows.values():
        assert all((row.formula, row.derivative, row.source)), row
    assert "max(0, z)" in str(fl.activations())


@pytest.mark.parametrize("name", THE_LIST)
def test_row_055_each_has_a_plot_with_its_derivative(name):
    axes = fl.plot_function(name).axes[0]
    assert len([line for line in axes.lines if len(line.get_xydata()) > 50]) >= 2


def test_row_055_a_users_function_gets_its_derivative_by_itself():
    def wave(z):
        return z + fl.sin(z) ** 2

    assert_close(slopes(wave, *GRID), 1 + np.sin(2 * GRID))
    network = filled(fl.mlp((3,), activation=wave))
    assert fl.check_gradients(lambda W: fl.with_leaves(network, {"layers.0.W": W})(X).sum(), network.layers[0].W).ok
    fit = fl.fit(fl.mlp((8,), activation=wave), (X, TWO), epochs=5)
    assert fit.history["train_loss"][-1] < fit.history["train_loss"][0]


def test_row_056_the_trace_shows_the_three_factors_of_a_weight():
    """∂L/∂w = ∂L/∂y · ∂y/∂z · ∂z/∂w"""

    def L(w, x, b):
        z = w * x + b
        y = fl.tanh(z)
        L = (y - 1.0) ** 2
        return L

    w, x, b = 0.5, -1.2, 0.1
    y = np.tanh(w * x + b)
    table = fl.trace(L, w, x, b).chain("w")
    names = [factor.partition(" = ")[0] for factor in table.columns["factor"]]
    assert names == ["dL/dy", "dy/dz", "dz/dw"]
    factors = [2 * (y - 1), 1 - y**2, x]
    assert_close(np.array(table.columns["its value"]), np.array(factors))
    assert_close(np.array(table.columns["product so far"]), np.cumprod(factors))


def test_row_056_of_any_weight_of_a_network():
    network = filled(fl.mlp((3,), activation="tanh"))
    row, W, v = X[:1], network.layers[0].W, network.layers[2].W[:, 0]
    h = np.tanh(row @ W)[0]
    error = special.expit(h @ v) - 1.0
    trace = fl.trace(network, row, np.ones(1), loss="bce")
    table = trace.chain("layers.0.W[1, 2]")
    assert_close(table.columns["product so far"][-1], error * v[2] * (1 - h[2] ** 2) * row[0, 1])
    assert "1 − layers.1 · layers.1" in " ".join(table.columns["factor"])  # tanh' of the hidden units


def column(listing, name, kind="Dense"):
    """The cells of a column for layers of a kind."""
    return [cell for cell, layer in zip(listing.columns[name], listing.columns["layer"], strict=True) if kind in layer]


def test_row_057_the_share_of_saturated_units_per_layer():
    """Sigmoid and tanh flatten: with weights 20 times as large most units have φ′ < .01 and slow down."""
    for activation, slope in (("sigmoid", lambda y: y * (1 - y)), ("tanh", lambda y: 1 - y**2)):
        network = filled(fl.mlp((20, 20), activation=activation))
        large = {path: 20 * leaf for path, leaf in fl.leaves(network).items()}
        reports = [fl.layer_report(n, X) for n in (network, fl.with_leaves(network, large))]
        shares = [column(report, "saturated", type(network.layers[1]).__name__) for report in reports]
        y = network.layers[1](20 * X @ network.layers[0].W)
        assert_close(shares[1][0], (slope(y) < 0.01).mean())
        assert max(shares[0]) < 0.05
        assert min(shares[1]) > 0.5
    assert "saturation" in fl.diagnose(fl.with_leaves(network, {p: 3 * w for p, w in large.items()}), X).names


def test_row_057_tanh_is_centred_and_sigmoid_is_not():
    means = {}
    for activation in ("sigmoid", "tanh"):
        report = fl.layer_report(filled(fl.mlp((20, 20), activation=activation)), X)
        means[activation] = column(report, "mean", activation.capitalize())
    assert all(abs(mean - 0.5) < 0.1 for mean in means["sigmoid"])
    assert all(abs(mean) < 0.1 for mean in means["tanh"])


def test_row_058_a_hidden_sigmoid_is_warned_of_and_strict_false_silences():
    network = fl.mlp((4,), activation="sigmoid")
    with pytest.warns(PairingWarning, match=r"hidden units of layers\.1 Sigmoid\(\).*: use ReLU or Tanh there"):
        fl.fit(network, (X, TWO), epochs=1)
    fl.fit(network, (X, TWO), epochs=1, strict=False)
    for activation in ("tanh", "relu"):
        fl.fit(fl.mlp((4,), activation=activation), (X, TWO), epochs=1)


def test_row_059_ten_sigmoid_layers_are_flagged():
    deep = fl.mlp((20,) * 10, activation="sigmoid")
    fit = fl.fit(deep, (X, TWO), epochs=0, strict=False)
    assert fl.diagnose(fit, (X, TWO)).names == ["vanishing gradients"]


def test_row_059_with_glorot_and_batch_norm_they_train():
    deep = fl.mlp((20,) * 10, activation="sigmoid", init="glorot", norm="batch")
    fit = fl.fit(deep, (X, TWO), epochs=40, optimizer=fl.Adam(0.01))
    assert fit.history["train_loss"][-1] < 0.3 * fit.history["train_loss"][0]
    assert fit.model.evaluate(X, TWO)["accuracy"] > 0.9
    assert fl.diagnose(fit, (X, TWO)).names == []


def test_row_060_tanh_with_cross_entropy_is_refused_with_the_reason():
    network = fl.Sequential(fl.Dense(8), fl.Tanh(), fl.Dense(1), fl.Tanh())
    with pytest.raises(ConfigError) as refused:
        fl.fit(network, (X, TWO), loss="bce")
    for words in ("lie between −1 and 1", "probabilities from 0.269 to 0.731", "loss='hinge'", "loss='mse'"):
        assert words in str(refused.value)
    with pytest.raises(ConfigError, match="CategoricalCrossEntropy"):
        fl.fit(fl.Sequential(fl.Dense(3), fl.Tanh()), (X, TWO + (X[:, 3] > 1)))


@pytest.mark.parametrize("loss", ["mse", "hinge", "squared_hinge"])
def test_row_060_tanh_is_allowed_with_targets_of_plus_and_minus_1(loss):
    network = fl.Sequential(fl.Dense(8), fl.Tanh(), fl.Dense(1), fl.Tanh())
    y = 2 * TWO - 1
    fit = fl.fit(network, (X, y.astype(float) if loss == "mse" else y), loss=loss, epochs=40, optimizer=fl.Adam(0.02))
    assert (np.sign(fit.model.scores(X)) == y).mean() > 0.9


def test_row_061_gradient_norms_per_layer_of_sigmoid_and_relu():
    share = {}
    for activation in ("sigmoid", "relu"):
        report = fl.layer_report(filled(fl.mlp((20,) * 10, activation=activation)), X, TWO)
        norms = column(report, "gradient")
        assert len(norms) == 11
        share[activation] = norms[0] / norms[-1]
    assert share["sigmoid"] < 0.25**7  # nine more sigmoids, each with a slope of at most 1/4, and the weights between
    assert share["relu"] > 0.1


def test_row_061_units_that_died_are_counted():
    """Biases of -3 leave some units inactive on every row."""
    network = filled(fl.mlp((30,)))
    network = fl.with_leaves(network, {"layers.0.b": np.full(30, -3.0)})
    expected = int((X @ network.layers[0].W - 3.0 <= 0).all(axis=0).sum())
    assert 0 < expected < 30
    assert column(fl.layer_report(network, X), "dead", "ReLU") == [expected]
    leaky = fl.Sequential(network.layers[0], fl.LeakyReLU(), network.layers[2])
    assert column(fl.layer_report(leaky, X), "dead", "LeakyReLU") == [0]


def test_row_062_an_activation_is_a_non_linear_function_of_the_layers_output():
    """With it f(a + b) is not f(a) + f(b) - f(0), without it it is."""
    a, b, zero = X[:50], X[50:100], np.zeros((50, 5))
    for activation, is_linear in (("linear", True), ("relu", False), ("tanh", False), ("sigmoid", False)):
        f = filled(fl.mlp((10,), activation=activation))
        assert np.allclose(f(a + b), f(a) + f(b) - f(zero)) == is_linear


def test_row_063_five_linear_layers_equal_one():
    network = filled(fl.Sequential(*(fl.Dense(6) for _ in range(4)), fl.Dense(2)))
    network = fl.with_leaves(network, {p: RNG.normal(size=w.shape) for p, w in fl.leaves(network).items()})
    found = fl.diagnose(network)
    assert found.names == ["equals one linear layer"]
    W, b = np.eye(5), np.zeros(5)
    for layer in network.layers:
        W, b = W @ layer.W, b @ layer.W + layer.b
    told = str(found)
    for number in (W[0, 0], W[4, 1], b[0], b[1]):
        assert f"{number:.6g}".replace("-", "−") in told
    one = fl.collapse(network)
    assert_close(one(X), network(X), "run")
    assert_close(one.W, W)
    assert fl.diagnose(filled(fl.mlp((6, 6, 6, 6), 2))).names == []
