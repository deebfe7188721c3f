"""Every packaged table, with missing cells and unseen categories: other readers answer as the model itself does."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from tests.interchange import tables
from tests.interchange.onnx_session import answers, session
from tests.interchange.test_read_model import assert_alike, read


@pytest.mark.parametrize("name", tables.NAMES)
def test_every_reader_agrees_with_the_model(name, tmp_path):
    case = tables.case(name)
    model = case.model
    assert_alike(model, read(model, tmp_path), case.rows)
    running = session(fl.to_onnx(model))
    assert [port.name for port in running.get_inputs()] == [c.name for c in model.columns.fitted]
    for n in (1, 7, 1000):
        rows = {key: (cells * 10)[:n] for key, cells in case.rows.items()}
        tables.assert_answers(model, answers(running, rows), rows)
    assert any(cell is None for cells in case.rows.values() for cell in cells)
    assert np.isin([cell for cell in case.rows["colour"] if cell], ["new colour"]).any()
