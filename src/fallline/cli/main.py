"""The entry point of `fallline`: runs the command line, and turns whatever ends it into an exit status and one line."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from fallline.cli.words import one_line

RARELY = 200_000  # new objects before garbage is searched for: what is imported is none, and is searched with it
INTERRUPTED, BROKEN_PIPE = 130, 141  # exit statuses: 128 + the signal, as shells have it


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its status."""
    gc.set_threshold(RARELY)
    status = run(sys.argv[1:] if argv is None else argv)
    gc.freeze()  # the process ends, so nothing needs to be searched for garbage
    sys.exit(status)


def run(argv: Sequence[str]) -> int:
    """Runs one command; returns 0, 2 for anything the user can mend, 130 after Ctrl-C, 141 when the reader has gone."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed (>&-)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows ? for it
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=RuntimeWarning)
            warnings.showwarning = _show_warning
            status = importlib.import_module("fallline.cli.commands").run_command(argv)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the last flush, at exit, finds a reader
        return BROKEN_PIPE


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stdout.flush()
    print(f"warning: {one_line(str(message))}", file=sys.stderr)
