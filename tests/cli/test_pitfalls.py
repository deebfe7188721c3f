"""Traps of the command line that a user met: each is told in one line, or does what was meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Call, write_csv
from .test_errors import refused


def test_a_rate_beside_a_schedule(call: Call, data: Path) -> None:
    told = call("train", data, "--schedule", "cosine(0.01)", "--learning-rate", "0.1")
    refused(told, "--learning-rate", "--schedule", "one of the two")


@pytest.mark.parametrize("units", ["100000000", "99999999999999999999"])
def test_a_network_beyond_memory(call: Call, data: Path, units: str) -> None:
    refused(call("train", data, "--hidden", units), f"--hidden {units}", "weights", "fewer units")


@pytest.mark.parametrize(
    "cells, loss, words",
    [
        ([f"c{i % 3}" for i in range(80)], "hinge", "use CategoricalCrossEntropy"),
        ([f"{i}.5" if i else "-1.5" for i in range(80)], "poisson", "is -1.5 in row 0, line 2, Poisson takes a count"),
    ],
)
def test_a_loss_that_does_not_suit(
    call: Call, tmp_path: Path, columns: dict[str, list[Any]], cells: list[str], loss: str, words: str
) -> None:
    source = write_csv(tmp_path / "loss.csv", columns | {"label": cells})
    told = call("train", source, "--loss", loss)
    refused(told, words)
    assert "swapped" not in told.err


def test_notes_name_flags(call: Call, tmp_path: Path, data: Path, trained: Path) -> None:
    source = tmp_path / "umlaut.csv"
    source.write_bytes(data.read_text().replace("red", "röt").encode("latin-1"))
    for command in ("predict", "evaluate"):
        assert "(--encoding sets another)" in call(command, trained, source).err


def test_closed_standard_output(tmp_path: Path, data: Path) -> None:
    script = f'"{sys.executable}" -m fallline inspect "{data}" >&-'
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_reader_that_goes_ends_an_unbuffered_write(tmp_path: Path, trained: Path, columns: dict[str, Any]) -> None:
    source = write_csv(tmp_path / "long.csv", {name: [*cells] * 100 for name, cells in columns.items()})
    argv = [sys.executable, "-u", "-m", "fallline", "predict", str(trained), str(source)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(3)
        process.stdout.close()
        assert process.wait() == 141


def test_predictions_never_replace_the_table(call: Call, data: Path, trained: Path) -> None:
    before = data.read_bytes()
    refused(call("predict", trained, data, "-o", data), "it is the table that is read", "another name")
    assert data.read_bytes() == before


def test_a_split_by_a_column_with_gaps(call: Call, data: Path) -> None:
    refused(call("train", data, "--split", "group:color"), "column 'color' is missing in row", "--split group:color")
