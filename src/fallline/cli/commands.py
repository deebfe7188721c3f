"""The commands of `fallline`: finds the one that is called for, and tells the user in one line what is wrong."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fallline import __version__
from fallline.cli.help import HelpfulCommand, HelpfulGroup
from fallline.cli.words import in_flags, one_line
from fallline.core.errors import FalllineError

# Each lives in the module of its name, in a function of that name, which is imported only when it is called for.
COMMANDS = {
    "train": "Train a network on a table, beside a linear baseline, and keep it in a folder.",
    "predict": "Write a table's rows with a trained model's predictions.",
    "evaluate": "Measure a trained model on a table whose targets are known.",
    "diagnose": "Say what is wrong with a trained model or its training, by which numbers, and the cure.",
    "explain": "Show how a trained model comes to its answer for one row.",
    "inspect": "Show what a table or a trained model holds.",
}
EXAMPLES = """
fallline train breast-cancer
fallline train heart.csv --target AHD
fallline predict runs/heart new.csv -o predicted.csv
fallline explain runs/heart heart.csv --row 0
fallline inspect heart.csv
"""
MENDABLE = 2  # the exit status of what the user can mend
UsageError: type[Any] = typer.BadParameter.__mro__[1]  # of Typer itself or of click, whichever this Typer is built on


def run_command(argv: Sequence[str]) -> int:
    """Runs one command; returns 0, or 2 with one line on standard error for anything the user can mend."""
    names: list[str] = []  # of the command's flags, in which messages of the library are retold
    try:
        command = typer.main.get_command(build(argv))
        names = [p.name for sub in getattr(command, "commands", {}).values() for p in sub.params]
        with command.make_context("fallline", list(argv) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except UsageError as error:
        return _refuse(_usage_text(error, argv))
    except FalllineError as error:
        return _refuse(in_flags(str(error), names))
    except BrokenPipeError:
        raise
    except OSError as error:
        return _refuse(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError:
        return _refuse("the memory of this machine does not suffice: give fewer rows, or a smaller network or batch")
    return 0


def build(argv: Sequence[str]) -> typer.Typer:
    """The application; only the module of the command that argv names is imported."""
    about = "Train neural networks on tables: one command from a CSV file to a trained model."
    app = typer.Typer(cls=HelpfulGroup, add_completion=False, rich_markup_mode=None, help=about, epilog=EXAMPLES)
    app.callback()(_fallline)
    called = next((word for word in argv if not word.startswith("-")), "")
    for name, help in COMMANDS.items():
        if name == called:
            module = importlib.import_module(f"fallline.cli.{name}")
            app.command(name, cls=HelpfulCommand, help=help, epilog=module.EXAMPLES)(getattr(module, name))
        else:
            app.command(name, help=help)(lambda: None)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"fallline {__version__}")
        raise typer.Exit


def _fallline(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None: ...


def _usage_text(error: Any, argv: Sequence[str]) -> str:
    """What is wrong with the command line, in our own spelling, and where its help is."""
    text = error.format_message().replace(". Did you mean", ": did you mean")
    near = getattr(error, "possibilities", None)
    if near and "did you mean" not in text:
        text = f"{error.message.rstrip('.')}: did you mean {' or '.join(sorted(near))}?"
    called = next((word + " " for word in argv if word in COMMANDS), "")
    return f"{text[:1].lower()}{text[1:].rstrip('.')} (see fallline {called}--help)"


def _refuse(message: str) -> int:
    sys.stdout.flush()
    print(f"fallline: {one_line(message)}", file=sys.stderr)
    return MENDABLE
