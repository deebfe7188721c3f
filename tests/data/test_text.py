"""Delimited text: encodings, delimiters, quotes, blanks, headers, ragged lines."""

from __future__ import annotations

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError
from fallline.data.text import read_text


def rows_of(text: str | bytes, **options):
    data = text.encode() if isinstance(text, str) else text
    return read_text(data, "t.csv", **options).cells.rows()


def names_of(text: str, **options):
    return read_text(text.encode(), "t.csv", **options).cells.columns


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    text = "\n".join(delimiter.join(row) for row in (("a", "b", "c"), ("1", "x y", "3"), ("4", "z", "6")))
    assert rows_of(text) == [("1", "x y", "3"), ("4", "z", "6")]


def test_decimal_commas_do_not_hide_a_semicolon():
    assert rows_of("1,5;2,5;3,5\n4,5;5,5;6,5\n") == [("1,5", "2,5", "3,5"), ("4,5", "5,5", "6,5")]


def test_one_column_needs_no_delimiter():
    table = read_text(b"x\n1\n2\n", "t.csv")
    assert table.cells.to_dict(as_series=False) == {"x": ["1", "2"]}
    assert table.lines.tolist() == [2, 3]


def test_quotes_hold_delimiters_newlines_and_quotes():
    table = read_text(b'a,b\n1,"x, ""y"""\n2,"two\nlines"\n3,z\n', "t.csv")
    assert table.cells.rows() == [("1", 'x, "y"'), ("2", "two\nlines"), ("3", "z")]
    assert table.lines.tolist() == [2, 3, 5]  # the line on which each row begins


def test_blanks_beside_quotes_are_dropped_and_those_inside_stay():
    assert rows_of('a, b, c\n1,  "x, y" , 2\n3, " q", 4\n') == [("1", "x, y", " 2"), ("3", " q", " 4")]
    assert rows_of('a,b\n1,"say, ""hi"" , you"\n2,z\n')[0] == ("1", 'say, "hi" , you')


def test_a_quote_inside_a_cell_is_a_plain_character():
    assert rows_of('a,b\n1,5" pipe\n2,6" pipe\n3,rod\n') == [("1", '5" pipe'), ("2", '6" pipe'), ("3", "rod")]


@pytest.mark.parametrize("text", ['a,b\n1,"x\n2,y\n', 'a,b\n1,"x"z\n2,y\n'])
def test_a_quote_that_is_not_closed_is_named_with_its_line(text):
    with pytest.raises(DataError, match="line 2: a quote"):
        rows_of(text)


@pytest.mark.parametrize(
    "data",
    [
        "naïve,b\n1,2\n".encode(),
        codecs.BOM_UTF8 + "naïve,b\n1,2\n".encode(),
        codecs.BOM_UTF16_LE + "naïve,b\n1,2\n".encode("utf-16-le"),
        "naïve,b\n1,2\n".encode("latin-1"),
        "naïve,b\r\n1,2\r\n".encode(),
        "naïve,b\r1,2".encode(),
        "\n\nnaïve,b\n\n1,2\n  \n\n".encode(),
    ],
)
def test_encodings_and_line_ends(data):
    table = read_text(data, "t.csv")
    assert table.cells.to_dict(as_series=False) == {"naïve": ["1"], "b": ["2"]}


def test_a_guessed_encoding_is_noted():
    assert "latin-1" in read_text("é,b\n1,2\n".encode("latin-1"), "t.csv").notes[0]
    assert read_text("жук,b\n1,2\n".encode("cp1251"), "t.csv", encoding="cp1251").cells.columns == ["жук", "b"]


@pytest.mark.parametrize(
    "text, has_header",
    [
        ("a,b\n1,x\n2,y\n", True),
        ("1,x\n2,y\n", False),
        ("a,b\nx,y\nz,x\n", True),  # nothing but text: no name comes again below
        ("p,x\ne,x\np,y\ne,x\n", False),  # mushrooms: the first row comes again
        ('"",b\n1,2\n2,3\n', True),
        ("x,?\ny,2\nx,3\n", False),
        ("0,1,2\n5,6,7\n", True),  # names that pandas gives
    ],
)
def test_the_header_is_found(text, has_header):
    table = read_text(text.encode(), "t.csv")
    assert (table.cells.columns[-1] != f"column_{table.cells.width}") == has_header
    assert any("no header" in note for note in table.notes) != has_header


def test_the_header_can_be_told():
    assert names_of("1,2\n3,4\n", header=True) == ["1", "2"]
    assert names_of("a,b\n3,4\n", header=False) == ["column_1", "column_2"]


def test_names_are_made_unique_with_a_note():
    table = read_text(b"a,b,a,a\n1,2,3,4\n", "t.csv")
    assert table.cells.columns == ["a", "b", "a_2", "a_3"]
    assert len(table.notes) == 2


@pytest.mark.parametrize("text", ["a,b\n1,2,\n3,4,\n", "a,b,\n1,2,\n3,4,\n"])
def test_a_trailing_delimiter_is_dropped(text):
    table = read_text(text.encode(), "t.csv")
    assert table.cells.to_dict(as_series=False) == {"a": ["1", "3"], "b": ["2", "4"]}
    assert "end of each line" in table.notes[0]


def test_row_names_without_a_heading_as_r_writes_them():
    assert names_of('"a","b"\n"r1",1,2\n"r2",3,4\n') == ["", "a", "b"]


def test_a_title_above_the_table_is_named():
    with pytest.raises(DataError, match="line 1: 1 cells where the other lines have 2"):
        rows_of("measured in May\na,b\n1,2\n3,4\n")


@pytest.mark.parametrize("line, count", [("7", 1), ("1,2,3,4", 4)])
def test_a_ragged_line_is_named(line, count):
    with pytest.raises(DataError, match=f"line 3: {count} cells where the other lines have 2"):
        rows_of(f"a,b\n1,2\n{line}\n5,6\n")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\x89PNG\0\0\0", "binary"),
        (b"a,b\n", "no rows"),
    ],
)
def test_what_is_no_table(data, words):
    with pytest.raises(DataError, match=words):
        rows_of(data)


def test_options_out_of_range():
    with pytest.raises(DataError, match="one character"):
        rows_of("a,b\n1,2\n", delimiter=",,")
    with pytest.raises(DataError, match="unknown"):
        rows_of("a,b\n1,2\n", encoding="utf-99")
    with pytest.raises(DataError, match="is not ascii text"):
        rows_of("é,b\n1,2\n", encoding="ascii")


cells = st.text(st.sampled_from("ab1 ,;\"'\né|\t"), max_size=6)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8), st.sampled_from(",;|\t"))
def test_what_the_csv_module_writes_is_read_back(rows, delimiter):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    read = rows_of(buffer.getvalue(), delimiter=delimiter, header=False)
    assert [tuple(c or "" for c in row) for row in read] == rows
