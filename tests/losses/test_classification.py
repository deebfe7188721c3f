"""Losses for classes against scipy.stats, NumPy formulas, and the numbers of the course."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from fallline.autodiff.functions import grad, hessian
from fallline.core.errors import ConfigError, DataError
from fallline.losses.classification import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Hinge,
    PerceptronLoss,
    SquaredHinge,
)
from fallline.losses.regression import SquaredError
from fallline.ops.composite import mean
from fallline.ops.reduce import sum as asum
from tests.tolerance import assert_close

SCORES = np.linspace(-8.0, 8.0, 33)


def slope(loss, score, target):
    """d loss / d score of a single row."""
    return grad(lambda s: asum(loss(s, np.array([target]))))(np.array([score]))[0]


def test_a_target_may_be_a_probability():
    p, t = special.expit(SCORES), np.linspace(0.0, 1.0, SCORES.size)
    assert_close(BinaryCrossEntropy()(SCORES, t), -(t * np.log(p) + (1 - t) * np.log1p(-p)))


def test_binary_label_smoothing(rng):
    t = rng.integers(0, 2, SCORES.size).astype(float)
    p, smooth = special.expit(SCORES), t * 0.8 + 0.1
    assert_close(
        BinaryCrossEntropy(label_smoothing=0.2)(SCORES, t), -(smooth * np.log(p) + (1 - smooth) * np.log1p(-p))
    )


def test_categorical_label_smoothing(rng):
    scores, codes = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    t = np.eye(4)[codes] * 0.8 + 0.2 / 4
    assert_close(
        CategoricalCrossEntropy(label_smoothing=0.2)(scores, codes), -np.sum(t * special.log_softmax(scores, 1), 1)
    )


def test_binary_focal_loss(rng):
    t = rng.integers(0, 2, SCORES.size)
    p_of_target = np.where(t == 1, special.expit(SCORES), special.expit(-SCORES))
    assert_close(BinaryCrossEntropy(gamma=2.0)(SCORES, t), -((1 - p_of_target) ** 2) * np.log(p_of_target))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_categorical_focal_loss(rng, gamma):
    scores, codes = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    p = special.softmax(scores, 1)[np.arange(20), codes]
    assert_close(CategoricalCrossEntropy(gamma=gamma)(scores, codes), -((1 - p) ** gamma) * np.log(p))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_slopes_stay_finite_when_the_class_is_certain(gamma):
    sure = np.array([[1000.0, 0.0], [0.0, 1000.0]])
    loss = CategoricalCrossEntropy(gamma=gamma)
    assert np.all(np.isfinite(grad(lambda s: mean(loss(s, np.array([0, 0]))))(sure)))


def test_two_scores_and_one_score_agree(rng):
    score, t = rng.normal(size=30), rng.integers(0, 2, 30)
    two = np.stack([np.zeros(30), score], axis=1)
    assert_close(CategoricalCrossEntropy()(two, t), BinaryCrossEntropy()(score, t))
    assert_close(CategoricalCrossEntropy().predict(two)[:, 1], BinaryCrossEntropy().predict(score))


def test_hinges_and_perceptron(rng):
    score, t = rng.normal(size=30), rng.integers(0, 2, 30)
    y = np.where(t == 1, 1.0, -1.0)
    assert_close(Hinge()(score, t), np.maximum(0, 1 - y * score))
    assert_close(SquaredHinge()(score, t), np.maximum(0, 1 - y * score) ** 2)
    assert_close(PerceptronLoss()(score, t), np.maximum(0, -y * score))


def test_the_perceptron_starts_from_zero_weights():
    assert slope(PerceptronLoss(), 0.0, 1.0) == -1.0
    assert slope(PerceptronLoss(), 0.0, 0.0) == 1.0


def test_logistic_regression_of_the_course():
    """theta = (.25, .5, -1), x = (1, 1, 2), y* = 1: the log-likelihood is -1.5019290813."""
    x = np.array([1.0, 1.0, 2.0])
    theta = np.array([0.25, 0.5, -1.0])
    loss = lambda w: asum(BinaryCrossEntropy()(asum(w * x).reshape(1), np.ones(1)))  # noqa: E731
    assert_close(BinaryCrossEntropy()(np.array([theta @ x]), np.ones(1))[0], 1.5019290813, "printed")
    assert_close(grad(loss)(theta), np.array([-0.7772998612, -0.7772998612, -1.5545997223]), "printed")


def test_curvature_at_score_zero():
    """p (1-p) = 1/4, also exactly at 0, where Newton's method starts from zero weights."""
    assert_close(hessian(lambda s: asum(BinaryCrossEntropy()(s, np.ones(1))))(np.zeros(1))[0, 0], 0.25)


def test_float32_keeps_the_digits_of_large_scores():
    scores = np.array([[1000.0, 1000.25], [0.0, 0.25]], "float32")
    losses = CategoricalCrossEntropy()(scores, np.array([0, 0]))
    assert_close(losses[0], losses[1], "f32")


def test_targets_outside_the_classes_are_refused():
    with pytest.raises(DataError, match="0 or 1"):
        Hinge()(np.ones(2), np.array([-1.0, 1.0]))
    with pytest.raises(DataError, match="4 scores"):
        CategoricalCrossEntropy()(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(DataError, match="class code"):
        CategoricalCrossEntropy().check_target(np.array([-1, 0]))


def test_number_of_scores():
    assert BinaryCrossEntropy().n_scores(2, 1) == 1
    assert CategoricalCrossEntropy().n_scores(5, 1) == 5
    with pytest.raises(ConfigError, match="CategoricalCrossEntropy"):
        BinaryCrossEntropy().n_scores(3, 1)
    with pytest.raises(ConfigError, match="2 classes or more"):
        CategoricalCrossEntropy().n_scores(1, 1)


def test_decisions():
    assert_close(BinaryCrossEntropy().decide(np.array([-0.1, 0.0, 0.1])), np.array([0, 0, 1]), "exact")
    assert_close(CategoricalCrossEntropy().decide(np.array([[0.0, 2.0, 1.0]])), np.array([1]), "exact")
    with pytest.raises(ConfigError, match="predict"):
        SquaredError().decide(np.zeros(2))
