"""Activations, links and losses as pictures: the curves are what the layers compute, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError, UnknownNameError
from fallline.core.record import RECORDS
from fallline.explain.figures.functions import plot_function, plot_functions, with_slope
from fallline.explain.figures.plain import (
    BLUE,
    COLORS,
    ORANGE,
)
from fallline.losses.loss import losses
from fallline.nn.activations import activations
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, words_of
from tests.tolerance import assert_close

ACTIVATIONS = [row.name for row in activations() if RECORDS[row.name].__module__.startswith("fallline.")]
LOSSES = [row.name for row in losses() if RECORDS[row.name].__module__.startswith("fallline.")]
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def curve(axes, color):
    """The drawn points of the longest line in a color, without those at gaps."""
    points = max(lines_of(axes, color), key=len)
    return points[np.isfinite(points).all(axis=1)]


@every_activation
def test_every_activation_is_drawn_with_its_derivative(name):
    figure = fl.plot_function(name)
    axes = figure.axes[0]
    assert name in words_of(figure)
    check_layout(figure)
    value, slope = curve(axes, BLUE), curve(axes, ORANGE)
    assert len(value) > 900
    within = np.abs(slope[:, 0]) < 4.9
    chords = np.gradient(np.interp(slope[:, 0], *value.T), slope[:, 0])
    off = np.abs(chords - slope[:, 1])[within] > 0.02
    assert off.sum() <= 8  # beside kinks and jumps chords say nothing


def test_a_function_of_the_user_is_drawn_with_its_derivative():
    axes = fl.plot_function(lambda x: x * fl.exp(-x * x)).axes[0]
    value, slope = curve(axes, BLUE), curve(axes, ORANGE)
    x = value[:, 0]
    assert_close(value[:, 1], x * np.exp(-x * x))
    assert_close(slope[:, 1], (1 - 2 * x * x) * np.exp(-x * x))
    assert "by automatic differentiation" in words_of(axes.figure)


def test_both_branches_of_the_logistic_loss():
    figure = fl.plot_function("bce")
    over_p, over_score, slopes = figure.axes
    one, zero = (lines_of(over_p, color)[0] for color in COLORS[:2])
    assert_close(one[:, 1], -np.log(one[:, 0]), "library")
    assert_close(zero[:, 1], -np.log1p(-zero[:, 0]), "library")
    marks = sorted(marks_of(over_p, COLORS[0]))
    assert_close(np.array(marks), np.array([[0.01, 4.605170186], [0.99, 0.0100503359]]), "printed")
    for words in ("4.605 at ŷ = 0.01", "0.01005 at ŷ = 0.99", "target 0", "target 1"):
        assert words in words_of(figure)
    one, zero = (lines_of(over_score, color)[0] for color in COLORS[:2])
    assert_close(one[:, 1], np.logaddexp(0, -one[:, 0]))
    assert_close(zero[:, 1], np.logaddexp(0, zero[:, 0]))
    one, zero = (lines_of(slopes, color)[0] for color in COLORS[:2])
    assert_close(one[:, 1], special.expit(one[:, 0]) - 1)
    assert_close(zero[:, 1], special.expit(zero[:, 0]))


def test_curves_marks_and_words_of_the_sigmoid():
    axes = plot_function("sigmoid").axes[0]
    value, slope = curve(axes, BLUE), curve(axes, ORANGE)
    assert_close(value[:, 1], special.expit(value[:, 0]))
    assert_close(slope[:, 1], special.expit(value[:, 0]) * special.expit(-value[:, 0]))
    assert (0.0, 0.5) in marks_of(axes, BLUE)
    assert (0.0, 0.25) in marks_of(axes, ORANGE)
    words = words_of(axes.figure)
    for text in ("σ(z) = 1 / (1 + e^−z)", "φ′(z) = σ(z) (1 − σ(z))", "φ(0) = 1/2", "φ′(0) = 1/4"):
        assert text in words


def test_a_step_is_drawn_with_a_gap_rings_and_its_value_on_the_spot():
    axes = plot_function("heaviside").axes[0]
    line = max(lines_of(axes, BLUE), key=len)
    assert np.isnan(line[:, 1]).sum() == 2
    rings = {
        tuple(float(v[0]) for v in point.get_data())
        for point in axes.lines
        if point.get_marker() == "o" and point.get_markerfacecolor() == "white"
    }
    assert rings == {(0.0, 0.0), (0.0, 1.0)}
    assert (0.0, 0.5) in marks_of(axes, BLUE)


def test_settings_of_the_layer_count():
    assert_close(curve(plot_function("leaky_relu(slope=0.1)").axes[0], BLUE)[0], np.array([-5.0, -0.5]))
    assert_close(curve(plot_function(fl.ELU(alpha=0.5)).axes[0], BLUE)[0, 1], 0.5 * np.expm1(-5.0))
    assert "ELU(alpha=0.5)" in words_of(plot_function(fl.ELU(alpha=0.5)))
    layer = fl.PReLU().build(fl.spec((1, 1)), 0).replace(slope=np.array([0.5]))
    assert_close(curve(plot_function(layer).axes[0], BLUE)[0, 1], -2.5)
    wide = fl.Maxout(units=2).build(fl.spec((1, 1), "float64"), 3)
    found = curve(plot_function(wide).axes[0], BLUE)
    assert_close(found[:, 1], wide(found[:, :1])[:, 0])


def test_links_by_name_and_of_several_scores():
    assert_close(
        curve(plot_function("exp").axes[0], BLUE)[:, 1], np.exp(curve(plot_function("exp").axes[0], BLUE)[:, 0])
    )
    assert "exp, a link" in words_of(plot_function("exp"))
    z = curve(plot_function("softmax").axes[0], BLUE)
    assert_close(z[:, 1], special.expit(z[:, 0]))  # against a second score of 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_drawn(name):
    figure = plot_function(name)
    check_layout(figure)
    assert name in words_of(figure)
    cost, slope = figure.axes[-2:]
    for color in COLORS[: len(lines_of(cost, COLORS[0]))]:
        at, rise = lines_of(cost, color)[0], lines_of(slope, color)[0]
        numeric = np.gradient(at[:, 1], at[:, 0])
        kink = np.abs(numeric - rise[:, 1]) > 0.05 * (1 + np.abs(rise[:, 1]))
        assert kink.sum() <= 4


def test_a_loss_with_several_scores():
    cost = plot_function("cross_entropy").axes[0]
    own, other = (lines_of(cost, color)[0] for color in COLORS[:2])
    assert_close(own[:, 1], np.log(np.exp(own[:, 0]) + 2) - own[:, 0])
    assert_close(other[:, 1], np.log(np.exp(other[:, 0]) + 2))
    cost = plot_function(fl.Quantile((0.1, 0.9))).axes[0]
    assert_close(lines_of(cost, COLORS[1])[0][0, 1], 4.5)  # 5 below the target, 0.9 · 5
    counts = plot_function("poisson").axes[0]
    assert_close(lines_of(counts, COLORS[1])[0][0, 1], np.exp(-3.0) + 6 + np.log(2.0))


def test_the_gallery_of_activations():
    figure = plot_functions()
    shown = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert [name.partition("(")[0] for name in shown] == ACTIVATIONS
    check_layout(figure)


def test_the_gallery_of_links(tmp_path):
    figure = plot_functions("links", tmp_path / "links.png")
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 4
    assert (tmp_path / "links.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="kind='loses': known: activations, links"):
        plot_functions("loses")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_written(tmp_path, suffix):
    plot_function("relu", path=tmp_path / f"relu.{suffix}")
    assert (tmp_path / f"relu.{suffix}").stat().st_size > 1000


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(
        UnknownNameError, match="no activation, loss or link is called 'sigmoids': did you mean 'sigmoid'"
    ):
        plot_function("sigmoids")
    with pytest.raises(ConfigError, match="3 is not a function"):
        plot_function(3)
    with pytest.raises(ShapeError, match="it must take numbers one by one"):
        plot_function(lambda x: x.sum())
    with pytest.raises(ConfigError, match="no field 'slop'"):
        plot_function("leaky_relu(slop=0.1)")
    with pytest.raises(ShapeError):
        with_slope(lambda z: z[:2], np.zeros(5))
