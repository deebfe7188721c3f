"""Mission rows 80-98: the idea of learning, and gradient descent in all its forms; one step (87, 88, 93, 94) is
in tests/explain/reports/test_step.py."""

from __future__ import annotations

import inspect
from dataclasses import fields

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import records_of
from fallline.data.batches import batch_indices
from fallline.explain.demo import search_costs
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6))
W = RNG.normal(size=6)
NUMBERS = X @ W + 1 + 0.1 * RNG.normal(size=200)
LABELS = np.where(X @ W + RNG.normal(size=200) > 0, "yes", "no")
CHANCE = 0.15  # the row's own bound on the distance of an untrained AUC from 0.5


def linear():
    return fl.Sequential(fl.Dense(1))


def mlp(units=8):
    return fl.Sequential(fl.Dense(units), fl.Tanh(), fl.Dense(1))


def valley(w):
    return (w - 3) ** 2


def double(w):
    return w**4 - 3 * w**2 + w


def turning_points():
    """Where the slope 4 w³ - 6 w + 1 of the double valley is 0."""
    return np.sort(np.roots([4.0, 0.0, -6.0, 1.0]).real)


def noisy_valleys(w, rng):
    """Independent valleys around 3 whose bottoms shake with standard deviation 1, each with its own noise."""
    return 0.5 * fl.sum((w - 3.0 - rng.normal(size=w.shape)) ** 2)


def test_row_080_an_untrained_network_is_about_as_good_as_chance_and_the_history_shows_it_as_epoch_0():
    """In the mean over twenty random starts; each of them for itself may point the right way by luck, or the wrong."""
    rows = [fl.fit(mlp(), (X, LABELS), epochs=0, metrics=["auc"], seed=seed).history for seed in range(20)]
    assert all(len(history) == 1 and history[0]["epoch"] == 0 for history in rows)
    assert abs(np.mean([history[0]["train_auc"] for history in rows]) - 0.5) < CHANCE
    trained = fl.fit(mlp(), (X, LABELS), epochs=20, metrics=["auc"], optimizer=fl.Adam(0.02), validation=0.25)
    assert trained.history[0]["epoch"] == 0
    assert trained.history["auc"][-1] > max(trained.history["auc"][0], 0.5 + CHANCE)


def test_row_081_the_history_stores_the_size_of_the_gradient_and_how_the_way_turns():
    """L = mean (w - y)²: one weight, so the way goes on (1) below the rate 1/2 of curvature 2, and to and fro above."""
    data = np.ones((50, 1)), NUMBERS[:50]
    one = fl.Sequential(fl.Dense(1, use_bias=False))
    for rate, turn in ((0.1, 1.0), (0.8, -1.0)):
        fit = fl.fit(
            one, data, optimizer=fl.SGD(rate), epochs=6, batch_size="full", precision="float64", keep_path=True
        )
        assert {"gradient_norm", "direction", "train_loss"} <= set(fit.history.names)
        assert_close(fit.history["direction"], [np.nan, np.nan] + [turn] * 5)
        slopes = 2 * np.abs(fit.path[:-1, 0] - data[1].mean())
        assert_close(fit.history["gradient_norm"][1:], slopes)


def test_row_082_trial_and_error_costs_more_for_each_improvement_than_gradient_descent(capsys):
    fl.demo.random_search()
    printed = capsys.readouterr().out
    assert "random search" in printed
    assert "gradient descent" in printed
    assert "cost of one" in printed
    costs = search_costs(inputs=(2, 100)).columns
    trial, descent = np.array(costs["cost of a halving"]).reshape(2, 2).T
    assert (trial > 2 * descent).all()
    assert trial[1] / descent[1] > 2 * trial[0] / descent[0], "the more weights, the worse"
    fit = fl.fit(linear(), (X, NUMBERS), optimizer="random(trials=50)", epochs=4)
    last = fit.history[-1]
    assert last["evaluations"] == 200
    assert_close(last["evaluations_per_improvement"], 200 / last["improvements"])


