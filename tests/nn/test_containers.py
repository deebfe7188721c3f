"""Sequential and residual: order, hints for weights, functions as layers, errors."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import from_json, to_json
from fallline.core.spec import spec
from fallline.core.tree import leaves
from fallline.nn.activations import ReLU, Sigmoid, Tanh
from fallline.nn.containers import Residual, Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.initializers import Glorot, He, LeCun
from fallline.nn.norm import BatchNorm
from fallline.nn.rectifiers import SELU
from fallline.ops.composite import square
from tests.tolerance import assert_close


def test_layers_run_in_order(rng):
    x = rng.normal(size=(5, 3))
    net = Sequential(Dense(units=4), Tanh(), Dense(units=2)).build(x, rng)
    first, _, last = net.layers
    assert_close(net(x), np.tanh(x @ first.W + first.b) @ last.W + last.b)
    assert list(leaves(net)) == ["layers.0.W", "layers.0.b", "layers.2.W", "layers.2.b"]
    assert_close(net.features(x), np.tanh(x @ first.W + first.b))


def test_features_are_found_inside_nested_containers(rng):
    x = rng.normal(size=(5, 3))
    net = Sequential(Dense(units=4), Sequential(Tanh(), Sequential(Dense(units=2)), Dropout(0.5))).build(x, rng)
    first, last = net.layers[0], net.layers[1].layers[1].layers[0]
    assert_close(net.features(x), np.tanh(x @ first.W + first.b))
    assert_close(net.features(x) @ last.W + last.b, net(x))
    assert net.body()(x).shape == (5, 4)


def test_empty_is_the_identity():
    x = np.ones((2, 3))
    net = Sequential()
    assert net.build(x, 0) is net
    assert net(x) is x
    assert from_json(to_json(net)) == net


def test_text_and_files():
    net = Sequential(Dense(units=4), ReLU(), Residual(Dense(units=4), Tanh()))
    assert repr(net) == "Sequential(Dense(units=4), ReLU(), Residual(Dense(units=4), Tanh()))"
    assert from_json(to_json(net)) == net == Sequential(layers=net.layers)
    assert hash(net) == hash(from_json(to_json(net)))


@pytest.mark.parametrize(
    "after, expected",
    [
        ((ReLU(),), He()),
        ((BatchNorm(), Dropout(rate=0.1), ReLU()), He()),
        ((Sigmoid(),), Glorot()),
        ((SELU(),), LeCun()),
        ((), Glorot()),
        ((Dense(units=4), ReLU()), Glorot()),
        ((square, ReLU()), Glorot()),
    ],
    ids=["relu", "past norm and dropout", "sigmoid", "selu", "nothing", "the next layer's own", "a function"],
)
def test_weights_suit_the_activation_that_follows(after, expected):
    x = spec((5, 3), "float64")
    for net in (Sequential(Dense(units=4), *after), Sequential(Sequential(Dense(units=4)), *after)):
        model = net.build(x, 0)
        first = model.layers[0] if isinstance(model.layers[0], Dense) else model.layers[0].layers[0]
        assert_close(first.W, expected.draw((3, 4), 3, 4, np.random.default_rng(0)))
        assert first.init == "auto"


def test_a_chosen_initializer_wins_over_the_hint():
    model = Sequential(Dense(units=4, init="lecun"), ReLU()).build(spec((5, 3), "float64"), 0)
    assert_close(model.layers[0].W, LeCun().draw((3, 4), 3, 4, np.random.default_rng(0)))


def test_a_layer_listed_twice_becomes_two_layers(rng):
    dense = Dense(units=3)
    net = Sequential(*[dense, ReLU()] * 2).build(spec((5, 3)), rng)
    assert (net.layers[0].W != net.layers[2].W).any()


def test_functions_are_layers_that_cannot_be_written_to_a_file(rng):
    x = rng.normal(size=(5, 3))
    net = Sequential(Dense(units=2), square).build(x, rng)
    assert_close(net(x), (x @ net.layers[0].W) ** 2)
    assert repr(net).endswith("square)")
    with pytest.raises(ConfigError, match="use a registered record instead of a function"):
        to_json(net)


def test_residual_adds_its_input(rng):
    x = rng.normal(size=(5, 3))
    net = Residual(Dense(units=3), Tanh()).build(x, rng)
    assert_close(net(x), x + np.tanh(x @ net.layers[0].W))
    with pytest.raises(ShapeError, match=r"give \(5, 2\), which cannot be added to \(5, 3\)"):
        Residual(Dense(units=2)).build(x, rng)


def test_what_is_no_layer_is_refused():
    with pytest.raises(ConfigError, match=r"layer 1 is the class ReLU: write ReLU\(\)"):
        Sequential(Dense(units=1), ReLU)
    with pytest.raises(ConfigError, match=r"layer 0 is \[.*expected a layer or a function: Sequential\(a, b, …\)"):
        Sequential([Dense(units=1)])
    with pytest.raises(ConfigError, match="has no weights yet"):
        Sequential(Dense(units=1)).features(np.ones((2, 2)))
