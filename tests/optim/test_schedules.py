"""Schedules: the contract of all of them, and each formula against numbers worked out by hand or another library's."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.core.record import from_json, records_of, to_json
from fallline.optim.curves import Chained, Cosine, CosineRestarts, Cyclic, LinearDecay, OneCycle, Polynomial, WarmUp
from fallline.optim.schedules import (
    Constant,
    Exponential,
    InverseTime,
    MultiStep,
    Piecewise,
    Plateau,
    Schedule,
    SquareRoot,
    StepDecay,
)
from fallline.optim.sgd import SGD
from tests.tolerance import assert_close

SCHEDULES = {n: c for n, c in records_of(Schedule).items() if c.__module__.startswith("fallline.")}
every_schedule = pytest.mark.parametrize("cls", SCHEDULES.values(), ids=SCHEDULES)


def rates(schedule, steps_per_epoch=1, epochs=10, history=()):
    """The rates of a whole run."""
    whole = range(steps_per_epoch * epochs)
    return np.array([schedule.at(s, steps_per_epoch=steps_per_epoch, epochs=epochs, history=history) for s in whole])


@every_schedule
def test_json_round_trip(cls):
    assert from_json(to_json(cls.sample())) == cls.sample()


@every_schedule
@pytest.mark.parametrize("steps_per_epoch, epochs", [(1, 1), (1, 40), (7, 12)])
def test_rates_are_finite_and_not_negative(cls, steps_per_epoch, epochs):
    found = rates(cls.sample(), steps_per_epoch, epochs)
    assert np.all(np.isfinite(found))
    assert np.all(found >= 0)
    assert np.max(found) <= 0.1


@pytest.mark.parametrize(
    "schedule",
    [StepDecay(0.1, every=2), MultiStep(0.1, (1, 3)), Exponential(0.1), InverseTime(0.1), SquareRoot(0.1),
     Piecewise((0.1, 0.02), (2,))],
)  # fmt: skip
def test_stairs_hold_the_rate_for_a_whole_unit(schedule):
    by_epoch = rates(schedule, 1, 4)
    assert_close(rates(schedule, 7, 4), np.repeat(by_epoch, 7), "exact")
    assert_close(rates(schedule.replace(unit="step"), 2, 2), by_epoch, "exact")


def test_learning_rate_decay_of_the_course():
    assert_close(rates(InverseTime(0.2, decay=1.0), 1, 5), 0.2 / np.array([1, 2, 3, 4, 5]))
    assert_close(rates(Exponential(0.2), 1, 5), 0.2 * 0.95 ** np.arange(5))
    assert_close(rates(SquareRoot(0.2), 1, 5), 0.2 / np.sqrt([1, 2, 3, 4, 5]))
    assert_close(rates(StepDecay(0.2, every=2, factor=0.5), 1, 6), 0.2 * np.array([1, 1, 0.5, 0.5, 0.25, 0.25]))


def test_steps_at_given_places():
    assert_close(rates(MultiStep(0.1, (2, 4), factor=0.1), 1, 5), np.array([0.1, 0.1, 0.01, 0.01, 0.001]))
    assert_close(rates(Piecewise((0.1, 0.5, 0.2), (1, 3)), 1, 5), np.array([0.1, 0.5, 0.5, 0.2, 0.2]), "exact")
    with pytest.raises(ConfigError, match="3 rates"):
        Piecewise((0.1, 0.2), (1, 3))
    with pytest.raises(ConfigError, match="rise"):
        Piecewise((0.1, 0.2, 0.3), (3, 1))


def test_curves_reach_from_the_rate_to_the_end_over_the_run():
    p = np.arange(20) / 20
    assert_close(rates(LinearDecay(0.1, final=0.02), 2, 10), 0.1 + (0.02 - 0.1) * p)
    assert_close(rates(Polynomial(0.1, power=3.0), 2, 10), 0.1 * (1 - p) ** 3)
    assert_close(rates(Cosine(0.1, final=0.02), 2, 10), 0.02 + 0.04 * (1 + np.cos(np.pi * p)))


@pytest.mark.parametrize("curve", [LinearDecay, Polynomial, Cosine, OneCycle])
def test_lengths_are_counted_in_units(curve):
    short = rates(curve(0.1), 5, 2)
    in_epochs, in_steps = rates(curve(0.1, length=2), 5, 4), rates(curve(0.1, length=10, unit="step"), 5, 4)
    assert_close(in_epochs[:10], short)
    assert_close(in_steps, in_epochs)
    assert np.ptp(in_epochs[11:]) == 0  # it stays at its end


def test_cosine_with_restarts():
    """T_0 = 2 epochs of 3 steps, doubled at each restart."""
    found = rates(CosineRestarts(0.1, period=2, growth=2.0), 3, 14)
    one = lambda n: 0.05 * (1 + np.cos(np.pi * np.arange(n) / n))  # noqa: E731
    assert_close(found, np.concatenate([one(6), one(12), one(24)]))


def test_one_cycle():
    """PyTorch's: rate/25 at first, the rate at 0.3 of the steps, rate/25/1e4 in the last step."""
    found = rates(OneCycle(0.1), 10, 10)
    assert_close(found[[0, 29, 99]], np.array([0.1 / 25, 0.1, 0.1 / 25 / 1e4]))
    assert_close(found[64], 0.1 / 2 * (1 + math.cos(math.pi * 35 / 70)) + 0.004e-4 * 0.5)
    assert np.argmax(found) == 29
    assert all(a < b for a, b in pairwise(found[:30]))
    assert all(a > b for a, b in pairwise(found[29:]))


