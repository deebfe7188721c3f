"""Encodings of numbers: bins at quantiles, waves of chosen columns, nearness to centres."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from fallline.nn.laplace import LaplaceBasis
from fallline.nn.periodic import PeriodicEncoding, runs_of
from fallline.nn.piecewise import PiecewiseEncoding
from tests.tolerance import assert_close


def test_bins_end_at_quantiles_and_say_how_far_a_number_reaches_into_them():
    X = np.arange(101.0)[:, None]
    layer = PiecewiseEncoding.of_rows(X, 4)
    assert layer(np.array([[60.0]])).tolist() == [[60.0, 1.0, 1.0, pytest.approx(0.4), 0.0]]


def test_a_linear_function_of_the_bins_is_any_function_that_is_linear_between_their_edges():
    X = np.random.default_rng(0).normal(size=(300, 1))
    layer = PiecewiseEncoding.of_rows(X, 6)
    edges = np.quantile(X[:, 0], np.linspace(0, 1, 7))
    y = np.interp(X[:, 0], edges, [0, 3, 1, 1, -2, 5, 0])
    encoded = np.column_stack([np.ones(300), layer(X)])
    assert_close(encoded @ np.linalg.lstsq(encoded, y, rcond=None)[0], y, "library")


def test_a_column_of_two_values_gets_no_bins_and_one_of_mostly_zeros_some_for_the_others():
    X = np.zeros((100, 2))
    X[:50, 0], X[:10, 1] = 1.0, np.arange(1, 11)
    layer = PiecewiseEncoding.of_rows(X, 4, further=3)
    assert layer.A.shape[0] == 5
    assert not layer.A[[0, 2, 3, 4]].any()
    assert (layer.A[1] > 0).sum() >= 4


def test_waves_stand_behind_all_numbers_and_only_of_the_chosen_columns():
    x = np.random.default_rng(0).normal(size=(5, 4))
    layer = PeriodicEncoding(waves=3, columns=(0, 2, 3)).build(x, rng=0)
    y = layer(x)
    assert y.shape == (5, 4 + 9)
    assert np.array_equal(y[:, :4], x)
    expected = np.cos(2 * np.pi * (x[:, [0, 2, 3], None] * layer.f + layer.c)).reshape(5, 9)
    assert_close(y[:, 4:], expected)
    assert runs_of((0, 2, 3)) == [(0, 1), (2, 4)]
    assert PeriodicEncoding(columns=()).build(x, rng=0)(x) is x


@pytest.mark.parametrize("norm, metric", [(1, "cityblock"), (2, "euclidean")])
def test_nearness_is_the_laplace_kernel(norm, metric):
    rng = np.random.default_rng(0)
    x, c, v = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), rng.uniform(0.5, 2, 3)
    layer = LaplaceBasis(4, norm=norm, v=v, c=c * v)
    assert_close(layer(x), np.exp(-cdist(x * v, c * v, metric)), "library")
