"""fallline inspect: tables and models, for the eye and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fallline.nn.layer import count_parameters
from fallline.train.model import load

from .conftest import Call, write_csv


def test_table(call: Call, data: Path, columns: dict[str, Any]) -> None:
    told = call("inspect", data)
    assert told.status == 0
    row = next(line.replace(",", "").split() for line in told.out.splitlines() if line.startswith("color"))
    assert row[:4] == ["color", "category", str(columns["color"].count("")), "2"]
    assert set(row[4:]) == {"green", "red"}
    assert "target  label, 2 classes: text, 2 different values" in told.out


def test_table_as_json(call: Call, data: Path, columns: dict[str, Any]) -> None:
    found = json.loads(call("inspect", data, "--target", "x", "--json").out)
    by_name = {c["name"]: c for c in found["columns"]}
    assert found["rows"] == 80
    assert list(by_name) == list(columns)
    assert by_name["y"]["low"] == min(map(float, columns["y"]))
    assert by_name["y"]["high"] == max(map(float, columns["y"]))
    assert by_name["color"]["missing"] == columns["color"].count("")
    assert by_name["label"]["levels"] == {level: columns["label"].count(level) for level in set(columns["label"])}
    assert by_name["x"]["taken_for"] == "target"
    assert found["target"]["kind"] == "numbers"


def test_left_out_columns_say_why(call: Call, tmp_path: Path, columns: dict[str, Any]) -> None:
    source = write_csv(tmp_path / "ids.csv", {"": range(1, 81), "same": ["a"] * 80, **columns})
    told = call("inspect", source)
    assert "(nameless)  identifier" in told.out
    assert "left out: row numbers" in told.out
    assert 'left out: every cell is "a"' in told.out


def test_table_that_cannot_be_trained_on_is_shown_all_the_same(
    call: Call, tmp_path: Path, columns: dict[str, Any]
) -> None:
    source = write_csv(tmp_path / "bad.csv", columns | {"x": [*columns["x"][:-1], "n/k"], "label": ["a"] * 80})
    told = call("inspect", source)
    assert told.status == 0
    assert "note: 'label' cannot be the target" in told.out
    assert (
        'note: training would stop: column \'x\' holds text ("n/k" in row 79, line 81): pass --missing "n/k"'
        in told.out
    )


def test_names_from_a_file_move_no_cursor(call: Call, tmp_path: Path, columns: dict[str, Any]) -> None:
    source = write_csv(tmp_path / "rude.csv", {"\x1b[2J": columns["x"], **columns})
    told = call("inspect", source)
    assert "\x1b" not in told.out
    assert "\\x1b[2J" in told.out


def test_model(call: Call, trained: Path) -> None:
    told = call("inspect", trained)
    assert told.status == 0
    for words in (
        "target  label: no, yes it is",
        "1 sigmoid unit and binary cross-entropy",
        "color   category   2 levels",
        "Dense(units=64)",
        f"{count_parameters(load(trained).network):,}",
        "trained on 48 of 80 rows for 15 epochs",
        "linear baseline (test)",
    ):
        assert words in told.out, words
    assert call("inspect", trained / "model.safetensors").out.splitlines()[1:] == told.out.splitlines()[1:]


def test_model_as_json(call: Call, trained: Path) -> None:
    found = json.loads(call("inspect", trained, "--json").out)
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"])
    assert found["classes"] == ["no", "yes it is"]
    result = json.loads((trained / "result.json").read_text())
    assert result.pop("seconds") > 0, "a clock's time, which the model file does not hold"
    assert Path(result.pop("data")).exists(), "a place on this machine, which it does not hold either"
    assert found["notes"]["result"] == result


def test_packaged_set(call: Call) -> None:
    assert "target  species, 3 classes" in call("inspect", "iris").out
