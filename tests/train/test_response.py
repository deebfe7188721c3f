"""Response: what is measured of a function without weights, against what is known of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.record import records_of
from fallline.nn.activations import Activation
from fallline.train.response import Response, slopes
from tests.tolerance import assert_close

RANGES = {
    fl.Sigmoid(): (0, 1),
    fl.HardSigmoid(): (0, 1),
    fl.PiecewiseLinear(): (0, 1),
    fl.Heaviside(): (0, 1),
    fl.Tanh(): (-1, 1),
    fl.HardTanh(): (-1, 1),
    fl.Softsign(): (-1, 1),
    fl.Sign(): (-1, 1),
    fl.Softmax(): (0, 1),
    fl.Sparsemax(): (0, 1),
    fl.LogSoftmax(): (-math.inf, 0),
    fl.ReLU(): (0, math.inf),
    fl.Softplus(): (0, math.inf),
    fl.ELU(): (-1, math.inf),
    fl.ELU(alpha=0.5): (-0.5, math.inf),
    fl.LeakyReLU(): (-math.inf, math.inf),
    fl.Linear(): (-math.inf, math.inf),
}


@pytest.mark.parametrize("layer", RANGES, ids=repr)
def test_the_range_of_an_activation(layer):
    found = Response.of(layer, 3)
    assert_close(np.array([found.low, found.high]), np.array(RANGES[layer], float), "fit")
    assert found.is_bounded == all(map(math.isfinite, RANGES[layer]))


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("name", sorted(set(records_of(Activation)) - {"GLU", "Maxout", "PReLU"}))
def test_slopes_are_there_for_functions_of_each_entry_alone(name, width):
    """Joint functions mix entries; of a single entry there is nothing to mix."""
    found = Response.of(getattr(fl, name)(), width)
    mixes = name in ("Softmax", "LogSoftmax", "Sparsemax") and width > 1
    assert (found.slope is None) == mixes


def test_slopes_are_those_of_the_formula():
    z = np.linspace(-4.0, 4.0, 33).reshape(11, 3)
    y = 1 / (1 + np.exp(-z))
    assert_close(slopes(fl.Sigmoid(), z), y * (1 - y))
    assert_close(slopes(lambda x: x * fl.sin(x), z), np.sin(z) + z * np.cos(z))


@pytest.mark.parametrize(
    "f, kind",
    [
        (fl.Dropout(0.5), "identity"),
        (fl.Linear(), "identity"),
        (lambda x: x, "identity"),
        (fl.Sequential(), "identity"),
        (fl.Heaviside(), "step"),
        (fl.Sign(), "step"),
        (fl.sign, "step"),
        (fl.Heaviside(surrogate="sigmoid"), ""),
        (lambda x: x * 0.0 + 3.0, "constant"),
        (fl.Sigmoid(), ""),
        (fl.ReLU(), ""),
    ],
    ids=lambda f: getattr(f, "__name__", str(f)),
)
def test_kinds(f, kind):
    found = Response.of(f, 2)
    assert [k for k in ("identity", "constant", "step") if getattr(found, f"is_{k}")] == [kind] * bool(kind)


def test_the_softmax_of_one_score_is_constant():
    assert Response.of(fl.Softmax(), 1).is_constant
    assert not Response.of(fl.Softmax(), 2).is_constant