def test_row_083_random_search_keeps_the_best_weights_and_its_loss_never_rises():
    seen = []
    fit = fl.fit(mlp(), (X, NUMBERS), optimizer="random(0.3)", epochs=15, keep_path=True, callbacks=[seen.append])
    losses = fit.history["train_loss"]
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < losses[0]
    assert_close(fit.model.evaluate(X, NUMBERS)["loss"], losses.min())
    assert (np.diff(fit.path, axis=0) == 0).all(axis=1).any(), "some epoch found nothing better and kept what it had"


def test_row_084_the_minimum_is_where_the_derivative_is_0_and_an_mlp_has_no_formula_for_it():
    fit = fl.fit(linear(), (X, NUMBERS), solver="exact")
    assert_close(fit.history[-1]["gradient_norm"], 0.0, "step")
    assert_close(np.linalg.norm(fit.model.gradients(X, NUMBERS)["layers.0.W"]), 0.0, "step")
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(200)]), NUMBERS, rcond=None)[0]
    layer = fit.model.network.layers[0]
    assert_close(np.append(layer.W[:, 0], layer.b), expected)
    with pytest.raises(ConfigError, match=r"no explicit solution: dL/dW = 0 cannot be solved .* optimizer='newton'"):
        fl.fit(mlp(), (X, NUMBERS), solver="exact")


def test_row_085_both_sides_walk_to_the_minimum_right_of_a_negative_slope_left_of_a_positive_one():
    for start, side in ((0.0, "right"), (10.0, "left")):
        way = fl.descend(valley, start)
        assert_close(way.minimum, 3.0, "step")
        moving = np.abs(np.diff(way.path)) > TOL["f64"]
        assert (np.sign(np.diff(way.path)) == -np.sign(way.slopes[:-1]))[moving].all()
        steps = way.table()
        assert steps.columns["next step"][0].startswith(side)
        assert len(steps) == 101
        assert side in str(way)
        assert "converged" in str(way)


def test_row_086_the_first_steps_from_0_at_rate_01():
    assert_close(fl.descend(valley, 0.0, learning_rate=0.1, steps=3).path, [0.0, 0.6, 1.08, 1.464])


def test_row_089_below_2_over_the_largest_curvature_a_quadratic_falls_at_every_step_above_it_diverges():
    def bowl(w):
        return 0.5 * (w[0] * w[0] + 10.0 * w[1] * w[1])

    for rate in (0.01, 0.1, 0.19):
        assert (np.diff(fl.descend(bowl, [1.0, 1.0], learning_rate=rate).values) < 0).all()
    high = fl.descend(bowl, [1.0, 1.0], learning_rate=0.21, steps=400)
    assert "diverged" in high.reason
    assert "the learning rate 0.21 is above 2 / curvature = 0.2" in high.reason
    assert not high.converged
    inputs = X[:, :2] * np.array([1.0, 3.0])
    curvature = (
        2
        * np.linalg.eigvalsh(np.column_stack([inputs, np.ones(200)]).T @ np.column_stack([inputs, np.ones(200)]))[-1]
        / 200
    )
    options = {"epochs": 30, "batch_size": "full", "precision": "float64"}
    low = fl.fit(linear(), (inputs, NUMBERS), optimizer=fl.SGD(1.9 / curvature), **options)
    assert (np.diff(low.history["train_loss"])[1:] < 0).all()
    assert "learning rate too high" not in fl.diagnose(low, (inputs, NUMBERS)).names
    high = fl.fit(linear(), (inputs, NUMBERS), optimizer=fl.SGD(2.1 / curvature), **options)
    assert high.history["train_loss"][-1] > high.history["train_loss"][0]
    found = fl.diagnose(high, (inputs, NUMBERS))
    assert "learning rate too high" in found.names
    assert "2/L_max" in str(found)


def test_row_090_derivatives_are_derived():
    w = RNG.normal(size=6)
    derived = fl.grad(lambda v: fl.mean((X @ v - NUMBERS) ** 2))(w)
    assert_close(derived, 2 * X.T @ (X @ w - NUMBERS) / 200)


def test_row_090_the_rate_is_found():
    found = fl.find_learning_rate(linear(), (X, NUMBERS)).suggestion
    fit = fl.fit(linear(), (X, NUMBERS), optimizer=fl.SGD(found), epochs=20)
    assert fit.history["train_loss"][-1] < 0.02 * fit.history["train_loss"][0]


