"""The reader in examples/ beside the model itself: NumPy alone, every packaged table, text as a CSV file has it."""

from __future__ import annotations

import ast
import csv
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fallline as fl
from fallline.data.target import ClassTarget
from fallline.graph.op import OPS
from tests.interchange import tables
from tests.tolerance import assert_close

SOURCE = Path(__file__).parents[2] / "examples" / "read_model.py"
READER = SimpleNamespace(**runpy.run_path(str(SOURCE)))
# The transposes of other ops, which stand in derivatives alone.
BACKWARD = {"put_add", "add_along", "unslice"}


def read(model, tmp_path):
    return READER.read(model.save(tmp_path / "model.safetensors"))


def assert_alike(model, read, rows, given=None):
    """The reader's answers to rows, in the form `given`, are those of the model."""
    given = rows if given is None else given
    found, predicted = READER.answer(read, given), READER.predict(read, given)
    tables.assert_answers(model, found | {"label": predicted, "variable": predicted}, rows)


def test_the_reader_is_short_and_needs_numpy_alone():
    text = SOURCE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    assert max(map(len, text.splitlines())) <= 120
    imported = {a.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for a in node.names}
    assert imported == {"csv", "json", "math", "sys", "numpy"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(text)))


def test_the_reader_knows_every_op_of_an_evaluation():
    lacking = {name for name in OPS if name not in READER.OPS and not hasattr(np, name)}
    assert lacking == {"input", "stop_gradient", *BACKWARD}  # a program names its inputs and has no copies


def test_cells_of_a_csv_file(tmp_path):
    """Everything is text there: numbers, dates, words for true and false, missing markers."""
    rng = np.random.default_rng(0)
    n = 120
    rows = {
        "size": [f"{v:.3f}" for v in rng.normal(size=n)],
        "day": [f"2021-03-{d:02d}" for d in rng.integers(1, 29, n)],
        "at": [
            f"2021-03-{d:02d} {h:02d}:30" for d, h in zip(rng.integers(1, 29, n), rng.integers(0, 24, n), strict=True)
        ],
        "paid": rng.choice(["yes", "no"], n).tolist(),
        "flag": rng.choice(["True", "False", "x"], n).tolist(),
        "code": rng.choice(["01", "1", "007"], n).tolist(),
    }
    for name in rows:
        for row in rng.choice(n, 9, replace=False):
            rows[name][row] = rng.choice(["", "NA", " ? ", "null"])
    model = tables.of_table(rows, {"code": "category"})
    assert {c.kind for c in model.columns.fitted} == {"number", "date", "boolean", "category"}
    fresh = {**rows, "flag": ["TRUE", "false", *rows["flag"][2:]], "code": ["1", "unknown", *rows["code"][2:]]}
    table = tmp_path / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(fresh), *zip(*fresh.values(), strict=True)])
    assert_alike(model, read(model, tmp_path), fl.read_table(table), fresh)


def test_cells_that_are_no_text(tmp_path):
    """Truth values, whole numbers as categories, whole floats for them, None and NaN."""
    rng = np.random.default_rng(0)
    rows = {
        "open": rng.random(60) < 0.5,
        "zone": rng.integers(1, 5, 60),
        "flag": rng.choice(["true", "false", "?"], 60),
    }
    rows = {name: cells.tolist() for name, cells in rows.items()} | {"shut": rng.choice([True, False, None], 60)}
    model = tables.of_table(rows, dict.fromkeys(("open", "zone", "flag"), "category"))
    fresh = {
        "open": [True, False, None, 1],
        "zone": [2.0, 4, float("nan"), 9],
        "flag": ["True", "FALSE", None, "x"],
        "shut": [False, None, True, 1.0],
    }
    for row in range(4):
        one = {name: cells[row : row + 1] for name, cells in fresh.items()}
        assert_alike(model, read(model, tmp_path), one)


@pytest.mark.parametrize("name", tables.KINDS)
def test_every_kind_of_model(name, tmp_path):
    case = tables.kind(name)
    assert_alike(case.model, read(case.model, tmp_path), case.rows, {"X": case.rows})


def test_several_arrays_and_further_axes(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    network = fl.Sequential(fl.Flatten(), fl.Dense(2)).build(pixels, 0)
    model = fl.Model(network, fl.CategoricalCrossEntropy(), ClassTarget("y", ("a", "b")), row=fl.spec((4, 3)))
    assert_alike(model, read(model, tmp_path), pixels, {"X": pixels})
    codes = np.random.default_rng(0).integers(0, 3, (9, 1)).astype(np.int32)
    both = fl.Sequential(fl.ColumnEmbedding((3,), (2,)), fl.Dense(2)).build((pixels[:, 0], codes), 0)
    model = fl.Model(both, model.loss, model.target, row=(fl.spec(3), fl.spec(1, "int32")))
    assert_alike(model, read(model, tmp_path), (pixels[:, 0], codes), {"0": pixels[:, 0], "1": codes})
    assert fl.load(tmp_path / "model.safetensors").row == model.row


def test_what_fit_returns_knows_the_shape_of_a_row(rng, tmp_path):
    x = rng.normal(size=(50, 3))
    fit = fl.fit(fl.mlp(hidden=(4,)), (x, x[:, 0] > 0), epochs=2, engine="numpy")
    assert fit.model.row == fl.spec(3)
    assert_alike(fit.model, read(fit.model, tmp_path), x, {"X": x})


def test_a_file_without_a_program_says_why(tmp_path):
    network = fl.Sequential(fl.Dense(1)).build(np.zeros((1, 3), np.float32), 0)
    model = fl.Model(network, fl.SquaredError(), tables.NumberTarget("y"))
    assert read(model, tmp_path)["program"] == {"missing": "the shape of a row is not known from this model: pass "
                                                "example=X[:1], rows that it can read"}  # fmt: skip
    assert_close(fl.load(tmp_path / "model.safetensors").predict(np.ones((2, 3))), model.predict(np.ones((2, 3))))


def test_the_program_in_the_file_is_plain_json(tmp_path):
    model = tables.of_table({"size": [1.0, 2.5, None, 7.0], "town": ["a", "b", "a", None]})
    program = read(model, tmp_path)["program"]
    json.dumps(program, allow_nan=False)
    ops = [node[0] for node in program["nodes"]]
    assert ops[:4] == ["weight"] * 4
    assert ops[4:6] == ["input"] * 2
    assert set(program["outputs"]) == {"variable"}


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    rows = {"size": ["1.5", "2", "NA"], "town": ["Ulm", "", "Linz"]}
    model = tables.of_table({"size": [1.0, 2.5, None, 7.0], "town": ["Ulm", "Linz", "Ulm", None]})
    path = model.save(tmp_path / "model.safetensors")
    (tmp_path / "rows.csv").write_text("size,town\n1.5,Ulm\n2,\nNA,Linz\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(SOURCE), str(path), str(tmp_path / "rows.csv")])
    runpy.run_path(str(SOURCE), run_name="__main__")
    printed = [float(line) for line in capsys.readouterr().out.split()]
    assert_close(printed, model.predict(rows), "library")
