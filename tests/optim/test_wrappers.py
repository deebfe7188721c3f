"""Clipping, decay, freezing, rates by path, accumulation, noise, and records given by name."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import as_record
from fallline.ops.random import new_key
from fallline.optim.accumulate import Accumulate
from fallline.optim.adam import Adam, AdamW
from fallline.optim.curves import Cosine, CosineRestarts
from fallline.optim.noise import GradientNoise
from fallline.optim.optimizer import Context, Optimizer
from fallline.optim.sgd import SGD, Momentum
from fallline.optim.solver import as_minimizer
from fallline.optim.wrappers import ClipEach, ClipNorm, ClipValue, Decay, Freeze, PathRate
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


def test_clip_each_shortens_each_gradient_by_itself():
    """Norms 3 and 4 cut to 2; a limit above both changes nothing."""
    new = moved(ClipEach(SGD(), 2.0))
    assert_close(new["layers.0.W"], PARAMS["layers.0.W"] - [[2.0, 0.0]])
    assert_close(new["layers.0.b"], PARAMS["layers.0.b"] - [2.0])
    for path, p in moved(ClipEach(SGD(), 4.0)).items():
        assert_close(p, PARAMS[path] - GRADS[path])


def test_rates_by_path_scale_steps_and_decay_and_multiply():
    inner = Decay(SGD(), 0.5, where="*")
    new = moved(PathRate(inner, 0.1, where="*.W"), lr=0.2)
    for path, rate in (("layers.0.W", 0.02), ("layers.0.b", 0.2)):
        assert_close(new[path], PARAMS[path] * (1 - rate * 0.5) - rate * GRADS[path])
    twice = moved(PathRate(PathRate(SGD(), 0.1, where="*.W"), 0.5, where="*"), lr=0.2)
    assert_close(twice["layers.0.W"], PARAMS["layers.0.W"] - 0.01 * GRADS["layers.0.W"])
    assert_close(twice["layers.0.b"], PARAMS["layers.0.b"] - 0.1 * GRADS["layers.0.b"])
    # One norm over all gradients, also where the rates differ.
    clipped = moved(PathRate(ClipNorm(SGD(), 2.5), 0.1, where="*.W"))
    assert_close(clipped["layers.0.W"], PARAMS["layers.0.W"] - 0.05 * GRADS["layers.0.W"])


def test_k_batches_make_one_step_with_their_mean_gradient():
    """Adam's second step is that of its second mean gradient; in between the weights and its averages stand still."""
    rng = np.random.default_rng(3)
    batches = [{path: rng.normal(size=p.shape) for path, p in PARAMS.items()} for _ in range(7)]
    optimizer, alone = Accumulate(Adam(), k=3), Adam()
    params, state = PARAMS, optimizer.init(PARAMS)
    expected, inner = PARAMS, alone.init(PARAMS)
    for t, grads in enumerate(batches, start=1):
        params, state = optimizer.update(params, grads, state, lr=0.1, t=float(t))
        if t % 3 == 0:
            mean = {path: np.mean([b[path] for b in batches[t - 3 : t]], axis=0) for path in PARAMS}
            expected, inner = alone.update(expected, mean, inner, lr=0.1, t=t / 3)
        for path in PARAMS:
            assert_close(params[path], expected[path])
            assert_close(state[f"inner.v:{path}"], inner[f"v:{path}"])


def test_noise_has_the_variance_of_the_paper_and_dies_away():
    """σ² = eta / t^gamma in step t; other steps, keys and arrays draw other numbers, the same ones the same."""
    params = {path: np.zeros((200, 100)) for path in ("a", "b")}
    optimizer = GradientNoise(SGD(), eta=0.25, gamma=0.5)

    def noise(t, seed=0):
        context = Context(key=new_key(seed))
        return optimizer.update(params, params, {}, lr=1.0, t=t, context=context)[0]

    for t in (1.0, 16.0):
        drawn = noise(t)
        assert_close(np.var(drawn["a"]) * t**0.5 / 0.25, 1.0, "statistics")
        assert abs(np.corrcoef(drawn["a"].ravel(), drawn["b"].ravel())[0, 1]) < 0.03
    assert_close(noise(1.0)["a"], noise(1.0)["a"], "exact")
    assert abs(np.corrcoef(noise(1.0)["a"].ravel(), noise(1.0, seed=1)["a"].ravel())[0, 1]) < 0.03
    own = [optimizer.update(params, params, {}, lr=1.0, t=t)[0]["a"] for t in (1.0, 2.0)]  # without a step's key
    assert abs(np.corrcoef(own[0].ravel(), own[1].ravel())[0, 1]) < 0.03


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


def test_a_schedule_is_no_optimizer():
    with pytest.raises(
        UnknownNameError, match=r"'sgdr' is a learning rate, and no optimizer: write sgd\(sgdr\(0.1\)\)"
    ):
        as_minimizer("sgdr(0.2)")
    assert as_minimizer("sgd(sgdr(0.1))") == SGD(CosineRestarts(0.1))


@pytest.mark.parametrize("rate", [None, True, [0.1], -0.1])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ConfigError, match="learning_rate"):
        SGD(learning_rate=rate)
