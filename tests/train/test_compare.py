"""compare: what is compared is all that differs, the numbers are those of the fits, the rows are the same for all."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.data.split import split_rows
from fallline.nn.layer import count_parameters
from fallline.train import variants
from fallline.train.compare import equal_widths
from fallline.train.events import EpochEnded
from fallline.train.variants import Parts
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 3))
Y = X[:, 0] * X[:, 1] + 0.1 * RNG.normal(size=100)
QUICK = {"epochs": 3, "seeds": 1, "hidden": (6,)}


SPLIT = split_rows(100, validation=0.2, test=0.2, seed=0)


def test_the_numbers_are_those_of_the_fits():
    found = fl.compare((X, Y), optimizers=["adam(0.01)", "sgd(0.01)"], epochs=3, seeds=[5, 6], hidden=(6,))
    assert found.columns["optimizer"] == ["adam(0.01)", "sgd(0.01)"]
    assert found.title == "2 variants, train 60, validation 20, test 20 rows, 2 starts each"
    for i, outcome in enumerate(found.outcomes):
        assert len(outcome.fits) == 2
        tests = [fit.model.evaluate(X[SPLIT.test], Y[SPLIT.test])["loss"] for fit in outcome.fits]
        assert_close(found.columns["test loss"][i], np.mean(tests))
        assert_close(found.columns["±"][i], np.std(tests, ddof=1))
        assert_close(found.columns["gap"][i], found.columns["test loss"][i] - found.columns["train loss"][i])


def test_one_variant_is_what_fit_gives():
    found = fl.compare((X, Y), activations=["tanh"], **QUICK)
    parts = [(X[rows], Y[rows]) for rows in (SPLIT.train, SPLIT.validation)]
    alone = fl.fit(fl.mlp(6, activation="tanh"), parts[0], validation=parts[1], epochs=3)
    assert found.outcomes[0].fits[0].history == alone.history


def test_the_star_stands_at_the_least_validation_loss():
    found = fl.compare((X, Y), widths=[1, 30], epochs=60, seeds=1, optimizer="adam(0.02)")
    losses = [outcome.metrics["validation"]["loss"][0] for outcome in found.outcomes]
    assert found.columns["best"].index("*") == int(np.argmin(losses))
    assert found.best is found.outcomes[int(np.argmin(losses))]
    assert found.judged_by == "validation"
    assert fl.compare((X, Y), widths=[1], validation=0, **QUICK | {"hidden": 3}).judged_by == "test"
    alone = fl.compare((X, Y), widths=[1, 2], validation=0, test=0, **QUICK)
    assert alone.judged_by == "train"
    assert "gap" not in alone.columns


def test_classes_are_split_so_that_every_part_has_its_share():
    y = np.repeat(["a", "b"], [90, 10])
    parts = Parts.of((X, y), 0.2, 0.2)
    assert [int(np.sum(labels == "b")) for _, labels in parts.present.values()] == [6, 2, 2]
    assert fl.compare((X, y), activations=["relu"], **QUICK).outcomes[0].fits[0].model.classes == ("a", "b")


def test_batch_sizes_stand_in_their_order():
    found = fl.compare((X, Y), batch_sizes=[1, 64, "full"], **QUICK)
    assert found.columns["batch_size"] == ["1", "64", "full"]
    assert found.frame().columns[:2] == ["best", "batch_size"]


def test_an_epoch_takes_the_median_and_not_the_first_one_which_builds_the_program(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(variants, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def passing(event):
        if isinstance(event, EpochEnded):
            now[0] += {0: 7.0, 1: 100.0}.get(event.row["epoch"], 2.0)

    found = fl.compare((X, Y), activations=["relu"], callbacks=[passing], epochs=5, seeds=2, hidden=(3,))
    assert found.columns["seconds"] == [7.0 + 100.0 + 4 * 2.0]
    assert found.columns["ms/epoch"] == [2000.0]


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("budget", [500, 20_000])
def test_equal_widths_come_as_near_to_the_budget_as_widths_do(depth, budget):
    choices = {"loss": "mse"}

    def count(hidden):
        return count_parameters(fl.mlp(hidden).build(np.zeros((2, 3)), 0))

    widths = equal_widths((X, Y), choices, depth, budget)
    assert len(widths) == depth
    assert max(widths) - min(widths) <= 1
    total = sum(widths)
    for other in (total - 1, total + 1):
        spread = tuple(other // depth + (i < other % depth) for i in range(depth))
        assert abs(count(widths) - budget) <= abs(count(spread) - budget)
    assert abs(count(widths) / budget - 1) < 0.05


def test_depth_0_is_the_linear_model_and_params_may_be_a_number_or_free():
    found = fl.compare((X, Y), depths=[0, 2], params=300, epochs=1, seeds=1)
    assert found.columns["hidden"][0] == "(none)"
    assert found.columns["parameters"][0] == 4
    assert abs(found.columns["parameters"][1] / 300 - 1) < 0.05
    free = fl.compare((X, Y), depths=[1, 2], params=None, **QUICK)
    assert free.columns["hidden"] == ["6", "6, 6"]
    both = fl.compare((X, Y), depths=[1, 2], widths=[2, 4], epochs=1, seeds=1)
    assert both.columns["hidden"] == ["2", "4", "2, 2", "4, 4"]


@pytest.mark.parametrize("other", [{"features": [None, "poly(2)"]}, {"norm": [None, "batch"]}])
def test_equal_parameters_hold_whatever_else_differs(other):
    """Each combination has widths of its own: a unit more or less would not bring any of them nearer to the budget."""
    found = fl.compare((X, Y), depths=[1, 2], epochs=1, seeds=1, **other)
    budget = count_parameters(fl.mlp(64).build(np.zeros((2, 3)), 0))
    assert found.columns["parameters"][0] == budget
    assert [len(o.choices["hidden"]) for o in found.outcomes] == [1, 1, 2, 2]
    for outcome in found.outcomes:
        first, *rest = outcome.choices["hidden"]
        design = {name: outcome.choices[name] for name in other}
        for change in (1, -1):
            near = count_parameters(fl.mlp((first + change, *rest), **design).build(np.zeros((2, 3)), 0))
            assert abs(outcome.parameters - budget) <= abs(near - budget)
    given = fl.compare((X, Y), depths=[2], params=500, epochs=1, seeds=1, **other)
    assert all(abs(n / 500 - 1) < 0.05 for n in given.columns["parameters"])


def test_what_training_alone_is_told_leaves_the_widths():
    found = fl.compare((X, Y), depths=[1, 2], optimizers=["adam", "sgd"], epochs=1, seeds=1)
    assert found.columns["hidden"][0] == found.columns["hidden"][1] == "64"
    assert found.columns["hidden"][2] == found.columns["hidden"][3]


def test_networks_of_your_own_by_name():
    nets = {"straight": fl.Sequential(fl.Dense(1)), "bent": fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))}
    found = fl.compare((X, Y), networks=nets, optimizers=["adam", "sgd"], epochs=2, seeds=1)
    assert list(zip(found.columns["optimizer"], found.columns["network"], strict=True)) == [
        ("adam", "straight"),
        ("adam", "bent"),
        ("sgd", "straight"),
        ("sgd", "bent"),
    ]
    assert found.columns["parameters"] == [4, 21, 4, 21]


@pytest.mark.parametrize(
    "asked, told",
    [
        ({}, "nothing to compare: give depths, widths"),
        ({"widths": []}, "nothing to compare"),
        ({"widths": [2], "seeds": 0}, "seeds=0: give a number of starts of at least 1, or a list of seeds"),
        ({"widths": [2], "seeds": []}, r"seeds=\[\]: give a number of starts"),
        ({"optimizers": []}, r"optimizer=\[\] leaves nothing to compare"),
        ({"activation": ["relu"], "epohs": 3}, "no choice is called 'epohs': did you mean 'epochs'"),
        ({"depths": [1], "params": "same"}, "params='same': give \"equal\", a number of parameters, or None"),
        ({"depths": [1], "hidden": [(3,), (4,)]}, r"hidden=\[…\] names the layers already"),
        ({"networks": {"a": fl.Dense(1)}, "dropout": 0.5}, "dropout shapes mlp's network, not one of your own"),
        ({"optimizers": ["newton"], "learning_rate": 0.1}, r"Newton\(\) finds its steps itself: leave the rate out"),
    ],
)
def test_what_cannot_be_compared_is_said(asked, told):
    with pytest.raises(ConfigError, match=told):
        fl.compare((X, Y), **asked)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"depths": [-1, 1]}, r"depths holds -1: give whole numbers of at least 0"),
        ({"depths": 2}, r"depths: 2 is one value: give a list"),
        ({"widths": [0]}, r"widths holds 0"),
        ({"optimizers": "adam"}, r"optimizer: 'adam' is one value"),
        ({"networks": [fl.mlp((2,))]}, r"give names with their recipes"),
    ],
)
def test_what_is_no_list_of_choices_is_refused(given, message):
    X = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ConfigError, match=message):
        fl.compare((X, X[:, 0]), epochs=1, seeds=1, **given)


def test_a_frame_keeps_the_names_of_its_columns():
    X = np.random.default_rng(0).normal(size=(30, 2))
    frame = pd.DataFrame(X, columns=["age", "pulse"])
    found = fl.compare((frame, X[:, 0]), widths=[2], epochs=1, seeds=np.int64(1))
    assert found.best.fits[0].model.feature_names == ("age", "pulse")
