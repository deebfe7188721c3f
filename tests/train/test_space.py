"""Ranges: what they draw, where they may stand, and that only a search closes them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.train.space import chosen, ranges_of
from tests.tolerance import TOL, assert_close

X = np.linspace(-1, 1, 20)[:, None]


def test_draws_follow_the_distribution():
    draws = np.random.default_rng(0).uniform(size=2000)
    logs = [fl.LogUniform(1e-4, 1e-1).at(share) for share in draws]
    expected = stats.loguniform(1e-4, 1e-1)
    assert stats.kstest(logs, expected.cdf).pvalue > TOL["p_value"]
    assert_close(logs[:50], expected.ppf(draws[:50]), "f64")
    assert_close([fl.FloatUniform(-1, 3).at(share) for share in draws[:50]], -1 + 4 * draws[:50], "f64")
    whole = [fl.IntUniform(2, 5).at(share) for share in draws]
    assert set(whole) == {2, 3, 4, 5}
    assert stats.chisquare(np.bincount(whole)[2:]).pvalue > TOL["p_value"]
    assert {fl.Choice(["a", "b"]).at(share) for share in draws} == {"a", "b"}


@pytest.mark.parametrize(
    "part", [fl.LogUniform(1e-4, 1e-1), fl.FloatUniform(-1, 3), fl.IntUniform(2, 5), fl.Choice(["a", (3,), None])]
)
def test_the_ends_lie_at_0_and_1_and_values_at_their_share(part):
    assert part.place(part.at(0.0)) == 0.0
    assert_close(part.place(part.at(1 - 1e-15)), 1.0, "f64")


def test_scipy_s_protocol():
    part = fl.LogUniform(1e-4, 1e-1)
    assert part.rvs(random_state=3) == part.rvs(random_state=3)
    assert len(part.rvs(5, random_state=np.random.RandomState(0))) == 5
    rng = np.random.RandomState(0)
    assert part.rvs(random_state=rng) != part.rvs(random_state=rng)


def test_a_range_stands_in_any_field_and_is_found_by_its_path():
    choices = {
        "optimizer": fl.Adam(fl.LogUniform(1e-4, 1e-1)),
        "network": fl.Sequential(fl.Dense(fl.IntUniform(8, 16)), fl.Dropout(fl.FloatUniform(0, 0.5)), fl.Dense(1)),
        "l2": fl.Choice([0.0, 0.1]), "batch_size": [16, 32], "epochs": 5,
    }  # fmt: skip
    found = ranges_of(choices)
    assert list(found) == [
        "optimizer.learning_rate",
        "network.layers.0.units",
        "network.layers.1.rate",
        "l2",
        "batch_size",
    ]
    closed = chosen(choices, {path: part.at(0.0) for path, part in found.items()})
    assert closed == {
        "optimizer": fl.Adam(1e-4), "network": fl.Sequential(fl.Dense(8), fl.Dropout(0.0), fl.Dense(1)),
        "l2": 0.0, "batch_size": 16, "epochs": 5,
    }  # fmt: skip


def test_a_value_is_checked_when_it_is_chosen():
    recipe = fl.Dropout(fl.FloatUniform(0, 2))
    with pytest.raises(ConfigError, match=r"Dropout\(rate=1.5\)"):
        recipe.replace(rate=1.5)


@pytest.mark.parametrize(
    "given", [{"network": fl.Dense(fl.IntUniform(1, 2))}, {"optimizer": fl.SGD(fl.LogUniform(1, 2))}]
)
def test_training_needs_a_value(given):
    with pytest.raises(ConfigError, match=r"stands in the place of a value: fl.search chooses one"):
        fl.fit(given.pop("network", fl.Dense(1)), (X, X[:, 0]), **given)


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: fl.Choice([]), r"Choice\(\[\]\): give a list of at least one value"),
        (lambda: fl.Choice("adam"), "give a list"),
        (lambda: fl.LogUniform(0, 1), "low must be above 0"),
        (lambda: fl.LogUniform(2, 1), r"LogUniform\(low=2.0, high=1.0\): give two finite numbers, the lower one first"),
        (lambda: fl.IntUniform(1.5, 2), "low must be an int"),
        (lambda: fl.FloatUniform(0, np.inf), "give two finite numbers"),
    ],
)
def test_what_is_no_range_is_refused(make, told):
    with pytest.raises(ConfigError, match=told):
        make()
