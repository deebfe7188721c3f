"""Temperature and thresholds on known scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.metrics import f1_score

from fallline.core.errors import ConfigError
from fallline.estimators.calibration import log_loss_of, temperature_of, thresholds_of
from fallline.train.metrics import METRICS
from tests.tolerance import assert_close


def overconfident(rng, n=4000):
    logits = rng.normal(size=n) * 1.5
    return 3.0 * logits, (rng.random(n) < expit(logits)).astype(float)


def test_the_temperature_undoes_overconfidence(rng):
    scores, y = overconfident(rng)
    T = temperature_of(scores, y, np.ones(len(y)))
    best = minimize_scalar(lambda t: np.logaddexp(0, np.where(y > 0, -1, 1) * scores / t).mean(), (0.5, 5))
    assert_close(T, best.x, "statistics")  # apart from what is believed of T before any row
    assert abs(T - 3.0) < 0.3


@pytest.mark.parametrize("n", [2, 5, 40, 300])
def test_calibration_never_costs_log_loss_on_its_rows(rng, n):
    for size in (0.3, 1.0, 4.0):
        scores, y = rng.normal(size=(n, 3)) * size, rng.integers(0, 3, n)
        w = rng.gamma(1.0, size=n)
        T = temperature_of(scores, y, w)
        assert log_loss_of(scores / T, y, w) <= log_loss_of(scores, y, w)
        assert 1 / 20 <= T <= 20
        expected = np.average(-log_softmax(scores, axis=1)[np.arange(n), y], weights=w)
        assert_close(log_loss_of(scores, y, w), expected)


def test_a_threshold_is_the_best_there_is(rng):
    p, y = rng.random(80), (rng.random(80) < 0.2).astype(int)
    found, note = thresholds_of("f1", np.stack([1 - p, p], axis=1), y, np.ones(80))
    cut = found[1]
    levels = np.sort(p)
    best = max(f1_score(y, p > c) for c in (levels[:-1] + levels[1:]) / 2)
    assert_close(f1_score(y, p > cut), best)
    assert_close(sum(found), 1.0)
    assert note == f"threshold {cut:.3g}, best for f1"


def test_thresholds_of_labels_and_of_several_classes(rng):
    y = rng.integers(0, 3, 300)
    p = np.exp(log_softmax(rng.normal(size=(300, 3)) + 2 * np.eye(3)[y] + [2.0, 0.0, 0.0], axis=1))
    found, _ = thresholds_of("balanced_accuracy", p, y, np.ones(300))
    score = METRICS["balanced_accuracy"].function
    assert score((p / found).argmax(axis=1), y) > score(p.argmax(axis=1), y)
    labels = np.stack([y == 0, y == 1], axis=1).astype(float)
    cuts, _ = thresholds_of("f1", p[:, :2], labels, np.ones(300))
    for j in range(2):
        assert f1_score(labels[:, j], p[:, j] > cuts[j]) >= f1_score(labels[:, j], p[:, j] > 0.5)
    assert thresholds_of(0.3, p[:, :2], labels, np.ones(300))[0] == (0.3, 0.3)


def test_thresholds_that_are_none_are_refused(rng):
    p, y, w = rng.random((9, 3)), np.arange(9) % 3, np.ones(9)
    with pytest.raises(ConfigError, match="for two classes or for labels; or a metric"):
        thresholds_of(0.3, p, y, w)
    with pytest.raises(ConfigError, match=r"threshold='f2': known: accuracy, .* or a number between 0 and 1"):
        thresholds_of("f2", p, y, w)
    with pytest.raises(ConfigError, match="threshold='auc'"):
        thresholds_of("auc", p, y, w)
