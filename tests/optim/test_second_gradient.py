"""Methods that ask for a second gradient of the same batch: sharpness-aware minimisation and SVRG."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.tree import leaves
from fallline.engines.engine import get_engine
from fallline.optim.optimizer import Context
from fallline.train.step import Step
from tests.tolerance import TOL, assert_close


def quadratic(params):
    """The gradient of w₁² + 2 w₂²: (2 w₁, 4 w₂)."""
    return {"w": params["w"] * np.array([2.0, 4.0])}


def test_sam_takes_the_gradient_of_the_worst_point_nearby():
    """At (1.5, 1) the gradient is (3, 4), its norm 5; with rho .5 the worst point is (1.8, 1.4), with (3.6, 5.6)."""
    w, optimizer = {"w": np.array([1.5, 1.0])}, fl.SAM(fl.SGD(), rho=0.5)
    context = Context(gradient_at=quadratic)
    new, _ = optimizer.update(w, quadratic(w), optimizer.init(w), lr=0.1, t=1, context=context)
    assert_close(new["w"], np.array([1.14, 0.44]))
    still = {"w": np.zeros(2)}
    assert_close(
        optimizer.update(still, quadratic(still), {}, lr=0.1, t=1, context=context)[0]["w"], still["w"], "exact"
    )
    with pytest.raises(ConfigError, match=r"SAM.*needs the gradient at a second point"):
        optimizer.update(w, quadratic(w), {}, lr=0.1, t=1)


def test_wrappers_outside_change_the_second_gradient_too():
    """Clipped to norm 1 is the gradient at the worst point, the direction of which clipping does not change."""
    w, context = {"w": np.array([1.5, 1.0])}, Context(gradient_at=quadratic)
    for optimizer in (fl.ClipNorm(fl.SAM(fl.SGD(), 0.5)), fl.SAM(fl.ClipNorm(fl.SGD()), 0.5)):
        new, _ = optimizer.update(w, quadratic(w), optimizer.init(w), lr=1.0, t=1, context=context)
        assert_close(w["w"] - new["w"], np.array([3.6, 5.6]) / np.hypot(3.6, 5.6))


def test_svrg_has_the_full_gradient_at_its_snapshot():
    """Rows a_i, J_i = (w - a_i)²/2, batches of one: each corrected gradient is the full one, w - mean(a)."""
    rows = np.array([1.0, 2.0, 6.0, 7.0])
    optimizer = fl.SVRG(fl.SGD(), inner=2).for_run(batches=4, epochs=6)
    params = {"w": np.array(0.0)}
    state, path = optimizer.init(params), []
    for t in range(24):
        a = rows[t % 4]
        context = Context(gradient_at=lambda at, a=a: {"w": at["w"] - a})
        params, state = optimizer.update(params, {"w": params["w"] - a}, state, lr=0.25, t=t + 1.0, context=context)
        path.append(float(params["w"]))
    assert path[:4] == [0.0] * 4  # the first epoch gathers
    expected = 4 - 4 * 0.75 ** np.arange(1, 9)
    assert_close(np.array(path[4:12]), expected)
    assert path[12:16] == [path[11]] * 4  # and so does every third
    assert_close(path[-1], 4 - 4 * 0.75**16)


def test_svrg_arrives_where_plain_steps_of_that_rate_only_hover(rng):
    x = rng.normal(size=(64, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=64)
    given = {"epochs": 60, "batch_size": 4, "precision": "float64", "seed": 0}
    best = fl.fit(fl.Sequential(fl.Dense(1)), (x, y), solver="exact").history["train_loss"][-1]
    gaps = {}
    for name, optimizer in (("sgd", fl.SGD(0.05)), ("svrg", fl.SVRG(fl.SGD(0.05)))):
        fit = fl.fit(fl.Sequential(fl.Dense(1)), (x, y), optimizer=optimizer, **given)
        gaps[name] = fit.model.evaluate(x, y)["loss"] - best
    assert gaps["sgd"] > TOL["fit"]
    assert gaps["svrg"] < TOL["engines"]


@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_both_gradients_meet_the_same_masks_and_the_statistics_move_once(engine, rng):
    """With rho near 0 both points are one: the step is that of the inner optimizer, buffers included."""
    recipe = fl.Sequential(fl.Dense(8), fl.BatchNorm(), fl.Dropout(0.5), fl.Tanh(), fl.Dense(1))
    x = rng.normal(size=(12, 4))
    net, y, w = recipe.build(x, 0), np.sin(x[:, 0]), np.ones(12)
    results = []
    for optimizer in (fl.SGD(), fl.SAM(fl.SGD(), rho=1e-12)):
        step = Step(net, fl.SquaredError(), optimizer, (fl.L2(0.1),), 12, get_engine(engine))
        state = step.start(net)
        scanned = [np.array([0.1]), np.array([1.0]), np.array([[7, 9]], "uint32")]
        found = step.loop(state, x, y, w)(step.carried(net, state), scanned, [x, y, w], np.arange(12)[None])
        results.append(step.weights(found.carry))
    for path, leaf in results[0].items():
        assert_close(results[1][path], leaf, "run")
    for path in ("layers.0.W", "layers.1.mean", "layers.1.var", "layers.4.W"):
        assert np.abs(results[0][path] - leaves(net)[path]).max() > 1e-3


def test_frozen_parameters_stay_at_both_points(rng):
    """Freeze tells the step of the frozen ones what the inner optimizer does not name."""
    net = fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(rng.normal(size=(6, 2)), 0)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    fit = fl.fit(net, (x, y), optimizer=fl.Freeze(fl.SAM(fl.SGD(0.1)), "layers.0.*"), epochs=3, precision="float64")
    before, after = leaves(net), leaves(fit.model.network)
    for path in before:
        assert np.array_equal(before[path], after[path]) == path.startswith("layers.0")


@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_the_second_gradient_ends_at_its_own_point(engine, rng):
    """The worst point is made of the first gradient, through which no derivative may go: the gradient there is that of
    a model with those weights."""
    x = rng.normal(size=(9, 3))
    y, net = np.sin(x[:, 0]), fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)).build(x, 0)
    given = {"epochs": 1, "batch_size": "full", "precision": "float64", "engine": engine}
    fit = fl.fit(net, (x, y), optimizer=fl.SAM(fl.SGD(0.1), rho=0.3), **given)
    start = fl.fit(net, (x, y), optimizer=fl.SGD(0.0), **given).model
    g = start.gradients(x, y)
    norm = np.sqrt(sum((a * a).sum() for a in g.values()))
    worst = fl.with_leaves(net, {path: leaf + 0.3 * g[path] / norm for path, leaf in leaves(net).items()})
    there = replace(start, network=worst).gradients(x, y)
    for path, leaf in leaves(fit.model.network).items():
        assert_close(leaf, leaves(net)[path] - 0.1 * there[path], "run")
