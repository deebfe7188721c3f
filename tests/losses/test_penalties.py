"""Penalties: what they add, and to what."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.errors import ConfigError
from fallline.core.record import from_json, to_json
from fallline.graph.program import Program
from fallline.losses.penalties import L1, L2
from tests.tolerance import assert_close

PARAMS = {"layers.0.W": np.array([[3.0], [4.0]]), "layers.0.b": np.array([100.0])}


def test_l2_of_the_course():
    """w = (3, 4), lambda = .1, m = 10: (lambda / 2m) |w|² = .125, strength lambda / m; the gradient is lambda w / m."""
    penalty = L2(0.1 / 10)
    assert_close(penalty(PARAMS), 0.125)
    assert_close(grad(penalty)(PARAMS)["layers.0.W"], 0.1 * PARAMS["layers.0.W"] / 10)


def test_l1():
    assert_close(L1(0.5)(PARAMS), 3.5)
    w = {"W": np.array([[3.0, 0.0, -2.0]])}
    assert_close(grad(L1(0.5))(w)["W"], np.array([[0.5, 0.0, -0.5]]))


def test_biases_are_left_out_by_default():
    assert_close(grad(L2(1.0))(PARAMS)["layers.0.b"], np.zeros(1), "exact")
    assert_close(L2(1.0)({"b": np.ones(3)}), np.zeros(()), "exact")


@pytest.mark.parametrize("where", ["*", ("*.W", "*.b"), lambda path, leaf: True])
def test_what_is_penalised_can_be_chosen(where):
    assert_close(L1(1.0, where=where)(PARAMS), 107.0)
    assert_close(L1(1.0, where="*.b")(PARAMS), 100.0)


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"layers\.0\.W"):
        L2(1.0, where="layer.0.W")(PARAMS)


@pytest.mark.parametrize("penalty", [L1(0.1), L2(0.1, where="*.W"), L2(0.1, where=("*.W", "*.b"))])
def test_json_and_program(penalty):
    assert from_json(to_json(penalty)) == penalty
    singles = {path: p.astype("float32") for path, p in PARAMS.items()}
    program = Program.of(penalty, singles)
    assert program.outputs[0].spec.shape == ()
    assert program.outputs[0].dtype == np.float32
    assert_close(program(singles), penalty(singles), "f32")
