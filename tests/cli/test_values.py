"""Values reach a command as they were typed: nothing converts them, and nothing has to."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from fallline.cli.commands import COMMANDS
from tests.cli.conftest import Call
from tests.cli.test_console import SECONDS, environment


@pytest.mark.parametrize("command", COMMANDS)
def test_every_parameter_is_text_or_a_flag(command: str) -> None:
    function = getattr(importlib.import_module(f"fallline.cli.{command}"), command)
    given = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.kind is not p.VAR_KEYWORD]
    assert given
    for parameter in given:
        kind = typing.get_args(parameter.annotation)[0]  # of Annotated[kind, …]
        alternatives = {kind} if kind == list[str] else set(typing.get_args(kind)) or {kind}
        assert alternatives <= {str, bool, list[str], type(None)}, parameter


def test_what_is_lacking_is_named(call: Call) -> None:
    told = call("train")
    assert told.status == 2
    assert "DATA" in told.err


def test_a_flag_given_several_times_keeps_every_text(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "marked.csv"
    path.write_text("a,y\n" + "".join(f"{k},{k % 2}\n" for k in range(20)) + "gone,0\nlost,1\n")
    assert '"lost" in row 21' in call("inspect", path, "--missing", "gone").out
    assert "note:" not in call("inspect", path, "--missing", "gone", "--missing", "lost").out


def test_the_entry_point_loads_nothing_large_before_the_drawing_process_starts() -> None:
    code = "import sys, fallline.cli.main\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, env=environment()
    )
    assert {"typer", "numpy", "polars"} & set(done.stdout.split()) == set()
