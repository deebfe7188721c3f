"""Activations of several numbers at once: softmax, sparsemax, gated units, maxout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from fallline.autodiff.functions import grad
from fallline.core.errors import FalllineError
from fallline.nn.activations import ReLU
from fallline.nn.dense import Dense
from fallline.nn.joint import GLU, LogSoftmax, Maxout, Softmax, Sparsemax
from tests.tolerance import assert_close


def test_softmax(rng):
    z = rng.normal(size=(5, 4))
    assert_close(Softmax()(z), special.softmax(z, axis=-1))
    assert_close(Softmax(axis=0)(z), special.softmax(z, axis=0))
    assert_close(Softmax()(z + 100), Softmax()(z))
    assert_close(Softmax()(np.array([1000.0, 0.0])), np.array([1.0, 0.0]))
    assert_close(LogSoftmax()(z), special.log_softmax(z, axis=-1))
    assert_close(LogSoftmax()(np.array([1000.0, 0.0])), np.array([0.0, -1000.0]))


@pytest.mark.parametrize("layer", [Softmax(), LogSoftmax(), Sparsemax(), GLU()], ids=repr)
def test_far_out_gradients_are_finite(layer):
    z = np.array([[-1000.0, 1000.0, 999.0, 0.0]])
    assert np.isfinite(grad(lambda v: (layer(v) ** 2).sum())(z)).all()


def test_sparsemax_is_the_nearest_point_of_the_simplex(rng):
    z = rng.normal(size=4)
    found = optimize.minimize(
        lambda p: ((p - z) ** 2).sum(), np.full(4, 0.25), bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1}, tol=1e-14,
    )  # fmt: skip
    assert_close(Sparsemax()(z), found.x, "fit")
    assert_close(Sparsemax()(np.array([0.1, 1.0, 3.0])), np.array([0.0, 0.0, 1.0]))
    assert_close(Sparsemax()(np.array([0.5, 1.0])), np.array([0.25, 0.75]))


def test_glu(rng):
    z = rng.normal(size=(3, 6))
    assert_close(GLU()(z), z[:, :3] * special.expit(z[:, 3:]))
    with pytest.raises(FalllineError, match="even"):
        GLU()(z[:, :5])


def test_maxout_with_an_empty_second_piece_is_relu(rng):
    x, w, b = rng.normal(size=(6, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
    layer = Maxout(units=2).replace(W=np.hstack([w, 0 * w]), b=np.hstack([b, 0 * b]))
    assert_close(layer(x), ReLU()(Dense(units=2).replace(W=w, b=b)(x)))


def test_maxout_is_the_largest_piece_and_only_the_winner_learns(rng):
    x = rng.normal(size=(1, 3))
    layer = Maxout(units=2, pieces=3).build(x, rng)
    each = (x @ layer.W + layer.b).reshape(3, 2)  # (pieces, units)
    assert_close(layer(x), each.max(axis=0)[None])
    g = grad(lambda m: m(x).sum())(layer)
    wins = (each == each.max(axis=0)).astype(float)
    assert_close(g.b.reshape(3, 2), wins)
    assert_close(g.W, x.T * wins.reshape(1, 6))
