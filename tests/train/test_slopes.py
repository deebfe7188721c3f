"""Slopes of predictions in the units of the columns, against central differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fallline as fl
from fallline.data.columns import Columns
from fallline.data.table import read_table
from tests.tolerance import assert_close

STEP = 1e-4


@pytest.mark.parametrize("loss, y", [("bce", 2), ("cce", 3)])
def test_of_arrays(rng, loss, y):
    X = rng.normal(size=(30, 3))
    target = np.arange(30) % y
    n = {"bce": 1, "cce": 3}[loss]
    model = fl.fit(fl.mlp(4, n, activation="tanh"), (X, target), loss=loss, epochs=2, precision="float64").model

    def answer(x):
        found = model.predict_proba(x)
        return found[:, 1] if y == 2 else found

    slopes = model.input_gradients(X)
    for j in range(3):
        moved = [answer(X + sign * STEP * np.eye(3)[j]) for sign in (1, -1)]
        assert_close(slopes[:, j], (moved[0] - moved[1]) / (2 * STEP), "library")


def test_of_tables_per_unit_of_each_column(rng):
    cells = {"size": rng.gamma(2.0, 50.0, 80), "town": rng.choice(["a", "b"], 80), "age": rng.normal(40, 9, 80)}
    table = read_table(cells)
    columns = Columns.fit(table)
    y = cells["size"] / 10 + cells["age"]
    net = fl.mlp(4, activation="tanh")
    model = fl.fit(net, (columns.transform(table)[0], y), epochs=3, precision="float64").model
    model = replace(model, columns=columns, feature_names=("size", "town", "age"))
    slopes = model.input_gradients(cells)
    assert np.isnan(slopes[:, 1]).all()
    for j, name in ((0, "size"), (2, "age")):
        moved = [model.predict({**cells, name: cells[name] + sign * 0.05}) for sign in (1, -1)]
        assert_close(slopes[:, j], (moved[0] - moved[1]) / 0.1, "fit")
    gap = {**cells, "age": [None, *cells["age"][1:]]}
    assert np.isnan(model.input_gradients(gap)[0, 2])
