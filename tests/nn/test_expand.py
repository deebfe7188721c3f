"""Feature maps: monomials as scikit-learn orders them, random Fourier features, radial basis functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import PolynomialFeatures as Reference

import fallline as fl
from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.core.tree import leaves
from fallline.nn.expand import PolynomialFeatures, RadialBasis, RandomFourier
from fallline.nn.layer import count_parameters
from tests.tolerance import assert_close


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_monomials_are_those_of_scikit_learn_in_its_order(degree, n, rng):
    x = rng.normal(size=(6, n))
    assert_close(PolynomialFeatures(degree)(x), Reference(degree, include_bias=False).fit_transform(x))


def test_without_interactions_the_powers_of_single_columns_are_left():
    x = np.array([[2.0, 3.0]])
    np.testing.assert_array_equal(PolynomialFeatures(3, interactions=False)(x), [[2, 3, 4, 9, 8, 27]])


def test_a_batch_of_single_numbers_is_a_column():
    np.testing.assert_array_equal(PolynomialFeatures(3)(np.array([2.0, 3.0])), [[2, 4, 8], [3, 9, 27]])


def test_too_many_monomials_are_refused_with_their_number():
    with pytest.raises(ConfigError, match=r"of 100 columns makes 4,598,125 columns.*lower degree or interactions"):
        PolynomialFeatures(4)(np.zeros((2, 100)))
    assert PolynomialFeatures(4, interactions=False)(np.zeros((2, 100))).shape == (2, 400)


def test_second_derivative_of_a_cube_through_the_features():
    """d²/dx² of 1·x + 1·x² + 1·x³ is 2 + 6x."""
    second = fl.hessian(lambda x: PolynomialFeatures(3)(x[None, :]).sum())(np.array([1.5]))
    assert_close(second, [[11.0]])


def test_random_fourier_features_approach_the_gaussian_kernel(rng):
    """The deviation of each entry is at most 1 / sqrt(units): four of them cover 15 · 15 / 2 entries."""
    x = rng.normal(size=(15, 3))
    errors = []
    for units in (1_000, 100_000):
        phi = RandomFourier(units, gamma=0.4).build(x, rng)(x)
        errors.append(np.abs(phi @ phi.T - rbf_kernel(x, gamma=0.4)).max())
        assert errors[-1] < 4.0 / np.sqrt(units)
    assert errors[1] < errors[0] / 3


def test_random_fourier_features_are_drawn_once_and_not_trained(rng):
    x = rng.normal(size=(40, 2))
    net = fl.Sequential(RandomFourier(20), fl.Dense(1)).build(x.astype("float32"), 0)
    assert count_parameters(net) == 21
    trained = fl.fit(net, (x, x[:, 0]), epochs=3).model.network
    for path in ("layers.0.W", "layers.0.b"):
        np.testing.assert_array_equal(leaves(trained)[path], leaves(net)[path])
    assert np.any(leaves(trained)["layers.1.W"] != leaves(net)["layers.1.W"])


def test_a_model_with_random_features_survives_its_file(rng, tmp_path):
    x = rng.normal(size=(40, 2))
    fitted = fl.fit(fl.Sequential(fl.RandomFourier(20), fl.Dense(1)), (x, x[:, 0]), epochs=2)
    again = fl.load(fitted.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.predict(x), fitted.model.predict(x))


def test_radial_basis_is_the_gaussian_kernel_to_its_centres(rng):
    x = rng.normal(size=(10, 3))
    layer = RadialBasis(4, gamma=0.7).build(x, rng)
    assert_close(layer(x), rbf_kernel(x, layer.c, gamma=0.7))


def test_near_points_far_from_zero_keep_their_digits():
    """Squares of 10 000 take all digits of float32; the difference of 0.5 has to survive."""
    x = np.array([[10_000.5, -10_000.0]], "float32")
    layer = RadialBasis.from_rows(np.array([[10_000.0, -10_000.0]], "float32"), 1)
    assert_close(layer(x), np.exp([[np.float32(-0.25)]]), "f32")


def test_centres_from_rows_are_different_rows(rng):
    x = rng.normal(size=(20, 2))
    rows = np.vstack([x, x])
    layer = RadialBasis.from_rows(rows, 15, seed=3, gamma=2.0)
    assert layer.is_filled
    assert len(np.unique(layer.c, axis=0)) == 15
    assert {tuple(c) for c in layer.c} <= {tuple(row) for row in x}
    np.testing.assert_array_equal(layer.c, RadialBasis.from_rows(rows, 15, seed=3).c)
    assert np.any(layer.c != RadialBasis.from_rows(rows, 15, seed=4).c)
    fitted = fl.fit(fl.Sequential(layer, fl.Dense(1)), (x, x[:, 0]), epochs=2).model.network
    assert np.any(fitted.layers[0].c != layer.c.astype("float32"))  # centres are learned


@pytest.mark.parametrize(
    "rows, units, told",
    [
        (np.ones((5, 2)), 2, "2 centres from 1 different rows"),
        (np.array([["a"]]), 1, "rows of finite numbers"),
        (np.array([[np.nan]]), 1, "rows of finite numbers"),
    ],
)
def test_rows_without_so_many_centres_are_refused(rows, units, told):
    with pytest.raises(DataError, match=told):
        RadialBasis.from_rows(rows, units)


@pytest.mark.parametrize("columns", [1, 3])
def test_rows_of_another_length_than_the_centres_are_refused_and_not_broadcast(columns, rng):
    layer = RadialBasis(4).build(np.zeros((5, 2)), rng)
    with pytest.raises(ShapeError, match=rf"rows of {columns} numbers and centres of 2"):
        layer(np.zeros((5, columns)))


def test_features_are_found_by_their_short_names():
    assert fl.mlp((), features="poly(3)").layers[0] == PolynomialFeatures(3)
    assert fl.mlp((), features="rbf(50, gamma=0.5)").layers[0] == RandomFourier(50, 0.5)
