"""fallline diagnose, and what fallline train says at its end of a training that went wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline.core.lines import columns_of
from tests.cli.conftest import Call, sample_columns, write_csv

BRIEF = 3


def leaking(folder: Path) -> Path:
    """The sample with a column that was made from the label, and one that is there twice."""
    columns = sample_columns()
    code = np.array([len(label) for label in columns["label"]]) + np.random.default_rng(0).normal(0, 0.05, 80)
    columns = {"filed under": [*map(repr, code.tolist())], **columns}
    columns = {"x in inches": [repr(float(cell) / 2.54) for cell in columns["x"]], **columns}
    return write_csv(folder / "leaking.csv", columns)


def test_a_run_is_diagnosed_from_its_folder_alone(call: Call, tmp_path: Path) -> None:
    told = call("train", leaking(tmp_path), "--out", "run", "--epochs", "40", "--learning-rate", "0.02")
    assert told.status == 0
    assert "\nleaking column: filed under alone tells the target" in told.out
    assert "next: fallline diagnose run" in told.out
    found = call("diagnose", "run")
    assert (found.status, found.err) == (0, "")
    for words in ("1. leaking column (filed under)", "Cure: Leave filed under out", "x says the same as x in inches"):
        assert words in " ".join(found.out.split())
    assert all(columns_of(line) <= 80 for line in found.out.splitlines())
    assert "Not looked for" not in found.out, "the run's own rows are known again"
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [finding["name"] for finding in kept["findings"]] == ["leaking column"]

    given = tmp_path / "leaking.csv"  # the same, named
    told = json.loads(call("diagnose", "run", given, "--json").out)
    assert [finding["name"] for finding in told["findings"]] == ["leaking column", "duplicated column"]
    assert {"what", "where", "evidence", "cause", "cure", "change", "explains"} <= set(told["findings"][0])
    assert told["rows"] == 80
    assert "written to run.html" in call("diagnose", "run", "--html", "run.html").out
    assert "filed under" in (tmp_path / "run.html").read_text()


def test_flags_are_what_the_cure_changes(call: Call, data: Path) -> None:
    told = call("train", data, "--out", "run", "--epochs", "40", "--learning-rate", "1e-6")
    assert "learning rate too low: the loss still falls after 40 epochs" in told.out
    assert "; try --learning-rate 1e-05" in told.out
    found = call("diagnose", "run")
    assert "--learning-rate 1e-05" in found.out
    assert "fl.fit" not in found.out


def test_a_sound_run_ends_without_a_word(call: Call) -> None:
    told = call("train", "wine", "--out", "run")
    assert told.out.rstrip().splitlines()[-4].startswith("log loss")
    assert "next: fallline predict run DATA" in told.out
    assert json.loads(Path("run/result.json").read_text())["findings"] == []
    assert "nothing is wrong, as far as could be seen" in call("diagnose", "run").out


@pytest.mark.slow
def test_at_most_three_lines(call: Call, tmp_path: Path) -> None:
    told = call("train", leaking(tmp_path), "--learning-rate", "1e-9", "--epochs", "20", "--hidden", "8").out
    end = told[told.index("log loss") :].splitlines()
    assert 1 <= len(end[2 : end.index("", 2)]) <= BRIEF


@pytest.mark.slow
def test_another_table_and_a_model_alone(call: Call, data: Path, tmp_path: Path) -> None:
    call("train", data, "--out", "run", "--epochs", "60", "--quiet")
    more = write_csv(tmp_path / "more.csv", {name: cells[:50] for name, cells in sample_columns().items()})
    found = call("diagnose", "run", more)
    assert found.status == 0
    assert "rows" in found.out
    shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "alone.safetensors")
    alone = call("diagnose", "alone.safetensors", more)
    assert alone.status == 0
    assert "That needs what fl.fit returns" in " ".join(alone.out.split())


def test_what_cannot_be_diagnosed_is_said_in_one_line(call: Call, data: Path, tmp_path: Path) -> None:
    call("train", data, "--out", "run", "--epochs", "2", "--quiet")
    data.rename(tmp_path / "moved.csv")
    told = call("diagnose", "run")
    assert told.status == 2
    assert told.err == f"fallline: {data}, the table of this run, is not there any more: fallline diagnose run DATA\n"
    shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "alone.safetensors")
    told = call("diagnose", "alone.safetensors")
    assert told.err == (
        "fallline: alone.safetensors does not say which table it was trained on: fallline diagnose alone.safetensors "
        "DATA\n"
    )
    columns = sample_columns()
    del columns["label"]
    told = call("diagnose", "run", write_csv(tmp_path / "unlabelled.csv", columns))
    assert "no column is called 'label'" in told.err
    (tmp_path / "run" / "result.json").write_text("{")
    told = call("diagnose", "run")
    assert told.err == "fallline: run/result.json is damaged: it holds no JSON; remove it, and give the table\n"
    X = np.random.default_rng(0).normal(size=(20, 2))
    fl.fit(fl.mlp(()), (X, X[:, 0]), epochs=1).save(tmp_path / "arrays.safetensors")
    assert "was trained on arrays" in call("diagnose", "arrays.safetensors", tmp_path / "moved.csv").err
