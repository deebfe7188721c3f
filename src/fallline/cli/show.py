"""Show: paragraphs, facts, tables and JSON on standard output; bold in a terminal, plain aligned text in a pipe."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from fallline.core.lines import columns_of, printable, wrap

GAP = "  "
NARROWEST_FLOW = 24  # columns that a flowing last column needs; with less, each row becomes a small paragraph
INDENT = "    "


class Line(NamedTuple):
    """One line of output; bold lines are headings."""

    text: str
    bold: bool = False


def screen_width() -> int | None:
    """Columns of the terminal; None where standard output is none and lines may have any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def emit(lines: Iterable[Line | str]) -> None:
    """Writes the lines, headings bold in a terminal."""
    given = [line if isinstance(line, Line) else Line(line) for line in lines]
    if not sys.stdout.isatty():
        for line in given:
            print(line.text)
        return
    # rich knows what the terminal can do (NO_COLOR, TERM=dumb, Windows); only a terminal pays for its import
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for line in given:
        console.print(Text(line.text, style="bold" if line.bold else ""))


def emit_json(value: Any) -> None:
    """Writes the value as JSON; where standard output is not UTF-8, other characters are written as escapes."""
    text = json_text(value)
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(text if unicode else json.dumps(json.loads(text), indent=2))


def json_text(value: Any) -> str:
    """The value as JSON text, floats with every digit, null for NaN and infinity."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def definitions(rows: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """Terms and what they mean, side by side, or one below the other where there is no room."""
    return [line.text for line in table((), rows, width=width)]


def facts(pairs: Sequence[tuple[str, str]], width: int | None) -> list[str]:
    """Labels and texts; a text goes on below itself."""
    room = max(columns_of(label) for label, _ in pairs) + len(GAP)
    lines = []
    for label, text in pairs:
        lines += wrap(printable(text), width, " " * room, label + " " * (room - columns_of(label)))
    return lines


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[int] = (), width: int | None = None
) -> list[Line]:
    """Aligned columns; where the width does not suffice the last column flows, and with less each row is a paragraph.

    right  positions of columns of numbers, aligned to the right and never broken
    """
    cells = [[printable(c) for c in row] for row in rows]
    headed = [list(header), *cells] if header else cells
    if not headed:
        return []
    widths = [max(columns_of(row[i]) for row in headed) for i in range(len(headed[0]))]
    last = len(widths) - 1
    before = sum(widths[:last]) + len(GAP) * last
    if width is not None and before + widths[last] > width:
        if last in right or width - before < min(NARROWEST_FLOW, widths[last]):
            return _paragraphs(header, cells, right, width)
        widths[last] = width - before
    lines = []
    for k, row in enumerate(headed):
        parts = [_padded(c, w, i in right) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        flow = [row[last]] if last in right else wrap(row[last], widths[last])
        first = GAP.join([*parts[:last], parts[last] if last in right else flow[0]]).rstrip()
        lines.append(Line(first, bold=bool(header) and k == 0))
        lines += [Line(" " * before + more) for more in flow[1:]]
    return lines


def _padded(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - columns_of(text))
    return blanks + text if right else text + blanks


def _paragraphs(header: Sequence[str], cells: list[list[str]], right: Collection[int], width: int) -> list[Line]:
    """Each row as its first cell in bold, and the others below it, numbers with their column's name."""
    lines = []
    for row in cells:
        named = [f"{header[i]} {c}" if header and i in right else c for i, c in enumerate(row) if i and c]
        lines += [Line(text, bold=True) for text in wrap(row[0], width)]
        joined = ", ".join(named)
        lines += [Line(text) for text in wrap(joined, width, INDENT, INDENT)] if joined else []
    return lines
