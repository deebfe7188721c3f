"""Exponentially weighted averages and their bias."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.optim.average import ewa, ewa_window, weight_sum
from tests.tolerance import assert_close


def test_average_of_a_constant():
    """1 - 0.9^10 = .6513215599 without the correction, the constant with it."""
    ones = np.ones(10)
    assert_close(ewa(ones, 0.9)[-1], 0.6513215599, "printed")
    assert_close(ewa(ones, 0.9, bias_correction=True), ones)


def test_average_is_the_weighted_sum(rng):
    x, beta = rng.normal(size=(12, 3)), 0.8
    expected = [sum((1 - beta) * beta ** (t - i) * x[i] for i in range(t + 1)) for t in range(12)]
    assert_close(ewa(x, beta), np.array(expected))
    assert_close(ewa(x, 0.0), x, "exact")
    assert_close(ewa(x, 0.0, bias_correction=True), x, "exact")


def test_dtype_and_range():
    assert ewa(np.ones(3, "float32"), 0.5).dtype == np.float32
    assert_close(ewa([1, 1], 0.5), np.array([0.5, 0.75]))
    with pytest.raises(ConfigError, match="beta"):
        ewa([1.0], 1.0)


@pytest.mark.parametrize("beta, window", [(0.9, 10.0), (0.98, 50.0), (0.5, 2.0)])
def test_window(beta, window):
    assert_close(ewa_window(beta), window)


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 100_000])
def test_the_sum_of_the_weights_keeps_its_digits_in_float32(t):
    beta = 0.9999
    exact = float(1 - Fraction(beta) ** t) if t <= 1000 else 1 - beta**t
    relative = weight_sum(beta, np.float32(t)) / np.float32(exact)
    assert_close(float(relative), 1.0, "f32")
