"""Activations against their formulas, at the values that lectures print, at corners and far out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from fallline.autodiff.functions import grad
from fallline.core.record import as_record, records_of
from fallline.nn.activations import (
    ELU,
    Activation,
    HardSigmoid,
    HardTanh,
    Heaviside,
    LeakyReLU,
    Linear,
    PiecewiseLinear,
    ReLU,
    Sigmoid,
    Sign,
    Softplus,
    Softsign,
    Tanh,
    activations,
)
from fallline.nn.layer import Layer
from fallline.nn.rectifiers import GELU, SELU, ESwish, HardSwish, Mish, SiLU
from fallline.train.pair import tried
from tests.tolerance import assert_close

GRID = np.linspace(-4.3, 4.4, 30)
EXPECTED = {  # layer: the formula, by NumPy and SciPy
    Heaviside(): lambda z: np.heaviside(z, 0.5),
    Sign(): np.sign,
    Linear(): lambda z: z,
    PiecewiseLinear(): lambda z: np.clip(z + 0.5, 0, 1),
    Sigmoid(): special.expit,
    Tanh(): np.tanh,
    ReLU(): lambda z: np.maximum(z, 0),
    Softplus(): lambda z: np.logaddexp(0, z),
    LeakyReLU(): lambda z: np.maximum(0.01 * z, z),
    LeakyReLU(slope=0.1): lambda z: np.maximum(0.1 * z, z),
    ELU(): lambda z: np.where(z > 0, z, np.expm1(z)),
    ELU(alpha=0.5): lambda z: np.where(z > 0, z, 0.5 * np.expm1(z)),
    ESwish(): lambda z: 1.5 * z * special.expit(z),
    SiLU(): lambda z: z * special.expit(z),
    GELU(): lambda z: z * special.ndtr(z),
    GELU(approximate=True): lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    Mish(): lambda z: z * np.tanh(np.log1p(np.exp(z))),
    SELU(): lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    HardTanh(): lambda z: np.clip(z, -1, 1),
    HardSigmoid(): lambda z: np.clip(z + 3, 0, 6) / 6,
    HardSwish(): lambda z: z * np.clip(z + 3, 0, 6) / 6,
    Softsign(): lambda z: z / (1 + np.abs(z)),
}


def slope(layer, z):
    return grad(lambda v: layer(v).sum())(np.asarray(z, dtype=float))


@pytest.mark.parametrize("layer", EXPECTED, ids=repr)
def test_formula(layer):
    assert_close(layer(GRID), EXPECTED[layer](GRID))


@pytest.mark.parametrize("layer", EXPECTED, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out_everything_is_finite_and_silent(layer, dtype):
    z = np.array([-1000.0, -100.0, 0.0, 100.0, 1000.0], dtype)
    assert np.isfinite(layer(z)).all()
    assert np.isfinite(grad(lambda v: layer(v).sum())(z)).all()


@pytest.mark.parametrize(
    "layer, z, expected",
    [
        (Heaviside(), [-1, 0, 1], [0, 0, 0]),
        (Sign(), [-1, 0, 1], [0, 0, 0]),
        (PiecewiseLinear(), [-1, -0.5, 0.2, 0.5, 1], [0, 0, 1, 0, 0]),
        (Sigmoid(), [0, 1000, -1000], [0.25, 0, 0]),
        (Tanh(), [0, 1000], [1, 0]),
        (ReLU(), [-1, 0, 1], [0, 0, 1]),
        (Softplus(), [0, 1000, -1000], [0.5, 1, 0]),
        (LeakyReLU(slope=0.1), [-1, 0, 1], [0.1, 0.1, 1]),
        (ELU(), [0, 1000, -1000], [1, 1, 0]),
        (ELU(alpha=0.5), [0], [0.5]),
        (ESwish(), [0], [0.75]),
        (SiLU(), [0], [0.5]),
        (GELU(), [0], [0.5]),
        (Mish(), [0], [0.6]),
        (SELU(), [0], [1.0507009873554805 * 1.6732632423543772]),
        (HardTanh(), [-1, 0, 1], [0, 1, 0]),
        (HardSigmoid(), [-3, 0, 3], [0, 1 / 6, 0]),
        (HardSwish(), [-4, -3, 0, 3, 4], [0, 0, 0.5, 1, 1]),
        (Softsign(), [0, 1, -1], [1, 0.25, 0.25]),
    ],
    ids=str,
)
def test_derivatives_at_special_points_are_the_documented_ones(layer, z, expected):
    assert_close(slope(layer, z), np.array(expected, float))


def test_selu_keeps_mean_0_and_variance_1():
    z = special.ndtri((np.arange(100_000) + 0.5) / 100_000)
    y = SELU()(z)
    assert_close(np.array([y.mean(), y.var()]), np.array([0.0, 1.0]), "fit")


@pytest.mark.parametrize(
    "step, smooth",
    [
        (Heaviside(surrogate="sigmoid"), Sigmoid()),
        (Heaviside(surrogate="piecewise_linear"), PiecewiseLinear()),
        (Sign(surrogate="tanh"), Tanh()),
        (Sign(surrogate="hard_tanh"), HardTanh()),
    ],
    ids=str,
)
def test_a_surrogate_lends_its_derivative_and_not_its_value(step, smooth):
    np.testing.assert_array_equal(step(GRID), type(step)()(GRID))
    assert_close(slope(step, GRID), slope(smooth, GRID))


def test_nothing_learns_through_the_steps_and_through_no_other():
    samples = {name: cls.sample(np.random.default_rng(0))[0] for name, cls in records_of(Activation).items()}
    blocked = {name for name, layer in samples.items() if layer.is_filled and tried(layer).is_step}
    assert blocked == {"Heaviside", "Sign"}


def test_every_activation_states_formula_derivative_and_source():
    rows = activations()
    assert {"Maxout", "Softmax", "LogSoftmax", "GLU", "Sparsemax", "PReLU", "ReLU"} <= {row.name for row in rows}
    for row in rows:
        assert all(row), row


def test_activations_by_name():
    assert as_record("leaky_relu(slope=0.1)", Layer) == LeakyReLU(slope=0.1)
    assert as_record("swish", Layer) == SiLU()
    assert math.isclose(float(as_record("e-swish", Layer)(np.array(1.0))), 1.5 * special.expit(1.0))
