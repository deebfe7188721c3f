"""Parallel coordinates of a search: each line a trial, each axis a range, the last one the result."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.explain.figures.plain import ORANGE
from tests.explain.figures.pictures import check_layout, lines_of, words_of
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = X[:, 0] * X[:, 1]


@pytest.fixture(scope="module")
def found():
    return fl.search((X, Y), optimizer=fl.Adam(fl.LogUniform(1e-3, 0.1)), hidden=fl.IntUniform(2, 6),
        activation=["relu", "tanh"], dropout=[0.1, 2.0], trials=6, epochs=2)  # fmt: skip


def test_the_best_trial_goes_from_its_values_to_the_top(found):
    axes = found.plot().axes[0]
    [best] = lines_of(axes, ORANGE)
    values = found.values[0]
    expected = [np.log(values["optimizer.learning_rate"] / 1e-3) / np.log(100), (values["hidden"] - 2) / 4]
    assert_close(best[:2, 1], np.array(expected))
    assert best[-1, 1] == 1.0
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "learning_rate", "hidden", "activation", "dropout", "validation loss"]  # fmt: skip


def test_trials_that_failed_are_no_lines(found):
    lines = [line for line in found.plot().axes[0].lines if len(line.get_xdata()) == 5]
    failed = sum(bool(outcome.failure) for outcome in found.outcomes)
    assert 0 < failed < len(found)
    assert len(lines) == len(found) - failed


def test_it_is_written_and_readable(found, tmp_path):
    figure = found.plot(tmp_path / "search.svg")
    assert (tmp_path / "search.svg").exists()
    check_layout(figure)
    assert f"{found.columns['validation loss'][0]:.4g}" in words_of(figure)
