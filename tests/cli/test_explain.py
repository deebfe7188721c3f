"""fallline explain: one row of a table through a trained model, as text, as JSON and as a page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fallline.cli.show import columns_of
from fallline.data.table import read_table
from fallline.train.model import load
from tests.tolerance import assert_close

from .conftest import Call, write_csv
from .test_console import ESCAPE, in_terminal
from .test_errors import refused


def test_one_row(call: Call, data: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    told = call("explain", trained, data, "--row", "7")
    assert told.status == 0
    assert told.err == ""
    assert told.out.startswith("data, row 7, line 9: label = ")
    words = " ".join(told.out.split())
    probabilities = load(trained).predict_proba(read_table(data))[7]
    for label, p in zip(("no", "yes it is"), probabilities, strict=True):
        assert f"P({label}) {p:.4f}" in words
    assert f"target {columns['label'][7]}, so the loss is J =" in words
    for name in ("x", "y", "color"):
        row = next(line for line in told.out.splitlines() if line.split()[:1] == [name])
        assert (columns[name][7] or "(missing)")[:20] in row
    assert "layers.0.W" in words
    assert "Backwards: the chain rule" in words


def test_the_first_row_is_row_0(call: Call, data: Path, trained: Path) -> None:
    assert call("explain", trained, data).out == call("explain", trained, data, "--row", "0").out
    assert call("explain", trained, data).out.startswith("data, row 0, line 2: ")


def test_json(call: Call, data: Path, trained: Path) -> None:
    found = json.loads(call("explain", trained, data, "--row", "7", "--json").out)
    p = load(trained).predict_proba(read_table(data))[7]
    assert_close(list(found["probabilities"].values()), p, "f32")
    assert (found["row"], found["place"], found["target"]) == (7, "row 7, line 9", "label")
    assert {each["name"] for each in found["inputs"]} == {"x", "y", "color"}
    assert found["prediction"] in ("no", "yes it is")
    assert found["loss"] > 0
    assert [layer["layer"] for layer in found["layers"]][-1] == "Dense"


def test_a_page(call: Call, data: Path, trained: Path) -> None:
    told = call("explain", trained, data, "--row", "7", "--html", "row.html")
    assert told.out.startswith("data, row 7, line 9: label = ")
    assert told.out.endswith("written to row.html\n")
    page = Path("row.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "color" in page


def test_target_may_be_absent(call: Call, tmp_path: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    bare = write_csv(tmp_path / "bare.csv", {n: c for n, c in columns.items() if n != "label"})
    told = call("explain", trained, bare)
    assert told.status == 0
    assert "so the loss is" not in told.out
    assert "dJ" not in told.out
    assert json.loads(call("explain", trained, bare, "--json").out)["loss"] is None


def test_notes_are_of_the_row(call: Call, tmp_path: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    source = write_csv(tmp_path / "new.csv", columns | {"color": ["red", "blue", *columns["color"][2:]]})
    assert "unseen" not in call("explain", trained, source, "--row", "0").err
    told = call("explain", trained, source, "--row", "1")
    assert "note: column 'color': 1 unseen category is none of the known (\"blue\")" in told.err
    assert "one-hot, all 0" in told.out


def test_what_is_refused(call: Call, data: Path, trained: Path) -> None:
    refused(call("explain", trained, data, "--row", "80"), "--row 80: data has 80 rows, counted from 0 to 79")
    refused(call("explain", trained, data, "--row", "-1"), "--row -1: data has 80 rows")
    refused(call("explain", trained, data, "--row", "first"), "--row first: give a whole number")
    refused(call("explain", trained, data, "--html", "row.pdf"), "row.pdf", "ends in .html")
    refused(call("explain", trained, data, "--html", "nowhere/row.html"), "there is no folder nowhere")
    Path("taken.html").mkdir()
    refused(call("explain", trained, data, "--html", "taken.html"), "cannot write taken.html")
    refused(call("explain", "nomodel", data), "no model at nomodel")


def test_a_model_of_arrays_reads_no_table(call: Call, data: Path, trained: Path) -> None:
    path = replace(load(trained), columns=None).save("arrays.safetensors")
    refused(call("explain", path, data), "trained on arrays, not on a table")


def test_the_table_is_not_overwritten(call: Call, data: Path, trained: Path) -> None:
    table = Path("table.html")
    table.write_bytes(data.read_bytes())
    refused(call("explain", trained, table, "--html", "table.html"), "it is the table that is read")
    assert table.read_bytes() == data.read_bytes()


def test_the_pipe_has_80_columns(call: Call, data: Path, trained: Path) -> None:
    out = call("explain", trained, data).out
    assert max(map(columns_of, out.splitlines())) <= 80
    assert "\x1b" not in out


@pytest.mark.parametrize("width", [40, 120])
def test_in_a_terminal(tmp_path: Path, data: Path, trained: Path, width: int) -> None:
    status, output = in_terminal(width, "explain", str(trained), str(data), cwd=tmp_path)
    assert status == 0
    assert "\x1b[1m" in output, "headings are bold"
    assert max(map(columns_of, ESCAPE.sub("", output).replace("\r", "").split("\n"))) <= width


def test_a_table_in_the_models_place_is_told(call, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    told = call("explain", table, tmp_path)
    assert told.status == 2
    assert "the model comes first, then the table" in told.err
