"""What each column is taken for."""

from __future__ import annotations

import pytest

from fallline.core.errors import DataError
from fallline.data.kinds import decide_kinds
from fallline.data.table import read_table

N = 400


def kind_of(cells, name="c", **others):
    table = read_table({name: cells, "x": [float(i % 7) for i in range(len(cells))], **others})
    return next(k for k in decide_kinds(table) if k.name == name)


@pytest.mark.parametrize(
    "cells, kind",
    [
        ([0.5 * i for i in range(N)], "number"),  # every cell different, yet numbers
        (list(range(N)), "number"),  # consecutive under a name of its own
        ([i % 3 for i in range(N)], "number"),  # few whole numbers stay numbers
        ([f"{i % 5:03d}" for i in range(N)], "number"),
        (["red", "blue"] * (N // 2), "category"),
        ([f"level {i % 150}" for i in range(N)], "category"),
        (["yes", "No"] * (N // 2), "boolean"),
        (["TRUE", "false", "?", "true"] * (N // 4), "boolean"),
        ([True, False] * (N // 2), "boolean"),
        (["yes", "no", "maybe", "no"] * (N // 4), "category"),
        ([f"name {i}" for i in range(N)], "identifier"),
        ([f"name {i % 300}" for i in range(N)], "text"),
        (["same"] * N, "constant"),
        ([3] * N, "constant"),
        ([None] * N, "constant"),
        ([3, None] * (N // 2), "number"),  # one value or missing tells two kinds of rows apart
        (["2020-01-01", "2020-01-02"] * (N // 2), "date"),
        (["1", "x", "2", "y"] * (N // 4), "category"),
    ],
)
def test_kinds(cells, kind):
    assert kind_of(cells).kind == kind


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "row_number", "column_1"])
def test_row_numbers_are_left_out(name):
    found = kind_of(list(range(1, N + 1)), name)
    assert (found.kind, found.reason) == ("identifier", "row numbers")


def test_row_numbers_in_another_order_are_numbers():
    assert kind_of(list(range(N, 0, -1)), "index").kind == "number"


@pytest.mark.parametrize(
    "name, left_out",
    [("id", True), ("customer_id", True), ("userId", True), ("ID", True), ("paid", False), ("grid", False)],
)
def test_identifiers_by_name(name, left_out):
    cells = [1000 + 7 * i * i for i in range(N)]
    assert (kind_of(cells, name).kind == "identifier") == left_out
    assert kind_of([c // 100_000 for c in cells], name).kind == "number"  # they repeat


def test_row_numbers_alone_are_used():
    table = read_table({"": [1, 2, 3], "y": [2.0, 4.0, 6.0]})
    assert [k.kind for k in decide_kinds(table, target="y")] == ["number"]


def test_stray_text_among_numbers_is_an_error():
    cells = [str(i) for i in range(N)]
    cells[17] = "many"
    with pytest.raises(DataError) as caught:
        kind_of(cells, "Age")
    assert str(caught.value) == 'column \'Age\' holds text ("many" in row 17): pass missing=["many"] or drop it'
    table = read_table({"Age": cells, "x": cells[:16] * 25})
    assert {k.name: k.kind for k in decide_kinds(read_table(table.raw, missing=["many"]))}["Age"] == "number"
    assert {k.name: k.kind for k in decide_kinds(table, kinds={"Age": "ignored"})}["Age"] == "ignored"


def test_kinds_can_be_told():
    table = read_table({"code": [1, 2, 1, 2], "x": [1.5, 2.5, 3.5, 4.5]})
    assert decide_kinds(table, kinds={"code": "category"})[0].kind == "category"
    with pytest.raises(DataError, match="did you mean 'code'"):
        decide_kinds(table, kinds={"cod": "category"})
    with pytest.raises(DataError, match="did you mean 'category'"):
        decide_kinds(table, kinds={"code": "categry"})


def test_a_table_without_a_usable_column():
    with pytest.raises(DataError, match="no column to learn from"):
        decide_kinds(read_table({"a": [1, 1], "y": [0, 1]}), target="y")
    with pytest.raises(DataError, match="no column to learn from"):
        decide_kinds(read_table({"y": [0, 1]}), target="y")
