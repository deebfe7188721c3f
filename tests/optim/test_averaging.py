"""Weights that are judged but not trained: their formulas in single numbers, and what a fit makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.tree import leaves
from fallline.losses.links import LINKS
from fallline.optim.optimizer import Context
from tests.tolerance import assert_close

RATE = 0.1
GRADIENTS = np.random.default_rng(1).normal(size=20)


def judged(optimizer, gradients=GRADIENTS, start=1.0, buffers=()):
    """The trained and the judged w after every step; buffers: what a running mean is after each."""
    params = {"w": np.array(start)}
    kept = {"mean": np.zeros(())} if len(buffers) else {}
    state, trained, shown = optimizer.init(params, kept), [], []
    for t, g in enumerate(gradients, start=1):
        kept = {"mean": np.array(buffers[t - 1])} if len(buffers) else {}
        context = Context(gradient_at=lambda at, g=g: {"w": np.array(g)}, buffers=kept)
        params, state = optimizer.update(params, {"w": np.array(g)}, state, lr=RATE, t=float(t), context=context)
        trained.append(params["w"])
        shown.append(optimizer.evaluated({**params, **kept}, state))
    return np.array(trained), shown


def test_ema_is_the_weighted_mean_of_all_weights_so_far():
    w, shown = judged(fl.EMA(fl.SGD(), decay=0.8))
    assert_close(w, 1.0 - RATE * np.cumsum(GRADIENTS))
    for t in range(1, 21):
        share = 0.8 ** np.arange(t - 1, -1, -1.0)
        assert_close(shown[t - 1]["w"], share @ w[:t] / share.sum())
    assert_close(fl.ewa(w, 0.8, bias_correction=True), np.array([s["w"] for s in shown]))


def test_swa_is_the_plain_mean_from_some_step_on():
    w, shown = judged(fl.SWA(fl.SGD(), after=8, every=3, unit="step"))
    for t in range(1, 21):
        assert_close(shown[t - 1]["w"], w[t - 1] if t < 8 else w[7:t:3].mean())


def test_swa_counts_in_epochs_and_in_parts_of_the_run():
    assert fl.SWA(after=0.75).for_run(2.5, 8) == fl.SWA(after=18, every=3, unit="step")
    assert fl.SWA(after=2, every=2).for_run(10, 8) == fl.SWA(after=20, every=20, unit="step")
    assert fl.SWA(after=5, unit="step").for_run(10, 8) == fl.SWA(after=5, unit="step")


def test_lookahead_goes_back_half_of_the_way():
    w, shown = judged(fl.Lookahead(fl.SGD(), k=4, alpha=0.5))
    slow = fast = 1.0
    for t, g in enumerate(GRADIENTS, start=1):
        fast -= RATE * g
        if t % 4 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
        assert_close(w[t - 1], fast)
        assert_close(shown[t - 1]["w"], slow)


def test_schedule_free_weights_are_the_mean_of_z():
    """With a constant rate x_t is the plain mean of z_1 … z_t, and y lies between x and z."""
    beta1, beta2, eps, decay = 0.9, 0.999, 1e-8, 0.1
    optimizer = fl.ScheduleFreeAdamW(beta1=beta1, beta2=beta2, weight_decay=decay, where="*")
    w, shown = judged(optimizer)
    z, y, v, path = 1.0, 1.0, 0.0, []
    for t, g in enumerate(GRADIENTS, start=1):
        v = beta2 * v + (1 - beta2) * g * g
        z -= RATE * (g / (math.sqrt(v / (1 - beta2**t)) + eps) + decay * y)
        path.append(z)
        x = np.mean(path)
        y = beta1 * x + (1 - beta1) * z
        assert_close(w[t - 1], y)
        assert_close(shown[t - 1]["w"], x)


def test_schedule_free_leaves_out_what_was_trained_at_rate_zero():
    optimizer, params = fl.ScheduleFreeAdamW(), {"w": np.array(1.0)}
    state = optimizer.init(params)
    for t, rate in ((1, 0.0), (2, 0.0), (3, 0.1)):
        params, state = optimizer.update(params, {"w": np.array(1.0)}, state, lr=rate, t=t)
    assert_close(optimizer.evaluated(params, state)["w"], 0.9, "library")


def test_running_statistics_are_averaged_as_the_weights_are():
    means = np.arange(1.0, 21.0)
    for optimizer, expected in (
        (fl.EMA(fl.SGD(), decay=0.8), fl.ewa(means, 0.8, bias_correction=True)[-1]),
        (fl.SWA(fl.SGD(), after=11, unit="step"), means[10:].mean()),
        (fl.Lookahead(fl.SGD()), means[-1]),
        (fl.ScheduleFreeAdamW(), means[-1]),
    ):
        assert_close(judged(optimizer, buffers=means)[1][-1]["mean"], expected)


def test_an_average_of_averages_is_one_of_what_the_inner_one_shows():
    _, inner = judged(fl.Lookahead(fl.SGD(), k=3))
    _, outer = judged(fl.EMA(fl.Lookahead(fl.SGD(), k=3), decay=0.8))
    slow = np.array([s["w"] for s in inner])
    assert_close(np.array([s["w"] for s in outer]), fl.ewa(slow, 0.8, bias_correction=True))


def test_snapshots_are_the_weights_at_the_ends_of_the_cycles():
    optimizer = fl.Snapshots(fl.SGD(), cycles=3).for_run(batches=2, epochs=10)
    assert optimizer.period == 6
    w, shown = judged(optimizer)
    for t, found in enumerate(shown, start=1):
        done = min(t // 6, 3)
        kept = [w[6 * k + 5] if k < done else w[t - 1] for k in range(3)]
        assert_close(
            np.array([found[f"members.{k}.w"] for k in range(3)])[: max(done, 1)], np.array(kept[: max(done, 1)])
        )
        assert_close(found["mix.shares"], np.array([1, 0, 0] if done < 2 else [1 / done] * done + [0] * (3 - done)))
    rates = [optimizer.rate_at(t, steps_per_epoch=2, epochs=10) for t in range(20)]
    assert_close(np.array(rates[:6]), 0.01 / 2 * (1 + np.cos(np.pi * np.arange(6) / 6)))
    assert rates[:6] == rates[6:12] == rates[12:18]
    assert rates[18:] == [0.0, 0.0]
    own = fl.Snapshots(fl.SGD(fl.StepDecay(0.1, every=5)), cycles=3)
    assert own.rate_at(0, steps_per_epoch=1, epochs=9) == own.rate_at(4, steps_per_epoch=1, epochs=9) == 0.1


X = np.random.default_rng(2).normal(size=(90, 4)).astype("float32")
LABELS = np.array(["low", "middle", "high"])[np.digitize(X[:, 0] + np.sin(X[:, 1]), [-0.5, 0.5])]


def net():
    return fl.Sequential(fl.Dense(6), fl.BatchNorm(), fl.Tanh(), fl.Dense(3))


@pytest.mark.parametrize("optimizer", [fl.EMA(fl.Adam(0.01), 0.9), fl.SWA(fl.SGD(0.1)), fl.ScheduleFreeAdamW(0.02)])
def test_fit_judges_and_keeps_the_evaluated_weights(optimizer):
    """The plain optimizer takes the same steps; only what is judged differs. Epoch 0 is the untrained network's."""
    plain = getattr(optimizer, "optimizer", None)
    given = {"epochs": 6, "validation": (X[60:], LABELS[60:]), "metrics": "log_loss", "seed": 3}
    fit = fl.fit(net(), (X[:60], LABELS[:60]), optimizer=optimizer, **given)
    best = fit.history["validation_loss"][fit.best_epoch]
    assert_close(fit.model.evaluate(X[60:], LABELS[60:])["loss"], best, "f32")
    assert best == min(fit.history["validation_loss"])
    if plain is not None:
        alone = fl.fit(net(), (X[:60], LABELS[:60]), optimizer=plain, **given)
        assert_close(np.array(alone.history["train_loss"]), np.array(fit.history["train_loss"]), "f32")
        assert alone.history["validation_loss"][0] == fit.history["validation_loss"][0]
        assert abs(alone.history["validation_loss"][-1] - fit.history["validation_loss"][-1]) > 1e-4


