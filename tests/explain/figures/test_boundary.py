"""Decision boundaries and predictions over one or two inputs: what is shaded is what the model predicts."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import fallline as fl
from fallline.core.errors import ConfigError, DataError
from fallline.explain.figures.boundary import plane_around, plot_boundary
from fallline.explain.figures.plain import (
    COLORS,
    INK,
    ORANGE,
)
from fallline.train.tabular import TableOptions, prepare
from tests.explain.figures.pictures import check_layout, lines_of, words_of
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
TWO = (X[:, 0] + X[:, 1] > 0.3).astype(int)
THREE = np.array(["low", "middle", "high"])[(X[:, 0] > -0.4).astype(int) + (X[:, 0] > 0.5)]
NUMBERS = 20 + 3 * X[:, 0] - 2 * X[:, 1]


def trained(y, units=1, data=X, **settings):
    return fl.fit(fl.Dense(units), (data, y), epochs=40, optimizer="adam(0.1)", seed=0, **settings)


def boundary_of(figure):
    """The points of all dark contour lines, (n, 2)."""
    axes, found = figure.axes[0], []
    for drawn in axes.collections:
        colors = np.atleast_2d(drawn.get_edgecolor())
        if len(colors) and tuple(colors[0][:3]) == to_rgb(INK) and not len(drawn.get_offsets()) > 1:
            found += [path.vertices for path in drawn.get_paths() if len(path.vertices)]
    return np.concatenate(found)


def test_two_classes_meet_where_the_probability_is_one_half():
    fit = trained(TWO)
    figure = plot_boundary(fit, X, TWO)
    check_layout(figure)
    line = boundary_of(figure)
    assert len(line) > 20
    assert_close(fit.model.predict_proba(line)[:, 1], np.full(len(line), 0.5), "fit")
    assert "probability of 1" in words_of(figure)
    axes = figure.axes[0]
    assert axes.get_xlim()[0] < X[:, 0].min() < X[:, 0].max() < axes.get_xlim()[1]
    scattered = [np.asarray(c.get_offsets()) for c in axes.collections if len(c.get_offsets()) > 1]
    assert_close(np.sort(scattered[0], axis=0), np.sort(X[TWO == 0], axis=0), "f32")
    assert_close(np.sort(scattered[1], axis=0), np.sort(X[TWO == 1], axis=0), "f32")


def test_a_loss_without_probabilities_is_shaded_by_its_score():
    fit = trained(TWO, loss="hinge")
    figure = plot_boundary(fit.model, X, TWO)
    check_layout(figure)
    line = boundary_of(figure)
    assert_close(fit.model.scores(line), np.zeros(len(line)), "fit")
    assert "score, above 0: 1" in words_of(figure)


def test_three_classes_in_three_colors():
    fit = trained(THREE, 3)
    figure = plot_boundary(fit, X, THREE)
    check_layout(figure)
    axes = figure.axes[0]
    [image] = axes.images
    plane = plane_around(fit.model, X, 201)
    assert image.get_array().shape == (201, 201, 3)
    p = fit.model.predict_proba(plane.places)
    sure = (p.max(axis=1) - 1 / 3) / (1 - 1 / 3)
    colors = np.array([to_rgb(c) for c in COLORS[:3]])[p.argmax(axis=1)]
    assert_close(np.asarray(image.get_array()).reshape(-1, 3), 1 - 0.5 * sure[:, None] * (1 - colors), "f32")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["high", "low", "middle"]
    top = np.sort(fit.model.predict_proba(boundary_of(figure)), axis=1)
    assert np.abs(top[:, 2] - top[:, 1]).max() < 0.02  # two classes are equally likely there


def test_numbers_are_shaded_with_the_rows_in_the_same_colors():
    fit = trained(NUMBERS)
    figure = plot_boundary(fit, X, NUMBERS)
    check_layout(figure)
    [rows] = [c for c in figure.axes[0].collections if len(c.get_offsets()) > 1]
    assert_close(np.asarray(rows.get_array()), NUMBERS)
    shades = figure.axes[0].collections[0]
    assert (rows.norm.vmin, rows.norm.vmax) == (shades.norm.vmin, shades.norm.vmax)
    assert rows.norm.vmax >= NUMBERS.max()
    assert "prediction, and the rows" in words_of(figure)


def test_one_input_is_a_curve():
    x = X[:, :1]
    fit = trained(NUMBERS, data=x)
    figure = plot_boundary(fit, (x, NUMBERS))
    check_layout(figure)
    [curve] = lines_of(figure.axes[0], ORANGE)
    assert_close(curve[:, 1], fit.model.predict(curve[:, :1]))
    several = trained(NUMBERS, 3, data=x, loss=fl.Quantile((0.1, 0.5, 0.9)))
    assert len(lines_of(plot_boundary(several, x, NUMBERS).axes[0], ORANGE)) == 3
    two = trained(TWO, data=x)
    figure = plot_boundary(two, x, TWO)
    check_layout(figure)
    [curve] = lines_of(figure.axes[0], COLORS[1])
    assert_close(curve[:, 1], two.model.predict_proba(curve[:, :1])[:, 1])
    [crossing] = lines_of(figure.axes[0], INK)
    assert_close(two.model.predict_proba(crossing[:1, :1])[0, 1], 0.5, "statistics")
    figure = plot_boundary(trained(THREE, 3, data=x), x, THREE)
    check_layout(figure)
    assert [len(lines_of(figure.axes[0], color)) for color in COLORS[:3]] == [1, 1, 1]


def test_names_of_a_frame_and_a_table_with_its_target():
    table = fl.read_table({"age": (50 + 9 * X[:, 0]).tolist(), "rate": X[:, 1].tolist(), "ill": THREE.tolist()})
    model = prepare(table, "ill", TableOptions(hidden=(), epochs=1)).model
    axes = plot_boundary(model, table).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", "rate")
    assert 20 < axes.get_xlim()[0] < 50 < axes.get_xlim()[1]  # in the unit of the table
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["age", "rate"])
    axes = plot_boundary(fl.fit(fl.Dense(1), (frame, TWO), epochs=1), frame, TWO).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("age", "rate")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_written(tmp_path, suffix):
    plot_boundary(trained(TWO), X, TWO, path=tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").stat().st_size > 1000


def test_what_cannot_be_drawn_is_told():
    wide = RNG.normal(size=(30, 3))
    fit = trained(TWO)
    with pytest.raises(ConfigError, match="the model has 3 inputs, a plane has two"):
        plot_boundary(trained(NUMBERS[:30], data=wide), wide, NUMBERS[:30])
    with pytest.raises(DataError, match="the targets are needed"):
        plot_boundary(fit, X)
    with pytest.raises(DataError, match="X has 90 rows and y 3"):
        plot_boundary(fit, X, TWO[:3])
    with pytest.raises(ConfigError, match="the model knows 7 classes: at most 6 colors"):
        plot_boundary(trained(np.arange(90) % 7, 7), X, np.arange(90) % 7)
    with pytest.raises(ConfigError, match="a fitted model is needed, given Dense"):
        plot_boundary(fl.Dense(1), X, TWO)
    table = fl.read_table({"kind": ["u", "v"] * 45, "a": X[:, 0].tolist(), "ill": TWO.tolist()})
    with pytest.raises(ConfigError, match="the input 'kind' holds no numbers"):
        plot_boundary(prepare(table, "ill", TableOptions(hidden=(), epochs=1)).model, table)
    with pytest.raises(ConfigError, match="predicts 2 numbers at once"):
        plot_boundary(trained(np.stack([NUMBERS, NUMBERS], 1), 2), X, np.stack([NUMBERS, NUMBERS], 1))
