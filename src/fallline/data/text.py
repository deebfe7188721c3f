"""Delimited text (CSV, TSV …) as a frame of text cells: encoding, delimiter, quotes, header and line numbers."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from fallline.core.errors import DataError
from fallline.data.cells import clean_text, decimal_points, parse_numbers, stray_text

# In order of preference where two split the lines equally well: a comma is also a decimal sign.
DELIMITERS = ("\t", ";", "|", ",")
_SNIFFED_BYTES = 1 << 16
_SNIFFED_ROWS = 1000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_EXCEL_HINT = re.compile(rb"sep=(.)\n")  # a first line that tells Excel the delimiter
_NEWLINE, _BLANK, _QUOTE = 10, 32, 34


@dataclass(frozen=True, eq=False)
class TextTable:
    """What a text file holds before any cell is interpreted.

    cells  text as it stands in the file, quotes removed, null where nothing stands; one name per column
    lines  (n_rows,) the line of the file, counted from 1, on which each row begins
    """

    cells: pl.DataFrame
    lines: np.ndarray
    notes: tuple[str, ...]
    delimiter: str


def read_text(
    data: bytes, label: str, *, delimiter: str | None = None, header: bool | None = None, encoding: str | None = None
) -> TextTable:
    """Splits the bytes of a text file into cells; `None` means found by itself.

    Errors: DataError for an empty or binary file, a line whose number of cells differs (with the line),
    a quote that is not closed (with the line). `label` names the file in messages.
    """
    text, encoding_note = _as_utf8(data, label, encoding)
    if not text.strip():
        raise DataError(f"{label} is empty: a table needs a line for each row")
    if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\n'):
        raise DataError(f"delimiter={delimiter!r} must be one character, such as ',' or ';' or a tab")
    hint = _EXCEL_HINT.match(text)
    if hint is not None and hint[1].isascii() and delimiter in (None, hint[1].decode()):
        delimiter, text = hint[1].decode(), text[hint.end() :]
    else:
        hint = None
    delimiter = delimiter or _sniff_delimiter(text)
    text, quoted = _settle_quotes(text, delimiter, label)
    text, lines, widths = _without_blank_lines(text, delimiter, quoted)
    lines = lines + (hint is not None)
    rest = widths[1:] if len(widths) > 1 else widths
    width = int(np.bincount(rest).argmax())
    _refuse_ragged(widths, width, lines, label)
    if widths[0] < width:
        end = int(_layout(text, delimiter, quoted=quoted)[0][1]) - 1
        text = text[:end] + delimiter.encode() + text[end:]
    cells = pl.read_csv(
        text,
        has_header=False,
        infer_schema=False,
        separator=delimiter,
        quote_char='"' if quoted else None,
        truncate_ragged_lines=True,
        schema=dict.fromkeys([f"column_{i + 1}" for i in range(width)], pl.String),
    )
    if cells.height != len(lines):
        raise DataError(
            f"{label} cannot be split into rows: {len(lines)} lines gave {cells.height} rows; check its quotes"
        )
    notes = [encoding_note] if encoding_note else []
    if delimiter != "," and width > 1:
        notes.append(f"cells are divided by {_delimiter_name(delimiter)}")
    return _with_header(cells, lines, int(widths[0]), header, notes, delimiter, label)


def _as_utf8(data: bytes, label: str, encoding: str | None) -> tuple[bytes, str]:
    """The bytes in UTF-8 with plain newlines, and a note when the encoding had to be guessed."""
    note = ""
    if encoding is None:
        for bom, name in _BOMS:
            if encoding is None and data.startswith(bom):
                data, encoding = data[len(bom) :], name
    if encoding is None:
        if b"\0" in data[:_SNIFFED_BYTES]:
            raise DataError(
                f"{label} is not a table: it holds binary data; give a CSV, TSV or Parquet file (text in UTF-16 "
                "without a byte order mark needs encoding=utf-16-le)"
            )
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            encoding = _one_byte_encoding(data)
            note = f"the text is not UTF-8 and was read as {encoding} (encoding= sets another)"
    if encoding is not None:
        try:
            data = data.decode(encoding).removeprefix("\ufeff").encode("utf-8")
        except LookupError:
            raise DataError(f"encoding {encoding!r} is unknown: use utf-8, latin-1, utf-16 …") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{label} is not {encoding} text (byte {error.start}): pass another encoding") from None
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return (data if data.endswith(b"\n") else data + b"\n"), note


def _one_byte_encoding(data: bytes) -> str:
    """latin-1, or cp1252 where a byte such as that of the euro sign is a control character in latin-1."""
    text = data.decode("cp1252", errors="replace")
    return "cp1252" if text != data.decode("latin-1") and "\ufffd" not in text else "latin-1"


def _layout(text: bytes, delimiter: str, *, quoted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each record's first byte, its line in the file (from 1) and its number of cells.

    A byte lies inside quotes when an odd number of quotes stands before it ("" counts twice, which is right).
    """
    codes = np.frombuffer(text, np.uint8)
    all_ends = np.flatnonzero(codes == _NEWLINE)
    ends, cuts = all_ends, np.flatnonzero(codes == ord(delimiter))
    if quoted:
        quotes = np.flatnonzero(codes == _QUOTE)
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        cuts = cuts[np.searchsorted(quotes, cuts) % 2 == 0]
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    lines = 1 + np.searchsorted(all_ends, starts)
    widths = 1 + np.diff(np.searchsorted(cuts, ends), prepend=0)
    return starts, lines, widths


