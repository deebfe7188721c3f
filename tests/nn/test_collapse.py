"""collapse: what is linear becomes one Dense, anything else is named."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import records_of
from fallline.core.tree import leaves, with_leaves
from fallline.nn.activations import Activation
from tests.tolerance import assert_close

LINEAR = {
    "dense": fl.Sequential(fl.Dense(4), fl.Dense(3, use_bias=False), fl.Dense(2)),
    "dropout": fl.Sequential(fl.Dense(4), fl.Dropout(0.5), fl.Linear(), fl.Dense(2)),
    "batch norm": fl.Sequential(fl.BatchNorm(), fl.Dense(4), fl.BatchNorm(), fl.Dense(2)),
    "residual": fl.Sequential(fl.Residual(fl.Dense(3), fl.Dense(5)), fl.Dense(2)),
    "shapes": fl.Sequential(fl.Reshape((5, 1)), fl.Flatten(), fl.Sequential(fl.Dense(2))),
    "function": fl.Sequential(fl.Dense(4), lambda x: 2.0 * x[:, 1:] - 1.0, fl.Dense(2)),
    "one output": fl.Sequential(fl.Dense(4), fl.Dense(1)),
}


def filled(network, rng, n=5):
    """The network with every number drawn at random, so that no zero or one hides a mistake."""
    built = network.build(np.zeros((2, n)), rng)
    return with_leaves(built, {path: rng.uniform(0.2, 2.0, leaf.shape) for path, leaf in leaves(built).items()})


@pytest.mark.parametrize("name", LINEAR)
def test_the_dense_layer_gives_the_outputs_of_the_network(name, rng):
    network, x = filled(LINEAR[name], rng), rng.normal(size=(50, 5))
    dense = fl.collapse(network, 5)
    assert isinstance(dense, fl.Dense)
    assert_close(dense(x), network(x))


def test_a_network_in_float32_gives_a_dense_layer_in_float32(rng):
    network = LINEAR["dense"].build(np.zeros((2, 5), "float32"), rng)
    dense = fl.collapse(network)
    assert dense.W.dtype == dense.b.dtype == np.float32
    x = rng.normal(size=(50, 5)).astype("float32")
    assert_close(dense(x), network(x), "f32")


@pytest.mark.parametrize("cls", records_of(Activation).values(), ids=records_of(Activation))
def test_every_activation_but_the_linear_one_is_named(cls, rng):
    recipe = cls.sample(np.random.default_rng(0))[0]
    network = fl.Sequential(fl.Dense(4), recipe, fl.Dense(4), fl.Dense(1)).build(np.zeros((2, 5)), rng)
    if cls is fl.Linear:
        assert fl.collapse(network).W.shape == (5, 1)
        return
    with pytest.raises(ConfigError, match=rf"layers\.1 {cls.__name__}\(.*is not linear"):
        fl.collapse(network)


@pytest.mark.parametrize(
    "function",
    [lambda x: x % 1.0, lambda x: x - fl.mean(x, axis=0), lambda x: x * x - x * x, lambda x: fl.where(x > 0.0, x, x)],
    ids=["remainder", "mixes rows", "squares", "where"],
)
def test_what_cannot_be_told_to_be_linear_does_not_collapse(function, rng):
    network = fl.Sequential(fl.Dense(4), function, fl.Dense(1)).build(np.zeros((2, 5)), rng)
    with pytest.raises(ConfigError, match="linear"):
        fl.collapse(network)


def test_the_first_layer_that_is_not_linear_is_named(rng):
    network = fl.Sequential(fl.Dense(4), fl.LayerNorm(), fl.Dense(3), fl.ReLU(), fl.Dense(1))
    with pytest.raises(ConfigError, match=r"layers\.1 LayerNorm\(\) is not linear: only linear layers collapse"):
        fl.collapse(network.build(np.zeros((2, 5)), rng))


@pytest.mark.parametrize(
    "first, name",
    [(fl.RadialBasis(4), "RadialBasis"), (fl.PolynomialFeatures(2), "PolynomialFeatures"), (fl.RandomFourier(7), "R")],
)
def test_features_in_front_are_named_though_their_weights_do_not_tell_the_inputs(first, name, rng):
    for n in (1, 3):
        network = fl.Sequential(first, fl.Dense(1)).build(rng.normal(size=(2, n)), rng)
        with pytest.raises(ConfigError, match=rf"layers\.0 {name}\w*\(.*is not linear"):
            fl.collapse(network)


@pytest.mark.parametrize(
    "given, told",
    [
        (fl.Sequential(fl.Dense(3)), "takes a filled network such as fit.model.network, given Sequential"),
        ("a network", "given str"),
        (fl.Linear(), "no weights that tell the number of its inputs"),
    ],
)
def test_what_is_no_filled_network_is_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        fl.collapse(given)


def test_the_number_of_inputs_may_be_given(rng):
    network = fl.Sequential(fl.Reshape((2, 3)), fl.Dense(2), fl.Flatten()).build(np.zeros((2, 6)), rng)
    with pytest.raises(ConfigError, match=r"does not take rows of 3 numbers: collapse\(network, n_in\)"):
        fl.collapse(network)
    assert fl.collapse(network, 6).W.shape == (6, 4)
    assert_close(fl.collapse(fl.Linear(), 3).W, np.eye(3))


def test_outputs_with_further_axes_are_refused(rng):
    network = fl.Sequential(fl.Reshape((2, 3)), fl.Dense(2)).build(np.zeros((2, 6)), rng)
    with pytest.raises(ConfigError, match=r"gives an array of shape \(2, 2\) a row: end it with Flatten\(\)"):
        fl.collapse(network, 6)
