"""Batch and layer norm against NumPy, and the running statistics."""

from __future__ import annotations

import numpy as np

from fallline.autodiff.functions import grad
from fallline.core.spec import spec
from fallline.core.tree import map_leaves
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.norm import BatchNorm, LayerNorm
from fallline.nn.run import Run
from tests.tolerance import assert_close


def filled(rng, n=3, **settings):
    layer = BatchNorm(**settings).build(spec((2, n), "float64"), rng)
    return layer.replace(
        gamma=rng.uniform(1, 2, n), beta=rng.normal(size=n), mean=rng.normal(size=n), var=rng.uniform(1, 2, n)
    )


def test_training_normalises_by_the_batch(rng):
    layer, x = filled(rng, eps=1e-12), rng.normal(3.0, 5.0, size=(40, 3))
    y = layer(x, Run.of(layer, training=True))
    assert_close(y, (x - x.mean(0)) / x.std(0) * layer.gamma + layer.beta)
    assert_close(y.mean(0), layer.beta)
    assert_close(y.std(0), layer.gamma)


def test_training_moves_the_running_statistics(rng):
    layer, x = filled(rng, momentum=0.2), rng.normal(size=(10, 3))
    run = Run.of(layer, training=True)
    layer(x, run)
    assert_close(run.updates["mean"], 0.8 * layer.mean + 0.2 * x.mean(0))
    assert_close(run.updates["var"], 0.8 * layer.var + 0.2 * x.var(0, ddof=1))


def test_updates_are_named_by_path(rng):
    net = Sequential(Dense(units=2), BatchNorm(), Sequential(BatchNorm())).build(spec((4, 3)), rng)
    run = Run(training=True)  # it learns its model from the call
    net(np.ones((4, 3), "float32"), run)
    assert list(run.updates) == ["layers.1.mean", "layers.1.var", "layers.2.layers.0.mean", "layers.2.layers.0.var"]


def test_a_run_follows_the_model_with_other_leaves(rng):
    net = Sequential(Dense(units=2), BatchNorm()).build(spec((4, 3)), rng)
    run = Run.of(net, training=True)
    map_leaves(lambda _, leaf: leaf * 2, net)(np.ones((4, 3), "float32"), run)
    assert list(run.updates) == ["layers.1.mean", "layers.1.var"]


def test_evaluation_uses_the_running_statistics_and_so_does_one_row(rng):
    layer, x = filled(rng), rng.normal(size=(4, 3))
    expected = (x - layer.mean) / np.sqrt(layer.var + layer.eps) * layer.gamma + layer.beta
    assert_close(layer(x), expected)
    run = Run.of(layer, training=True)
    assert_close(layer(x[:1], run), expected[:1])
    assert not run.updates


def test_further_axes_count_as_batch(rng):
    layer, x = filled(rng), rng.normal(size=(4, 5, 3))
    flat = layer(x.reshape(20, 3), Run.of(layer, training=True))
    assert_close(layer(x, Run.of(layer, training=True)), flat.reshape(4, 5, 3))


def test_gradient_in_training_agrees_with_central_differences(rng):
    layer, x, g = filled(rng), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    by_input = lambda v: (layer(v, Run.of(layer, training=True)) * g).sum()  # noqa: E731
    assert_close(grad(by_input)(x), grad(by_input, mode="numeric")(x), "central")


def test_layer_norm(rng):
    x = rng.normal(2.0, 3.0, size=(5, 2, 6))
    layer = LayerNorm(eps=1e-12).build(x, rng)
    assert_close(layer(x), (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True))
    layer = layer.replace(gamma=rng.uniform(1, 2, 6), beta=rng.normal(size=6))
    assert_close(layer(x), (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * layer.gamma + layer.beta)
    constant = LayerNorm().build(x, rng)(np.ones((2, 6)))
    np.testing.assert_array_equal(constant, np.zeros((2, 6)))
