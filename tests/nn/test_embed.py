"""Embeddings of codes and columns; flattening and reshaping."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.errors import ConfigError, DataError, ShapeError
from fallline.core.record import from_json, to_json
from fallline.core.spec import spec
from fallline.core.tree import leaves
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.embed import ColumnEmbedding, Embedding, Flatten, Reshape
from tests.tolerance import assert_close


def test_embedding_looks_rows_up(rng):
    codes = np.array([[0, 4], [2, 2]], "int32")
    layer = Embedding(n_categories=5, units=3).build(codes, rng)
    assert layer.table.dtype == np.float32
    np.testing.assert_array_equal(layer(codes), layer.table[codes])
    g = grad(lambda m: m(codes).sum())(layer).table
    np.testing.assert_array_equal(g, np.array([1, 0, 2, 0, 1])[:, None] * np.ones((5, 3)))


def test_embedding_vectors_have_length_about_1(rng):
    table = Embedding(n_categories=2000, units=16).build(spec(4, "int32"), rng).table
    assert_close((table**2).sum(1).mean(), np.float32(1.0), "statistics")


@pytest.mark.parametrize("code", [-1, 5])
def test_codes_outside_are_refused(code, rng):
    layer = Embedding(n_categories=5, units=3).build(spec(4, "int32"), rng)
    with pytest.raises(DataError, match=f"code {code}, expected 0 … 4"):
        layer(np.array([0, code]))


def test_column_embedding_joins_numbers_and_vectors(rng):
    numbers, codes = rng.normal(size=(4, 2)), np.array([[0, 4], [2, 1], [1, 1], [2, 0]], "int32")
    layer = ColumnEmbedding(cardinalities=(3, 5), units=(1, 2)).build((numbers, codes), rng)
    expected = np.hstack([numbers, layer.tables[0][codes[:, 0]], layer.tables[1][codes[:, 1]]])
    np.testing.assert_array_equal(layer((numbers, codes)), expected)
    assert {path: a.shape for path, a in leaves(layer, "param").items()} == {"tables.0": (3, 1), "tables.1": (5, 2)}
    assert "float64[3,1]" in repr(layer)


def test_column_embedding_leads_a_network(rng):
    x = (spec((8, 2)), spec((8, 1), "int32"))
    net = Sequential(ColumnEmbedding(cardinalities=[3], units=[4]), Dense(units=1))
    assert from_json(to_json(net)) == net
    assert net.build(x, rng).layers[1].W.shape == (6, 1)
    only_codes = ColumnEmbedding(cardinalities=(3,), units=(4,)).build((spec((8, 0)), spec((8, 1), "int32")), rng)
    assert only_codes((np.zeros((2, 0), "float32"), np.zeros((2, 1), "int32"))).shape == (2, 4)
    only_numbers = ColumnEmbedding(cardinalities=(), units=())  # nothing to build, nothing to save
    assert only_numbers.is_filled
    assert only_numbers((np.ones((2, 2)), np.zeros((2, 0), "int32"))).shape == (2, 2)


def test_column_embedding_errors(rng):
    with pytest.raises(ConfigError, match="one number of at least 1 per column"):
        ColumnEmbedding(cardinalities=(3, 4), units=(2,))
    layer = ColumnEmbedding(cardinalities=(3,), units=(2,)).build((spec((4, 2)), spec((4, 1), "int32")), rng)
    with pytest.raises(ShapeError, match=r"expected \(batch, 1\)"):
        layer((np.ones((4, 2)), np.zeros((4, 2), "int32")))
    with pytest.raises(DataError, match="column 0: code 3"):
        layer((np.ones((1, 2)), np.array([[3]])))


def test_shapes(rng):
    x = rng.normal(size=(3, 2, 4))
    np.testing.assert_array_equal(Flatten()(x), x.reshape(3, 8))
    np.testing.assert_array_equal(Reshape(shape=(4, -1))(x), x.reshape(3, 4, 2))
    with pytest.raises(ShapeError, match="24 entries do not fit"):
        Reshape(shape=(5,))(x)
