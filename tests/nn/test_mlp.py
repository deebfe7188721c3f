"""mlp: each design choice one keyword, each with one effect."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import from_json, to_json


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def test_without_hidden_layers_it_is_one_dense_layer():
    assert fl.mlp((), 3) == fl.Sequential(fl.Dense(3))


def test_each_keyword_has_its_place():
    inits = {"init": "orthogonal", "bias_init": "normal", "output_init": "zeros"}
    net = fl.mlp((3, 4), 2, "tanh", norm="layer", dropout=0.2, features="poly", **inits)
    block = ["Dense", "LayerNorm", "Tanh", "Dropout"]
    assert kinds(net) == ["PolynomialFeatures", *block, *block, "Dense"]
    assert [layer.units for layer in net.layers if isinstance(layer, fl.Dense)] == [3, 4, 2]
    assert [layer.init for layer in net.layers if isinstance(layer, fl.Dense)] == ["orthogonal", "orthogonal", "zeros"]
    assert [layer.bias_init for layer in net.layers if isinstance(layer, fl.Dense)] == ["normal", "normal", "zeros"]
    assert net.layers[4].rate == 0.2
    assert from_json(to_json(net)) == net


def test_defaults_are_one_layer_of_64_relus():
    assert fl.mlp() == fl.Sequential(fl.Dense(64), fl.ReLU(), fl.Dense(1))
    assert fl.mlp(5) == fl.mlp((5,)) == fl.mlp([5])
    assert kinds(fl.mlp(5, norm="batch")) == ["Dense", "BatchNorm", "ReLU", "Dense"]


def test_the_number_of_inputs_is_that_of_the_data(rng):
    for n in (1, 7):
        fitted = fl.fit(fl.mlp((3,)), (rng.normal(size=(20, n)), rng.normal(size=20)), epochs=1)
        assert fitted.model.network.layers[0].W.shape == (n, 3)


def test_the_activation_may_be_a_layer_a_class_or_a_function(rng):
    x = rng.normal(size=(5, 2))
    nets = [fl.mlp(3, activation=given).build(x, 0) for given in ("tanh", fl.Tanh(), fl.Tanh)]
    assert nets[0] == nets[1] == nets[2]
    by_function = fl.mlp(3, activation=fl.tanh).build(x, 0)
    np.testing.assert_array_equal(by_function(x), nets[0](x))


def test_a_wrong_choice_is_answered_with_what_there_is():
    with pytest.raises(ConfigError, match="norm='bach': did you mean 'batch'"):
        fl.mlp(norm="bach")
    with pytest.raises(UnknownNameError, match="no layer is called 'rellu': did you mean 'ReLU'"):
        fl.mlp(activation="rellu")
    with pytest.raises(ConfigError, match="units must be at least 1"):
        fl.mlp((3, 0))
