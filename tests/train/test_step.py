"""The training step: its gradients, its weights of rows, its penalty, and that it is compiled once."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.engines.engine import COMPILED, get_engine
from fallline.losses.penalties import L2
from fallline.ops.random import new_key
from fallline.train.step import Step
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5))
Y = (RNG.random(8) < 0.5).astype(np.float64)
ONES = np.ones(8)


def network(*layers: fl.Layer) -> fl.Layer:
    return fl.Sequential(*layers).build(fl.spec((8, 5), "float64"), np.random.default_rng(1))


def one_step(net, x=X, y=Y, w=ONES, *, loss=None, optimizer=None, penalties=(), batch=8, rate=1.0, key=None):
    """The arrays after one step of SGD: (new network, recorded watch, loss, gradient norm)."""
    optimizer = optimizer or fl.SGD(1.0)
    step = Step(net, loss or fl.BinaryCrossEntropy(), optimizer, penalties, batch, get_engine("numpy"))
    state = optimizer.init(fl.leaves(net, "param"))
    run = step.loop(state, x, y, w)
    key = new_key(0) if key is None else key
    scanned = [np.array([rate]), np.array([1.0]), key[None, :]]
    result = run(step.carried(net, state), scanned, [x, y, w], np.arange(len(x))[None, :])
    return step.restored(result.carry, state)[0], *(float(r[0]) for r in result.records)


def test_a_step_of_gradient_descent_moves_against_the_gradient_by_the_learning_rate():
    net = network(fl.Dense(1))
    new, _, total, norm = one_step(net, rate=0.3)
    residual = 1 / (1 + np.exp(-(X @ net.layers[0].W[:, 0]))) - Y
    gradient = X.T @ residual / 8
    assert_close(new.layers[0].W[:, 0], net.layers[0].W[:, 0] - 0.3 * gradient)
    assert_close(new.layers[0].b, net.layers[0].b - 0.3 * residual.mean())
    assert_close(norm, np.sqrt((gradient**2).sum() + residual.mean() ** 2))
    p = 1 / (1 + np.exp(-(X @ net.layers[0].W[:, 0])))
    assert_close(total, -np.sum(Y * np.log(p) + (1 - Y) * np.log(1 - p)))


def test_one_step_gradients_of_a_deep_network_agree_with_central_differences():
    """Dense, BatchNorm, Tanh, Dropout, Dense in training mode, dropout's mask fixed by the key."""
    net = network(fl.Dense(6), fl.BatchNorm(), fl.Tanh(), fl.Dropout(0.3), fl.Dense(1))
    key = new_key(7)
    new, *_ = one_step(net, key=key)
    analytic = {path: fl.leaves(net)[path] - leaf for path, leaf in fl.leaves(new, "param").items()}

    def loss_at(path, k, h):
        moved = fl.leaves(net)[path].copy()
        moved.flat[k] += h
        return one_step(fl.with_leaves(net, {path: moved}), key=key, rate=0.0)[2] / 8

    worst = 0.0
    for path, g in analytic.items():
        for k in range(g.size):
            h = 1e-5
            numeric = (loss_at(path, k, h) - loss_at(path, k, -h)) / (2 * h)
            worst = max(worst, abs(numeric - g.flat[k]))
    assert worst < TOL["step"]


def test_a_row_of_weight_two_counts_as_the_row_twice():
    net = network(fl.Dense(4), fl.Tanh(), fl.Dense(1))
    w = ONES.copy()
    w[3] = 2.0
    twice = np.r_[np.arange(8), 3]
    weighted, *_ = one_step(net, w=w, batch=8)
    repeated, *_ = one_step(net, X[twice], Y[twice], np.ones(9), batch=8)
    for a, b in zip(fl.leaves(weighted).values(), fl.leaves(repeated).values(), strict=True):
        assert_close(a, b)


