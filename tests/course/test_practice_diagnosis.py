"""The rows of the course that a diagnosis answers: scales, one heavy weight, bias and variance, a loss that rises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fallline as fl
from fallline.explain.diagnosis.capacity import cures
from fallline.explain.diagnosis.case import Case
from fallline.explain.diagnosis.subject import subject_of
from fallline.train.history import History
from fallline.train.tabular import TableOptions, prepare
from fallline.train.trainer import Fit
from tests.tolerance import assert_close

RNG = np.random.default_rng(112)
X = RNG.normal(size=(100, 2))
NUMBERS = X @ np.array([1.0, -2.0]) + 0.1 * RNG.normal(size=100)
RATIO = 1000.0


def descent(scale, rate, epochs):
    """Gradient descent of the squared error on (x1, scale · x2)."""
    given = X * np.array([1.0, scale])
    settings = {"optimizer": fl.SGD(rate), "batch_size": "full", "epochs": epochs, "precision": "float64"}
    return fl.fit(fl.mlp(()), (given, NUMBERS), **settings), given


def steps_until(scale, tolerance):
    """Steps of gradient descent at its best fixed rate until J - J* <= tolerance · (J0 - J*), in the eigenbasis.

    source  J = mean (X w + b - y)²: each step multiplies the error along an eigenvector by 1 - λ curvature
    """
    design = np.c_[X * np.array([1.0, scale]), np.ones(len(X))]
    curvature, basis = np.linalg.eigh(2 / len(X) * design.T @ design)
    error = basis.T @ np.linalg.lstsq(design, NUMBERS, rcond=None)[0]
    factor = np.abs(1 - 2 / (curvature[0] + curvature[-1]) * curvature)
    start, steps = float((curvature * error**2).sum()), 1
    while float((curvature * (factor**steps * error) ** 2).sum()) > tolerance * start:
        steps *= 2
    return steps


def test_row_112_scales_of_one_to_a_thousand_need_a_hundred_times_the_steps():
    """Each step shrinks the error along the flattest direction by (κ - 1)/(κ + 1), κ the ratio of the curvatures."""
    scaled, unscaled = steps_until(1.0, 1e-6), steps_until(RATIO, 1e-6)
    assert unscaled > 100 * scaled
    fit, _ = descent(1.0, 0.5, 20)
    assert fit.history["train_loss"][-1] < 0.011
    fit, _ = descent(RATIO, 0.5 / RATIO**2, 2000)  # 100 times the steps, at the rate that the large input allows
    assert fit.history["train_loss"][-1] > 0.1
    fit, _ = descent(RATIO, 0.5, 0)
    assert fit.history[0]["train_loss"] > 1e5


def test_row_112_the_command_scales_by_itself():
    table = fl.read_table({"a": X[:, 0], "b": RATIO * X[:, 1], "y": NUMBERS})
    fitted = prepare(table, "y", TableOptions(epochs=1))
    numbers = fitted.examples.x[fitted.split.train]
    assert_close(numbers.std(axis=0), np.ones(2), "f32")
    assert_close(numbers.mean(axis=0), np.zeros(2), "f32")


def test_row_112_diagnose_prints_the_ratio_of_gradient_sizes():
    fit, given = descent(RATIO, 0.5 / RATIO**2, 50)
    found = fl.diagnose(fit, (given, NUMBERS))
    assert found.names == ["inputs not scaled"]
    told = dict(found[0].evidence[0])
    gradient = fit.model.gradients(given, NUMBERS)["layers.0.W"][:, 0]
    sizes = np.abs(gradient)
    assert_close(float(told["ratio of gradient sizes"].replace("−", "-")), sizes[1] / sizes[0], "statistics")
    scale = np.sqrt((given**2).mean(axis=0))
    assert_close(float(told["ratio of the sizes"]), scale[1] / scale[0], "fit")
    assert "ratio of gradient sizes" in str(found)
    assert "dominates the update" in str(found)


def heavy(l2=0.0):
    """Ten rows whose third input agrees with the answer by chance, and the two that matter hardly do."""
    x = np.random.default_rng(3).normal(size=(30, 3))
    y = 0.2 * x[:, 0] + 0.2 * x[:, 1] + 2 * x[:, 2]
    return fl.fit(fl.mlp(()), (x, y), solver="exact", l2=l2), (x, y)


def test_row_118_an_input_with_nine_tenths_of_the_norm_is_flagged():
    fit, data = heavy()
    found = fl.diagnose(fit, data)
    assert found.names == ["one input dominates"]
    assert found[0].where == "column 2"
    shares = fl.weight_shares(fit)
    W = fit.model.network.layers[0].W[:, 0]
    assert_close(shares.columns["share of the norm"], np.abs(W) / np.linalg.norm(W))
    assert_close(shares.columns["share of the norm"][2], 2 / np.sqrt(2 * 0.2**2 + 2**2), "library")
    assert shares.columns["marked"] == ["", "", "dominates"]
    assert "column 2" in str(shares)


def test_row_118_the_heavy_weight_falls_when_the_penalty_rises():
    weights = [abs(heavy(l2)[0].model.network.layers[0].W[2, 0]) for l2 in (0.0, 0.1, 1.0, 10.0)]
    assert all(a > b for a, b in pairwise(weights))


def test_row_118_the_share_falls_where_two_detectors_say_nearly_the_same():
    """w3 ≫ w1: the fit goes by one of them; a penalty shares the work out, 1/√2 each in the end."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(40, 3))
    x[:, 0] = x[:, 2] + 0.1 * rng.normal(size=40)
    y = x[:, 2] + 0.1 * x[:, 1]
    shares = [
        fl.weight_shares(fl.fit(fl.mlp(()), (x, y), solver="exact", l2=l2)).columns["share of the norm"][2]
        for l2 in (0.0, 0.1, 1.0)
    ]
    assert shares[0] > 0.9
    assert all(a > b for a, b in pairwise(shares))
    assert_close(shares[-1], np.sqrt(0.5), "statistics")


