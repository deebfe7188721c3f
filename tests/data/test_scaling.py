"""Scaling against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import RobustScaler, StandardScaler

from fallline.data.scaling import has_heavy_tail, quantiles_of, robust, signed_log, standard, standardised
from tests.tolerance import assert_close


@pytest.mark.parametrize("offset, unit", [(0.0, 1.0), (1e9, 1.0), (-5.0, 1e-9), (0.0, 1e12)])
def test_like_scikit_learn(rng, offset, unit):
    x = offset + unit * rng.gamma(2.0, size=301)
    kind = "library" if offset else "f64"
    fitted, quartiles = StandardScaler().fit(x[:, None]), RobustScaler().fit(x[:, None])
    assert_close(standard(x)[0] / unit, fitted.mean_[0] / unit, kind)
    assert_close(standard(x)[1] / unit, fitted.scale_[0] / unit, kind)
    assert_close(np.array(robust(x)) / unit, np.array([quartiles.center_[0], quartiles.scale_[0]]) / unit, kind)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_scales_are_finite_and_positive(values):
    for center, scale in (standard(np.array(values)), robust(np.array(values))):
        assert np.isfinite(center)
        assert 0 < scale < np.inf


@pytest.mark.parametrize("value", [0.0, 0.1, -3e15])
def test_a_constant_has_scale_one(value):
    x = np.full(7, value)
    assert standard(x)[1] == robust(x)[1] == 1.0
    assert_close(standardised(x), np.zeros(7))


def test_where_the_quartiles_agree_half_the_range_scales():
    assert robust(np.array([0.0] * 9 + [5.0])) == (0.0, 2.5)


def test_heavy_tails(rng):
    gains = np.where(rng.uniform(size=2000) < 0.05, np.exp(rng.normal(8, 1, 2000)), 0.0)
    assert scipy.stats.skew(gains) > 3
    assert has_heavy_tail(gains)
    assert not has_heavy_tail(-gains)
    assert not has_heavy_tail(rng.normal(10, 1, 2000))
    assert not has_heavy_tail(1e-6 * gains / gains.max())  # the logarithm would change nothing


def test_signed_log():
    assert_close(signed_log(np.array([np.e - 1, 0.0, 1 - np.e])), np.array([1.0, 0.0, -1.0]))


def test_a_weight_of_two_is_the_number_twice(rng):
    x, w = rng.gamma(2.0, size=60), rng.integers(1, 5, 60)
    again = np.repeat(x, w)
    weights = w.astype(float)
    assert_close(standard(x, weights), standard(again))
    assert_close(robust(x, weights), robust(again))
    q = np.linspace(0, 1, 21)
    assert_close(quantiles_of(x, q, weights), np.quantile(again, q))
    assert has_heavy_tail(np.exp(3 * x), weights) == has_heavy_tail(np.exp(3 * again))
