"""Real tables, where they lie beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call

FOLDER = Path(__file__).parents[3] / "shared" / "data"


def file_of(name: str) -> Path:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    return path


@pytest.mark.parametrize(
    "name, flags, metric, at_least",
    [
        ("heart.csv", ["--target", "AHD"], "auc", 0.85),
        ("horse-colic.csv", ["--target", "24"], "accuracy", 0.7),
        ("abalone.csv", ["--epochs", "30"], "r2", 0.4),
        ("winequality-red.csv", ["--epochs", "30"], "accuracy", 0.5),
        pytest.param("adult.csv.gz", ["--epochs", "10"], "auc", 0.88, marks=pytest.mark.slow),
    ],
)
def test_trains_and_predicts(call: Call, name: str, flags: list[str], metric: str, at_least: float) -> None:
    """Better than a constant answer by far; the exact figures are the benchmarks' matter."""
    path = file_of(name)
    told = call("train", path, *flags, "--json", "--out", "run")
    assert told.status == 0, told.err
    result = json.loads(told.out)
    assert result["metrics"]["test"][metric] > at_least
    told = call("predict", "run", path)
    assert told.status == 0
    assert len(told.out.splitlines()) == result["rows"] + 1


def test_heart_says_what_its_columns_are(call: Call) -> None:
    out = call("train", file_of("heart.csv"), "--target", "AHD", "--epochs", "2").out
    for words in (
        "(nameless)  left out   identifier: row numbers",
        "ChestPain   category   4 levels",
        "missing, filled",
    ):
        assert words in out
