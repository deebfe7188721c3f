"""Arrays of a trace, opened entry by entry under the names of the data's columns."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from fallline.train.tabular import TableOptions, prepare
from tests.tolerance import assert_close

pd = pytest.importorskip("pandas")


def product(x, W):
    return fl.sum(fl.tanh(x @ W))


X, W = np.array([[1.0, -3.0]]), np.array([[0.1, 0.2, 0.3], [0.4, -0.5, 0.6]])


def test_every_entry_has_its_value_and_its_partial():
    traced = fl.trace(product, X, W)
    table = traced.open("W")
    assert table.columns["entry"] == ["[0, 0]", "[0, 1]", "[0, 2]", "[1, 0]", "[1, 1]", "[1, 2]"]
    assert_close(np.array(table.columns["value"]), W.ravel())
    assert_close(np.array(table.columns["dJ/dW"]), traced["W"].partial.ravel())
    assert "label" not in table.columns


def test_the_largest_come_first():
    traced = fl.trace(product, X, W)
    sizes = np.abs(traced.open("W", sort="value").columns["value"])
    assert list(sizes) == sorted(np.abs(W.ravel()), reverse=True)
    slopes = np.abs(traced.open("W", sort="partial").columns["dJ/dW"])
    assert list(slopes) == sorted(np.abs(traced["W"].partial.ravel()), reverse=True)


def test_labels_name_the_last_axis():
    table = fl.trace(product, X, W).open("x", labels=["age", "dose"])
    assert table.columns["label"] == ["age", "dose"]
    with pytest.raises(ShapeError, match=r"3 labels for x of shape \(1, 2\)"):
        fl.trace(product, X, W).open("x", labels=["a", "b", "c"])


def test_a_model_of_a_data_frame_knows_its_columns():
    frame = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "dose": [4.0, 1.0, 2.0, 0.0]})
    model = fl.fit(fl.Sequential(fl.Dense(2), fl.Dense(1)), (frame, [0, 1, 0, 1]), epochs=1).model
    traced = fl.trace(model, frame[:1])
    assert traced.open("x").columns["label"] == ["age", "dose"]
    assert traced.open("layers.0.W").columns["label"] == ["age", "age", "dose", "dose"]  # a row for each input
    assert "label" not in traced.open("layers.1.W").columns


def test_an_embedded_category_is_named_through_the_layers():
    rng = np.random.default_rng(0)
    towns = [f"town {i % 40}" for i in range(120)]
    table = fl.read_table({"age": rng.normal(50, 10, 120), "town": towns, "cost": rng.normal(size=120)})
    model = prepare(table, "cost", TableOptions(hidden=(2,), epochs=1)).train().fit.model
    traced = fl.trace(model, table.take(np.array([0])))
    assert traced.open("codes").columns["label"] == ["town"]
    labels = list(dict.fromkeys(traced.open("layers.1.W").columns["label"]))
    assert labels[:3] == ["age", "town 0", "town 1"]
    assert len(labels) == model.network.layers[1].W.shape[0]


def test_a_big_array_is_opened_in_short():
    traced = fl.trace(lambda x: fl.sum(x * x), np.arange(5000.0))
    table = traced.open("x")
    assert len(table) == 5000
    assert "… 4800 rows …" in table.text(80)


def test_a_notebook_opens_big_arrays_on_demand():
    html = fl.trace(product, X, W)._repr_html_()
    assert "<details><summary>[2×3] " in html
    assert html.count("<details>") == html.count("</details>")


def test_bad_questions_are_answered():
    traced = fl.trace(lambda x, n: fl.sum(fl.take(x, n)), np.ones(3), np.arange(3))
    with pytest.raises(ConfigError, match="did you mean 'partial'"):
        traced.open("x", sort="partials")
    with pytest.raises(ConfigError, match="n has no derivative to sort by"):
        traced.open("n", sort="partial")
    assert "dJ/dn" not in traced.open("n").columns
