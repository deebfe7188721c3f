"""Listings: one table as text of any width, as HTML and as a data frame."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.lines import columns_of
from fallline.core.listing import MOST_ROWS, Listing


def listing(**changes):
    made = {
        "title": "values and slopes",
        "columns": {
            "name": ["a longer name of a thing", "b", "c"],
            "value": [1.23456789012, None, np.arange(12.0).reshape(3, 4)],
            "parts": [(1.0, np.ones(2)), "text", None],
        },
        "groups": ["first", "first", "second"],
        "note": "what a reader should know, in a sentence that is longer than a narrow terminal",
    }
    return Listing(**{**made, **changes})


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_text_keeps_to_its_width(width):
    lines = listing().text(width).splitlines()
    assert max(map(columns_of, lines)) <= width


def test_numbers_lose_digits_before_words_lose_letters():
    text = listing().text(52)
    assert "a longer name of a thing" in text
    assert "1.23456789 " in text
    assert "1.234567890" not in text
    assert "[3×4] mean 5.5\n" in text


def test_a_cut_is_marked_and_cuts_no_number():
    text = listing(columns={"name": ["word " * 20], "value": [1234.5678]}, groups=[""]).text(30)
    assert "…" in text
    assert "1235" in text


def test_the_narrow_form_is_taken_where_the_other_does_not_fit():
    narrow = Listing("short", {"n": ["b"]}, [""])
    wide = Listing("long", {"name": ["b" * 50]}, [""], narrow=narrow)
    assert wide.text(50).startswith("long")
    assert wide.text(49).startswith("short")


def test_groups_are_headings_and_long_ones_are_cut():
    text = listing(groups=["g" * 200, "g" * 200, "second"]).text(40)
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[" + "g" * 38 + "…", "[second]"]


def test_words_can_stand_beside_a_heading():
    made = listing(blocks={"second": "of <two>", "third": "of three"})
    assert [line for line in made.text(60).splitlines() if line.startswith("[")] == ["[first]", "[second] of <two>"]
    assert "second of &lt;two&gt;</th>" in made._repr_html_()
    assert "third" not in made.text(60)


def test_of_a_long_table_the_middle_is_left_out():
    made = Listing("rows", {"i": list(range(1000))}, [""] * 1000)
    lines = made.text(80).splitlines()
    assert f"… {1000 - MOST_ROWS} rows …" in lines
    assert lines[-1] == "999"
    assert made.frame()["i"].to_list() == list(range(1000))


def test_html_is_escaped_opens_arrays_and_ends_with_the_note():
    html = listing(columns={"<name>": ["a < b"], "value": [np.arange(500.0)]}, groups=["g & h"])._repr_html_()
    assert "<th>&lt;name&gt;</th>" in html
    assert "a &lt; b" in html
    assert "g &amp; h" in html
    assert "<details><summary>[500] mean 249.5" in html
    assert "..." in html  # the middle of a big array is left out
    assert html.index("what a reader") > html.index("</tbody>")


def test_control_characters_move_no_cursor():
    assert "\x1b" not in listing(columns={"name": ["\x1b[2J"]}, groups=[""]).text(60)


def test_a_frame_has_numbers_as_numbers_and_arrays_as_lists():
    columns = {
        "name": ["a", "b"],
        "number": [1.5, None],
        "count": [np.int64(3), 4],
        "true": [True, False],
        "row": [np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.zeros(2)],
        "mixed": [np.float32(0.5), np.ones((2, 2))],
        "parts": [(1.0, np.ones(2)), None],
        "none": [None, None],
    }
    frame = Listing("rows", columns, ["g", ""]).frame()
    assert frame["group"].to_list() == ["g", ""]
    assert frame["number"].to_list() == [1.5, None]
    assert frame["number"].dtype.is_float()
    assert frame["count"].dtype.is_integer()
    assert frame["true"].to_list() == [True, False]
    assert frame["row"].to_list() == [[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.0]]
    assert list(frame["mixed"]) == [0.5, [[1.0, 1.0], [1.0, 1.0]]]
    assert next(iter(frame["parts"])) == [1.0, [1.0, 1.0]]
    assert frame["none"].null_count() == 2


def test_without_groups_there_is_no_group_column():
    assert listing(groups=[""] * 3).frame().columns == ["name", "value", "parts"]


def test_no_width_is_too_narrow():
    assert Listing("t", {"a": [1.5]}, ["group"]).text(0)
