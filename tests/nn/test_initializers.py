"""Initializers: variances by their formulas, orthonormal matrices, names."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import as_record, from_json, records_of, to_json
from fallline.nn.initializers import Glorot, He, Initializer, LeCun, Normal, Orthogonal, Values, Zeros, initializer
from tests.tolerance import assert_close

N_IN, N_OUT = 300, 200


@pytest.mark.parametrize(
    "init, variance",
    [
        (Glorot(), 2 / (N_IN + N_OUT)),
        (He(), 2 / N_IN),
        (LeCun(), 1 / N_IN),
        (Normal(scale=0.3), 0.09),
        (Zeros(), 0.0),
        (Orthogonal(), 1 / N_IN),
    ],
    ids=repr,
)
def test_mean_and_variance(init, variance, rng):
    w = init.draw((N_IN, N_OUT), N_IN, N_OUT, rng)
    assert w.dtype == np.float64
    assert w.shape == (N_IN, N_OUT)
    scale = max(variance, 1e-30)
    assert_close(w.mean() / np.sqrt(scale), 0.0, "statistics")
    assert_close(w.var() / scale, float(variance > 0), "statistics")


def test_glorot_is_uniform_within_its_limit(rng):
    w = Glorot().draw((N_IN, N_OUT), N_IN, N_OUT, rng)
    limit = np.sqrt(6 / (N_IN + N_OUT))
    assert np.abs(w).max() <= limit
    counts, _ = np.histogram(w, bins=4, range=(-limit, limit))
    assert_close(counts / w.size, np.full(4, 0.25), "statistics")


def test_orthogonal_prefers_no_direction(rng):
    """Without a word about signs, QR gives matrices whose first entry has always the same one."""
    first = [Orthogonal().draw((2, 2), 1, 1, rng)[0, 0] for _ in range(20_000)]
    assert_close(np.mean(first), 0.0, "statistics")


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (2, 3, 4)], ids=str)
def test_orthogonal_has_orthonormal_columns_or_rows(shape, rng):
    q = Orthogonal().draw(shape, 1, 1, rng).reshape(-1, shape[-1])
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    assert_close(small, np.eye(len(small)))
    double = Orthogonal(gain=2.0).draw(shape, 1, 1, np.random.default_rng(0))
    assert_close(double, 2 * Orthogonal().draw(shape, 1, 1, np.random.default_rng(0)))


@pytest.mark.parametrize(
    "name, expected", [("he", He), ("glorot", Glorot), ("lecun", LeCun), ("orthogonal", Orthogonal), ("xavier", Glorot)]
)
def test_by_name(name, expected):
    assert initializer(name) == expected() == as_record(name, Initializer)


def test_texts_and_files():
    assert initializer("normal(scale=0.1)") == Normal(scale=0.1)
    assert initializer("auto") == Glorot()
    assert initializer("auto", Normal(scale=2.0)) == Normal(scale=2.0)
    with pytest.raises(UnknownNameError, match="did you mean 'Glorot'"):
        initializer("glorod")
    for cls in records_of(Initializer).values():
        assert from_json(to_json(cls())) == cls()


def test_given_values_are_one_for_each_unit_or_one_for_all(rng):
    assert Values((1.0, 2.0)).draw((2,), 3, 2, rng).tolist() == [1.0, 2.0]
    assert Values((0.5,)).draw((3,), 3, 3, rng).tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(ConfigError, match="has 2 values for 3 units: give one, or one for each"):
        Values((1.0, 2.0)).draw((3,), 3, 3, rng)
