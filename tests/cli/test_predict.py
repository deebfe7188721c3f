"""fallline predict and evaluate: the rows as they came, with what the model says of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fallline.data.table import read_table
from fallline.train.metrics import accuracy
from fallline.train.model import load
from tests.tolerance import assert_close

from .conftest import Call, write_csv


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_keep_their_order_and_cells(call: Call, data: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    told = call("predict", trained, data)
    assert told.status == 0
    found = rows_of(told.out)
    for name, cells in columns.items():
        assert [row[name] for row in found] == cells
    model = load(trained)
    assert [row["prediction"] for row in found] == model.predict(read_table(data)).tolist()
    p = np.array([[float(row["p_no"]), float(row["p_yes it is"])] for row in found])
    assert_close(p.sum(axis=1), np.ones(len(p)))
    assert_close(p, model.predict_proba(read_table(data)))


def test_output_files(call: Call, data: Path, trained: Path) -> None:
    printed = call("predict", trained, data).out
    told = call("predict", trained, data, "-o", "out.csv")
    assert told.out == "80 rows written to out.csv\n"
    assert Path("out.csv").read_text() == printed
    call("predict", trained, data, "-o", "out.csv.gz")
    assert gzip.decompress(Path("out.csv.gz").read_bytes()).decode() == printed
    call("predict", trained, data, "-o", "out.tsv")
    assert Path("out.tsv").read_text().startswith("x\ty\tcolor\tlabel\tprediction\tp_no")
    call("predict", trained, data, "-o", "out.parquet")
    frame = pl.read_parquet("out.parquet")
    assert frame.columns == ["x", "y", "color", "label", "prediction", "p_no", "p_yes it is"]
    assert [f"{v}" for v in frame["prediction"]] == [row["prediction"] for row in rows_of(printed)]


def test_target_may_be_absent(call: Call, tmp_path: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    bare = write_csv(tmp_path / "bare.csv", {n: c for n, c in columns.items() if n != "label"})
    told = call("predict", trained, bare)
    assert told.status == 0
    assert told.err == ""
    assert len(rows_of(told.out)) == 80


def test_other_column_order_and_name_clash(call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path) -> None:
    turned = {n: columns[n] for n in reversed(columns)} | {"prediction": ["mine"] * 80}
    found = rows_of(call("predict", trained, write_csv(tmp_path / "turned.csv", turned)).out)
    straight = rows_of(call("predict", trained, write_csv(tmp_path / "data.csv", columns)).out)
    assert {row["prediction"] for row in found} == {"mine"}
    assert [row["prediction_2"] for row in found] == [row["prediction"] for row in straight]


def test_notes_go_to_standard_error(call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path) -> None:
    source = write_csv(tmp_path / "new.csv", columns | {"color": ["blue"] * 80, "more": ["1"] * 80})
    told = call("predict", trained, source)
    assert told.status == 0
    assert "note: column 'color': 1 unseen" in told.err
    assert "'more'" in told.err
    assert "note" not in told.out


def test_one_row(call: Call, tmp_path: Path, columns: dict[str, list[Any]], trained: Path) -> None:
    whole = rows_of(call("predict", trained, write_csv(tmp_path / "all.csv", columns)).out)
    one = rows_of(
        call("predict", trained, write_csv(tmp_path / "one.csv", {n: c[3:4] for n, c in columns.items()})).out
    )
    assert one[0]["prediction"] == whole[3]["prediction"]


def test_whole_number_labels_come_back_as_they_were(call: Call, tmp_path: Path, columns: dict[str, Any]) -> None:
    codes = [3 if c == "no" else 8 for c in columns["label"]]
    source = write_csv(tmp_path / "codes.csv", columns | {"label": codes})
    call("train", source, "--epochs", "5", "-q")
    found = rows_of(call("predict", "runs/codes", source).out)
    assert {row["prediction"] for row in found} <= {"3", "8"}
    assert {"p_3", "p_8"} <= found[0].keys()


def test_numbers_are_predicted_in_the_target_unit(call: Call, tmp_path: Path, columns: dict[str, Any]) -> None:
    far = [1000 + 50 * float(x) for x in columns["x"]]
    source = write_csv(tmp_path / "far.csv", columns | {"label": far})
    call("train", source, "--epochs", "5", "-q")
    found = np.array([float(row["prediction"]) for row in rows_of(call("predict", "runs/far", source).out)])
    assert min(far) - 100 < found.min() <= found.max() < max(far) + 100


def test_missing_markers_of_the_training_hold_for_prediction(
    call: Call, tmp_path: Path, columns: dict[str, Any]
) -> None:
    source = write_csv(tmp_path / "coded.csv", columns | {"x": [*columns["x"][:-5], *["n/k"] * 5]})
    assert call("train", source, "--missing", "n/k", "--epochs", "2", "-q").status == 0
    assert call("predict", "runs/coded", source).status == 0


def test_cells_with_line_breaks_and_quotes(call: Call, tmp_path: Path, columns: dict[str, Any], trained: Path) -> None:
    odd = ['two\nlines, and "quotes"'] * 80
    source = write_csv(tmp_path / "odd.csv", columns | {"remark": odd})
    told = call("predict", trained, source, "-o", "out.csv")
    assert told.status == 0
    with Path("out.csv").open(newline="", encoding="utf-8") as file:
        assert {row["remark"] for row in csv.DictReader(file)} == set(odd)


@pytest.mark.parametrize("json_wanted", [False, True])
def test_evaluate(call: Call, data: Path, columns: dict[str, Any], trained: Path, json_wanted: bool) -> None:
    told = call("evaluate", trained, data, *(["--json"] if json_wanted else []))
    assert told.status == 0
    predicted = load(trained).predict(read_table(data)) == "yes it is"
    share = accuracy(predicted.astype(int), np.array([c == "yes it is" for c in columns["label"]], int))
    if json_wanted:
        found = json.loads(told.out)
        assert_close(found["metrics"]["accuracy"], share)
        assert (found["task"], found["target"], found["rows"]) == ("classification", "label", 80)
    else:
        assert ["accuracy", f"{share:.4f}"] in [line.split() for line in told.out.splitlines()]
