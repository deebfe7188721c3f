"""to_onnx beside the model itself: packaged tables, every layer and loss, arrays, estimators; run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.record import records_of
from fallline.core.tree import leaves, map_leaves
from tests.interchange import tables
from tests.tolerance import assert_close

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(made: Any) -> Any:
    onnx.checker.check_model(made, full_check=True)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def fed(running: Any, rows: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """The rows as the inputs ask for them: text with "" and numbers with NaN for missing cells, each a column."""
    found = {}
    for port in running.get_inputs():
        cells = rows[port.name]
        if port.type == "tensor(string)":
            found[port.name] = np.array([["" if cell is None else cell] for cell in cells], dtype=object)
        else:
            kind = "float32" if port.type == "tensor(float)" else "float64"
            found[port.name] = np.array([[np.nan if cell is None else cell] for cell in cells], dtype=kind)
    return found


def answers(made: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    running = session(made)
    return dict(zip([port.name for port in running.get_outputs()], running.run(None, given), strict=True))


@pytest.mark.parametrize("name", tables.NAMES)
def test_a_packaged_table_with_missing_and_unseen_cells(name):
    case = tables.case(name)
    running = session(fl.to_onnx(case.model))
    assert [port.name for port in running.get_inputs()] == [c.name for c in case.model.columns.fitted]
    for n in (1, 7, 1000):
        rows = {key: (cells * 10)[:n] for key, cells in case.rows.items()}
        found = dict(zip([p.name for p in running.get_outputs()], running.run(None, fed(running, rows)), strict=True))
        if case.model.classes:
            assert found["label"].tolist() == case.model.predict(rows).tolist()
            assert_close(found["probabilities"], case.model.predict_proba(rows), "library")
        else:
            assert_close(found["variable"][:, 0], case.model.predict(rows), "library")


DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}


@pytest.mark.parametrize("name", sorted(records_of(fl.Layer)))
def test_every_layer_for_any_number_of_rows(name, rng):
    recipe, x = records_of(fl.Layer)[name].sample(rng)
    layer = recipe if recipe.is_filled else recipe.build(x, rng)
    running = session(fl.to_onnx(layer, example=x))
    ports = {port.name: DTYPES[port.type] for port in running.get_inputs()}
    for n in (1, 3, 50):
        rows = map_leaves(lambda _, leaf, n=n: np.resize(leaf, (n, *leaf.shape[1:])), x)
        given = {path or "X": leaf.astype(ports[path or "X"]) for path, leaf in leaves(rows).items()}
        meant = np.asarray(layer(rows))
        assert_close(running.run(None, given)[0].reshape(meant.shape), meant, "library")
