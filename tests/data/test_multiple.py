"""Targets of several columns."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import from_json, to_json
from fallline.data.multiple import LabelsTarget, NumbersTarget
from fallline.data.table import read_table
from tests.tolerance import assert_close

TABLE = read_table({"red": [0, 1, 1], "round": [1.0, 0.0, 1.0], "size": [3.0, 5.0, 7.0]})


def test_labels():
    target = LabelsTarget(("red", "round"))
    assert target.encode(TABLE).tolist() == [[0, 1], [1, 0], [1, 1]]
    assert target.decode(np.array([[True, False]])).tolist() == [[1, 0]]
    assert from_json(to_json(target)) == target
    assert (target.n_classes, target.classes) == (2, ("red", "round"))
    with pytest.raises(DataError, match="column 'size' is 3 in row 0: a label is 0 or 1"):
        LabelsTarget(("red", "size")).encode(TABLE)


def test_numbers_each_on_its_own_scale():
    target = NumbersTarget(("round", "size"), (0.5, 5.0), (0.5, 2.0))
    assert target.encode(TABLE).tolist() == [[1, -1], [-1, 0], [1, 1]]
    assert_close(target.decode(target.encode(TABLE)), np.array([[1.0, 3.0], [0.0, 5.0], [1.0, 7.0]]))
    assert from_json(to_json(target)) == target
    with pytest.raises(ConfigError, match="one scale above 0"):
        NumbersTarget(("a",), (0.0,), (0.0,))
