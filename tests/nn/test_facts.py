"""What the docstrings of activations say is what they compute: formula, derivative, special values, stable form."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import special

from fallline.autodiff.functions import grad, jacobian
from fallline.core.facts import special_values
from fallline.core.record import RECORDS
from fallline.core.spec import spec
from fallline.nn.activations import activations
from tests.formulas import evaluate
from tests.tolerance import assert_close

GRID = np.linspace(-4.3, 4.4, 30)
FAR = np.array([-1000.0, -50.0, 50.0, 1000.0])
PARAMETERS = {"slope": {"LeakyReLU": 0.01, "PReLU": 0.25}, "alpha": {"ELU": 1.0}, "beta": {"ESwish": 1.5}}
JOINT = {"GLU", "LogSoftmax", "Maxout", "Softmax", "Sparsemax"}  # functions of several numbers
ROWS = [row for row in activations() if RECORDS[row.name].__module__.startswith("fallline.")]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
every_single = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name not in JOINT], ids=[row.name for row in ROWS if row.name not in JOINT]
)


def layer_of(row):
    """The layer with its default settings and, where it has weights, those before training; None for Maxout."""
    cls = RECORDS[row.name]
    return None if row.name == "Maxout" else cls().build(spec((1, 1), "float64"), 0)


def single(row):
    """A function of arrays (n,) that the layer computes number by number."""
    layer = layer_of(row)
    return lambda z: layer(z.reshape(z.shape[0], 1)).reshape(z.shape[0])


def told(text, row, z):
    names = {name: by_layer[row.name] for name, by_layer in PARAMETERS.items() if row.name in by_layer}
    return [np.broadcast_to(side, z.shape) for side in evaluate(text, z=z, **names)]


def slope(f, z):
    return grad(lambda v: f(v).sum())(z)


@every_row
def test_every_fact_is_there(row):
    assert all(row), row


def test_the_list_is_complete_and_prints():
    assert {row.name for row in ROWS} >= {
        *("ELU", "ESwish", "GELU", "GLU", "HardSigmoid", "HardSwish", "HardTanh", "Heaviside", "LeakyReLU", "Linear"),
        *("LogSoftmax", "Maxout", "Mish", "PReLU", "PiecewiseLinear", "ReLU", "SELU", "SiLU", "Sigmoid", "Sign"),
        *("Softmax", "Softplus", "Softsign", "Sparsemax", "Tanh"),
    }
    text = activations().text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert "σ(z) = 1 / (1 + e^-z)" in text


@every_single
def test_the_formula_is_what_is_computed(row):
    for side in told(row.formula, row, GRID):
        assert_close(side, single(row)(GRID))


@every_single
def test_the_derivative_is_that_of_automatic_differentiation(row):
    kinks = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    for z in (GRID, kinks):
        for side in told(row.derivative, row, z):
            assert_close(side, slope(single(row), z))


@every_single
def test_the_stable_form_is_right_near_and_far(row):
    if row.stable.startswith("the formula"):
        text, found = row.formula, GRID
    else:
        text, found = row.stable, np.concatenate([FAR, GRID])
    for side in told(text, row, found):
        assert np.isfinite(side).all()
        assert_close(side, single(row)(found))


@every_row
def test_special_values(row):
    values = special_values(row.special)
    assert values or row.name == "Maxout"
    for x, _, y in values:
        assert_close(layer_of(row)(np.array([x]))[0], np.array(y), "printed")


@every_row
def test_special_slopes(row):
    values = special_values(row.slopes)
    assert values or row.name == "Maxout"
    for x, _, y in values:
        assert_close(grad(lambda v: layer_of(row)(v)[0, 0])(np.array([x]))[0], np.array(y), "printed")


def test_derivatives_of_joint_functions(rng):
    z = rng.normal(size=4)
    p, same = special.softmax(z), np.eye(4)
    by_name = {row.name: layer_of(row) for row in ROWS}
    assert_close(jacobian(by_name["Softmax"])(z), p[:, None] * (same - p[None, :]))
    assert_close(jacobian(by_name["LogSoftmax"])(z), same - p[None, :])
    support = by_name["Sparsemax"](z) > 0
    both = support[:, None] & support[None, :]
    assert_close(jacobian(by_name["Sparsemax"])(z), np.where(both, same - 1 / support.sum(), 0.0))


def test_glu_and_its_two_derivatives(rng):
    row = next(row for row in ROWS if row.name == "GLU")
    a, b = rng.normal(size=2)
    [value] = evaluate(row.formula, a=a, b=b)
    assert_close(layer_of(row)(np.array([a, b])), np.array([value]))
    parts = [evaluate(part.rpartition(" for ")[0], a=a, b=b)[0] for part in row.derivative.split(", ")]
    assert_close(jacobian(layer_of(row))(np.array([a, b])), np.array([parts]))


def test_maxout_as_its_facts_say(rng):
    layer = RECORDS["Maxout"](units=1).replace(W=np.array([[0.7, 0.0]]), b=np.array([0.2, 0.0]))
    x = rng.normal(size=(9, 1))
    assert_close(layer(x)[:, 0], np.maximum(0, 0.7 * x[:, 0] + 0.2))
    assert_close(grad(lambda v: layer(v).sum())(x)[:, 0], np.where(0.7 * x[:, 0] + 0.2 > 0, 0.7, 0.0))


def test_a_user_of_the_layer_finds_its_facts_in_its_help():
    for row in ROWS:
        words = inspect.getdoc(RECORDS[row.name])
        assert all(text.split(" ")[0] in words for text in row[1:]), row.name
