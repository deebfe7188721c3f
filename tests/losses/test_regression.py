"""Losses for numbers against NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import mean_gamma_deviance, mean_pinball_loss

from fallline.autodiff.functions import hessian
from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.losses.loss import Loss
from fallline.losses.regression import (
    AbsoluteError,
    Gamma,
    GaussianNLL,
    Huber,
    LogCosh,
    Poisson,
    Quantile,
    SquaredError,
    log_factorial,
)
from fallline.ops.reduce import sum as asum
from tests.tolerance import assert_close


@pytest.fixture
def pair(rng):
    return 3 * rng.normal(size=40), 3 * rng.normal(size=40)


def test_squared_and_absolute_error(pair):
    score, target = pair
    assert_close(SquaredError()(score, target), (score - target) ** 2)
    assert_close(AbsoluteError()(score, target), np.abs(score - target))


def test_gamma_is_half_the_deviance_and_a_constant(rng):
    score, target = rng.normal(size=40), rng.gamma(2.0, size=40)
    half = Gamma()(score, target) - (1.0 + np.log(target))
    assert_close(2.0 * half.mean(), mean_gamma_deviance(target, np.exp(score)))
    assert_close(Gamma().predict(score), np.exp(score))
    with pytest.raises(DataError, match="target 0 in row 1 is not a number above 0"):
        Gamma()(score[:2], np.array([1.0, 0.0]))


def test_names_that_users_know():
    assert as_record("huber(delta=2)", Loss) == Huber(2.0)
    assert as_record("pinball(0.9)", Loss) == Quantile(0.9)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber(pair, delta):
    score, target = pair
    assert_close(Huber(delta)(score, target), special.huber(delta, score - target))


def test_log_cosh(pair):
    score, target = pair
    assert_close(LogCosh()(score, target), np.log(np.cosh(score - target)))
    assert_close(LogCosh()(np.array([1000.0, -1000.0]), np.zeros(2)), np.full(2, 1000 - np.log(2)))


@pytest.mark.parametrize("loss", [Huber(), LogCosh()])
def test_curvature_is_one_where_the_error_is_zero(loss):
    assert_close(hessian(lambda s: asum(loss(s, np.zeros(1))))(np.zeros(1))[0, 0], 1.0)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_quantile(pair, q):
    score, target = pair
    assert_close(np.mean(Quantile(q)(score, target)), mean_pinball_loss(target, score, alpha=q))


def test_several_quantiles(rng):
    score, target = rng.normal(size=(40, 3)), rng.normal(size=40)
    q = (0.1, 0.5, 0.9)
    each = [Quantile(level)(score[:, i], target) for i, level in enumerate(q)]
    assert_close(Quantile(q)(score, target), np.mean(each, axis=0))
    assert Quantile(q).n_scores(0, 1) == 3
    assert_close(Quantile(q).predict(score), np.sort(score, axis=1), "exact")
    assert np.mean(Quantile(q)(np.sort(score, axis=1), target)) <= np.mean(Quantile(q)(score, target))


@pytest.mark.parametrize("q", [0.0, 1.0, (0.9, 0.1), (), "half"])
def test_quantiles_outside_0_to_1_or_not_rising_are_refused(q):
    with pytest.raises(ConfigError, match="Quantile"):
        Quantile(q)
    with pytest.raises(ConfigError, match="one output"):
        Quantile((0.1, 0.9)).n_scores(0, 2)


def test_poisson_is_the_likelihood_of_counts(rng):
    score, counts = rng.normal(size=60), rng.poisson(5.0, 60)
    assert_close(Poisson()(score, counts), -stats.poisson.logpmf(counts, np.exp(score)))
    assert_close(Poisson().predict(score), np.exp(score))
    with pytest.raises(DataError, match="count"):
        Poisson()(score, counts - 100)


def test_log_factorial():
    t = np.array([0.0, 0.5, 1.0, 2.0, 3.7, 10.0, 170.0, 1e4, 1e6])
    assert_close(log_factorial(t), special.gammaln(t + 1))


def test_normal_likelihood_with_learned_deviation(rng):
    loss = GaussianNLL()
    score, target = rng.normal(size=(40, 2)), rng.normal(size=40)
    sigma = np.exp(score[:, 1] / 2)
    assert_close(loss(score, target), -stats.norm.logpdf(target, score[:, 0], sigma))
    assert_close(loss.predict(score), score[:, 0])
    assert_close(loss.deviation(score), sigma)
    wide, targets = rng.normal(size=(40, 6)), rng.normal(size=(40, 3))
    expected = -stats.norm.logpdf(targets, wide[:, :3], np.exp(wide[:, 3:] / 2))
    assert_close(loss(wide, targets), expected.mean(axis=1))
    assert loss.n_scores(0, 3) == 6
    assert GaussianNLL(1.0).n_scores(0, 3) == 3


def test_several_outputs_are_averaged(rng):
    score, target = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    assert_close(SquaredError()(score, target), np.mean((score - target) ** 2, axis=1))
    assert SquaredError().n_scores(0, 3) == 3


def test_whole_numbers_are_taken_as_floats():
    assert_close(SquaredError()(np.array([1, 2]), np.array([3, 3])), np.array([4.0, 1.0]))
    assert_close(SquaredError()([1.5], [True]), np.array([0.25]))


def test_log_cosh_keeps_its_digits_near_0_in_float32():
    r = np.array([-1e-4, 1e-3, 0.0], np.float32)
    assert_close(1e8 * LogCosh()(r, np.zeros_like(r)), 1e8 * (r.astype(float) ** 2 / 2), "f32")
