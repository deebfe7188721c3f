"""Dense: the formula, shapes, dtypes and errors."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, ShapeError, UnknownNameError
from fallline.core.spec import spec
from fallline.nn.dense import Dense
from fallline.nn.initializers import Normal, Orthogonal, Zeros
from tests.tolerance import assert_close


def test_formula(rng):
    x = rng.normal(size=(6, 4))
    layer = Dense(units=3).build(x, rng).replace(b=rng.normal(size=3))
    assert_close(layer(x), x @ layer.W + layer.b)
    cube = rng.normal(size=(2, 5, 4))
    assert_close(layer(cube), cube @ layer.W + layer.b)


def test_weights_by_hand():
    layer = Dense(units=1).replace(W=np.array([[2.0]]), b=np.array([1.0]))
    assert_close(layer(np.array([[3.0]])), np.array([[7.0]]))


def test_without_bias(rng):
    x = rng.normal(size=(6, 4))
    layer = Dense(units=3, use_bias=False).build(x, rng)
    assert layer.b is None
    assert layer.is_filled
    assert_close(layer(x), x @ layer.W)


@pytest.mark.parametrize("given, expected", [("float32", "float32"), ("float64", "float64"), ("int32", "float32")])
def test_dtype_follows_the_input(given, expected):
    layer = Dense(units=2).build(spec((5, 3), given), 0)
    assert layer.W.dtype == layer.b.dtype == expected
    assert_close(layer.W.astype("float32"), Dense(units=2).build(spec((5, 3)), 0).W, "exact")


def test_a_batch_of_single_numbers_is_a_column(rng):
    x = rng.normal(size=7)
    layer = Dense(units=2).build(x, rng)
    assert layer.W.shape == (1, 2)
    assert_close(layer(x), layer(x[:, None]))
    assert_close(layer(list(x)), layer(x))


def test_one_row_without_its_axis_is_refused_with_the_cure(rng):
    layer = Dense(units=2).build(spec((5, 3)), rng)
    with pytest.raises(ShapeError, match=r"for one row give x\[None, :\]"):
        layer(np.ones(3, "float32"))


def test_initializers():
    assert not Dense(units=2, init=Zeros()).build(spec((5, 3)), 0).W.any()
    q = Dense(units=2, init="orthogonal").build(spec((5, 3), "float64"), 0).W
    assert_close(q, Dense(units=2, init=Orthogonal()).build(spec((5, 3), "float64"), 0).W)
    assert_close(q.T @ q, np.eye(2))


def test_errors():
    with pytest.raises(ConfigError, match=r"Dense\(units=0\): units must be at least 1"):
        Dense(units=0)
    with pytest.raises(UnknownNameError, match="did you mean 'Glorot'"):
        Dense(units=1, init="glorott")
    with pytest.raises(
        ConfigError, match=r"Dense\(units=3\) has no weights yet: build it first with layer.build\(spec, rng\)"
    ):
        Dense(units=3)(np.ones((2, 2)))


def test_biases_are_zero_unless_an_initializer_is_named(rng):
    x = np.zeros((2, 3))
    assert not Dense(4).build(x, 0).b.any()
    drawn = Dense(10_000, bias_init=Normal(2.0)).build(x, rng).b
    assert_close(drawn.std(), 2.0, "statistics")
    np.testing.assert_array_equal(Dense(4, bias_init="normal(2)").build(x, 0).W, Dense(4).build(x, 0).W)
    with pytest.raises(UnknownNameError, match="no initializer is called 'zeroes': did you mean 'Zeros'"):
        Dense(4, bias_init="zeroes")
