"""The report of layers against NumPy: outputs, saturation, dead units, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(float)


def filled(*layers):
    return fl.Sequential(*layers).build(fl.spec((2, 4), "float64"), 0)


def rows_of(listing):
    """The rows by the path of their layer."""
    names = list(listing.columns)
    lines = zip(*listing.columns.values(), strict=True)
    return {line[0].split()[0]: dict(zip(names, line, strict=True)) for line in lines}


def test_outputs_slopes_and_gradients_by_numpy():
    net = filled(fl.Dense(6), fl.Sigmoid(), fl.Dense(1))
    net = fl.with_leaves(net, {"layers.0.W": 8 * net.layers[0].W})
    rows = rows_of(fl.layer_report(net, X, Y))
    z = X @ net.layers[0].W
    h = special.expit(z)
    score = (h @ net.layers[2].W)[:, 0]
    error = (special.expit(score) - Y) / len(Y)
    back = np.outer(error, net.layers[2].W[:, 0]) * h * (1 - h)
    assert_close(rows["layers.0"]["mean"], z.mean())
    assert_close(rows["layers.0"]["spread"], z.std())
    assert_close(rows["layers.1"]["saturated"], (h * (1 - h) < 0.01).mean())
    assert 0.1 < rows["layers.1"]["saturated"] < 0.9
    assert_close(rows["layers.2"]["gradient"], np.sqrt(np.sum((h.T @ error) ** 2) + error.sum() ** 2))
    assert_close(rows["layers.0"]["gradient"], np.sqrt(np.sum((X.T @ back) ** 2) + np.sum(back.sum(axis=0) ** 2)))
    assert rows["layers.1"]["gradient"] is None
    assert rows["layers.0"]["saturated"] is None


def test_dead_units_are_those_that_no_row_makes_active():
    net = filled(fl.Dense(9), fl.ReLU(), fl.Dense(1))
    b = np.r_[np.full(4, -50.0), np.full(3, 50.0), -1.0, -2.0]
    net = fl.with_leaves(net, {"layers.0.b": b})
    rows = rows_of(fl.layer_report(net, X))
    active = X @ net.layers[0].W + b > 0
    assert rows["layers.1"]["dead"] == int((~active.any(axis=0)).sum())
    assert rows["layers.1"]["dead"] >= 4
    assert_close(rows["layers.1"]["saturated"], 1 - active.mean())


def test_layers_inside_others_functions_of_several_entries_and_learned_slopes():
    inner = fl.Residual(fl.BatchNorm(), fl.PReLU())
    net = filled(fl.Dense(4), inner, fl.Softmax(), fl.Dropout(0.5), fl.Linear(), fl.Dense(1))
    rows = rows_of(fl.layer_report(net, X, Y))
    order = ["layers.0", "layers.1.layers.0", "layers.1.layers.1", *(f"layers.{i}" for i in range(2, 6))]
    assert list(rows) == order
    assert rows["layers.2"]["saturated"] is None  # softmax has no slope of each entry by itself
    assert (rows["layers.1.layers.1"]["saturated"], rows["layers.1.layers.1"]["dead"]) == (0.0, 0)
    assert rows["layers.4"]["saturated"] == 0.0
    assert rows["layers.1.layers.1"]["gradient"] > 0  # of the learned slopes


def test_what_fit_returns_a_model_and_a_table_are_taken():
    fit = fl.fit(fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)), (X, np.where(Y > 0, "a", "b")), epochs=1)
    from_fit, from_model = fl.layer_report(fit, X, np.where(Y > 0, "a", "b")), fl.layer_report(fit.model, X)
    assert from_fit.columns["mean"] == from_model.columns["mean"]
    assert "gradient" not in from_model.columns
    assert all(len(line) <= 80 for line in from_fit.text(80).splitlines())


def test_what_is_lacking_is_said():
    recipe = fl.Sequential(fl.Dense(1))
    with pytest.raises(ConfigError, match=r"layer_report needs rows: layer_report\(model, X\)"):
        fl.layer_report(filled(fl.Dense(1)), None)
    with pytest.raises(ConfigError, match="no weights yet: layer_report needs a filled network"):
        fl.layer_report(recipe, X)
    with pytest.raises(ConfigError, match=r"takes what fl\.fit returns, a model or a filled network, given str"):
        fl.layer_report("model.safetensors", X)
    with pytest.raises(DataError, match="X has 50 rows and y 49"):
        fl.layer_report(filled(fl.Dense(1)), X, Y[1:])
    with pytest.raises(ConfigError, match="a fitted model has its own"):
        fl.layer_report(fl.fit(recipe, (X, Y), epochs=0), X, Y, loss="mse")
