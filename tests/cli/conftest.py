"""Small tables, a trained run, and the command line called in this process."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fallline.cli.main import run

ROWS = 80


class Told(NamedTuple):
    """What a command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


Call = Callable[..., Told]


def write_csv(path: Path, columns: dict[str, Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def sample_columns(n: int = ROWS) -> dict[str, list[Any]]:
    """Two numbers, a category with missing cells, and a label that the numbers tell but for some noise."""
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=n), rng.normal(size=n)
    label = np.where(x + y + rng.normal(size=n) / 4 > 0, "yes it is", "no")
    color = rng.choice(["red", "green", ""], size=n)
    return {"x": [*map(repr, x.tolist())], "y": [*map(repr, y.tolist())], "color": [*color], "label": [*label]}


@pytest.fixture
def columns() -> dict[str, list[Any]]:
    return sample_columns()


@pytest.fixture
def call(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs the command line in this process, in tmp_path."""
    monkeypatch.chdir(tmp_path)

    def called(*argv: str | Path) -> Told:
        capsysbinary.readouterr()
        status = run([str(word) for word in argv])
        out, err = capsysbinary.readouterr()
        return Told(status, out.decode(), err.decode())

    return called


@pytest.fixture
def data(tmp_path: Path, columns: dict[str, list[Any]]) -> Path:
    return write_csv(tmp_path / "data.csv", columns)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the sample columns; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    source = write_csv(folder / "data.csv", sample_columns())
    assert run(["train", str(source), "--epochs", "15", "--quiet", "--out", str(folder / "run")]) == 0
    return folder / "run"
