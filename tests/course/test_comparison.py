"""Mission row 109: methods by rate, derivative, second derivative and momentum, all on one loss surface."""

from __future__ import annotations

import numpy as np

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


def test_row_109_one_call_draws_all_optimizers_on_one_loss_surface(tmp_path):
    X, ill = heart()
    network = fl.mlp(hidden=(4,), activation="tanh")
    found = fl.compare(network, (X, ill), optimizers=OPTIMIZERS, epochs=12, l2=0.01)
    starts = np.stack([way.path[0] for (way,) in found.ways.values()])
    assert_close(starts, np.broadcast_to(starts[0], starts.shape), "f32")
    assert all(way.best < way.losses[0] for (way,) in found.ways.values())
    figure = found.plot(tmp_path / "surface.png")
    axes = figure.axes[0]
    for (label, (way,)), (color, sign) in zip(found.ways.items(), STYLES, strict=False):
        assert len(max(lines_of(axes, color), key=len)) == len(way.path), label
        assert len(marks_of(axes, color, sign)) == 1
    assert "the plane holds" in words_of(figure)
    check_layout(figure)
