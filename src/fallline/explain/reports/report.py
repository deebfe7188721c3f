"""Report: an explanation as headings with paragraphs, facts and tables, in text of any width and as a page."""

from __future__ import annotations

import html
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.files import writable_path, write_file
from fallline.core.lines import columns_of, printable, wrap
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.record import Record, fields_of
from fallline.explain.drawing.page import page
from fallline.nn.layer import Layer, recipe_of

MOST_ENTRIES = 12  # of an array that is written out
SUFFIXES = (".html", ".txt")
DIGITS = 6
LABEL = 0.4  # share of the width that labels take at most


_STYLE = """
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1.25rem; max-width: none; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
td details { margin: 0; }
td summary { font-weight: inherit; }
.chance { display: grid; grid-template-columns: 4rem minmax(0, 20rem); align-items: center; }
.chance i { height: .8em; border-radius: 2px; background: var(--positive); }
.bar { position: relative; min-width: 8rem; height: 1.1em; }
.bar i { position: absolute; top: .1em; bottom: .1em; border-radius: 2px; }
.bar .up { background: var(--positive); }
.bar .down { background: var(--negative); }
.bar::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; border-left: 1px solid var(--edge); }
"""


class Line(NamedTuple):
    """One line of a report; headings are bold where that can be shown."""

    text: str
    heading: bool = False


class Facts(list[tuple[str, str]]):
    """Labels and what is to be said of them, side by side; a text goes on below itself."""

    def lines(self, width: int) -> list[str]:
        room = min(max((columns_of(label) for label, _ in self), default=0) + 2, max(8, int(LABEL * width)))
        found = []
        for label, text in self:
            name = printable(label)
            if columns_of(name) + 2 > room:  # a long label has a line for itself
                found += [*wrap(name, width), *wrap(printable(text), width, " " * room, " " * room)]
            else:
                found += wrap(printable(text), width, " " * room, name + " " * (room - columns_of(name)))
        return [line.rstrip() for line in found]

    def html(self) -> str:
        rows = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>" for label, text in self)
        return f"<dl>{rows}</dl>"


@dataclass(frozen=True)
class Fragment:
    """A part that is HTML on the page and another part in a terminal; without one it stands on the page alone.

    html  makes the HTML, when a page is made
    """

    html: Callable[[], str]
    plain: Part = ""


Part = str | Facts | Listing | Fragment


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    parts: Sequence[Part]


class Report(ABC):
    """What an explanation prints: `text` for a terminal, `html` a page that needs nothing else.

    A subclass has a title, its sections and, where it needs more, a style.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is about, in one line."""

    @abstractmethod
    def sections(self) -> Iterable[Section]:
        """Heading by heading, what it says."""

    @property
    def style(self) -> str:
        """More CSS for the page."""
        return _STYLE

    def lines(self, width: int = 80) -> list[Line]:
        """The report in lines of at most `width` columns."""
        found = [Line(text, True) for text in wrap(printable(self.title), width)]
        for section in self.sections():
            parts = [lines for part in section.parts if (lines := _lines(part, width))]
            if not parts:
                continue
            found.append(Line(""))
            found += [Line(text, True) for text in wrap(section.heading, width)]
            for i, lines in enumerate(parts):
                found += [Line("")] * (i > 0) + [Line(text) for text in lines]
        return found

    def text(self, width: int = 80) -> str:
        """The report in `width` columns."""
        return "\n".join(line.text for line in self.lines(width))

    @property
    def html(self) -> str:
        """The report as a page of its own."""
        return page(self.title, self._body(), style=self.style)

    def save(self, path: str | Path) -> Path:
        """Writes .html or .txt, by the suffix."""

        def write(found: Path) -> None:
            found.write_text(self.html if found.suffix == ".html" else self.text(100) + "\n", encoding="utf-8")

        return write_file(check_path(path), SUFFIXES, write)

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size((100, 40)).columns)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r})"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style stays inside."""
        return f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:45rem;border:0"></iframe>'

    def _body(self) -> str:
        made = []
        for section in self.sections():
            inside = "".join(map(_html, section.parts))
            if inside:
                made.append(f"<section><h2>{html.escape(section.heading)}</h2>{inside}</section>")
        return "\n".join(made)


def check_path(path: str | Path, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The path; ConfigError for a suffix that is not written, and for a folder that is not there."""
    path = writable_path(path, suffixes)
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no folder {path.parent}")
    return path


def array_text(value: Any, most: int = MOST_ENTRIES) -> str:
    """2×2: [[1, 2], [3, 4]], entry by entry; a large array by its shape, mean, spread and extremes; a number alone."""
    array = np.asarray(value)
    if array.ndim == 0:
        return number_text(array, DIGITS)
    shape = "×".join(map(str, array.shape))
    if array.size > most:
        return f"{shape}: {number_text(array, DIGITS).partition('] ')[2]}"
    return f"{shape}: {_nested(array)}"


def _nested(array: np.ndarray) -> str:
    if array.ndim == 0:
        return number_text(array, DIGITS)
    return "[" + ", ".join(map(_nested, array)) + "]"


def layer_text(layer: Layer) -> str:
    """A layer's settings without its arrays, and without how they began, which matters no more."""
    made: Record = recipe_of(layer)
    for field in fields_of(made):
        if field.name.endswith("init"):
            made = made.replace(**{field.name: field.default})
    return repr(made)


def narrowing(listing: Listing, *order: str) -> Listing:
    """The listing with narrower ones behind it, printed where it has no room: the last of `order` goes first."""
    made = listing
    for k in range(2, len(order) + 1):
        columns = {name: cells for name, cells in listing.columns.items() if name in order[:k]}
        made = replace(listing, columns=columns, narrow=made if k > 2 else None)
    return made


def _lines(part: Part, width: int) -> list[str]:
    if isinstance(part, Facts):
        return part.lines(width)
    if isinstance(part, Listing):
        lines = part.text(width).splitlines() if len(part) else []
        return lines[2:] if lines and not part.title else lines
    if isinstance(part, Fragment):
        return _lines(part.plain, width)
    return [line for each in part.splitlines() for line in wrap(printable(each), width)]


def _html(part: Part) -> str:
    if isinstance(part, Facts):
        return part.html()
    if isinstance(part, Listing):
        return part._repr_html_() if len(part) else ""
    return part.html() if isinstance(part, Fragment) else f"<p>{html.escape(part)}</p>"


__all__ = ["Facts", "Fragment", "Line", "Report", "Section", "array_text", "check_path", "layer_text", "narrowing"]
