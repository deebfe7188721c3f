"""find_learning_rate: the sweep, the trial runs, and what the report says."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 4))
NUMBERS = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 1


def linear():
    return fl.Sequential(fl.Dense(1))


def test_the_rates_rise_by_a_factor_and_the_trials_lie_around_the_lowest_point():
    report = fl.find_learning_rate(linear(), (X, NUMBERS), low=1e-4, high=10.0, steps=60)
    assert_close(np.diff(np.log(report.rates)), np.full(59, np.log(1e5) / 59))
    assert_close((report.rates[0], report.rates[-1]), (1e-4, 10.0))
    assert report.sweeps.shape == (5, 60)
    assert_close(np.array(list(report.trials)) / report.lowest, 2.0 ** np.arange(-4, 2))
    assert report.trials[report.suggestion] == min(report.trials.values())
    assert report.lowest < report.diverges


def test_full_batches_of_a_quadratic_rise_again_beyond_2_over_the_curvature():
    A = np.column_stack([X, np.ones(150)])
    bound = 2 / np.linalg.eigvalsh(2 * A.T @ A / 150)[-1]
    report = fl.find_learning_rate(linear(), (X, NUMBERS), batch_size="full", precision="float64")
    assert report.suggestion < bound < report.diverges


def test_the_first_loss_of_a_sweep_is_that_of_one_step_at_the_lowest_rate():
    report = fl.find_learning_rate(linear(), (X, NUMBERS), batch_size="full", low=0.01, high=0.02, precision="float64")
    fit = fl.fit(linear(), (X, NUMBERS), optimizer=fl.SGD(0.01), epochs=1, batch_size="full", precision="float64")
    assert_close(report.sweeps[0, 0], fit.model.evaluate(X, NUMBERS)["loss"])


def test_nothing_changes_with_the_same_seed_and_a_filled_network_is_taken_as_it_is():
    reports = [fl.find_learning_rate(linear(), (X, NUMBERS), seed=2, steps=30) for _ in range(2)]
    assert_close(reports[0].sweeps, reports[1].sweeps, "exact")
    filled = linear().build(fl.spec((2, 4), "float32"), 7)
    report = fl.find_learning_rate(filled, (X, NUMBERS), batch_size="full", steps=30)
    assert_close(report.sweeps[0, 0], report.sweeps[1, 0], "f32")


def test_the_penalty_belongs_to_what_is_minimised():
    free = fl.find_learning_rate(linear(), (X, NUMBERS), steps=30, batch_size="full")
    held = fl.find_learning_rate(linear(), (X, NUMBERS), steps=30, batch_size="full", l2=10.0)
    assert held.diverges < free.diverges


def test_no_precision_is_that_of_fit():
    given, none = (
        fl.find_learning_rate(linear(), (X, NUMBERS), steps=10, precision=p, optimizer="sgd") for p in ("float32", None)
    )
    assert_close(given.sweeps, none.sweeps, "exact")


def test_the_report_prints_sweep_and_trials():
    report = fl.find_learning_rate(linear(), (X, NUMBERS), optimizer="adam")
    text = str(report)
    for words in ("The learning rate of Adam", "lowest", "rises again", "100 steps at one rate", "suggestion"):
        assert words in text
    assert "suggestion: learning_rate=" in repr(report)
    assert report._repr_html_().startswith("<table>")
    assert len(text.splitlines()) < 40


def test_a_range_that_is_too_narrow_is_told():
    low = fl.find_learning_rate(linear(), (X, NUMBERS), low=1e-7, high=1e-5, steps=20)
    assert "give a larger high=" in repr(low)
    assert low.diverges is None
    high = fl.find_learning_rate(linear(), (X, NUMBERS), low=10.0, high=100.0, steps=20)
    assert "give a smaller low=" in repr(high)


def test_without_a_good_rate_there_is_a_reason_and_a_picture(tmp_path):
    """Targets that are 0 at weights that are 0: every step away from them costs, whatever its length."""
    still = fl.Dense(1, W=np.zeros((4, 1)), b=np.zeros(1))
    y = 1e-9 * NUMBERS[:40]
    report = fl.find_learning_rate(still, (X[:40], y), optimizer="lion", loss="mse", low=1e-3, steps=20)
    assert report.suggestion is None
    assert "ended below the first loss" in report.reason
    assert f"no suggestion: {report.reason}" in repr(report)
    assert "no suggestion" in str(report)
    assert report.plot(tmp_path / "rates.png") is not None


WRAPPED = "ema(adam) swa(sgd) lookahead(adam) sam(sgd) accumulate(sgd) snapshots(sgd) muon schedule_free_adamw"


@pytest.mark.parametrize("text", WRAPPED.split())
def test_every_wrapper_has_a_rate(text):
    """A rate that trains: a third of the first loss is left at the most."""
    report = fl.find_learning_rate(linear(), (X, NUMBERS), optimizer=text, batch_size=32, steps=20)
    assert report.trials[report.suggestion] < report.start / 3


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"optimizer": "clip_norm(svrg(sgd))"},
            "stands still in its first epoch: look for the rate",
        ),
        ({"optimizer": "newton"}, r"Newton\(\) is a solver and has no learning rate"),
        ({"low": 1.0, "high": 0.1}, "low=1.0, high=0.1: give 0 < low < high"),
        ({"steps": 1}, "steps=1: steps must be a whole number of at least 2"),
        ({"steps": 10.0}, "steps=10.0: steps must be a whole number of at least 2"),
        ({"seed": -1}, "seed=-1: seed must be a whole number of at least 0"),
        ({"precision": "float23"}, "precision='float23': did you mean 'float32'"),
    ],
)
def test_bad_input_gets_one_line(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        fl.find_learning_rate(linear(), (X, NUMBERS), **options)
    assert "\n" not in str(caught.value)
