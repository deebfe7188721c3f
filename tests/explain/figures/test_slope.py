"""The derivative as a slope: what is drawn is f, and the tangent is the derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from fallline.explain.figures.plain import (
    BLUE,
    ORANGE,
)
from fallline.explain.figures.slope import plot_slope
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, words_of
from tests.tolerance import assert_close


def J(x):
    t = x**2
    return fl.cos(fl.sin(t) + 3 * t)


@pytest.mark.parametrize(
    "x, value, slope",
    [
        (0.5, 0.5424849757, -3.3341464144),
        (1.0, -0.7649205628, 4.5607917907),
        (2.0, 0.2451003682, 9.0991485448),
    ],
)
def test_row_020_the_tangent_has_the_slope_of_the_gradient(x, value, slope):
    axes = fl.plot_slope(J, x).axes[0]
    [tangent] = lines_of(axes, ORANGE)
    assert_close((tangent[1, 1] - tangent[0, 1]) / (tangent[1, 0] - tangent[0, 0]), slope, "printed")
    assert_close(tangent.mean(axis=0), np.array([x, value]), "printed")
    assert_close(np.array(marks_of(axes, ORANGE)), np.array([[x, value]]), "printed")
    assert_close(float(fl.grad(J)(x)), slope, "printed")
    words = words_of(axes.figure)
    assert f"slope {slope:.4g}\nat x = {x:g}".replace("-", "−") in words
    assert "J(x)" in words


def test_the_curve_is_the_function():
    axes = plot_slope(J, 1.0).axes[0]
    [curve] = lines_of(axes, BLUE)
    assert curve[0, 0] <= 0.0
    assert curve[-1, 0] >= 2.0
    assert_close(curve[:, 1], [math.cos(math.sin(x * x) + 3 * x * x) for x in curve[:, 0]])


def test_several_points_get_a_tangent_each_and_the_ends_can_be_chosen():
    axes = plot_slope(lambda w: (w - 3) ** 2, [0, 1.08, 5], low=-2, high=8).axes[0]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in (line[[0, -1]] for line in lines_of(axes, ORANGE))]
    assert_close(slopes, [-6.0, 2 * (1.08 - 3), 4.0])
    assert axes.get_xlim() == (-2.0, 8.0)
    assert axes.get_title(loc="left") == "f(w)"


@pytest.mark.parametrize(
    "f, w",
    [
        (J, 1.0),
        (J, [0.5, 1, 2]),
        (lambda w: (w - 3) ** 2, [0, 1.08, 1.87, 5]),
        (lambda x: fl.log(x), 0.5),
        (lambda x: 1 / x, [-1.0, 2.0]),
        (lambda w: 0.0 * w + 2.0, 1.0),
        (lambda w: 1e6 * w, 3.0),
        (fl.exp, 300.0),
        (fl.sigmoid, [-4.0, 0.0, 2.0]),
    ],
    ids=["cos", "three", "square", "log", "pole", "constant", "steep", "huge", "sigmoid"],
)
def test_nothing_overlaps(f, w):
    check_layout(plot_slope(f, w))


def test_the_two_sides_of_a_pole_are_not_joined():
    axes = plot_slope(lambda x: 1 / x, [-1.0, 2.0]).axes[0]
    [curve] = lines_of(axes, BLUE)
    left, right = curve[curve[:, 0] < 0], curve[curve[:, 0] > 0]
    assert math.isnan(left[-1, 1])
    assert math.isnan(right[0, 1])


@pytest.mark.parametrize(
    "given, message",
    [
        ({"w": "three"}, "w='three': give a number"),
        ({"w": []}, "give at least one number"),
        ({"w": math.nan}, "all of them finite"),
        ({"w": 1.0, "low": 2.0}, "low must lie below high, and w"),
        ({"w": -1.0, "f": fl.log}, "at w = -1 the value is nan"),
    ],
)
def test_what_cannot_be_drawn_is_told(given, message):
    with pytest.raises(ConfigError, match=message):
        plot_slope(**{"f": J, **given})


def test_a_function_of_arrays_is_refused():
    with pytest.raises(ShapeError, match="one float as its result"):
        plot_slope(lambda w: w * np.ones(3), 1.0)