def test_cyclic():
    triangle = np.array([0, 0.5, 1, 0.5])
    assert_close(rates(Cyclic(0.1, half=2), 1, 8), 0.1 * np.tile(triangle, 2))
    shrinking = Cyclic(0.1, low=0.02, half=2, shrink=0.5)
    assert_close(rates(shrinking, 1, 8), 0.02 + 0.08 * np.concatenate([triangle, 0.5 * triangle]))


def test_warm_up_before_any_schedule():
    rise = np.arange(1, 5) / 5
    assert_close(rates(WarmUp(0.1, length=2), 2, 5), np.concatenate([0.1 * rise, np.full(6, 0.1)]))
    after = Cosine(0.1)
    assert_close(rates(WarmUp(after, length=4, unit="step"), 2, 5), np.concatenate([0.1 * rise, rates(after, 2, 3)]))
    assert WarmUp("cosine(0.1)") == WarmUp(after)


def test_chained():
    chain = Chained((0.1, LinearDecay(0.2), "exponential(0.3)"), lengths=(2, 3))
    parts = [np.full(4, 0.1), rates(LinearDecay(0.2), 2, 3), rates(Exponential(0.3), 2, 5)]
    assert_close(rates(chain, 2, 10), np.concatenate(parts))
    with pytest.raises(ConfigError, match="length of each"):
        Chained((0.1, 0.2), lengths=())


def at_plateau(schedule, history):
    return schedule.at(99, steps_per_epoch=1, epochs=100, history=history)


def test_plateau_is_a_function_of_the_history():
    schedule = Plateau(1.0, factor=0.5, patience=2)
    falling = [1.0 / (k + 1) for k in range(20)]
    assert at_plateau(schedule, ()) == 1.0
    assert at_plateau(schedule, falling) == 1.0
    flat = [1.0] * 10
    # The first epoch is the best; then each three epochs (more than two) without a better one halve the rate.
    assert [at_plateau(schedule, flat[:k]) for k in (3, 4, 6, 7, 10)] == [1.0, 0.5, 0.5, 0.25, 0.125]
    assert at_plateau(schedule, [*flat[:3], 0.5, *flat[:2]]) == 1.0
    assert at_plateau(schedule.replace(final=0.3), flat) == 0.3


def test_plateau_after_another_schedule_sees_its_own_epochs_only():
    plateau = Plateau(1.0, factor=0.5, patience=1)
    history = [1.0, 1.0, 1.0, 1.0]  # alone it would have halved the rate by now, after two epochs it has not
    assert at_plateau(plateau, history) == 0.5
    assert at_plateau(WarmUp(plateau, length=2), history) == 1.0
    assert at_plateau(Chained((0.1, plateau), lengths=(2,)), history) == 1.0
    assert at_plateau(Chained((0.1, plateau), lengths=(2,)), [*history, 1.0]) == 0.5


def test_plateau_with_negative_and_missing_losses():
    schedule = Plateau(1.0, factor=0.5, patience=0, threshold=0.01)
    assert at_plateau(schedule, [-5.0, -4.9]) == 0.5  # worse
    assert at_plateau(schedule, [-5.0, -5.01]) == 0.5  # better by less than the threshold
    assert at_plateau(schedule, [-5.0, -6.0]) == 1.0
    assert at_plateau(schedule, [1.0, math.nan]) == 0.5


def test_numbers_schedules_and_functions_are_rates():
    for rate in (0.25, Constant(0.25), lambda step: 1.0 / (step + 1)):
        assert SGD(rate).rate_at(3, steps_per_epoch=1, epochs=10) == 0.25


def test_a_decaying_rate_comes_nearer_than_a_constant_one(rng):
    """Noisy gradients of w²/2: a constant rate hovers at a distance, a falling one comes at least 10 times nearer."""
    noise = rng.normal(size=(2000, 50))
    distance = {}
    for schedule in (Constant(0.5), InverseTime(0.5, decay=0.5, unit="step")):
        w = {"w": np.ones(50)}
        for step, n in enumerate(noise):
            rate = schedule.at(step, steps_per_epoch=2000, epochs=1)
            w, _ = SGD().update(w, {"w": w["w"] + n}, {}, lr=rate, t=step + 1)
        distance[type(schedule)] = np.sqrt(np.mean(w["w"] ** 2))
    assert distance[InverseTime] < distance[Constant] / 10


def test_unknown_units_are_refused():
    with pytest.raises(ConfigError, match="epoch"):
        Cosine(0.1, unit="epochs")


def test_one_cycle_that_is_too_short_to_rise_begins_at_the_top():
    assert_close(rates(OneCycle(0.1, rise=0.3), 1, 2), np.array([0.1, 0.1 / 25 / 1e4]))
