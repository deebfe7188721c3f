"""The real console: escape codes, narrow terminals, pipes that close, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fallline.cli.show import columns_of
from fallline.train.model import load

FALLLINE = (sys.executable, "-m", "fallline")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS = 60  # after which a console that hangs is ended


def environment() -> dict[str, str]:
    """As in a shell: no settings of the tests, colors allowed."""
    own = {"FALLLINE_VERIFY", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
    return {k: v for k, v in os.environ.items() if k not in own} | {"TERM": "xterm-256color"}


def in_terminal(columns: int, *argv: str, cwd: Path) -> tuple[int, str]:
    """Exit status and output of the command in a terminal of that width."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    import struct

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*FALLLINE, *argv], stdin=follower, stdout=follower, stderr=follower, cwd=cwd, env=environment()
    )
    os.close(follower)
    read = bytearray()

    def drain() -> None:
        while True:
            try:
                read.extend(os.read(leader, 4096) or b"")
            except OSError:  # the terminal is closed
                return

    reader = threading.Thread(target=drain)
    reader.start()
    status = process.wait(SECONDS)
    reader.join(SECONDS)
    os.close(leader)
    return status, read.decode()


@pytest.mark.parametrize("columns", [40, 100])
def test_terminal(tmp_path: Path, columns: int) -> None:
    status, output = in_terminal(columns, "train", "iris", "--epochs", "5", cwd=tmp_path)
    assert status == 0
    assert "\x1b[1m" in output, "headings are bold"
    lines = re.split(r"[\r\n]+", ESCAPE.sub("", output))
    assert max(map(columns_of, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    assert "kept in runs/iris: model.safetensors" in words
    assert "sepal length (cm)" in words


def test_pipe_has_no_escape_codes(tmp_path: Path) -> None:
    argv = [*FALLLINE, "train", "iris", "--epochs", "3"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, timeout=SECONDS)
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"linear baseline (test)" in done.stdout


def test_closed_pipe_is_silent(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*FALLLINE, "inspect", "digits"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(SECONDS) == 141


def test_interrupted_training_keeps_the_best_weights(tmp_path: Path) -> None:
    argv = [*FALLLINE, "train", "digits", "--epochs", "100000", "--patience", "100000", "--out", "run"]
    process = subprocess.Popen(
        argv, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch "):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "linear baseline (test)" in out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stopped"] == "interrupted"
    assert load(tmp_path / "run").notes["best_epoch"] == result["best_epoch"]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom fallline.cli.main import run\nrun(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, env=environment()
    )
    assert done.stdout.startswith("fallline COMMAND")
    heavy = {"numpy", "polars", "matplotlib", "sklearn", "scipy", "rich"}
    assert heavy & set(done.stderr.split()) == set()


def test_training_imports_only_what_it_uses(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fallline.cli.main import run\nrun(['train', 'iris', '--epochs', '1', '-q'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, env=environment(), cwd=tmp_path
    )
    assert {"sklearn", "scipy", "rich", "pydantic", "matplotlib", "narwhals"} & set(done.stderr.split()) == set()


def test_output_that_is_not_utf8(tmp_path: Path) -> None:
    env = environment() | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for argv in (["inspect", "iris"], ["inspect", "iris", "--json"], ["train", "--help"]):
        done = subprocess.run([*FALLLINE, *argv], cwd=tmp_path, env=env, capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