def _sniff_delimiter(text: bytes) -> str:
    """The delimiter that cuts the first lines into the same number of cells, at least two; a comma if none does."""
    head = text if len(text) <= _SNIFFED_BYTES else text[: text.rfind(b"\n", 0, _SNIFFED_BYTES) + 1] or text
    quoted = head.count(b'"') % 2 == 0
    best, best_share = ",", 0.0
    for delimiter in DELIMITERS:
        starts, _, widths = _layout(head, delimiter, quoted=quoted)
        widths = widths[np.diff(starts, append=len(head)) > 1]  # not the blank lines
        usual = int(np.bincount(widths).argmax())
        share = float(np.mean(widths == usual))
        if usual > 1 and share > best_share:
            best, best_share = delimiter, share
    return best


def _settle_quotes(text: bytes, delimiter: str, label: str) -> tuple[bytes, bool]:
    """The text with blanks between quotes and delimiters removed, and whether quotes enclose cells in it."""
    if b'"' not in text:
        return text, False
    tidy = text if delimiter == " " else _without_outer_blanks(text, delimiter)
    codes = np.frombuffer(tidy, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    edges = np.array([ord(delimiter), _NEWLINE, _QUOTE], np.uint8)
    before = np.where(quotes > 0, codes[quotes - 1], _NEWLINE)
    sound = np.isin(before[0::2], edges)
    closes = quotes[1::2]
    sound[: len(closes)] &= np.isin(codes[closes + 1], edges)
    if len(quotes) % 2 == 0 and sound.all():
        return tidy, True
    if not np.isin(before, edges[:2]).any():
        return text, False  # quotes stand only inside cells (5" pipe): plain characters
    first = quotes[2 * int(np.argmin(sound))] if not sound.all() else quotes[-1]
    line = 1 + tidy[:first].count(b"\n")
    raise DataError(
        f'{label}, line {line}: a quote (") is not closed at the end of its cell; double it inside a cell ("")'
    )


def _without_outer_blanks(text: bytes, delimiter: str) -> bytes:
    """The text without the blanks between a quote and a delimiter or the end of a line; those inside quotes stay."""
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    drop = np.zeros(len(codes), bool)
    for at, step in ((quotes[0::2], -1), (quotes[1::2], 1)):  # left of those that open, right of those that close
        length = np.zeros(len(at), np.int64)
        active = np.arange(len(at))
        while len(active):
            beside = at[active] + step * (length[active] + 1)
            active = active[(beside >= 0) & (codes[beside] == _BLANK)]  # the text ends with a newline
            length[active] += 1
        edge = at + step * (length + 1)
        outer = (edge < 0) | np.isin(codes[edge], [ord(delimiter), _NEWLINE])
        for k in range(1, int(length.max(initial=0)) + 1):
            drop[at[outer & (length >= k)] + step * k] = True
    return codes[~drop].tobytes() if drop.any() else text


def _without_blank_lines(text: bytes, delimiter: str, quoted: bool) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The text without its empty lines; the file line and the number of cells of each line kept."""
    starts, lines, widths = _layout(text, delimiter, quoted=quoted)
    ends = np.append(starts[1:], len(text))
    only_blanks = [match.start() for match in re.finditer(rb"(?m)^ +$", text)]
    blank = (ends - starts == 1) | np.isin(starts, only_blanks)  # a line inside quotes is no start
    if blank.any():
        keep = np.ones(len(text), bool)
        for start, end in zip(starts[blank], ends[blank], strict=True):
            keep[start:end] = False
        text = np.frombuffer(text, np.uint8)[keep].tobytes()
    return text, lines[~blank], widths[~blank]


def _refuse_ragged(widths: np.ndarray, width: int, lines: np.ndarray, label: str) -> None:
    """Every line is as wide as the others; only the first may lack one cell (row names, or a trailing delimiter)."""
    wrong = widths != width
    wrong[0] &= widths[0] != width - 1 or width < 3  # a lone cell is a title, not a header
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            f"{label}, line {lines[i]}: {widths[i]} cells where the other lines have {width}; "
            "mend the line, quote cells that hold the delimiter, or pass delimiter="
        )


def _with_header(
    cells: pl.DataFrame,
    lines: np.ndarray,
    first_width: int,
    header: bool | None,
    notes: list[str],
    delimiter: str,
    label: str,
) -> TextTable:
    width = cells.width
    trailing = width > 1 and cells[1:, -1].null_count() == cells.height - 1 and cells[0, -1] is None
    if first_width < width:
        if header is False:
            raise DataError(f"{label}, line {lines[0]}: {first_width} cells where the other lines have {width}")
        header = True
    found = header if header is not None else _looks_like_header(cells, delimiter)
    if found:
        names = [name or "" for name in cells.row(0)]
        if first_width < width and not trailing:
            names = ["", *names[:-1]]  # R writes no heading above the row names
        cells, lines = cells[1:], lines[1:]
    else:
        names = cells.columns
        notes.append(f"no header line: the columns are named column_1 … column_{width}")
    if trailing and names[-1].strip() in ("", cells.columns[-1]):
        cells, names = cells[:, :-1], names[:-1]
        notes.append("the delimiter at the end of each line was left out")
    if cells.height == 0:
        raise DataError(f"{label} has a header line and no rows: at least one row is needed")
    unique = unique_names([n.strip() for n in names], notes)
    return TextTable(cells.rename(dict(zip(cells.columns, unique, strict=True))), lines, tuple(notes), delimiter)


def _looks_like_header(cells: pl.DataFrame, delimiter: str) -> bool:
    """Whether the first row holds names: no number, no missing marker, and most of its cells never come again below.

    Taken for a header too, from three columns on: the names 0, 1, 2 … that pandas gives, names with years such as
    2019, 2020 among them, and text above more than half of the columns that hold numbers (Na may be sodium).
    """
    first, below = cells.row(0), cells[1 : _SNIFFED_ROWS + 1]
    names = ["" if name is None else name.strip() for name in first]
    if len(names) >= 3 and names == [str(i) for i in range(len(names))]:
        return True
    given = clean_text(pl.Series(names, dtype=pl.String))
    if delimiter != ",":
        given = decimal_points(given)
    marked = sum(a is None and b != "" for a, b in zip(given, names, strict=True))
    numbers = parse_numbers(given)
    numbers = numbers.set(numbers.is_infinite(), None)  # inf may be a name
    if given.null_count() == len(names):
        return False
    if (marked or numbers.null_count() < len(names)) and not (
        len(names) >= 3 and (_are_years(numbers) or _stand_above_numbers(below, names, given))
    ):
        return False
    again = sum(
        name is not None and bool((below[:, i].str.strip_chars() == name).any()) for i, name in enumerate(given)
    )
    return 2 * again < len(names)


def _are_years(names: pl.Series) -> bool:
    """Whether the numbers among the names are years, one after the other, at least two."""
    years = names.drop_nulls()
    return len(years) > 1 and 1800 <= years[0] < 2100 and bool((years.diff().drop_nulls() == 1).all())


def _stand_above_numbers(below: pl.DataFrame, names: list[str], given: pl.Series) -> bool:
    """Whether more than half of the columns have a word on top and nothing but numbers below it.

    A word that may be a missing cell (Na) counts as long as those that cannot are as many.
    """
    counts = {"word": 0, "marker": 0}
    kinds = np.where(stray_text(given).to_numpy(), "word", np.where([n.isalpha() for n in names], "marker", ""))
    for column, kind in zip(below.get_columns(), kinds, strict=True):
        present = clean_text(column).drop_nulls()
        if kind and len(present) and not bool(stray_text(present).any()):
            counts[str(kind)] += 1
    return counts["word"] >= counts["marker"] and 2 * sum(counts.values()) > len(names)


def unique_names(names: list[str], notes: list[str]) -> list[str]:
    """Names made unique: the second "a" becomes "a_2", with a note."""
    seen: dict[str, int] = {}
    made: list[str] = []
    for name in names:
        new, k = name, 2
        while new in seen:
            new, k = f"{name}_{k}", k + 1
        if new != name:
            notes.append(f"column name {name!r} comes twice: the later one is called {new!r}")
        seen[new] = 1
        made.append(new)
    return made


def _delimiter_name(delimiter: str) -> str:
    return "tabs" if delimiter == "\t" else f"{delimiter!r}"
