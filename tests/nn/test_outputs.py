"""Output layers: scores that rise, classes in an order, temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from tests.tolerance import assert_close


def test_ascending_never_falls_and_can_be_undone(rng):
    x = rng.normal(size=(50, 4), scale=5.0)
    y = fl.Ascending()(x)
    assert (np.diff(y) > 0).all()
    assert_close(y[:, 1] - y[:, 0], np.log1p(np.exp(x[:, 1])))
    assert_close(np.stack([fl.Ascending.inverse(row) for row in y]), x, "library")
    assert_close(fl.Ascending()(x[:, :1]), x[:, :1])


def test_cumulative_logit_is_the_difference_of_sigmoids(rng):
    layer = fl.CumulativeLogit.from_shares([0.1, 0.2, 0.3, 0.4])
    assert_close(np.exp(layer(np.zeros((1, 1)))), np.array([[0.1, 0.2, 0.3, 0.4]]))
    x = rng.normal(size=(20, 1), scale=3.0)
    gaps = np.log1p(np.exp(layer.thresholds[1:]))
    edges = np.cumsum(np.concatenate([layer.thresholds[:1], gaps]))
    above = np.concatenate([np.ones((20, 1)), expit(x - edges), np.zeros((20, 1))], axis=1)
    assert_close(np.exp(layer(x)), above[:, :-1] - above[:, 1:])
    assert np.isfinite(layer(np.array([[-500.0], [500.0]]))).all()
    two = fl.CumulativeLogit.from_shares([0.3, 0.7])
    assert_close(np.exp(two(x)).sum(axis=1), np.ones(20))


def test_what_is_no_order_of_classes_is_refused():
    with pytest.raises(ConfigError, match="above 0 for each class"):
        fl.CumulativeLogit.from_shares([1.0, 0.0])
    with pytest.raises(ShapeError, match=r"put Dense\(1\) in front"):
        fl.CumulativeLogit(3).build(fl.spec((2, 1)), 0)(np.zeros((4, 2)))


def test_temperature_keeps_the_order_of_scores(rng):
    scores = rng.normal(size=(30, 3))
    cooler = fl.Temperature(np.asarray(2.0))(scores)
    assert_close(softmax(cooler, axis=1), softmax(scores / 2.0, axis=1))
    assert (cooler.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_features_are_what_the_last_dense_is_given(rng):
    net = fl.Sequential(fl.Dense(5), fl.Tanh(), fl.Dense(1), fl.CumulativeLogit(3)).build(fl.spec((4, 2)), 0)
    x = rng.normal(size=(4, 2)).astype("float32")
    assert_close(net.features(x), np.tanh(x @ net.layers[0].W + net.layers[0].b), "f32")