def names_of(listing):
    return listing.columns["cure"]


BIAS, VARIANCE = ["more parameters", "longer training"], ["more unique data", "regularisation"]


def test_row_120_high_bias_and_its_cures():
    angle = np.random.default_rng(5).uniform(0, 2 * np.pi, 300)
    radius = np.repeat([1.0, 3.0], 150)
    rings = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    fit = fl.fit(fl.mlp(()), (rings, radius > 2), validation=0.2, epochs=60, learning_rate=0.05)
    found = fl.diagnose(fit, (rings, radius > 2))
    assert found.names == ["underfit"]
    assert found[0].verdict.startswith("High bias")
    table = found[0].evidence[1]
    assert names_of(table) == [*BIAS, *VARIANCE]
    assert table.columns["evidence"][0] == "3 parameters for 240 rows"
    told = " ".join(str(found).split())
    assert all(word in told for word in ("High bias", *BIAS, *VARIANCE))


def test_row_120_high_variance_and_its_cures():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(40, 10)), rng.integers(0, 2, 40)
    fit = fl.fit(fl.mlp((1000,)), (x, y), validation=0.5, epochs=40)
    found = fl.diagnose(fit)
    assert found.names == ["overfit"]
    assert found[0].verdict.startswith("High variance")
    table = found[0].evidence[1]
    assert names_of(table) == [*VARIANCE, *BIAS]
    row = fit.history[-1]
    gap = row["validation_loss"] - row["train_loss"]
    assert table.columns["evidence"][0] == f"gap {gap:.3g} of {row['validation_loss']:.3g}"


def test_row_120_the_cure_with_the_better_evidence_comes_first():
    """A loss that still falls speaks for longer training before more parameters."""
    losses = np.linspace(1.0, 0.5, 30).tolist()
    falling = Case(subject_of(told(losses)))
    assert names_of(cures(falling, bias=True))[:2] == BIAS[::-1]


def told(losses):
    """A fit with these train losses."""
    rows = [{"epoch": i, "learning_rate": 0.1, "train_loss": loss} for i, loss in enumerate(losses)]
    model = fl.fit(fl.mlp(()), (X, NUMBERS), epochs=0).model
    return Fit(model, History(rows), "all epochs are done", len(rows) - 1)


@pytest.mark.parametrize(
    "losses, times", [([1.0, 0.5, 0.3, 0.2], 0), ([1.0, 0.5, 0.6, 0.7], 0), ([1.0, 0.5, 0.6, 0.7, 0.8], 1)]
)
def test_row_121_the_loss_per_epoch_goes_down_and_a_rise_for_three_epochs_is_reported(losses, times):
    fit = told(losses)
    assert fit.history["train_loss"].tolist() == losses
    assert len(fit.history.rises("train_loss", 3)) == times
    assert ("rose from 0.5 (epoch 1) to 0.8 (epoch 4)" in str(fit.history)) == bool(times)
    found = fl.diagnose(fit)
    assert found.names == ["loss rises"] * times
    if times:
        assert "train loss rose from 0.5 (epoch 1) to 0.8 (epoch 4)" in " ".join(str(found).split())
