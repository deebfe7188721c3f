"""Reports: tables in the terminal, JSON and pictures in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine

PIXELS_PER_INCH = 130
WIDTH = 150  # columns
BUSY = 0.8  # load average from which the other programs count


class Report:
    """Where the words go: standard output, or standard error when that is where the JSON goes."""

    def __init__(self, json_to: str | None):
        self.json_to = json_to
        self.console = Console(stderr=json_to == "-", highlight=False, soft_wrap=True)
        self.console.width = max(self.console.width, WIDTH)  # a table is read better broken by the terminal than cut

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def open(self, versions: dict[str, str]) -> None:
        """What everything ran on."""
        facts = {**machine.description(), **versions}
        self.say(", ".join(f"{name} {value}" for name, value in facts.items() if value))
        if (load := machine.load()) >= BUSY:
            self.say(f"note: other programs are running (load average {load:.1f}): do not trust these times")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> None:
        """words  how many columns from the left hold text; the others are aligned to the right"""
        made = Table(
            title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False
        )
        for k, column in enumerate(columns):
            made.add_column(column, justify="left" if k < words else "right", no_wrap=True)
        for row in rows:
            made.add_row(*row)
        self.console.print()
        self.console.print(made, no_wrap=True, overflow="ignore", crop=False)

    def write(self, result: Any) -> None:
        """The result as JSON, where it was asked for."""
        text = json.dumps(result, indent=1)
        if self.json_to == "-":
            sys.stdout.write(text + "\n")
        elif self.json_to is not None:
            Path(self.json_to).write_text(text + "\n", encoding="utf-8")


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many digits that count, never with an exponent; "–" for none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    shown = f"{value:.{digits}g}"
    return (
        f"{float(shown):,.0f}"
        if abs(value) >= 10 ** (digits - 1)
        else format(float(shown), "f").rstrip("0").rstrip(".")
    )


def duration(seconds: float | None) -> str:
    """Seconds with a unit that suits their size."""
    if seconds is None:
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{number(seconds / size)} {unit}"
    raise AssertionError


def save_figure(figure: Any, path: str) -> None:
    figure.savefig(path, dpi=PIXELS_PER_INCH, bbox_inches="tight")
