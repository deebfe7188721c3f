"""to_onnx beside the model itself: every kind of model and layer, dtypes, names; run by ONNX Runtime."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.record import records_of
from fallline.core.tree import leaves, map_leaves
from fallline.data.target import ClassTarget
from tests.interchange import tables
from tests.interchange.onnx_session import answers, running, session
from tests.interchange.tables import assert_answers
from tests.tolerance import assert_close

LAYERS = {n: c for n, c in records_of(fl.Layer).items() if c.__module__.startswith("fallline.")}


@pytest.mark.parametrize("name", tables.KINDS)
def test_every_kind_of_model(name):
    case = tables.kind(name)
    running = session(fl.to_onnx(case.model))
    for n in (1, 7, 40):
        assert_answers(case.model, answers(running, {"X": case.rows[:n]}), case.rows)


@pytest.mark.parametrize("name", ["two classes", "quantiles", "scaled"])
def test_float64_models_agree_as_far_as_their_activations(name):
    case = tables.kind(name, "float64")
    found = answers(session(fl.to_onnx(case.model)), {"X": case.rows})
    assert_answers(case.model, found, case.rows, "run")


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_for_any_number_of_rows(name, rng):
    recipe, x = LAYERS[name].sample(rng)
    layer = recipe if recipe.is_filled else recipe.build(x, rng)
    running = session(fl.to_onnx(layer, example=x))
    for n in (1, 3, 50):
        rows = map_leaves(lambda _, leaf, n=n: np.resize(leaf, (n, *leaf.shape[1:])), x)
        meant = np.asarray(layer(rows))
        found = answers(running, {path or "X": leaf for path, leaf in leaves(rows).items()})["variable"]
        assert_close(found.reshape(meant.shape), meant, "library")


def test_text_is_read_as_the_model_reads_it():
    """Words for true and false in any case, missing markers, levels that look alike."""
    columns = {"flag": ["true", "false", "true", None], "code": ["01", "1", "01", "x"], "size": [1.0, 2.0, 3.0, None]}
    model = tables.of_table(columns, {"flag": "category", "code": "category"})
    fresh = {
        "flag": ["TRUE", "False", "yes", "n/a", "NULL", ""],
        "code": ["1", "01", "001", "?", "NaN", "x"],
        "size": [1.0, None, -5.0, 1e9, 2.0, 2.0],
    }
    found = answers(session(fl.to_onnx(model)), fresh)
    assert_answers(model, found, fresh)


def test_true_false_and_dates_go_in_as_numbers():
    model = tables.of_table({"paid": [True, False, None, True], "day": ["2021-03-05", "2020-01-01", "", "2019-12-31"]})
    found = answers(session(fl.to_onnx(model)), {"paid": [1, 0, None], "day": [18691.5, None, 18262]})
    meant = {"paid": [True, False, None], "day": ["2021-03-05 12:00", "", "2020-01-01 00:00"]}
    assert_answers(model, found, meant)


def test_a_column_may_have_any_name():
    columns = {
        "variable": [1.0, 2.0, None],
        "rows": ["a", "b", "a"],
        "layers.1.W": [2.0, 3.0, 1.0],
        "": ["u", "v", "u"],
    }
    model = tables.of_table(columns | {"constant_0": [1.0, 5.0, 2.0], "table/Concat_1": [0.5, 1.5, 2.5]})
    fresh = {"variable": [None, 2.0], "rows": ["b", ""], "layers.1.W": [1.0, 1.0]}
    fresh |= {"constant_0": [2.0, None], "table/Concat_1": [0.0, 1.0]}
    running = session(fl.to_onnx(model))
    found = answers(running, fresh | {"nameless": ["v", "w"]})
    assert list(found) == ["variable_"]
    assert_answers(model, {"variable": found["variable_"]}, fresh | {"": ["v", "w"]})


def test_a_table_that_came_as_an_array_is_one_input(rng):
    x = rng.normal(size=(30, 4))
    x[:, 1] = 7.0  # is left out
    x[rng.random((30, 4)) < 0.2] = np.nan
    model = tables.of_table(x)
    running = session(fl.to_onnx(model))
    assert [(port.name, port.shape) for port in running.get_inputs()] == [("X", ["n", 4])]
    assert_answers(model, answers(running, {"X": x}), x)


def test_in_float32():
    model = tables.of_table({"size": [1.0, 2.5, None, 7.0], "town": ["a", "b", "a", None]})
    running = session(fl.to_onnx(model, dtype="float32"))
    assert [port.type for port in running.get_inputs()] == ["tensor(float)", "tensor(string)"]
    assert [port.type for port in running.get_outputs()] == ["tensor(float)"]
    rows = {"size": [1.25, None], "town": ["b", "z"]}
    assert_answers(model, answers(running, rows), rows)


def test_what_fit_and_the_estimators_return(rng, tmp_path):
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    fit = fl.fit(fl.mlp(hidden=(8,), n_outputs=3), (x, y), epochs=2, engine="numpy")
    read = running(written(fit, tmp_path))
    assert [(port.name, port.type) for port in read.get_inputs()] == [("X", "tensor(float)")]
    assert_answers(fit.model, answers(read, {"X": x}), x)
    estimator = fl.Regressor(hidden=(4,), epochs=2, engine="numpy").fit(x, x[:, 0])
    assert_answers(estimator.model_, answers(session(fl.to_onnx(estimator)), {"X": x}), x)


def test_probabilities_stand_in_the_order_of_the_estimators_classes():
    """As scikit-learn sorts them, where the model knows ordered classes in their own order."""
    case = tables.kind("whole numbers")
    model = replace(case.model, target=ClassTarget("y", (7, -1, 4)))
    estimator = SimpleNamespace(model_=model, classes_=np.array([-1, 4, 7]))
    made = fl.to_onnx(estimator)
    found = answers(session(made), {"X": case.rows})
    assert_close(found["probabilities"], model.predict_proba(case.rows)[:, [1, 2, 0]], "library")
    assert found["label"].tolist() == model.predict(case.rows).tolist()
    assert {entry.key: entry.value for entry in made.metadata_props}["classes"] == '["-1", "4", "7"]'


def written(model, folder):
    path = folder / "model.onnx"
    made = fl.to_onnx(model, path)
    assert path.read_bytes() == made.SerializeToString()
    return str(path)


def test_the_file_says_where_it_comes_from():
    made = fl.to_onnx(replace(tables.kind("whole numbers").model, feature_names=("a", "b", "c", "d", "e")))
    assert (made.producer_name, made.producer_version) == ("fallline", fl.__version__)
    facts = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(facts["classes"]) == ["-1", "4", "7"]
    assert json.loads(facts["features"]) == ["a", "b", "c", "d", "e"]
    assert facts["target"] == "y"


def test_a_graph_reads_as_the_network_does():
    """No node is spent on broadcasts that ONNX does by itself, and weights keep their names."""
    network = fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(np.zeros((1, 2), np.float32), 0)
    made = fl.to_onnx(network, example=np.zeros((1, 2)))
    kinds = [node.op_type for node in made.graph.node]
    assert [k for k in kinds if k not in ("Reshape", "Cast", "Identity")] == ["MatMul", "Add", "Tanh", "MatMul", "Add"]
    assert {"layers.0.W", "layers.2.b"} <= {tensor.name for tensor in made.graph.initializer}


def test_what_cannot_be_written_is_refused(rng, monkeypatch):
    network = fl.Sequential(fl.Dense(1)).build(np.zeros((1, 3), np.float32), 0)
    with pytest.raises(ConfigError, match=r"^the shape of a row is not known from this model: pass example=X\[:1\]"):
        fl.to_onnx(network)
    with pytest.raises(
        ConfigError, match=r"^to_onnx writes a trained model or a filled network, given Sequential: fit"
    ):
        fl.to_onnx(fl.Sequential(fl.Dense(1)))
    with pytest.raises(ConfigError, match=r"^dtype='float16': give float32 or float64"):
        fl.to_onnx(network, dtype="float16", example=np.zeros((1, 3)))
    with pytest.raises(ConfigError, match=r"^cannot write model\.txt: give a name that ends in \.onnx$"):
        fl.to_onnx(network, "model.txt", example=np.zeros((1, 3)))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^fl\.to_onnx needs the package onnx, which is not installed here: pip"):
        fl.to_onnx(network, example=np.zeros((1, 3)))
