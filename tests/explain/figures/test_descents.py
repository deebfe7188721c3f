"""The way down as a picture: steps lie on the curve or over the contours of the function."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.explain.figures.descents import WAYS, plot_descent
from fallline.explain.figures.plain import (
    BLUE,
    ORANGE,
)
from fallline.train.descend import descend
from fallline.train.learning_rate import find_learning_rate
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, words_of
from tests.tolerance import assert_close


def valley(w):
    return (w - 3) ** 2


def bowl(w):
    return w[0] ** 2 + 10 * w[1] ** 2


def test_the_steps_lie_on_the_curve():
    way = descend(valley, 0.0, steps=15)
    figure = way.plot()
    axes = figure.axes[0]
    check_layout(figure)
    [curve], [steps] = lines_of(axes, BLUE), lines_of(axes, ORANGE)
    assert_close(curve[:, 1], (curve[:, 0] - 3) ** 2)
    assert_close(steps[:, 0], 3 * (1 - 0.8 ** np.arange(16)))
    assert_close(steps[:, 1], (steps[:, 0] - 3) ** 2)
    assert marks_of(axes, ORANGE, "s") == [(0.0, 9.0)]
    words = words_of(figure)
    assert "start" in words
    end = 3 - 3 * 0.8**15  # each step of a rate of 0.1 leaves 1 - 2 · 0.1 of the distance
    assert f"step 15: {end:.3g}, f = {(end - 3) ** 2:.3g}" in words
    assert "valley(w)" in words


def test_of_a_descent_that_diverges_the_first_steps_are_drawn():
    way = descend(valley, 0.0, steps=60, learning_rate=1.1)
    figure = plot_descent(way)
    check_layout(figure)
    [steps] = lines_of(figure.axes[0], ORANGE)
    assert 3 < len(steps) < 20
    assert_close(steps[:, 0], way.path[: len(steps)])
    assert f"step {len(steps) - 1}, then far away" in words_of(figure)


def test_two_numbers_are_drawn_over_contours():
    way = descend(bowl, np.array([-4.0, 1.5]), learning_rate=0.08, steps=20)
    figure = plot_descent(way)
    check_layout(figure)
    axes = figure.axes[0]
    [steps] = lines_of(axes, ORANGE)
    assert_close(steps, way.path)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("w[0]", "w[1]")
    assert axes.get_xlim()[0] < -4.0
    assert axes.get_ylim()[1] > 1.5


def test_several_descents_side_by_side():
    ways = {
        "plain": descend(valley, 0.0, steps=5),
        "far": descend(valley, 7.0, steps=5),
    }
    figure = plot_descent(ways)
    check_layout(figure)
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "far"]
    for way, color in zip(ways.values(), WAYS, strict=False):
        [steps] = lines_of(figure.axes[0], color)
        assert_close(steps[:, 0], way.path)
    listed = plot_descent(list(ways.values()))
    assert listed.axes[0].get_legend().get_texts()[1].get_text().startswith("2: SGD")


def test_a_noisy_function_is_drawn_by_its_mean():
    def noisy(w, rng):
        return (w - 3) ** 2 + 0.5 * w * rng.normal()

    figure = plot_descent(descend(noisy, 0.0, steps=20))
    check_layout(figure)
    [curve], [steps] = lines_of(figure.axes[0], BLUE), lines_of(figure.axes[0], ORANGE)
    assert np.abs(np.interp(steps[:, 0], *curve.T) - steps[:, 1]).max() < 0.05


def test_a_search_for_a_rate():
    x = np.random.default_rng(0).normal(size=(80, 2))
    report = find_learning_rate(fl.Dense(1), (x, x @ np.array([1.0, -2.0])), loss="mse")
    figure = report.plot()
    check_layout(figure)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    [curve] = lines_of(axes, BLUE)
    known = np.isfinite(report.losses)
    assert_close(curve, np.stack([report.rates, report.losses], 1)[known])
    assert f"suggestion {report.suggestion:.3g}" in words_of(figure)
    assert (report.suggestion, report.trials[report.suggestion]) in marks_of(axes, ORANGE)
    assert_close(lines_of(axes, ORANGE)[0][:, 0], np.array([r for r, v in report.trials.items() if np.isfinite(v)]))


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(ConfigError, match="w holds 3 numbers: a picture shows one or two"):
        plot_descent(descend(lambda w: (w * w).sum(), np.ones(3), steps=2))
    with pytest.raises(ConfigError, match=r"draws what fl\.descend gives, given float"):
        plot_descent(3.0)
    with pytest.raises(ConfigError, match="given an empty list"):
        plot_descent([])
    way = descend(valley, 0.0, steps=2)
    with pytest.raises(ConfigError, match="6 descents in one picture: at most 5"):
        plot_descent({str(i): way for i in range(6)})
