"""Lines: how many columns a text takes in a terminal, and where it is broken."""

from __future__ import annotations

import unicodedata


def columns_of(text: str) -> int:
    """Columns that the text takes in a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def printable(text: object) -> str:
    """The text with control characters spelt out, so that a name from a file moves no cursor."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def wrap(text: str, width: int | None, indent: str = "", head: str = "") -> list[str]:
    """The text in lines of at most `width` columns, broken between words where it can be.

    head  what the first line begins with;  indent  what the later ones begin with
    """
    if width is None or columns_of(head + text) <= width:
        return [head + text]
    lines, line, empty = [], head, True
    for word in text.split():
        joined = line + word if empty else f"{line} {word}"
        if not empty and columns_of(joined) > width:
            lines.append(line)
            joined = indent + word
        line, empty = joined, False
        while columns_of(line) > width > columns_of(indent) + 1:
            cut = _fitting(line, width)
            lines.append(line[:cut])
            line = indent + line[cut:]
    return [*lines, line]


def _fitting(text: str, width: int) -> int:
    """How many characters of the text fit into the columns."""
    return next((i for i in range(1, len(text) + 1) if columns_of(text[: i + 1]) > width), len(text))


__all__ = ["columns_of", "printable", "wrap"]
