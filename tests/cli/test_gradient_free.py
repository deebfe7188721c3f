"""fallline train with the methods that need no gradient: it trains, or says in one line why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call

SMALL = ("--hidden", "2", "--epochs", "4", "--engine", "numpy", "--out", "run", "--quiet")


@pytest.mark.parametrize("optimizer", ["cmaes", "de(NP=10)"])
def test_a_network_is_trained(call: Call, data: Path, tmp_path: Path, optimizer: str) -> None:
    told = call("train", data, "--target", "label", "--optimizer", optimizer, *SMALL)
    assert told.status == 0, told.err
    rows = (tmp_path / "run" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert "evaluations" in rows[0]
    assert len(rows) == 1 + 5
    assert json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))


def test_a_grid_in_too_many_weights_is_refused(call: Call, data: Path) -> None:
    told = call("train", data, "--target", "label", "--optimizer", "grid", *SMALL)
    assert told.status == 2
    assert told.err.count("\n") == 1
    assert "points, at most 100,000 are tried: take no more than 4 weights" in told.err
    assert "--optimizer 'cmaes'" in told.err
