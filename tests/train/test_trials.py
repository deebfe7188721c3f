"""Trials of a search: the draw, successive halving, budgets, and a folder from which a killed search goes on."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.train import search as searching
from fallline.train.trials import draw, rungs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = X[:, 0] * X[:, 1] + 0.05 * RNG.normal(size=60)
SPACE = {"optimizer": fl.Adam(fl.LogUniform(1e-3, 0.1)), "hidden": fl.IntUniform(2, 3)}


def test_random_trials_depend_on_the_seed_and_their_number_alone():
    ranges = {"rate": fl.LogUniform(1e-3, 0.1), "width": fl.IntUniform(2, 6)}
    assert draw(ranges, 3, 0) == draw(ranges, 9, 0)[:3]
    assert draw(ranges, 3, 0) != draw(ranges, 3, 1)
    assert len(draw(ranges, None, 0)) == 50


@pytest.mark.parametrize(
    "n, epochs, eta, expected",
    [
        (27, 81, 3, [(27, 3), (9, 9), (3, 27), (1, 81)]),  # Jamieson & Talwalkar: n r_0, n/η · η r_0 …
        (16, 8, 2, [(16, 1), (8, 2), (4, 4), (2, 8)]),  # no less than one epoch
        (5, 50, 3, [(5, 17), (1, 50)]),
        (2, 50, 3, [(2, 50)]),
        (7, 20, None, [(7, 20)]),
    ],
)
def test_the_rounds_of_successive_halving(n, epochs, eta, expected):
    assert rungs(n, epochs, eta) == expected


def test_halving_trains_the_best_of_each_round_for_longer():
    found = fl.search((X, Y), SPACE, trials=9, epochs=3, halving=3)
    assert sorted(found.columns["epochs"]) == [1] * 6 + [3] * 3
    assert found.columns["epochs"][0] == 3
    first = fl.search((X, Y), SPACE, trials=9, epochs=1)
    best = first.values[:3]
    for values, epochs in zip(found.values, found.columns["epochs"], strict=True):
        assert (values in best) == (epochs > 1)
    alone = fl.search(
        (X, Y), {"hidden": [found.values[0]["hidden"]]}, optimizer=found.best.choices["optimizer"], epochs=3
    )
    assert alone.columns["validation loss"][0] == found.columns["validation loss"][0]


def test_ranges_in_records_are_columns_and_reproducible():
    once, again = (fl.search(fl.Sequential(fl.Dense(fl.IntUniform(2, 6)), fl.Tanh(), fl.Dense(1)), (X, Y),
        learning_rate=fl.LogUniform(1e-3, 0.1), trials=3, epochs=2) for _ in range(2))  # fmt: skip
    assert once.columns["network.layers.0.units"] == again.columns["network.layers.0.units"]
    assert once.columns["validation loss"] == again.columns["validation loss"]
    assert [v["network.layers.0.units"] for v in once.values] == [
        o.fits[0].model.network.layers[0].units for o in once.outcomes
    ]


def test_budgets_end_the_search():
    assert len(fl.search((X, Y), SPACE, trials=9, epochs=3, total_epochs=7)) == 3
    assert len(fl.search((X, Y), SPACE, trials=9, epochs=3, seconds=0.0)) == 1
    halved = fl.search((X, Y), SPACE, trials=9, epochs=3, halving=3, total_epochs=12)
    assert sorted(halved.columns["epochs"]) == [1] * 8 + [3]


@pytest.mark.parametrize("killed_in", [0, 3])
def test_a_killed_search_goes_on_with_the_same_result(tmp_path, monkeypatch, killed_in):
    asked = {"trials": 4, "epochs": 4, "halving": 2, "folds": 2}
    whole = fl.search((X, Y), SPACE, **asked)
    real, count = searching.run_variant, itertools.count()

    def dying(*given):
        if next(count) == 2 * killed_in + 1:  # in the second fold
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(searching, "run_variant", dying)
    with pytest.raises(KeyboardInterrupt):
        fl.search((X, Y), SPACE, folder=tmp_path, **asked)
    assert len(list(tmp_path.glob("*.json"))) == 1 + killed_in
    resumed, trained = fl.search((X, Y), SPACE, folder=tmp_path, **asked), next(count)
    timeless = [name for name in whole.columns if name != "seconds"]
    assert [resumed.columns[name] for name in timeless] == [whole.columns[name] for name in timeless]
    np.testing.assert_array_equal(resumed.fit.model.predict(X), whole.fit.model.predict(X))
    assert trained == 2 * killed_in + 2 + 2 * (4 + 2 + 1 - killed_in)  # nothing is trained twice
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_trial_is_trained_again_and_another_search_is_refused(tmp_path):
    whole = fl.search((X, Y), SPACE, trials=2, epochs=2, folder=tmp_path)
    trial = next(path for path in tmp_path.glob("*.json") if path.name != "search.json")
    trial.write_text(trial.read_text()[:40])
    again = fl.search((X, Y), SPACE, trials=2, epochs=2, folder=tmp_path)
    assert again.columns["validation loss"] == whole.columns["validation loss"]
    assert json.loads(trial.read_text())["failure"] == ""
    more = fl.search((X, Y), SPACE, trials=3, epochs=2, folder=tmp_path)  # goes on: the first two are the same
    assert len(list(tmp_path.glob("*.json"))) == 1 + len(more)
    with pytest.raises(ConfigError, match="holds the trials of another search"):
        fl.search((X, Y + 1), SPACE, trials=2, epochs=2, folder=tmp_path)
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(ConfigError, match="choose another folder"):
        fl.search((X, Y), SPACE, trials=2, epochs=2, folder=taken)


def test_failures_are_remembered_too(tmp_path):
    for _ in range(2):
        found = fl.search((X, Y), {"dropout": [0.1, 2.0]}, hidden=2, epochs=1, folder=tmp_path)
        assert "Not trained, rank 2: Dropout(rate=2.0)" in found.note


@pytest.mark.parametrize(
    "asked, told",
    [
        ({"halving": 1}, "halving=1: give the factor by which trials become fewer, a whole number from 2 on"),
        ({"halving": 2, "epochs": [1, 2]}, "halving sets the epochs itself"),
        ({"l2": []}, "l2 has nothing to search"),
        ({"trials": -1}, "trials=-1"),
    ],
)
def test_what_cannot_be_searched_is_said(asked, told):
    with pytest.raises(ConfigError, match=told):
        fl.search((X, Y), SPACE, **({"epochs": 1, "trials": 3} | asked))


def test_rows_and_targets_belong_together():
    with pytest.raises(ConfigError, match=r"search takes \(X, y\), a network in front of it"):
        fl.search(X, Y, hidden=[1, 2])