def test_row_090_restarts_avoid_local_minima():
    fit = fl.fit(mlp(2), (X, LABELS), epochs=5, optimizer=fl.Adam(0.05), restarts=4)
    losses = fit.restarts.columns["train loss"]
    assert len(losses) == 4
    assert len(set(losses)) == 4
    assert fit.history["train_loss"][-1] == min(losses)


def test_row_090_mini_batches_replace_the_sum_over_all_rows():
    seen = []
    fl.fit(linear(), (X, NUMBERS), epochs=1, batch_size=64, callbacks=[seen.append])
    assert seen[0].batches == 4
    rows = np.concatenate(batch_indices(200, 64, epoch=1))
    assert_close(np.sort(rows), np.arange(200), "exact")


def test_row_091_the_start_decides_which_minimum_is_found_and_restarts_find_the_global_one():
    left, _, right = turning_points()
    for start, end, place, loss in ((2.0, right, 1.1309, -1.0702), (-2.0, left, -1.3008, -3.5139)):
        way = fl.descend(double, start, learning_rate=0.02, steps=500)
        assert_close(way.minimum, end)
        assert_close(way.lowest, double(end))
        assert (round(way.minimum, 4), round(way.lowest, 4)) == (place, loss)
    best = fl.descend(double, learning_rate=0.02, steps=500, restarts=10, low=-2, high=2)
    assert_close(best.minimum, left)
    assert_close(best.minima.columns["w"], [left, right])
    assert sum(best.minima.columns["starts"]) == 10
    assert len(best.restarts) == 10
    assert "a spread of 2.44" in best.minima.note  # double(right) - double(left) = 2.4437


def test_row_092_the_four_steps_are_printed_with_numbers(capsys):
    assert "demo" in dir(fl)
    fl.demo.gradient_descent(learning_rate=0.1, seed=3)
    printed = capsys.readouterr().out
    w, b = np.random.default_rng(3).normal(size=2)
    x, y = np.arange(4.0), 2 * np.arange(4.0) + 1
    error = w * x + b - y
    new = w - 0.2 * np.mean(error * x), b - 0.2 * np.mean(error)
    numbers = [w, b, np.mean(error**2), 2 * np.mean(error * x), *new, np.mean((new[0] * x + new[1] - y) ** 2)]
    for number in numbers:
        assert f"{number:.5g}".replace("-", "−") in printed
    headings = (
        "1. a random weight",
        "2. a step along the steepest descent",
        "3. the new loss",
        "4. steps 2 and 3 again",
    )
    places = [printed.index(heading) for heading in headings]
    assert places == sorted(places)


def test_row_095_every_optimizer_has_a_small_rate_by_default_and_says_so():
    optimizers = [cls for cls in records_of(fl.Optimizer).values() if cls.__module__.startswith("fallline.")]
    rates = {cls.__name__: next((f for f in fields(cls) if f.name == "learning_rate"), None) for cls in optimizers}
    known = {name: field.default for name, field in rates.items() if field is not None}
    assert known["SGD"] == 0.01
    assert known["Adam"] == 0.001
    assert all(0 < rate <= 0.1 for rate in known.values())
    assert "learning_rate: Rate = 0.01" in str(inspect.signature(fl.SGD)).replace("'", "")


def best_of_grid(network, data, optimizer):
    """The rate with the lowest loss after ten epochs, in the mean over three starts."""
    grid = np.geomspace(1e-3, 10, 13)
    losses = np.zeros(len(grid))
    for i, rate in enumerate(grid):
        for seed in range(3):
            try:
                fit = fl.fit(network, data, optimizer=optimizer(float(rate)), epochs=10, seed=seed)
                losses[i] += fit.model.evaluate(*data)["loss"]
            except fl.FalllineError:  # diverged
                losses[i] = np.inf
    return grid[np.argmin(np.where(np.isnan(losses), np.inf, losses))]


