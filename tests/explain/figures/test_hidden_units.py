"""What hidden units compute, over the inputs: values and switching lines are those of the layers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import fallline as fl
from fallline.core.errors import ConfigError, UnknownNameError
from fallline.explain.figures.hidden_units import MOST_UNITS, plot_units
from fallline.explain.figures.plain import (
    BLUE,
    INK,
)
from tests.explain.figures.pictures import check_layout, lines_of, words_of
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = (np.hypot(*X.T) > 1.1).astype(int)


def trained(*layers, data=X, y=Y):
    return fl.fit(fl.Sequential(*layers), (data, y), epochs=3, seed=0)


def cells_of(figure):
    """The cells of units, without color scales and hidden ones."""
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_title().isdigit()]


def edges_of(axes):
    """The points of the dark contour lines."""
    found = []
    for drawn in axes.collections:
        colors = np.atleast_2d(drawn.get_edgecolor())
        if len(colors) and tuple(colors[0][:3]) == to_rgb(INK):
            found += [path.vertices for path in drawn.get_paths() if len(path.vertices)]
    return np.concatenate(found) if found else np.zeros((0, 2))


def test_each_unit_switches_where_its_input_is_zero():
    fit = trained(fl.Dense(5), fl.ReLU(), fl.Dense(1))
    figure = plot_units(fit, X)
    check_layout(figure)
    words = words_of(figure).splitlines()
    assert "layers.1 ReLU, 5 units" in words
    assert {"x[0]", "x[1]"} <= set(words)  # the inputs' names, as arrays have none
    cells = cells_of(figure)
    assert [axes.get_title() for axes in cells] == ["0", "1", "2", "3", "4"]
    first = fit.model.network.layers[0]
    check_edges(cells, lambda points: points @ first.W + first.b)


def check_edges(cells, inputs):
    """The dark line of each unit lies where its input is 0, and is missing where the input has one sign.

    inputs  of the units at points of the plane, (n, 2) -> (n, n_units)
    """
    plane = np.stack(np.meshgrid(*(np.linspace(*ends, 61) for ends in (cells[0].get_xlim(), cells[0].get_ylim()))), -1)
    z = inputs(plane.reshape(-1, 2))
    crossed = 0
    for unit, axes in enumerate(cells):
        edge = edges_of(axes)
        assert (len(edge) > 0) == (z[:, unit].min() < 0 < z[:, unit].max())
        if len(edge):
            crossed += 1
            assert_close(inputs(edge)[:, unit], np.zeros(len(edge)), "library32")
    assert crossed >= 2


def shifted(z):
    return 0.2 - 1.5 * z


@pytest.mark.parametrize("between", [fl.Residual(fl.Dense(5)), shifted])
def test_a_container_or_a_function_before_the_activation_belongs_to_its_input(between):
    fit = trained(fl.Dense(5), between, fl.ReLU(), fl.Dense(1))
    first, then, *_ = fit.model.network.layers
    check_edges(cells_of(plot_units(fit, X)), lambda points: then(points @ first.W + first.b))


def test_every_hidden_activation_is_shown_and_one_can_be_chosen():
    fit = trained(fl.Dense(4), fl.Tanh(), fl.Dropout(0.5), fl.Dense(3), fl.Softsign(), fl.Dense(1))
    words = words_of(plot_units(fit, X))
    assert "layers.1 Tanh, 4 units" in words
    assert "layers.4 Softsign, 3 units" in words
    chosen = plot_units(fit.model, X, layer="layers.3")
    assert "layers.3 Dense, 3 units" in words_of(chosen)
    assert len(cells_of(chosen)) == 3


def test_along_one_input_units_are_curves():
    x = X[:, :1]
    fit = trained(fl.Dense(10), fl.Tanh(), fl.Dense(1), data=x, y=X[:, 0])
    figure = plot_units(fit, x)
    check_layout(figure)
    first = fit.model.network.layers[0]
    for unit, axes in enumerate(cells_of(figure)):
        [curve] = lines_of(axes, BLUE)
        assert_close(curve[:, 1], np.tanh(curve[:, 0] * first.W[0, unit] + first.b[unit]), "f32")


def test_of_many_units_the_first_are_drawn():
    figure = plot_units(trained(fl.Dense(MOST_UNITS + 8), fl.ReLU(), fl.Dense(1)), X)
    assert f"the first {MOST_UNITS} of {MOST_UNITS + 8} units" in words_of(figure)
    assert len(cells_of(figure)) == MOST_UNITS
    check_layout(figure)


def test_a_picture_is_written(tmp_path):
    plot_units(trained(fl.Dense(2), fl.Tanh(), fl.Dense(1)), X, path=tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(ConfigError, match="the network has no hidden units"):
        plot_units(trained(fl.Dense(1)), X)
    fit = trained(fl.Dense(2), fl.Tanh(), fl.Dense(1))
    with pytest.raises(UnknownNameError, match=r"no layer is called 'layers\.7': did you mean"):
        plot_units(fit, X, layer="layers.7")
    wide = RNG.normal(size=(60, 3))
    with pytest.raises(ConfigError, match="the model has 3 inputs"):
        plot_units(trained(fl.Dense(2), fl.Tanh(), fl.Dense(1), data=wide), wide)
