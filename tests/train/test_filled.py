"""Batches that are filled up: a row of weight 0 changes nothing, and few sizes are compiled."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.data.target import NumberTarget
from fallline.engines.engine import get_engine
from fallline.train.examples import Examples
from fallline.train.feeding import GRAIN, MOST_FILLED, SMALLEST, Feed
from fallline.train.fit import fill_model
from fallline.train.stepping import Stepping
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)


def stepping(n, batch, *layers, own_means=True):
    rows = Examples(RNG.normal(size=(n, 3)), RNG.normal(size=n), RNG.uniform(0.5, 2.0, n))
    recipe = fl.Sequential(fl.Dense(2), *layers, fl.Tanh(), fl.Dense(1))
    model = fill_model(recipe, rows, fl.SquaredError(), NumberTarget("y"), "numpy", 0)
    given = model, rows, (), 1, 0, get_engine("numpy"), batch
    return Stepping(fl.SGD(0.1), *given, judges_start=False, own_means=own_means)


def sizes(n, batch, *layers, **more):
    made = stepping(n, batch, *layers, **more)
    return [indices.shape[1] for indices in made._calls(1)]


@pytest.mark.parametrize(
    "n, batch, expected",
    [
        (400, 200, [200]),  # the chosen size is kept,
        (2000 - 60, 200, [200]),  # a last batch becomes a whole one where little is added,
        (430, 200, [200, 32]),  # what is left is filled up, but never beyond a whole batch
        (370, 200, [200, 192]),
        (399, 200, [200, 200]),
        (5, 200, [SMALLEST]),
        (50, 200, [64]),
        (70, 200, [3 * GRAIN]),
        (10, 3, [3, 3]),
        (MOST_FILLED + 1, MOST_FILLED + 1, [MOST_FILLED + 1]),
    ],
)
def test_small_batches_are_filled_up(n, batch, expected):
    assert list(dict.fromkeys(sizes(n, batch))) == list(dict.fromkeys(expected))


def test_nothing_is_filled_up_where_rows_know_of_each_other_or_the_batch_size_counts():
    assert sizes(5, 200, fl.BatchNorm()) == [5]
    assert sizes(5, 200, own_means=False) == [5]


@pytest.mark.parametrize("n, batch", [(5, 200), (43, 16), (79, 16)])
def test_a_filled_batch_moves_the_weights_as_the_rows_alone(n, batch):
    found = []
    for fills in (True, False):
        RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
        made = stepping(n, batch)
        made._feed = Feed(made.train, batch, fills)
        *_, last = made.rounds()
        found.append((last.weights, last.facts["train_loss"]))
    (filled, loss), (alone, expected) = found
    assert_close(loss, expected)
    for path, array in alone.items():
        assert_close(filled[path], array)