@pytest.mark.filterwarnings("ignore:.*learning rate is too high:RuntimeWarning")
@pytest.mark.parametrize("optimizer", [fl.SGD, fl.Adam])
@pytest.mark.parametrize("name", ["linear regression", "regression", "classification"])
def test_row_095_the_suggested_rate_is_within_a_factor_of_3_of_the_best_on_a_grid(name, optimizer):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 8))
    deep = fl.mlp(hidden=(16, 16))
    network, y = {
        "linear regression": (linear(), x @ rng.normal(size=8) + 1),
        "regression": (deep, np.abs(x[:, 0]) + x[:, 1]),
        "classification": (deep, x[:, 0] * x[:, 1] + x[:, 2] > 0),
    }[name]
    best = best_of_grid(network, (x, y), optimizer)
    suggested = fl.find_learning_rate(network, (x, y), optimizer=optimizer()).suggestion
    assert best / 3 <= suggested <= 3 * best


def test_row_096_batch_gradient_descent_goes_the_same_way_whatever_the_order_of_the_rows():
    options = {"epochs": 20, "batch_size": "full", "precision": "float64", "optimizer": fl.SGD(0.1), "keep_path": True}
    order = np.random.default_rng(3).permutation(200)
    first, again = (fl.fit(mlp(), (X, NUMBERS), **options) for _ in range(2))
    assert first.history == again.history
    mixed = fl.fit(mlp(), (X[order], NUMBERS[order]), **options)
    unshuffled = fl.fit(mlp(), (X, NUMBERS), shuffle=False, **options)
    for other in (mixed, unshuffled):
        assert_close(first.history["train_loss"], other.history["train_loss"], "run")
        assert_close(first.path, other.path, "run")


def test_row_097_one_row_at_a_time_is_noisier_than_all_rows():
    fits = {}
    for batch in (1, "full"):
        options = {"epochs": 60, "batch_size": batch, "shuffle": True, "keep_path": True}
        fits[batch] = fl.fit(linear(), (X, NUMBERS), optimizer=fl.SGD(0.02), **options)
    late = {batch: fit.history["train_loss"][30:] for batch, fit in fits.items()}
    assert (np.diff(late["full"]) <= 0).all()
    assert (np.diff(late[1]) > 0).any()
    best = np.linalg.lstsq(np.column_stack([X, np.ones(200)]), NUMBERS, rcond=None)[0]
    order = [*range(6), 6]
    ends = {batch: np.linalg.norm(fit.path[40:] - best[order], axis=1) for batch, fit in fits.items()}
    assert ends[1].min() > 1e-3, "near the optimum, not at it"


def test_row_097_on_a_noisy_quadratic_the_distance_that_stays_is_proportional_to_the_rate():
    """w' = w - rate (w - 3 - n), n of variance 1: the mean square of w - 3 ends at rate / (2 - rate)."""
    for rate in (0.1, 0.02):
        way = fl.descend(noisy_valleys, np.full(2000, 3.0), learning_rate=rate, steps=300)
        settled = np.mean((way.path[250:] - 3.0) ** 2)
        assert abs(settled / (rate / (2 - rate)) - 1) < 5 * TOL["statistics"]
        assert "noisy" in way.reason


def test_row_098_the_gradient_of_a_batch_is_the_mean_of_the_gradients_of_its_rows():
    model = fl.fit(mlp(), (X, NUMBERS), epochs=1, precision="float64").model
    for rows in (slice(0, 64), slice(0, 128)):
        together = model.gradients(X[rows], NUMBERS[rows])
        alone = [model.gradients(X[i : i + 1], NUMBERS[i : i + 1]) for i in range(rows.stop)]
        for path, gradient in together.items():
            assert_close(gradient, np.mean([one[path] for one in alone], axis=0))


def test_row_098_the_time_of_an_epoch_by_batch_size_is_a_table():
    many = np.tile(X, (20, 1)), np.tile(NUMBERS, 20)  # so that a step's time counts beside what an epoch costs anyway
    table = fl.compare(many, batch_sizes=[1, 64, 128, 256, "full"], hidden=(4,), epochs=12, seeds=1)
    assert table.columns["batch_size"] == ["1", "64", "128", "256", "full"]
    times = np.array(table.columns["ms/epoch"])
    assert (times > 0).all()
    assert times[0] > times[1], "2400 steps take longer than 38"
