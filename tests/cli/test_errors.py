"""Whatever the user can mend ends with status 2 and one line on standard error, which says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fallline.cli.commands import COMMANDS
from fallline.core.errors import ModelFileError
from fallline.train.model import load

from .conftest import Call, Told, write_csv


def refused(told: Told, *words: str) -> None:
    """Status 2, nothing on standard output, one line that holds the words."""
    assert told.status == 2
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    assert told.err.startswith("fallline: ")
    for word in words:
        assert word in told.err


def test_no_such_file(call: Call, data: Path) -> None:
    refused(call("train", "dta.csv"), "no such file: dta.csv", "'data.csv'")
    refused(call("train", "irs"), "'iris'")


def test_empty_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    refused(call("train", "empty.csv"), "empty.csv is empty")


def test_header_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "head.csv").write_text("a,b\n")
    refused(call("train", "head.csv", "--header"), "no rows")


def test_binary_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(np.random.default_rng(0).bytes(4000))
    refused(call("train", "noise.csv"), "binary data")


def test_folder_for_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(call("train", "folder"), "is a folder")


def test_no_such_column(call: Call, data: Path) -> None:
    refused(call("train", data, "--target", "lable"), "'lable'", "did you mean 'label'?")
    refused(call("inspect", data, "--target", "lable"), "did you mean 'label'?")


def test_no_such_position(call: Call, data: Path) -> None:
    refused(call("train", data, "--target", "5"), "--target 5", "4 columns, counted from 1")
    refused(call("train", data, "--target", "0"), "counted from 1")


@pytest.mark.parametrize(
    "cells, words",
    [
        (["a"] * 80, "'label' is \"a\" in every one of the 80 rows"),
        (["a", "b", ""] + ["a"] * 77, "missing in 1 of 80 rows (first: row 2, line 4)"),
        (["1.5", "inf"] + [f"{i}.5" for i in range(78)], "infinite in row 1, line 3"),
        ([f"name {i}" for i in range(80)], "too many for classes"),
    ],
)
def test_targets(call: Call, tmp_path: Path, columns: dict[str, list[Any]], cells: list[str], words: str) -> None:
    source = write_csv(tmp_path / "bad.csv", columns | {"label": cells})
    refused(call("train", source), "the target column 'label'", words)


def test_too_few_rows(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "few.csv", {name: cells[:6] for name, cells in columns.items()})
    refused(call("train", source), "6 rows, too few", "at least 10")


def test_shares_that_leave_nothing(call: Call, data: Path) -> None:
    refused(call("train", data, "--validation", "0.6", "--test", "0.5"), "none is left to train on")


def test_text_among_numbers(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "text.csv", columns | {"x": [*columns["x"][:-1], "n/k"]})
    told = call("train", source)
    refused(told, "column 'x' holds text (\"n/k\" in row 79, line 81)", '--missing "n/k"')
    assert call("train", source, "--missing", "n/k", "--epochs", "1", "-q").status == 0


def test_infinite_cell(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "inf.csv", columns | {"x": [*columns["x"][:-1], "-inf"]})
    refused(call("train", source), "column 'x' is infinite in row 79")


def test_ragged_line(call: Call, data: Path) -> None:
    data.write_text(data.read_text() + "1,2,3,4,5\n")
    refused(call("train", data), "line 82: 5 cells where the other lines have 4")


def test_nothing_to_learn_from(call: Call, tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    source = write_csv(tmp_path / "one.csv", {"label": columns["label"]})
    refused(call("train", source), "no column to learn from")


def test_columns_that_differ_at_prediction_time(
    call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path
) -> None:
    renamed = {"x": columns["x"], "Y": columns["y"], "color": columns["color"]}
    source = write_csv(tmp_path / "renamed.csv", renamed)
    refused(call("predict", trained, source), "lacks 1 of the 3 columns", "'y'", "did you mean 'Y'?")
    refused(call("predict", trained, write_csv(tmp_path / "x.csv", {"x": columns["x"]})), "'y', 'color'")
    refused(call("predict", trained, write_csv(tmp_path / "t.csv", columns | {"x": ["abc"] * 80})), "'x' holds text")


def test_evaluation_without_the_target(call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path) -> None:
    source = write_csv(tmp_path / "bare.csv", {n: c for n, c in columns.items() if n != "label"})
    refused(call("evaluate", trained, source), "no column is called 'label'")


def test_evaluation_with_an_unknown_class(call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path) -> None:
    source = write_csv(tmp_path / "odd.csv", columns | {"label": [*columns["label"][:-1], "maybe"]})
    refused(call("evaluate", trained, source), '"maybe" in row 79', "none of the classes")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_wrong_model_files(call: Call, tmp_path: Path, data: Path, command: str) -> None:
    refused(call(command, data, data), "not a whole Fallline model file")
    save_file({"w": np.zeros(3)}, tmp_path / "foreign.safetensors")
    refused(call(command, "foreign.safetensors", data), "another program")
    refused(call(command, "nowhere", data), "no model at nowhere")
    (tmp_path / "hollow").mkdir()
    refused(call(command, "hollow", data), "no model at hollow")


def test_model_file_cut_short(call: Call, tmp_path: Path, data: Path, trained: Path) -> None:
    whole = (trained / "model.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    for size in [*range(0, len(whole), 1024), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelFileError) as error:
            load(cut)
        assert "\n" not in str(error.value)
    refused(call("predict", cut, data), "cut.safetensors")
    refused(call("inspect", cut), "cut.safetensors")


def test_model_trained_on_arrays(call: Call, tmp_path: Path, data: Path, trained: Path) -> None:
    from dataclasses import replace

    path = replace(load(trained), columns=None).save(tmp_path / "arrays.safetensors")
    refused(call("predict", path, data), "trained on arrays, not on a table")
    told = call("inspect", path)
    assert told.status == 0
    assert "layers.0.W" in told.out


def test_unwritable_folder(call: Call, tmp_path: Path, data: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(call("train", data, "--out", "file/run"), "cannot write to the folder", "--out")
    refused(call("train", data, "--out", "file"), "it is a file")
    refused(call("predict", trained, data, "-o", "file/out.csv"), "cannot write")
    refused(call("predict", trained, data, "-o", "none/out.csv"), "cannot write")
    refused(call("predict", trained, data, "-o", "out.xlsx"), ".parquet")


def test_failed_training_leaves_no_empty_folder(call: Call, tmp_path: Path, data: Path) -> None:
    blast = ("--optimizer", "sgd", "--learning-rate", "1e30", "--batch-size", "4")
    told = call("train", data, *blast, "--quiet", "--out", "run")
    refused(told, "not finite", "learning rate is too high")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--activation", "rellu"], ["'rellu'", "did you mean 'ReLU'"]),
        (["--optimizer", "adamm"], ["'adamm'", "'Adam'"]),
        (["--optimizer", "adam(beta=0.5)"], ["no field 'beta'", "'beta1'"]),
        (["--optimizer", "ema(adamm)"], ["'adamm'", "'Adam'"]),
        (["--optimizer", "ema(adam, decay=1)"], ["EMA(decay=1): decay must be below 1"]),
        (["--loss", "poison"], ["did you mean 'Poisson'?"]),
        (["--loss", "mse"], ["is text", "leave out --loss"]),
        (["--schedule", "cosin"], ["did you mean 'Cosine'"]),
        (["--engine", "nunpy"], ["did you mean 'numpy'?"]),
        (["--dropout", "-0.1"], ["--dropout -0.1: must be at least 0"]),
        (["--dropout", "much"], ["--dropout much: give a number"]),
        (["--l2", "nan"], ["--l2 nan: give a number"]),
        (["--learning-rate", "0"], ["--learning-rate 0.0: must be above 0"]),
        (["--hidden", "64,x"], ["--hidden 64,x: give whole numbers"]),
        (["--hidden", "0"], ["units must be at least 1"]),
        (["--epochs", "1.5"], ["--epochs 1.5: give a whole number"]),
        (["--batch-size", "half"], ["--batch-size 'half'", '"full"']),
        (["--delimiter", "ab"], ["--delimiter 'ab' must be one character"]),
        (["--encoding", "utf9"], ["'utf9' is unknown"]),
        (["--epoch", "3"], ["--epoch", "did you mean --epochs?", "fallline train --help"]),
        (["--target"], ["requires an argument"]),
        (["extra"], ["extra"]),
    ],
)
def test_flags(call: Call, data: Path, flags: list[str], words: list[str]) -> None:
    refused(call("train", data, *flags), *words)


def test_commands(call: Call) -> None:
    refused(call("trian"), "did you mean", "'train'")
    refused(call("--nope"), "--nope", "fallline --help")
    for command in COMMANDS:
        refused(call(command), "missing argument", f"fallline {command} --help")


def test_full_disk(call: Call, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "runs/data/history.csv")

    monkeypatch.setattr("fallline.train.history.History.to_csv", fail)
    refused(call("train", data, "--epochs", "1", "--quiet"), "history.csv: No space left on device")


def test_small_memory(call: Call, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("fallline.cli.asked.prepare", fail)
    refused(call("train", data), "memory")
