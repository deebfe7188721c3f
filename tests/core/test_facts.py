"""Facts: read from docstrings, printed as a table."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fallline.core.facts import FactRows, Special, facts_of, special_values


def documented() -> None:
    """σ(z) = 1.5 z.   z (batch,) -> (batch,)

    Words that are no fact.
    derivative  first
                second
    special     0 -> 1/2
    score, target  (batch,)
    source      A book
    """


def test_facts_are_lines_of_a_word_and_what_follows():
    assert facts_of(documented) == {
        "formula": "σ(z) = 1.5 z", "derivative": "first second", "special": "0 -> 1/2", "source": "A book"
    }  # fmt: skip
    assert facts_of(lambda: 0) == {"formula": ""}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0 -> 1/2, -1000 -> 0", [Special((0.0,), None, (0.5,)), Special((-1000.0,), None, (0.0,))]),
        ("(0, 1) -> (1/2, -0.25); of p_1", [Special((0.0, 1.0), None, (0.5, -0.25))]),
        ("0 | 1 -> 0.5, (1, 2) | 0 -> 3", [Special((0.0,), 1.0, (0.5,)), Special((1.0, 2.0), 0.0, (3.0,))]),
        ("the formula itself", []),
        ("", []),
    ],
)
def test_special_values(text, expected):
    assert special_values(text) == expected


class Row(NamedTuple):
    name: str
    formula: str
    source: str


def test_rows_are_a_list_that_prints_as_a_table():
    rows = FactRows("Things", [Row("a", "x", "A book"), Row("b", "y²", "")], ("name", "formula"), "A note.")
    assert len(rows) == 2
    assert rows[1].formula == "y²"
    assert repr(rows).splitlines()[0] == "Things"
    assert "y²" in repr(rows)
    assert "A book" not in repr(rows)
    assert repr(rows).endswith("A note.")
    assert "A book" in rows._repr_html_()
    assert rows.frame().columns == ["name", "formula", "source"]
    assert FactRows("None", [], ("name",)).text(80).startswith("None")
