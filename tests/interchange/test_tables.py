"""Every packaged table, with missing cells and unseen categories: other readers answer as the model itself does."""

from __future__ import annotations

import pytest

import fallline as fl
from tests.interchange import tables
from tests.interchange.onnx_session import answers, session
from tests.interchange.test_read_model import assert_alike, read


@pytest.mark.parametrize("name", tables.NAMES)
def test_every_reader_agrees_with_the_model(name, tmp_path):
    case = tables.case(name)
    model, rows = case.model, case.rows
    assert any(cell is None for cells in rows.values() for cell in cells)
    assert {"new colour", "new town"} & {*rows["colour"], *rows["town"]}
    assert_alike(model, read(model, tmp_path), rows)
    running = session(fl.to_onnx(model))
    assert [port.name for port in running.get_inputs()] == [c.name for c in model.columns.fitted]
    for n in (1, 7, 1000):
        found = answers(running, {key: (cells * 20)[:n] for key, cells in rows.items()})
        assert {len(array) for array in found.values()} == {n}
        tables.assert_answers(model, found, rows)
