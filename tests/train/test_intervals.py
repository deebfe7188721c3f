"""Split conformal intervals: what they promise, with weights, for every kind of prediction."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import from_json, to_json
from fallline.data.multiple import NumbersTarget
from fallline.data.target import NumberTarget
from fallline.train.intervals import Intervals
from tests.tolerance import assert_close

TARGET = NumberTarget("y", mean=10.0, scale=2.0)


def covered(ends, y):
    return float(np.mean((ends[:, 0] <= y) & (y <= ends[:, 1])))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.5])
def test_the_level_is_that_of_the_rank(rng, alpha):
    """With n scores the interval is the ceil((1 - alpha)(n + 1))-th smallest error on both sides."""
    scores, y = rng.normal(size=199), 10 + 2 * rng.normal(size=199)
    made = Intervals.of(fl.SquaredError(), TARGET, scores, y)
    errors = np.sort(np.abs(10 + 2 * scores - y))
    assert_close(made.stretch(alpha), errors[[int(np.ceil((1 - alpha) * 200 - 1e-9)) - 1]])
    ends = made.around(fl.SquaredError(), TARGET, scores, alpha)
    assert_close(ends.mean(axis=1), 10 + 2 * scores)


def test_coverage_is_kept_where_the_prediction_is_wrong(rng):
    """Over many draws, whatever is predicted: here nothing but noise."""
    found = []
    for _ in range(300):
        y, scores = rng.gamma(1.5, size=240), rng.normal(size=240)
        made = Intervals.of(fl.SquaredError(), TARGET, scores[:120], y[:120])
        found.append(covered(made.around(fl.SquaredError(), TARGET, scores[120:], 0.1), y[120:]))
    assert_close(np.mean(found), 0.9 + 0.5 / 121, "statistics")


def test_quantiles_are_stretched_or_shrunk_in_pairs(rng):
    loss = fl.Quantile((0.1, 0.5, 0.9))
    y = rng.normal(size=2000)
    scores = np.tile([-0.5, 0.0, 0.5], (2000, 1))  # too narrow
    made = Intervals.of(loss, NumberTarget("y"), scores[:1000], y[:1000])
    ends = made.around(loss, NumberTarget("y"), scores[1000:], 0.2)
    assert ends.shape == (1000, 2)
    assert_close(covered(ends, y[1000:]), 0.8, "statistics")
    median = Intervals.of(loss, NumberTarget("y"), scores[:1000], y[:1000]).around(loss, NumberTarget("y"), scores, 0.9)
    assert (median[:, 0] <= median[:, 1]).all()


@pytest.mark.parametrize(
    "loss, scores, width",
    [
        (fl.GaussianNLL(), np.array([[0.0, 0.0], [0.0, np.log(4.0)]]), 2.0),
        (fl.Poisson(), np.log([1.0, 4.0]), 2.0),
        (fl.Gamma(), np.log([1.0, 4.0]), 4.0),
        (fl.AbsoluteError(), np.array([1.0, 4.0]), 1.0),
    ],
)
def test_widths_follow_the_spread_of_the_distribution(loss, scores, width, rng):
    target = NumberTarget("y")
    many = np.concatenate([scores[:1]] * 200)
    y = target.decode(loss.predict(many)) + rng.normal(size=200) * 0.1
    ends = Intervals.of(loss, target, many, y).around(loss, target, scores, 0.1)
    sizes = ends[:, 1] - ends[:, 0]
    assert_close(sizes[1] / sizes[0], width)
    assert (ends[:, 0] >= 0).all() or loss.link != "exp"


def test_a_weight_of_two_is_the_row_twice(rng):
    scores, y, w = rng.normal(size=80), rng.normal(10, 2, 80), rng.integers(1, 4, 80)
    once = Intervals.of(fl.SquaredError(), TARGET, scores, y, w)
    again = Intervals.of(fl.SquaredError(), TARGET, np.repeat(scores, w), np.repeat(y, w))
    for alpha in (0.05, 0.1, 0.3):
        assert_close(once.stretch(alpha), again.stretch(alpha))
    small = Intervals.of(fl.SquaredError(), TARGET, scores, y, np.full(80, 1e-3))  # shares, not counts
    assert_close(small.stretch(0.1), Intervals.of(fl.SquaredError(), TARGET, scores, y).stretch(0.1))


def test_of_many_rows_a_grid_is_kept_that_rounds_up(rng):
    y = rng.normal(size=30_000)
    made = Intervals.of(fl.SquaredError(), NumberTarget("y"), np.zeros(30_000), y)
    assert len(made.scores[0]) <= 1000
    exact = np.sort(np.abs(y))[int(np.ceil(0.9 * 30_001)) - 1]
    assert 0 <= made.stretch(0.1)[0] - exact < 0.01
    assert from_json(to_json(made)) == made


def test_several_outputs_each_have_their_own(rng):
    target = NumbersTarget(("a", "b"), (0.0, 0.0), (1.0, 100.0))
    y = rng.normal(size=(500, 2)) * [1.0, 100.0]
    ends = Intervals.of(fl.SquaredError(), target, np.zeros((500, 2)), y).around(
        fl.SquaredError(), target, np.zeros((3, 2)), 0.1
    )
    assert ends.shape == (3, 2, 2)
    assert 50 < (ends[0, 1, 1] / ends[0, 1, 0]) < 200


def test_too_few_rows_are_told(rng):
    made = Intervals.of(fl.SquaredError(), TARGET, rng.normal(size=9), rng.normal(size=9))
    assert made.stretch(0.1).shape == (1,)
    with pytest.raises(ConfigError, match=r"alpha=0\.05 needs at least 19 rows outside training, there were 9"):
        made.stretch(0.05)
    with pytest.raises(ConfigError, match=r"between 0 and 1, such as 0\.1"):
        made.stretch(90)
