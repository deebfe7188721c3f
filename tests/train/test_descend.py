"""descend: every optimizer on a function of one's own, why a walk ends, restarts, noise, and how it prints."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import records_of
from fallline.core.tree import map_records
from fallline.optim.optimizer import Context
from tests.tolerance import TOL, assert_close

OPTIMIZERS = {n: c for n, c in records_of(fl.Optimizer).items() if c.__module__.startswith("fallline.")}


def valley(w):
    return (w - 3) ** 2


def bowl(w):
    return (w[0] - 1) ** 2 + 4 * (w[1] + 2) ** 2


def bowl_slope(w):
    return np.array([2 * (w[0] - 1), 8 * (w[1] + 2)])


@pytest.mark.parametrize("cls", [c for c in OPTIMIZERS.values() if not c.sample().members], ids=lambda c: c.__name__)
def test_every_optimizer_walks_the_way_that_its_update_says(cls):
    """Three steps by hand: the path is that of `update` with the gradient of the bowl, where the method wants to be
    judged; what decays decays all of w."""
    optimizer = cls.sample().with_rate(0.05)
    way = fl.descend(bowl, [0.0, 0.0], optimizer=optimizer, steps=3)
    optimizer = map_records(lambda _, m: m.replace(where="*") if getattr(m, "where", "") is None else m, optimizer)
    optimizer = optimizer.for_run(1, 3)
    params = {"": np.zeros(2)}
    state, context = optimizer.init(params), Context(lambda at: {"": bowl_slope(at[""])})
    for t in range(4):
        w = optimizer.evaluated(params, state)[""]
        assert_close(way.path[t], w)
        assert_close(way.slopes[t], bowl_slope(w))
        assert_close(way.values[t], bowl(w))
        slope = {"": bowl_slope(params[""])}
        params, state = optimizer.update(params, slope, state, lr=0.05, t=t + 1.0, context=context)
    assert way.steps == 3


def test_a_schedule_takes_every_step_for_an_epoch():
    way = fl.descend(valley, 0.0, learning_rate=fl.InverseTime(0.2, decay=1.0), steps=4)
    assert_close(np.diff(way.path), -np.array([0.2, 0.1, 0.2 / 3, 0.05]) * way.slopes[:-1])


def test_the_rate_of_an_optimizer_with_settings_is_its_own_and_else_a_tenth():
    assert_close(fl.descend(valley, 0.0, steps=1).path[1], 0.6)
    assert_close(fl.descend(valley, 0.0, optimizer="momentum", steps=1).path[1], 0.6)
    assert_close(fl.descend(valley, 0.0, optimizer=fl.SGD(0.25), steps=1).path[1], 1.5)
    assert_close(fl.descend(valley, 0.0, optimizer="sgd(0.25)", steps=1).path[1], 1.5)
    assert_close(fl.descend(valley, 0.0, optimizer=fl.SGD(0.25), learning_rate=0.5, steps=1).path[1], 3.0)


@pytest.mark.parametrize("start", [5.0, [5.0, 2.0], [[5.0], [2.0]]])
@pytest.mark.parametrize("wrap", [lambda made: made, fl.ClipNorm])
def test_weight_decay_is_that_of_all_numbers(start, wrap):
    """On a flat function nothing but the decay moves w: w <- w (1 - 0.1 · 0.5)."""
    way = fl.descend(lambda w: fl.sum(0.0 * w), start, optimizer=wrap(fl.AdamW(0.1, weight_decay=0.5)), steps=2)
    assert_close(way.path[2], np.array(start) * 0.95**2)


def test_weight_decay_where_it_is_asked_for():
    way = fl.descend(lambda w: fl.sum(0.0 * w), [5.0], optimizer=fl.AdamW(0.1, weight_decay=0.5, where=()), steps=2)
    assert_close(way.path[2], [5.0])


def test_a_tolerance_ends_the_walk_where_the_slope_is_that_flat():
    way = fl.descend(valley, 10.0, tolerance=1e-3)
    assert way.converged
    assert abs(way.slopes[-1]) <= 1e-3 < abs(way.slopes[-2])
    assert way.steps < 100
    assert way.reason.startswith("converged: |slope| is ")


REASONS = {
    "too few steps": ({"learning_rate": 0.001}, "is still 5.99: take more steps, or longer ones"),
    "on the edge": ({"learning_rate": 1.0}, "w goes back and forth, so take a lower learning rate"),
    "slowly apart": ({"learning_rate": 1.01}, r"diverged.* the learning rate 1.01 is above 2 / curvature = 1; take"),
    "fast apart": ({"learning_rate": 20.0}, "diverged: f rose from 9 to"),
    "with momentum": ({"optimizer": "momentum", "learning_rate": 5.0}, "learning rate 5 is too high; take a lower one"),
    "a solver": ({"optimizer": "newton"}, "converged after 1 step: the gradient norm 0 is within the tolerance 1e-10"),
}  # fmt: skip


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_says_why_it_ended_and_what_to_do(name):
    options, words = REASONS[name]
    steps = 1 if name == "too few steps" else 100
    way = fl.descend(valley, 0.0, steps=steps, **options)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(way.reason)
    assert way.reason in repr(way)
    assert ("1 step is done" in way.reason) == (name == "too few steps")


def test_a_function_without_a_bottom_is_told_from_divergence():
    way = fl.descend(lambda w: w**3, -1.0)
    assert "f falls without bound" in way.reason
    assert "no minimum in this direction" in way.reason


def test_the_walk_ends_where_the_function_has_no_value():
    way = fl.descend(lambda w: fl.log(w), 1.0, learning_rate=2.0)
    assert not np.isfinite(way.values[-1])
    assert way.steps < 100


def test_the_table_has_every_step_and_the_print_the_first_and_last():
    way = fl.descend(valley, 0.0, steps=40)
    table = way.table()
    assert table.columns["step"] == list(range(41))
    assert_close(table.columns["f(w)"], way.values)
    assert table.columns["next step"][0] == "right by 0.6"
    assert table.columns["next step"][-1] == ""
    text = str(way)
    assert "…" in text
    assert len(text.splitlines()) < 25
    assert "take more steps, or longer ones" in " ".join(text.split())
    assert way._repr_html_().startswith("<table>")
    array = fl.descend(bowl, [0.0, 0.0], steps=1).table()
    assert array.columns["next step"][0] == f"by {np.hypot(0.2, 1.6):.6g}"


def test_the_minimum_is_the_lowest_point_also_when_the_way_leads_up():
    way = fl.descend(valley, 2.0, learning_rate=1.2, steps=30)
    assert way.minimum == 2.0
    assert way.lowest == 1.0
    assert isinstance(way.minimum, float)


def test_noise_is_drawn_anew_at_each_look_and_repeats_with_the_seed():
    def shaken(w, rng):
        return (w - 3 + rng.normal()) ** 2

    ways = [fl.descend(shaken, 0.0, steps=50, seed=seed) for seed in (1, 1, 2)]
    assert_close(ways[0].path, ways[1].path, "exact")
    assert np.abs(ways[0].path - ways[2].path).max() > 0
    assert ways[0].noisy
    assert ways[0].minimum == ways[0].path[-1]
    assert "f is noisy, and over the last half w hovers at" in ways[0].reason

    def with_default(w, power=2):
        return (w - 3) ** power

    assert not fl.descend(with_default, 0.0, steps=2).noisy


def test_restarts_begin_at_the_start_and_lie_between_low_and_high():
    way = fl.descend(bowl, [5.0, 5.0], restarts=6, low=[-1.0, -4.0], high=[2.0, 0.0], learning_rate=0.1, seed=3)
    starts = np.array(way.restarts.columns["start"])
    assert_close(starts[0], [5.0, 5.0])
    assert (starts[1:] >= [-1.0, -4.0]).all()
    assert (starts[1:] <= [2.0, 0.0]).all()
    assert len(way.minima) == 1
    assert_close(way.minimum, [1.0, -2.0], "step")
    assert way.lowest == min(way.restarts.columns["f(w)"])
    assert str(way.minima) in str(way)


def test_starts_that_run_away_are_no_minima():
    way = fl.descend(lambda w: (w * w - 1) ** 2, restarts=8, low=-3.0, high=3.0, learning_rate=0.1, steps=200, seed=1)
    states = way.restarts.columns[""]
    assert "not converged" in states
    assert_close(np.abs(way.minima.columns["w"]), np.ones(len(way.minima)), "step")
    assert sum(way.minima.columns["starts"]) == 8 - states.count("not converged")


BAD = {
    "no start": ({}, "descend needs a start, such as 0.0; or restarts=10, low=-2, high=2"),
    "no range": ({"restarts": 3}, "restarts=3: give a whole number of starts and low= and high="),
    "half a restart": ({"restarts": 2.5, "low": 0, "high": 1}, "restarts=2.5"),
    "text": ({"start": "left"}, "the start 'left' is not a number"),
    "infinite": ({"start": np.inf}, "the start inf is not finite"),
    "steps": ({"start": 0.0, "steps": -1}, "steps=-1: give a whole number of steps"),
    "a rate for a solver": ({"start": 0.0, "optimizer": "newton", "learning_rate": 0.1}, r"Newton\(\) is a solver"),
    "closed form": ({"start": 0.0, "optimizer": "exact"}, "a function of one's own has no closed form"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(name):
    options, words = BAD[name]
    with pytest.raises(ConfigError, match=words) as caught:
        fl.descend(valley, **options)
    assert "\n" not in str(caught.value)


def test_a_solver_uses_the_same_function_and_its_derivatives():
    way = fl.descend(bowl, [0.0, 0.0], optimizer="newton")
    assert way.steps == 1
    assert_close(way.minimum, [1.0, -2.0])
    tried = fl.descend(bowl, [0.0, 0.0], optimizer="random(0.2)", steps=20)
    assert (np.diff(tried.values) <= 0).all()
    assert tried.lowest < TOL["statistics"]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"start": 0.0, "low": -1, "high": 1}, "low and high are for random starts"),
        ({"restarts": 2, "low": 2, "high": -2}, "lies above"),
        ({"restarts": 2, "low": "a", "high": 1}, "low 'a' is not a number"),
        ({"restarts": 2, "low": np.zeros(2), "high": np.ones(3)}, "differ in shape"),
        ({"start": 0.0, "tolerance": -1.0}, "tolerance=-1.0"),
    ],
)
def test_contradictory_settings_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        fl.descend(lambda w: fl.sum((w - 3.0) ** 2), **given)


def test_an_optimizer_given_by_its_class_takes_the_rate_of_one_given_by_its_name():
    by_name, by_class = (fl.descend(lambda w: (w - 3.0) ** 2, 0.0, optimizer=o, steps=3) for o in ("adam", fl.Adam))
    assert_close(by_name.path, by_class.path)
