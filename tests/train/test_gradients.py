"""The gradients of a fitted model, and its objective for the gradient checker."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.core.tree import with_leaves
from tests.contracts import faults
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(30, 3)), RNG.normal(size=30)


def linear() -> fl.Model:
    return fl.fit(fl.Sequential(fl.Dense(1)), (X, T), epochs=2, precision="float64").model


def test_the_gradient_of_least_squares_by_weights():
    model = linear()
    residual = model.predict(X) - T
    found = model.gradients(X, T)
    assert list(found) == list(fl.leaves(model.network))
    assert_close(found["layers.0.W"], 2 * X.T @ residual[:, None] / 30)
    assert_close(found["layers.0.b"], np.array([2 * residual.mean()]))


def test_the_gradient_of_least_squares_by_inputs():
    model = linear()
    residual = model.predict(X) - T
    W = fl.leaves(model.network)["layers.0.W"]
    assert_close(model.gradients(X, T, wrt="inputs"), 2 * residual[:, None] * W.T / 30)


def test_several_inputs_have_a_gradient_each_and_codes_none():
    network = fl.Sequential(fl.ColumnEmbedding((4,), (2,)), fl.Dense(1))
    x = (X.astype(np.float32), RNG.integers(0, 4, (30, 1)).astype(np.int32))
    model = fl.fit(network, (x, T), epochs=1).model
    numbers, codes = model.gradients(x, T, wrt="inputs")
    assert numbers.shape == (30, 3)
    assert codes is None
    assert model.gradients(x, T)["layers.0.tables.0"].shape == (4, 2)


def test_running_statistics_have_no_gradient():
    network = fl.Sequential(fl.Dense(3), fl.BatchNorm(), fl.Dense(1))
    model = fl.fit(network, (X, T), epochs=1).model
    assert set(model.gradients(X, T)) == set(fl.leaves(model.network, "param"))


def test_the_objective_is_the_mean_loss_in_double_precision():
    model = fl.fit(fl.Sequential(fl.Dense(3), fl.Dropout(0.5), fl.Dense(1)), (X, T), epochs=1).model
    J, network = model.objective(X, T)
    assert {leaf.dtype for leaf in fl.leaves(network).values()} == {np.dtype("float64")}
    assert_close(float(J(network)), model.evaluate(X, T)["loss"], "library")
    moved = with_leaves(network, {"layers.2.b": fl.leaves(network)["layers.2.b"] + 1.0})
    assert float(J(moved)) != float(J(network))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_models_gradients_pass_the_check(loss):
    model = fl.fit(fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)), (X, T), loss=loss, epochs=1).model
    report = fl.check_gradients(model, X, T)
    assert report
    assert report.checked == fl.count_parameters(model.network)
    assert report.where.startswith("layers.")


def test_a_layer_with_a_loss_is_checked_in_the_same_way():
    network = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(3)).build(fl.spec((1, 3)), 0)
    report = fl.check_gradients(network, X, RNG.integers(0, 3, 30), loss="cross_entropy")
    assert report
    assert report.checked == fl.count_parameters(network)


def test_the_worst_weight_is_named_by_its_path_and_index():
    with faults.fault_in_vjp() as op:

        @fl.record
        class Faulty(fl.Layer):
            """The op with the planted fault, as an activation."""

            def __call__(self, x, run=fl.EVAL):
                return op(x)

        try:
            network = fl.Sequential(fl.Dense(2), Faulty(), fl.Dense(1)).build(fl.spec((1, 3)), 0)
            report = fl.check_gradients(network, X, T, loss="mse")
        finally:
            fl.core.record.RECORDS.remove("Faulty")
    assert not report
    assert report.where.startswith("layers.0.")
    assert report.where.endswith("]")


def test_bad_questions_are_answered():
    model = linear()
    with pytest.raises(ConfigError, match="did you mean 'inputs'"):
        model.gradients(X, T, wrt="input")
    with pytest.raises(DataError, match=r"the targets are needed: pass X and y"):
        model.gradients(X)
    with pytest.raises(DataError, match="X has 30 rows and y 29"):
        model.objective(X, T[:29])
    with pytest.raises(ConfigError, match="belongs to a layer, given function"):
        fl.check_gradients(lambda x: x, X, T, loss="mse")
