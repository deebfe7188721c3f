"""The process that draws the curves: the same picture as `History.plot`, and no process left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fallline.cli import curves
from fallline.cli.curves import Painter
from fallline.train.history import History
from tests.cli.conftest import Call
from tests.cli.test_console import FALLLINE, SECONDS, environment

ROWS = [{"epoch": k, "train_loss": 1.0 / (k + 1), "validation_loss": None if k == 2 else 0.5} for k in range(9)]


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    """One whose process is started although this one may have loaded matplotlib, and has but one processor."""
    monkeypatch.setattr(curves, "_pays", lambda: True)
    painter = Painter()
    painter.start()
    return painter


def test_the_picture_is_the_one_of_the_history_byte_for_byte(painter: Painter, tmp_path: Path) -> None:
    painter.draw(ROWS)
    History(ROWS).plot(tmp_path / "curves.png")
    assert painter.picture() == (tmp_path / "curves.png").read_bytes()
    painter.stop()


def test_without_rows_there_is_no_picture_and_no_process_left(painter: Painter) -> None:
    process = painter._process
    assert process is not None
    assert painter.picture() == b""
    painter.stop()
    assert process.returncode is not None


def test_a_process_that_breaks_leaves_no_picture(painter: Painter) -> None:
    painter.draw([{"no epoch": 1}])
    assert painter.picture() == b""
    painter.stop()


def test_a_process_whose_parent_is_gone_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fallline.cli.curves"], input=b"", capture_output=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_picture_that_nobody_drew_is_drawn_here(call: Call, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_pays", lambda: False)
    assert call("train", data, "--epochs", "2", "-q").status == 0
    assert Path("runs/data/curves.png").read_bytes().startswith(b"\x89PNG")


def test_training_with_a_free_processor_loads_no_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fallline.cli.main import run\nrun(['train', 'iris', '--epochs', '2', '-q'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, env=environment(), cwd=tmp_path
    )
    assert (tmp_path / "runs/iris/curves.png").read_bytes().startswith(b"\x89PNG")
    assert ("matplotlib" in done.stdout.split()) == (curves._processors() == 1)
    assert "narwhals" not in done.stdout.split()


def test_a_mistake_in_the_command_line_leaves_no_process_behind(tmp_path: Path) -> None:
    done = subprocess.run([*FALLLINE, "train", "absent.csv"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "absent.csv" in done.stderr


def test_processors_are_those_that_this_process_may_use() -> None:
    assert 1 <= curves._processors() <= (os.cpu_count() or 1)
