"""Listing: rows with headings as text, as HTML and as data; what every table of results is printed with."""

from __future__ import annotations

import html
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.core.lines import columns_of, printable, wrap
from fallline.core.numbers import number_forms
from fallline.core.views import VIEWS

MOST_ROWS = 200  # printed; of a longer table the middle is left out
MOST_ENTRIES = 200  # of an opened array; of a larger one the middle is left out
GAP = "  "
NARROWEST = 4  # columns of a terminal for a column of cut words


@dataclass(frozen=True, eq=False, repr=False)
class Listing:
    """Rows with a heading, as text, as HTML and as data.

    columns  name -> the cells: text, numbers, arrays, or several of these in a tuple, printed one after another
    groups   the heading above each row ("" for none)
    note     what a reader should know, in one sentence;  digits  of the numbers, as they are printed
    narrow   the same in fewer or shorter words, printed where this does not fit
    blocks   words that stand beside the heading of a group, by the heading
    """

    title: str
    columns: dict[str, list[Any]]
    groups: list[str]
    note: str = ""
    digits: int = 10
    narrow: Listing | None = None
    blocks: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.groups)

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size((100, 40)).columns)

    def __repr__(self) -> str:  # what a prompt shows
        return str(self)

    def text(self, width: int = 100) -> str:
        """The table in `width` columns of a terminal: numbers with fewer digits, then cut words where it must be."""
        names = list(self.columns)
        rows = {i: [_forms(self.columns[n][i], self.digits) for n in names] for i in self._shown()}
        cells = [[[n] for n in names], *rows.values()]
        least = [max((columns_of(row[i][-1]) for row in cells), default=0) for i in range(len(names))]
        if self.narrow is not None and sum(least) + len(GAP) * (len(least) - 1) > width:
            return self.narrow.text(width)
        widths = _widths([max(columns_of(row[i][0]) for row in cells) for i in range(len(names))], least, width)
        lines = [*wrap(self.title, width), "", _line(cells[0], widths), _line([["─" * w] for w in widths], widths)]
        heading, last = "", -1
        for i, row in rows.items():
            if i > last + 1:
                lines.append(f"… {i - last - 1} rows …")
            if self.groups[i] != heading:
                heading = self.groups[i]
                lines += ["", _fit([f"[{heading}] {self.blocks.get(heading, '')}"], width).rstrip()]
            lines.append(_line(row, widths))
            last = i
        return "\n".join([*lines, *(["", *wrap(self.note, width)] if self.note else [])])

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
                words = html.escape(f"{heading} {self.blocks.get(heading, '')}".rstrip())
                body.append(f'<tr><th colspan="{len(names)}">{words}</th></tr>')
            cells = "".join(f"<td>{_html(self.columns[n][i], self.digits)}</td>" for n in names)
            body.append(f"<tr>{cells}</tr>")
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        note = f'<tfoot><tr><td colspan="{len(names)}">{html.escape(self.note)}</td></tr></tfoot>' if self.note else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>{note}</table>"


def _forms(value: Any, digits: int) -> list[str]:
    """The text of a cell, and shorter ones for where it does not fit."""
    if value is None:
        return [""]
    if isinstance(value, (int, float, np.ndarray, np.generic)) and not isinstance(value, bool):
        return number_forms(value, digits)
    if isinstance(value, tuple):
        each = [_forms(part, digits) for part in value]
        return ["; ".join(forms[0] for forms in each), "; ".join(forms[-1] for forms in each)]
    return [printable(value)]


def _html(value: Any, digits: int) -> str:
    """A cell; an array of many entries can be opened."""
    text = html.escape(_forms(value, digits)[0])
    if not isinstance(value, np.ndarray) or value.size <= 4:
        return text
    entries = np.array2string(value, precision=6, threshold=MOST_ENTRIES, edgeitems=4, max_line_width=100)
    return f"<details><summary>{text}</summary><pre>{html.escape(entries)}</pre></details>"


def _widths(widest: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Columns as wide as their cells; where the line does not fit, first those that have shorter forms give way."""
    widths = list(widest)
    for floor in (least, [NARROWEST] * len(widths)):
        while sum(widths) + len(GAP) * (len(widths) - 1) > width:
            able = [i for i, w in enumerate(widths) if w > floor[i]]
            if not able:
                break
            widths[max(able, key=lambda i: widths[i])] -= 1
    return widths


def _line(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    return GAP.join(_fit(forms, w) for forms, w in zip(cells, widths, strict=True)).rstrip()


def _fit(forms: Sequence[str], width: int) -> str:
    """The longest form that fits, or the shortest one, cut."""
    text = next((t for t in forms if columns_of(t) <= width), None)
    if text is None:
        text = forms[-1]
        while text and columns_of(text) >= width:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns_of(text))
