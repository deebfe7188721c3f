"""The loss over the weights: slices, planes and the optimizer's path, all computed by the model itself."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, DataError, UnknownNameError
from fallline.core.tree import leaves, with_leaves
from fallline.explain.figures.landscape import Landscape, main_lines, random_lines
from fallline.explain.figures.plain import (
    BLUE,
    INK,
    ORANGE,
)
from fallline.explain.figures.surface import plot_loss
from fallline.train.model import Model
from fallline.train.tabular import TableOptions, prepare
from fallline.train.trail import parted
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, words_of
from tests.tolerance import TOL, assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2))
RINGS = (np.hypot(*X.T) > 1.1).astype(int)
LINE = 2.0 * X[:, 0] - X[:, 1] + 1.0 + 0.2 * RNG.normal(size=120)


@pytest.fixture(scope="module")
def fit():
    net = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))
    return fl.fit(net, (X, RINGS), epochs=30, optimizer="adam(0.03)", seed=1, keep_path=True)


@pytest.fixture(scope="module")
def linear():
    return fl.fit(fl.Dense(1), (X, LINE), loss="mse", epochs=20, optimizer="sgd(0.02)", seed=1, keep_path=True)


def loss_with(model: Model, path: str, index: tuple[int, ...], value: float, y: np.ndarray) -> float:
    """What `evaluate` says about the model with one weight changed, in float64."""
    arrays = {p: a.astype(np.float64) for p, a in leaves(model.network).items()}
    arrays[path][index] = value
    return Model(with_leaves(model.network, arrays), model.loss, model.target).evaluate(X, y)["loss"]


def tangent_slope(axes):
    [tangent] = lines_of(axes, ORANGE)
    return float((tangent[1, 1] - tangent[0, 1]) / (tangent[1, 0] - tangent[0, 0]))


def test_a_slice_is_the_mean_loss_of_changed_models_with_the_gradient_as_tangent(fit):
    figure = plot_loss(fit, X, RINGS, along="layers.0.W[0, 1]")
    axes = figure.axes[0]
    [curve] = lines_of(axes, BLUE)
    for at, loss in curve[::67]:
        assert_close(loss, loss_with(fit.model, "layers.0.W", (0, 1), at, RINGS))
    now = float(fit.model.network.layers[0].W[0, 1])
    [mark] = marks_of(axes, ORANGE)
    assert_close(np.array(mark), np.array([now, fit.model.evaluate(X, RINGS)["loss"]]), "f32")
    target = RINGS.astype(float)

    def mean_loss(network):
        return fl.BinaryCrossEntropy()(network(X)[:, 0], target).mean()

    network = fl.map_leaves(lambda _, a: a.astype(np.float64), fit.model.network)
    assert_close(tangent_slope(axes), fl.grad(mean_loss)(network).layers[0].W[0, 1])
    words = words_of(figure)
    assert "layers.0.W[0, 1]" in words
    assert "mean loss (BinaryCrossEntropy), 120 rows" in words
    assert "now " in words
    check_layout(figure)


def test_the_lowest_place_of_a_slice_is_marked(linear):
    axes = plot_loss(linear, X, LINE, along="w1", span=3.0).axes[0]
    [curve] = lines_of(axes, BLUE)
    [lowest] = marks_of(axes, INK, "v")
    assert_close(lowest[1], curve[:, 1].min())
    assert axes.get_xlim()[1] - axes.get_xlim()[0] == pytest.approx(6.0)


@pytest.mark.parametrize(
    "name, shown",
    [
        ("layers.0.W[0, 1]", "layers.0.W[0, 1]"),
        ("0.W[-1, 1]", "layers.0.W[1, 1]"),
        ("layers.2.W[3]", "layers.2.W[3, 0]"),
        ("layers.2.b", "layers.2.b[0]"),
        ("2.b[0]", "layers.2.b[0]"),
    ],
)
def test_names_of_weights(fit, name, shown):
    line = Landscape(fit.model, X, RINGS).axis(name)
    assert line.label == shown
    assert line.step.sum() == 1.0
    path, _, index = shown.rstrip("]").partition("[")
    at = tuple(map(int, index.split(", ")))
    assert line.origin == pytest.approx(float(leaves(fit.model.network)[path][at]))


def test_the_lectures_names_in_a_linear_model(linear):
    land = Landscape(linear.model, X, LINE)
    assert [land.axis(f"w{i}").label for i in range(3)] == ["b[0]", "W[0, 0]", "W[1, 0]"]
    with pytest.raises(UnknownNameError, match=r"no weight is called 'w3': write one of W\[0…1, 0\], b\[0\]"):
        land.axis("w3")


@pytest.mark.parametrize(
    "name, message",
    [
        ("w1", r"no weight is called 'w1': write one of layers\.0\.W\[0…1, 0…3\], layers\.0\.b\[0…3\]"),
        ("W[0, 0]", "no weight is called"),  # two layers have a W
        ("layers.0.W[0, 9]", r"layers\.0\.W has shape \(2, 4\), write layers\.0\.W\[0…1, 0…3\]"),
        ("layers.0.W", "has shape"),
        ("layers.0.W[1]", "has shape"),
        ("layers[0", "no weight is called"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(fit, name, message):
    with pytest.raises(UnknownNameError, match=message):
        plot_loss(fit, X, RINGS, along=name)


def test_a_plane_of_two_weights(linear):
    figure = plot_loss(linear, (X, LINE), along=("w1", "w2"), span=3.0)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("W[0, 0]", "W[1, 0]")
    now = [float(v) for v in linear.model.network.W[:, 0]]
    assert_close(np.array(marks_of(axes, ORANGE)), np.array([now]), "f32")
    [lowest] = marks_of(axes, INK, "v")
    assert np.hypot(lowest[0] - 2.0, lowest[1] + 1.0) < 0.2  # the weights that made the targets
    check_layout(figure)


def test_the_grid_holds_the_losses(linear):
    land = Landscape(linear.model, X, LINE)
    w = land.weights + 0.5 * land.axis("w1").step
    expected = loss_with(linear.model, "W", (0, 0), land.axis("w1").origin + 0.5, LINE)
    assert_close(land.loss_at(w), expected)
    assert_close(land.loss_at(land.weights), linear.model.evaluate(X, LINE)["loss"], "f32")
    assert land.loss_at(np.full(land.weights.size, 1e200)) == np.inf


def test_the_path_of_the_optimizer(fit):
    figure = plot_loss(fit, X, RINGS)
    axes = figure.axes[0]
    check_layout(figure)
    land = Landscape(fit.model, X, RINGS)
    centered = fit.path - fit.path.mean(axis=0)
    shares = np.linalg.svd(centered, compute_uv=False) ** 2 / (centered**2).sum()
    for i, label in enumerate((axes.get_xlabel(), axes.get_ylabel())):
        assert f"{shares[i]:.1%} of its variance" in label
    [way] = lines_of(axes, ORANGE)
    assert len(way) == 31
    lengths = np.linalg.norm(np.diff(fit.path, axis=0), axis=1)
    assert (np.linalg.norm(np.diff(way, axis=0), axis=1) <= lengths + TOL["f64"]).all()  # a shadow is never longer
    assert tuple(way[0]) in marks_of(axes, INK, "s")
    assert tuple(way[-1]) in marks_of(axes, ORANGE)
    words = words_of(figure)
    assert f"start: {land.loss_at(fit.path[0]):.4g}" in words
    assert f"epoch 30: {land.loss_at(fit.path[-1]):.4g}" in words
    for (low, high), place in zip((axes.get_xlim(), axes.get_ylim()), way.T, strict=True):
        assert low < place.min() <= place.max() < high


def test_of_two_weights_the_plane_is_theirs(linear):
    one = fl.fit(fl.Dense(1), (X[:, :1], LINE), loss="mse", epochs=8, optimizer="sgd(0.05)", seed=1, keep_path=True)
    axes = plot_loss(one, X[:, :1], LINE).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("W[0, 0]", "b[0]")
    [way] = lines_of(axes, ORANGE)
    assert_close(way, one.path, "f32")


def test_the_kept_epoch_is_marked_where_it_is_not_the_last(linear):
    class Kept:
        model, path = linear.model, np.concatenate([linear.path, linear.path[-1:] + 1.0])

    figure = plot_loss(Kept(), X, LINE, points=9)
    assert "kept, epoch 20" in words_of(figure)
    check_layout(figure)


def test_random_directions_move_each_unit_by_the_length_of_its_weights(fit):
    land = Landscape(fit.model, X, RINGS)
    for line in random_lines(land, seed=3):
        moved = parted(line.step, land.params)
        assert not moved["layers.0.b"].any()
        assert_close(np.linalg.norm(moved["layers.0.W"], axis=0), np.linalg.norm(land.params["layers.0.W"], axis=0))
    first, again = (plot_loss(fit, X, RINGS, along="random", seed=3, points=5)._repr_png_() for _ in range(2))
    assert first == again
    assert first != plot_loss(fit, X, RINGS, along="random", seed=4, points=5)._repr_png_()
    check_layout(plot_loss(fit, X, RINGS, along="random", points=11))


def test_main_lines_are_orthogonal_and_point_forward(fit):
    lines = main_lines(Landscape(fit.model, X, RINGS), fit.path)
    for a, b in itertools.product((0, 1), repeat=2):
        assert_close(float(lines[a].step @ lines[b].step), float(a == b))
    assert (fit.path[-1] - fit.path[0]) @ lines[0].step > 0


def test_a_plane_takes_less_than_two_seconds(fit):
    start = time.process_time()
    plot_loss(fit, X, RINGS)
    assert time.process_time() - start < 2.0


def test_a_table_brings_its_targets():
    table = fl.read_table({"a": X[:, 0].tolist(), "kind": ["u", "v"] * 60, "y": LINE.tolist()})
    model = prepare(table, "y", TableOptions(hidden=(3,), epochs=1)).model
    axes = plot_loss(model, table, along="layers.0.W[0, 0]").axes[0]
    assert axes.get_title(loc="left") == "mean loss (SquaredError), 120 rows"
    assert_close(marks_of(axes, ORANGE)[0][1], model.evaluate(table)["loss"], "f32")


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"along": "path", "model": "inner"},
            r"which this Model has not: pass the Fit of fl\.fit\(…?\.*, keep_path=True\)",
        ),
        ({"along": ("b", "b", "b")}, "along names 3 weights"),
        ({"along": ("w1", "W[0, 0]")}, "names one weight twice"),
        *(({"points": n}, f"points={n}: points must be a whole number of at least 3") for n in (2, 3.5, True, None)),
        ({"seed": 1.5}, r"seed=1\.5: seed must be a whole number of at least 0"),
        *(
            ({"span": span, "along": along}, f"span={span}: span must be a finite number above 0, or left out")
            for span in (-1, 0, np.nan, np.inf, True)
            for along in ("b", "random")
        ),
        ({"span": (1, 2)}, r"span=\(1, 2\): span must be a finite number"),
        ({"along": 3}, "along=3: give the name of a weight, two of them, 'path' or 'random'"),
        ({"along": ()}, "along names 0 weights"),
        ({"model": fl.Dense(1)}, "a fitted model is needed, given Dense"),
    ],
)
def test_what_cannot_be_drawn_is_told(linear, given, message):
    given = {"model": linear, **given}
    if isinstance(given["model"], str):
        given["model"] = linear.model
    with pytest.raises(ConfigError, match=message):
        plot_loss(given.pop("model"), X, LINE, **given)


def test_rows_that_do_not_fit_are_told(linear):
    with pytest.raises(DataError, match="the targets are needed: pass X and y"):
        plot_loss(linear, X)
    with pytest.raises(DataError, match="X has 120 rows and y 3"):
        plot_loss(linear, X, LINE[:3])
    with pytest.raises(DataError, match=r"X of shape \(0, 2\) has no rows"):
        plot_loss(linear, X[:0], LINE[:0])
    with pytest.raises(ConfigError, match=r"the path has shape \(21, 2\), the network 3 weights"):
        main_lines(Landscape(linear.model, X, LINE), linear.path[:, :2])


def test_of_very_many_rows_a_share_is_drawn_and_said():
    rng = np.random.default_rng(0)
    many = rng.normal(size=(2500, 2))
    model = fl.fit(fl.Sequential(fl.Dense(1)), (many, many[:, 0]), epochs=1).model
    figure = plot_loss(model, many, many[:, 0], along="w1")
    shown = [text.get_text() for text in figure.findobj(match=lambda part: hasattr(part, "get_text"))]
    assert any("2,000 of 2,500 rows" in text for text in shown)