def test_a_short_batch_weighs_by_its_size():
    net = network(fl.Dense(1))
    short, *_ = one_step(net, X[:3], Y[:3], np.ones(3), batch=8)
    whole, *_ = one_step(net, X[:3], Y[:3], np.ones(3), batch=3)
    moved_short = short.layers[0].W - net.layers[0].W
    moved_whole = whole.layers[0].W - net.layers[0].W
    assert_close(moved_short, moved_whole * 3 / 8)


def test_the_penalty_does_not_depend_on_the_batch_size():
    """An epoch of batches moves the weights by the penalty as much as one full batch does (at the same weights)."""
    net = network(fl.Dense(1))

    def moved_by_penalty(rows, batch):
        with_penalty, *_ = one_step(net, X[rows], Y[rows], ONES[rows], penalties=(L2(0.5),), batch=batch)
        without, *_ = one_step(net, X[rows], Y[rows], ONES[rows], batch=batch)
        return with_penalty.layers[0].W - without.layers[0].W

    full = moved_by_penalty(slice(0, 8), 8)
    assert_close(full, -0.5 * net.layers[0].W)
    assert_close(moved_by_penalty(slice(0, 4), 4), full)
    assert_close(moved_by_penalty(slice(0, 3), 4) / 3, full / 4)


def test_a_batch_that_is_a_mean_of_its_own_divides_by_its_weights():
    """(Σ w L + penalty) / Σ w: the gradient of a short batch is whole, and J is what is recorded."""
    net = network(fl.Dense(1))
    w = RNG.uniform(0.5, 2.0, 3)
    x, y, W = X[:3], Y[:3], net.layers[0].W
    new, watch, total, norm = one_step(net, x, y, w, penalties=(L2(0.5),), batch=None)
    p = 1 / (1 + np.exp(-(x @ W[:, 0])))
    assert_close(new.layers[0].W, W - (x.T @ ((p - y) * w)[:, None] + 0.5 * W) / w.sum())
    objective = (np.sum(-w * np.log(np.where(y > 0, p, 1 - p))) + 0.25 * (W**2).sum()) / w.sum()
    assert_close([total, watch - norm], [objective, objective])


def test_the_mean_of_batch_losses_weighted_by_size_is_the_loss_of_all_rows():
    net = network(fl.Dense(3), fl.Tanh(), fl.Dense(1))
    parts = [one_step(net, X[s], Y[s], ONES[s], batch=3)[2] for s in (slice(0, 3), slice(3, 6), slice(6, 8))]
    assert_close(sum(parts), one_step(net)[2])


def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_rows():
    net = network(fl.Dense(3), fl.Tanh(), fl.Dense(1))
    start = net.layers[0].W
    together = one_step(net)[0].layers[0].W - start
    alone = [one_step(net, X[i : i + 1], Y[i : i + 1], np.ones(1), batch=1)[0].layers[0].W - start for i in range(8)]
    assert_close(together, np.mean(alone, axis=0))


def test_another_learning_rate_compiles_nothing_new():
    net = network(fl.Dense(7), fl.ReLU(), fl.Dense(1))
    one_step(net, optimizer=fl.Adam(1e-3))
    builds = COMPILED.builds
    one_step(net, optimizer=fl.Adam(0.5), rate=0.5)
    one_step(net, optimizer=fl.Adam(fl.Cosine(0.1)))
    assert COMPILED.builds == builds


def test_batch_norm_leaves_new_running_statistics_behind():
    net = network(fl.BatchNorm(momentum=0.1), fl.Dense(1))
    new, *_ = one_step(net)
    assert_close(new.layers[0].mean, 0.1 * X.mean(axis=0))
    assert_close(new.layers[0].var, 0.9 + 0.1 * X.var(axis=0, ddof=1))


def test_a_network_with_the_wrong_number_of_scores_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"the network gives 2 scores a row, BinaryCrossEntropy needs 1: end the network with Dense\(1\)",
    ):
        fl.fit(fl.Sequential(fl.Dense(2)), (X, Y > 0.5), loss="bce")
