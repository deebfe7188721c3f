"""fallline train --preset tabular: the bag, its files, and what it refuses."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from fallline.train.model import load

from .conftest import Call, write_csv

FAST = ("--preset", "tabular", "--budget", "fast", "--hidden", "3", "--epochs", "2")


@pytest.mark.slow
def test_a_bag_is_trained_judged_and_used(call: Call, data) -> None:
    told = call("train", data, *FAST)
    assert told.status == 0, told.err
    for words in ("Members of the bag", "64 train, each judged by members that never saw it, 16 judge the result",
                  "linear baseline (test)", "kept in runs/data: model.safetensors, result.json"):  # fmt: skip
        assert words in told.out, words
    result = json.loads((data.parent / "runs/data/result.json").read_text())
    assert set(result["metrics"]) == set(result["baseline"]) == {"train", "test"}
    model = load("runs/data")
    assert (model.target.name, model.classes) == ("label", ("no", "yes it is"))
    measured = json.loads(call("evaluate", "runs/data", data, "--json").out)
    assert measured["rows"] == 80
    assert call("inspect", "runs/data").status == 0
    again = call("train", data, *FAST, "--json", "--out", "other")
    assert json.loads(again.out)["metrics"] == result["metrics"]


@pytest.mark.slow
def test_intervals_of_numbers(call: Call, columns, tmp_path) -> None:
    source = write_csv(tmp_path / "sizes.csv", {k: columns[k] for k in ("color", "x", "y")})
    assert call("train", source, *FAST).status == 0
    rows = list(csv.DictReader(io.StringIO(call("predict", "runs/sizes", source, "--interval", "0.8").out)))
    y, low, high = (np.array([float(row[name]) for row in rows]) for name in ("y", "low", "high"))
    assert np.mean((low <= y) & (y <= high)) > 0.6
    told = call("predict", "runs/sizes", source, "--interval", "80")
    assert told.status == 2
    assert "between 0 and 1, such as 0.9" in told.err


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--preset", "tabula"), "--preset tabula: give plain or tabular"),
        (("--budget", "fast"), "--budget fast belongs to --preset tabular"),
        (("--preset", "tabular", "--optimizer", "lbfgs"), "--optimizer belongs to --preset plain"),
        (("--preset", "tabular", "--checkpoint", "3"), "--checkpoint belongs to --preset plain"),
        (("--preset", "tabular", "--target-loss", "3"), "--target-loss belongs to --preset plain"),
        (("--preset", "tabular", "--budget", "fastest"), "fastest"),
    ],
)
def test_flags_without_a_use_are_refused(call: Call, data, flags, words) -> None:
    told = call("train", data, *flags)
    assert told.status == 2
    assert words in told.err
    assert len(told.err.strip().splitlines()) == 1


def test_a_model_without_intervals_says_so(call: Call, trained, data) -> None:
    told = call("predict", trained, data, "--interval", "0.9")
    assert told.status == 2
    assert "holds no intervals, train numbers with --preset tabular" in told.err
