"""Clipping, decay, freezing, and records given by name."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.core.record import as_record
from fallline.optim.adam import Adam, AdamW
from fallline.optim.curves import Cosine
from fallline.optim.optimizer import Optimizer
from fallline.optim.sgd import SGD, Momentum
from fallline.optim.wrappers import ClipNorm, ClipValue, Decay, Freeze
from tests.tolerance import assert_close

PARAMS = {"layers.0.W": np.array([[1.0, -2.0]]), "layers.0.b": np.array([5.0])}
GRADS = {"layers.0.W": np.array([[3.0, 0.0]]), "layers.0.b": np.array([4.0])}  # norm 5


def moved(optimizer, grads=GRADS, lr=1.0):
    return optimizer.update(PARAMS, grads, optimizer.init(PARAMS), lr=lr, t=1.0)[0]


def test_clip_norm_shortens_all_gradients_together():
    for limit, factor in ((2.0, 0.4), (5.0, 1.0), (50.0, 1.0)):
        new = moved(ClipNorm(SGD(), limit))
        for path in PARAMS:
            assert_close(new[path], PARAMS[path] - factor * GRADS[path])


def test_clip_norm_of_nothing_and_of_zero():
    assert ClipNorm(SGD()).update({}, {}, {}, lr=1.0, t=1.0) == ({}, {})
    zeros = {path: np.zeros_like(g) for path, g in GRADS.items()}
    for path, p in moved(ClipNorm(SGD()), zeros).items():
        assert_close(p, PARAMS[path], "exact")


def test_clip_value_clips_each_entry():
    new = moved(ClipValue(SGD(), 3.5), {**GRADS, "layers.0.W": np.array([[-9.0, 1.0]])})
    assert_close(new["layers.0.W"], np.array([[4.5, -3.0]]))
    assert_close(new["layers.0.b"], np.array([1.5]))


def test_decay_leaves_biases_alone_and_takes_the_gradient_as_given():
    new = moved(Decay(SGD(), 0.5), lr=0.1)
    assert_close(new["layers.0.W"], PARAMS["layers.0.W"] * 0.95 - 0.1 * GRADS["layers.0.W"])
    assert_close(new["layers.0.b"], PARAMS["layers.0.b"] - 0.1 * GRADS["layers.0.b"])
    only_bias = moved(Decay(SGD(), 0.5, where="*.b"), lr=0.1)
    assert_close(only_bias["layers.0.b"], PARAMS["layers.0.b"] * 0.95 - 0.1 * GRADS["layers.0.b"])


@pytest.mark.parametrize("where", [None, "*", lambda path, leaf: path.endswith("b")])
def test_adamw_is_adam_with_decay(where):
    inside, around = AdamW(weight_decay=0.3, where=where), Decay(Adam(), 0.3, where)
    for path in PARAMS:
        assert_close(moved(inside)[path], moved(around)[path], "exact")


def test_frozen_parameters_stay_and_have_no_state():
    frozen = Freeze(Momentum(), "*.W")
    state = frozen.init(PARAMS)
    assert list(state) == ["v:layers.0.b"]
    new, new_state = frozen.update(PARAMS, GRADS, state, lr=0.1, t=1.0)
    assert list(new) == list(PARAMS)
    assert new["layers.0.W"] is PARAMS["layers.0.W"]
    assert_close(new["layers.0.b"], np.array([4.6]))
    assert_close(new_state["v:layers.0.b"], GRADS["layers.0.b"])
    every = Freeze(Momentum(), "*")
    assert every.update(PARAMS, GRADS, every.init(PARAMS), lr=0.1, t=1.0) == (PARAMS, {})


def test_a_pattern_that_freezes_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"layers\.0\.W"):
        Freeze(SGD(), "layer.0.*").init(PARAMS)


def test_wrappers_nest_and_pass_the_rate_on():
    nested = ClipNorm(Freeze(Decay(Adam(Cosine(0.2))), "*.b"))
    assert nested.learning_rate == Cosine(0.2)
    assert nested.rate_at(0, steps_per_epoch=10, epochs=2) == 0.2
    assert nested.with_rate(0.5).learning_rate == 0.5
    assert moved(nested)["layers.0.b"] is PARAMS["layers.0.b"]


def test_optimizers_by_name():
    assert as_record("adam(beta1=0.95)", Optimizer) == Adam(beta1=0.95)
    assert as_record("gradient-descent", Optimizer) == SGD()
    assert as_record("clip_norm('momentum(0.1)', 2.0)", Optimizer) == ClipNorm(Momentum(0.1), 2.0)
    assert SGD("0.5").learning_rate == 0.5
    assert SGD("cosine(0.5)").learning_rate == Cosine(0.5)


@pytest.mark.parametrize("rate", [None, True, [0.1], -0.1])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ConfigError, match="learning_rate"):
        SGD(learning_rate=rate)
