"""Mission row 109: methods by rate, derivative, second derivative and momentum, all on one loss surface; and what
row 91 asks for besides restarts: what leads out of a local minimum."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.explain.figures.ways import STYLES
from tests.explain.figures.pictures import check_layout, lines_of, marks_of, words_of
from tests.tolerance import assert_close

OPTIMIZERS = [
    "random(trials=5)", "sgd(0.1)", "momentum(0.1)", "adagrad(0.1)", "rmsprop(0.01)", "adam(0.01)", "lion(0.001)",
    "newton",
]  # fmt: skip


def heart():
    frame = fl.read_table("simulated-heart").frame
    X = frame.select("Age", "RestBP", "Chol", "MaxHR", "Oldpeak").to_numpy().astype(float)
    return (X - X.mean(axis=0)) / X.std(axis=0), frame["AHD"].to_numpy()


def test_row_109_one_call_draws_all_optimizers_on_one_loss_surface():
    X, ill = heart()
    network = fl.mlp(hidden=(4,), activation="tanh")
    found = fl.compare(network, (X, ill), optimizers=OPTIMIZERS, epochs=6, l2=0.01)
    starts = np.stack([way.path[0] for (way,) in found.ways.values()])
    assert_close(starts, np.broadcast_to(starts[0], starts.shape), "f32")
    assert all(way.best < way.losses[0] for (way,) in found.ways.values())
    figure = found.plot()
    axes = figure.axes[0]
    for (label, (way,)), (color, sign) in zip(found.ways.items(), STYLES, strict=False):
        assert len(max(lines_of(axes, color), key=len)) == len(way.path), label
        assert len(marks_of(axes, color, sign)) == 1
    assert "the plane holds" in words_of(figure)
    check_layout(figure)


def two_valleys(w):
    return w**4 - 3 * w**2 + w


GLOBAL = min(np.roots([4.0, 0.0, -6.0, 1.0]).real)  # where the derivative 4w³ - 6w + 1 is 0


def test_row_091_an_annealed_rate_jumps_out_of_the_local_minimum_and_settles_in_the_global_one():
    small = fl.descend(two_valleys, 2.0, learning_rate=0.02, steps=60)
    assert small.minimum > 0
    large = fl.descend(two_valleys, 2.0, learning_rate=0.17, steps=60)
    assert not large.converged  # 2 / curvature at the minimum is 0.14
    annealed = fl.descend(two_valleys, 2.0, learning_rate=fl.Exponential(0.17, 0.93), steps=120)
    assert annealed.converged
    assert_close(annealed.minimum, GLOBAL)


@pytest.mark.slow
def test_row_091_noise_leads_out_of_the_local_minimum_more_often_the_stronger_it_is():
    def escapes(noise):
        def noisy(w, rng):
            return two_valleys(w) + noise * w * rng.normal()

        rate = fl.Exponential(0.05, 0.98)
        return sum(fl.descend(noisy, 2.0, learning_rate=rate, steps=100, seed=k).minimum < 0 for k in range(5))

    assert escapes(2.0) == 0
    assert escapes(10.0) > 2


def test_row_091_every_kind_of_method_finds_the_global_minimum_from_ten_starts():
    for method in ("newton", "random(trials=10)"):
        best = fl.descend(two_valleys, optimizer=method, restarts=10, low=-2, high=2, steps=30)
        assert_close(best.minimum, GLOBAL, "fit")
        assert "a spread of 2.44" in best.minima.note
