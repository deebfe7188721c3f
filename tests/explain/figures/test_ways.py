"""The picture of a comparison: all ways on one surface, in the plane that holds most of them, or over a clock."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.explain.figures.ways import STYLES, Plane, _plane
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, texts_of, words_of
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = X[:, 0] * X[:, 1] + 0.1 * RNG.normal(size=60)
NET = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))


def valley(w):
    return (w[0] - 1) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


@pytest.fixture(scope="module")
def race():
    optimizers = ["sgd(0.1)", "momentum(0.1)", "adam(0.05)", "random(trials=10)"]
    return fl.compare(NET, (X, Y), optimizers=optimizers, epochs=15, l2=0.01)


@pytest.fixture(scope="module")
def surface(race):
    return race.plot()


def test_all_ways_leave_one_start_and_end_at_their_own_sign(race, surface):
    axes = surface.axes[0]
    paths = {label: way.path for label, (way,) in race.ways.items()}
    plane = _plane(race, paths)
    for path, (color, sign) in zip(paths.values(), STYLES, strict=False):
        drawn = max(lines_of(axes, color), key=len)
        assert_close(drawn, plane.places(path))
        [end] = marks_of(axes, color, sign)
        assert_close(np.array(end), plane.places(path)[-1])
    assert marks_of(axes, "black", "s") == [(0.0, 0.0)]
    words = words_of(surface)
    assert "start: " in words
    for label, (way,) in race.ways.items():
        assert f"{label}: {way.losses[-1]:.4g}" in words


def test_the_plane_is_that_of_the_first_two_principal_directions(race):
    paths = {label: way.path for label, (way,) in race.ways.items()}
    plane = _plane(race, paths)
    moved = np.concatenate([path - path[0] for path in paths.values()])  # equally many points each
    values, vectors = np.linalg.eigh(moved.T @ moved)
    for i in (0, 1):
        assert_close(abs(plane.steps[i] @ vectors[:, -1 - i]), 1.0, "run")
    share = values[-2:].sum() / values.sum()
    assert f"the plane holds {share:.0%} of the variance of the ways" in plane.title
    assert f"main direction 1 ({values[-1] / values.sum():.0%} of the variance)" == plane.labels[0]


def test_the_surface_is_the_loss_with_its_penalties(race):
    way = race.ways["adam(0.05)"][0]
    plane = _plane(race, {label: each.path for label, (each,) in race.ways.items()})
    for i in (0, 7, -1):
        assert_close(plane.loss_at(way.path[i]), way.losses[i], "f32")
    grid = plane.grid(np.array([0.0, 0.5]), np.array([0.0, 0.25]))
    assert_close(grid[1, 1], plane.loss_at(plane.origin + 0.5 * plane.steps[0] + 0.25 * plane.steps[1]))
    assert "mean loss + penalties of 60 rows" in plane.title


def test_no_words_lie_on_each_other_or_on_a_way(race, surface):
    check_layout(surface)
    axes = surface.axes[0]
    ways = [line for line in axes.lines if len(line.get_xdata()) > 2]
    levels = [text for text in texts_of(surface) if text in axes.texts and "start" not in text.get_text()]
    assert levels
    for text in levels:
        box = text.get_window_extent()
        for line in ways:
            points = axes.transData.transform(np.column_stack(line.get_data()))
            assert not ((points > [box.x0, box.y0]) & (points < [box.x1, box.y1])).all(axis=1).any()


def test_two_weights_are_drawn_exactly():
    found = fl.compare(valley, [-1.0, 1.0], optimizers=["sgd(0.01)", "newton"], steps=30)
    figure = found.plot()
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("w[0]", "w[1]")
    drawn = max(lines_of(axes, STYLES[0][0]), key=len)
    assert_close(drawn, found.ways["sgd(0.01)"][0].path)
    check_layout(figure)
    line = fl.compare(fl.Dense(1), (X[:, :1], Y), optimizers=["sgd", "adam"], epochs=3).plot()
    assert line.axes[0].get_xlabel() == "W[0, 0]"


def test_what_flies_away_or_goes_far_is_cut_and_said():
    found = fl.compare(valley, [-1.0, 1.0], optimizers=["sgd(0.01)", "sgd(0.002)", "sgd(0.2)"], steps=20)
    assert "e+24, flies away" in words_of(found.plot())
    optimizers = ["sgd(0.0001)", "sgd(0.0002)", "newton"]
    far = fl.compare(lambda w: (w[0] - 100) ** 2 + w[1] ** 2, [0.0, 0.0], optimizers=optimizers, steps=20)
    figure = far.plot()
    check_layout(figure)
    assert "newton: 0, goes on outside" in words_of(figure)
    assert figure.axes[0].get_xlim()[1] < 3.0


def test_over_a_clock_the_loss_is_drawn_as_curves(race, tmp_path):
    figure = race.plot(tmp_path / "curves.png", over="passes")
    assert (tmp_path / "curves.png").exists()
    axes = figure.axes[0]
    assert axes.get_xlabel() == "passes through all rows"
    for (way,), (color, _) in zip(race.ways.values(), STYLES, strict=False):
        [curve] = lines_of(axes, color)
        assert_close(curve[1:], np.column_stack([way.passes, way.losses])[1:])
    check_layout(figure)
    assert race.plot(over="seconds").axes[0].get_xlabel() == "seconds"


def test_networks_of_different_size_have_curves_only():
    found = fl.compare((X, Y), widths=[2, 3], epochs=2, seeds=2)
    figure = found.plot()
    assert figure.axes[0].get_xlabel() == "passes through all rows"
    check_layout(figure)


def test_too_many_ways_are_refused():
    many = fl.compare(valley, [0.0, 0.0], learning_rate=[0.001 * i for i in range(1, 14)], steps=1)
    with pytest.raises(ConfigError, match="13 ways in one picture: at most 12 can be told apart"):
        many.plot()


def test_places_are_the_shadow_on_the_plane():
    steps = np.linalg.qr(RNG.normal(size=(5, 2)))[0].T
    plane = Plane(lambda w: float(w @ w), np.ones(5), steps, ("a", "b"), "")
    path = RNG.normal(size=(4, 5))
    back = plane.origin + plane.places(path) @ steps
    assert_close((path - back) @ steps.T, np.zeros((4, 2)), "f64")
