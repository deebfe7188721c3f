"""Inverted dropout: what it keeps on average, where it does nothing, what the key decides."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.errors import ConfigError
from fallline.nn.containers import Sequential
from fallline.nn.dropout import Dropout
from fallline.nn.run import EVAL, Run
from fallline.ops.random import new_key
from tests.tolerance import assert_close


def train(layer, x, seed=0):
    return layer(x, Run.of(layer, training=True, key=new_key(seed)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_mean_is_kept_and_the_rate_is_dropped(rate):
    y = train(Dropout(rate=rate), np.ones((400, 1000)))
    assert_close(y.mean(), 1.0, "statistics")
    assert_close((y == 0).mean(), rate, "statistics")
    assert_close(y[y != 0], np.full((y != 0).sum(), 1 / (1 - rate)))


def test_evaluation_and_rate_0_change_nothing(rng):
    x = rng.normal(size=(5, 4))
    assert Dropout(rate=0.5)(x) is x
    assert Dropout(rate=0.5)(x, EVAL) is x
    assert train(Dropout(rate=0.0), x) is x


def test_the_key_decides_and_two_layers_draw_differently():
    x, net = np.ones((50, 40)), Sequential(Dropout(rate=0.5), Dropout(rate=0.5))
    np.testing.assert_array_equal(train(net, x), train(net, x))
    assert (train(net, x) != train(net, x, seed=1)).any()
    assert_close((train(net, x) != 0).mean(), 0.25, "statistics")  # independent, so a quarter passes both


def test_the_gradient_passes_where_the_value_does(rng):
    x, layer = rng.normal(size=(6, 5)), Dropout(rate=0.4)
    kept = train(layer, np.ones((6, 5)))
    assert_close(grad(lambda v: train(layer, v).sum())(x), kept)


def test_errors():
    with pytest.raises(ConfigError, match="needs a key"):
        Dropout()(np.ones((2, 2)), Run(training=True))
    with pytest.raises(ConfigError, match="rate must be below 1"):
        Dropout(rate=1.0)