def test_a_snapshot_ensemble_is_one_model_in_one_file(tmp_path):
    fit = fl.fit(net(), (X, LABELS), optimizer=fl.Snapshots(fl.Adam(0.1), cycles=3), epochs=12, seed=1)
    model = fl.load(fit.save(tmp_path / "model.safetensors"))
    members = model.network.members
    assert len(members) == 3
    each = [fl.Model(member, model.loss, model.target).predict_proba(X) for member in members]
    assert np.abs(each[0] - each[2]).max() > 0.01
    assert_close(model.predict_proba(X), np.mean(each, axis=0), "library32")
    assert set(model.predict(X)) <= {"low", "middle", "high"}
    assert model.evaluate(X, LABELS)["accuracy"] > 0.8


@pytest.mark.parametrize("link", ["identity", "sigmoid", "softmax", "exp"])
def test_an_ensemble_predicts_the_mean_of_its_predictions(link, rng):
    net = fl.Ensemble(fl.Dense(3), fl.Dense(3), fl.Dense(3), link=link).build(fl.spec((5, 4), "float64"), 0)
    x, predict = rng.normal(size=(5, 4)), LINKS[link]
    expected = np.mean([predict(member(x)) for member in net.members], axis=0)
    assert_close(np.asarray(predict(net(x))), expected)
    assert leaves(net, "buffer")["mix.shares"].shape == (3,)


def test_shares_of_zero_do_not_count(rng):
    mix = fl.Mixture("sigmoid", shares=np.array([1.0, 0.0]))
    x = rng.normal(size=(4, 2, 3))
    assert_close(mix(x), x[:, 0])
