"""Listing: rows with headings as text, as HTML and as data; what every table of results is printed with."""

from __future__ import annotations

import html
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.numbers import number_text
from fallline.core.views import VIEWS

MOST_ROWS = 200  # printed; of a longer table the middle is left out


@dataclass(frozen=True, eq=False)
class Listing:
    """Rows with a heading, as text, as HTML and as data.

    columns  name -> the cells, numbers as arrays;  groups  the heading above each row ("" for none)
    note     what a reader should know, in one sentence
    """

    title: str
    columns: dict[str, list[Any]]
    groups: list[str]
    note: str = ""

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size((100, 40)).columns)

    def text(self, width: int = 100) -> str:
        """The table in `width` columns of a terminal; what does not fit is cut with an ellipsis."""
        names = list(self.columns)
        rows = {i: [_cell(self.columns[n][i]) for n in names] for i in self._shown()}
        widths = _widths([names, *rows.values()], width)
        lines = [self.title, "", _line(names, widths), _line(["─" * w for w in widths], widths)]
        heading, last = "", -1
        for i, row in rows.items():
            if i > last + 1:
                lines.append(f"… {i - last - 1} rows …")
            if self.groups[i] != heading:
                heading = self.groups[i]
                lines += ["", f"[{heading}]"]
            lines.append(_line(row, widths))
            last = i
        note = textwrap.wrap(self.note, max(20, width)) if self.note else []
        return "\n".join([*lines, *([""] if note else []), *note])

    def frame(self) -> Any:
        """The same as a polars DataFrame: numbers of size 1 as numbers, arrays as (nested) lists, all else as text."""
        return VIEWS["frame"](self)

    def _shown(self) -> list[int]:
        """The rows that are printed: all, or the first and the last ones."""
        rows, half = range(len(self)), MOST_ROWS // 2
        return list(rows) if len(self) <= MOST_ROWS else [*rows[:half], *rows[-half:]]

    def _repr_html_(self) -> str:
        names = list(self.columns)
        head = "".join(f"<th>{html.escape(n)}</th>" for n in names)
        body, heading = [], ""
        for i in self._shown():
            if self.groups[i] != heading:
                heading = self.groups[i]
                body.append(f'<tr><th colspan="{len(names)}">{html.escape(heading)}</th></tr>')
            cells = "".join(f"<td>{html.escape(_cell(self.columns[n][i]))}</td>" for n in names)
            body.append(f"<tr>{cells}</tr>")
        caption = f"<caption>{html.escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number_text(value) if isinstance(value, (int, float, np.ndarray, np.generic)) else str(value)


def _widths(rows: list[list[str]], width: int) -> list[int]:
    """Columns as wide as their cells, the widest narrowed until the line fits."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_fit(c, w) for c, w in zip(cells, widths, strict=True)).rstrip()


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
