"""Tables, facts and paragraphs in any width."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.cli import show

LONG = "a sentence that goes on for rather more than forty columns, as details of a column do"


def texts(lines: list[show.Line]) -> list[str]:
    return [line.text for line in lines]


def test_columns_are_aligned() -> None:
    assert texts(show.table(("name", "n"), [("a", 1), ("bcdefg", 22)], right=(1,))) == [
        "name     n",
        "a        1",
        "bcdefg  22",
    ]


def test_last_column_flows() -> None:
    lines = texts(show.table(("name", "detail"), [("a", LONG)], width=40))
    assert lines[1].startswith("a     a sentence")
    assert all(line.startswith("      ") for line in lines[2:])
    assert " ".join(" ".join(lines[1:]).split()) == f"a {LONG}"


def test_rows_become_paragraphs() -> None:
    lines = show.table(("name", "kind", "n"), [("a long name for a column", "some kind", 3)], right=(2,), width=24)
    assert lines[0] == show.Line("a long name for a column", bold=True)
    assert texts(lines[1:]) == ["    some kind, n 3"]


@given(
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30), st.text(max_size=80)), min_size=1, max_size=5),
    st.integers(20, 60),
)
def test_no_table_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    for right in ((), (1,), (1, 2)):
        for line in show.table(("first", "second", "third"), rows, right=right, width=width):
            assert show.columns_of(line.text) <= width


@given(st.text(max_size=200), st.integers(8, 60))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    text = show.printable(text)
    lines = show.wrap(text, width, "  ")
    assert all(show.columns_of(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_facts_hang() -> None:
    assert show.facts([("a", "one two three"), ("long", "x")], 12) == [
        "a     one",
        "      two",
        "      three",
        "long  x",
    ]


@pytest.mark.parametrize("text, columns", [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_wide_characters(text: str, columns: int) -> None:
    assert show.columns_of(text) == columns


def test_control_characters_are_spelt_out() -> None:
    assert show.printable("a\x1b[31m\nb") == "a\\x1b[31m\\nb"


def test_json_keeps_every_digit_and_has_null_for_nan() -> None:
    value = {"a": 0.1 + 0.2, "b": [math.nan, math.inf], "c": ("ä", 1)}
    assert json.loads(show.json_text(value)) == {"a": 0.1 + 0.2, "b": [None, None], "c": ["ä", 1]}
