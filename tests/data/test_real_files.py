"""Tables as other programs write them: encodings, headers and cells that are easily misread."""

from __future__ import annotations

import pytest

from fallline.core.errors import DataError
from fallline.data.columns import Columns
from fallline.data.split import split_rows
from fallline.data.table import read_table
from fallline.data.target import fit_target
from fallline.data.text import read_text


def _names(text: str) -> list[str]:
    return read_text(text.encode(), "t.csv").cells.columns


def test_bytes_of_windows_are_signs_and_not_control_characters():
    found = read_text("price €,b\n1,2\n".encode("cp1252"), "t.csv")
    assert found.cells.columns == ["price €", "b"]
    assert "cp1252" in found.notes[0]


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16", "utf-8-sig"])
def test_byte_order_marks(encoding: str):
    assert read_text("ä,b\n1,2\n".encode(encoding), "t.csv").cells.columns == ["ä", "b"]


@pytest.mark.parametrize("sign", [";", ",", "\t", "|"])
def test_the_first_line_for_excel_names_the_delimiter(sign: str):
    found = read_text(f"sep={sign}\na{sign}b\n1{sign}2\n".encode(), "t.csv")
    assert found.cells.columns == ["a", "b"]
    assert found.lines.tolist() == [3]


def test_names_that_look_like_missing_cells_or_numbers():
    assert _names("RI,Na,Mg,type\n1.5,13,4,a\n1.6,14,3,b\n") == ["RI", "Na", "Mg", "type"]  # sodium
    assert _names("a,b,inf\nx,y,3\nz,u,6\n") == ["a", "b", "inf"]


def test_years_are_names():
    assert _names("country,2019,2020\nA,1.5,2.5\nB,3.5,4.5\n") == ["country", "2019", "2020"]
    assert _names("red,2,3\nblue,4,5\n") == ["column_1", "column_2", "column_3"]


def test_a_first_row_of_data_with_one_missing_cell_is_no_header():
    for first in ("1,?,x", "NA,NA,x", "n/k,1,2"):
        assert _names(f"{first}\n2,3,4\n5,6,7\n") == ["column_1", "column_2", "column_3"]


@pytest.mark.parametrize(
    "cell, looks",
    [
        ('"1,234,567"', "numbers"),
        ("12.5%", "numbers"),
        ('"$1,234.50"', "numbers"),
        ("1.234.567", "numbers"),
        ("05.03.2021", "dates"),
        ("12/31/2021", "dates"),
        ("2020-01-01T10:00:00+02:00", "dates"),
    ],
)
def test_numbers_and_dates_that_stay_text_are_told(cell: str, looks: str, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"a,y\n{cell},1\n{cell},2\n", encoding="utf-8")
    assert any(f"'a' looks like {looks}" in note for note in read_table(path).notes)


def test_plain_text_and_numbers_need_no_word():
    assert read_table({"a": ["x1", "y 2"], "b": ["1", "2"], "c": ["2020-01-01", "2020-01-02"]}).notes == ()


@pytest.mark.parametrize("size", [1e300, 1e-200])
def test_targets_whose_squares_are_no_numbers(size: float):
    table = read_table({"x": [1, 2, 3], "y": [1.5 * size, 2.5 * size, 3.5 * size]})
    with pytest.raises(DataError, match=r"'y' is 3.5e.* in row 2, .* give the column in another unit"):
        fit_target(table, "y")


def test_a_table_that_lacks_every_column_shows_its_own():
    columns = Columns.fit(read_table({"a": [1.5, 2.5], "b": [2, 3]}))
    with pytest.raises(DataError, match=r"lacks 2 of the 2 columns .* it has 'column_1'"):
        columns.transform(read_table({"column_1": [1, 2]}))


def test_a_share_given_as_text():
    with pytest.raises(DataError, match=r"validation='0\.2': give a share"):
        split_rows(10, validation="0.2")
