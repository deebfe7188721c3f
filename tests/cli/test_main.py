"""The entry point: help, version, light imports, and exit statuses."""

from __future__ import annotations

import pytest

from fallline import __version__
from fallline.cli.commands import COMMANDS
from fallline.cli.main import main

from .conftest import Call


def test_help(call: Call) -> None:
    told = call("--help")
    assert told.status == 0
    for command, about in COMMANDS.items():
        assert command in told.out
        assert about in told.out
    assert call() == told, "fallline alone shows the help"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_commands(call: Call, command: str) -> None:
    told = call(command, "--help")
    assert told.status == 0
    assert COMMANDS[command] in " ".join(told.out.split())
    assert f"Examples:\n  fallline {command} " in told.out


def test_examples_of_the_help_parse(call: Call) -> None:
    """Every example is a command line that fails, if at all, for want of its file and not for its flags."""
    for command in COMMANDS:
        examples = call(command, "--help").out.partition("Examples:\n")[2].splitlines()
        for example in examples:
            words = example.partition(" > ")[0].replace('"', "").split()[1:]
            told = call(*words, *(["--epochs", "1"] if command == "train" else []))
            wanting = ("no such file", "no model at", "no run to go on with")
            assert told.status == 0 or any(words in told.err for words in wanting), told.err


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"fallline {__version__}\n", "")


def test_main_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0


def test_interruption_outside_training(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fallline.cli.inspect.read", interrupt)
    assert call("inspect", "iris") == (130, "", "")
