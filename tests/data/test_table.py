"""Tables from files, frames and arrays; typed cells; writing back."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError
from fallline.data.table import read_table, write_table

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
MIXED = "n,f,s,d,b\n1, 2.5,x,2020-01-31,yes\n2,NA, y z ,2020-02-01,no\n3,1e3,?,,yes\n"


@pytest.fixture
def mixed(tmp_path):
    path = tmp_path / "mixed.csv"
    path.write_text(MIXED)
    return path


def test_cells_are_typed_and_missing_ones_null(mixed):
    table = read_table(mixed)
    assert (table.name, table.n_rows, table.names) == ("mixed", 3, ("n", "f", "s", "d", "b"))
    assert table.frame.dtypes == [pl.Int64, pl.Float64, pl.String, pl.Date, pl.String]
    assert table.column("f").to_list() == [2.5, None, 1000.0]
    assert table.column("s").to_list() == ["x", "y z", None]
    assert table.column("d").to_list() == [datetime.date(2020, 1, 31), datetime.date(2020, 2, 1), None]


@pytest.mark.parametrize("marker", ["", "NA", "N/A", "n/a", "NaN", "nan", "?", "null", "NULL", " NA ", "#N/A", "<NA>"])
def test_missing_markers(marker):
    assert read_table({"a": ["1", marker, "3"], "b": ["x", "y", "z"]}).column("a").to_list() == [1, None, 3]


def test_further_markers():
    table = read_table(
        {"a": ["1", "-9", "none"], "b": ["Unknown", "x", "y"], "c": [1.0, -9.0, 2.0]}, missing=[-9, "unknown"]
    )
    assert table.column("a").to_list() == [1, None, None]  # "none" among numbers is missing without asking
    assert table.column("b").to_list() == [None, "x", "y"]
    assert table.column("c").to_list() == [1.0, None, 2.0]
    assert read_table({"a": ["1", "x"]}, missing="x").column("a").to_list() == [1, None]


def test_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c\n1,5;1,2,3;x\n-2;7;y\n1,5e3;1,2,3;z\n")
    assert read_table(path).column("a").to_list() == [1.5, -2.0, 1500.0]
    assert "1,5 is read as 1.5" in read_table(path).notes[-1]
    assert read_table(path).column("b").to_list() == ["1,2,3", "7", "1,2,3"]
    assert read_table({"a": ["1,5", "2"]}).column("a").to_list() == ["1,5", "2"]


def test_none_as_a_category_stays():
    assert read_table({"a": ["None", "brick"]}).column("a").to_list() == ["None", "brick"]


def test_whole_numbers_stay_exact():
    big = [2**63 - 1, 2**53 + 1]
    assert read_table({"a": [str(v) for v in big]}).column("a").to_list() == big
    unsigned = [2**64 - 1, 5]
    assert read_table({"a": [str(v) for v in unsigned]}).column("a").to_list() == unsigned
    beyond = ["123456789012345678901234567890", "1"]
    table = read_table({"a": beyond})
    assert table.column("a").dtype == pl.Float64
    assert table.text("a").to_list() == beyond


@pytest.mark.parametrize(
    "cells, seconds",
    [
        (["2020-01-02", "1970-01-01"], [1577923200, 0]),
        (["2020-01-02 06:00", "2020-01-02 00:00"], [1577944800, 1577923200]),
        (["2020-01-02T00:00:01Z", "1970-01-01T00:00:00.5Z"], [1577923201, 0.5]),
    ],
)
def test_dates(cells, seconds):
    column = read_table({"d": cells, "x": [1, 2]}).column("d")
    assert column.cast(pl.Datetime("us")).dt.timestamp("us").to_list() == [s * 1e6 for s in seconds]


def test_mixed_text_and_dates_stay_text():
    assert read_table({"d": ["2020-01-02", "soon"]}).column("d").dtype == pl.String


def test_rows_of_a_file_without_a_cell_are_left_out(tmp_path):
    (tmp_path / "gaps.csv").write_text("a,b\n1,x\n,\n3,y\n")
    table = read_table(tmp_path / "gaps.csv")
    assert table.n_rows == 2
    assert read_table({"a": [1, None, 3], "b": ["x", "", "y"]}).n_rows == 3  # in memory each row has its number
    assert table.place(1).startswith("row 2")
    assert table.notes == ("empty rows left out: 1",)


def test_rows_keep_their_place(mixed):
    table = read_table(mixed)
    assert table.place(1) == "row 1, line 3"
    assert table.take([2, 0]).take([0]).place(0) == "row 2, line 4"
    assert table.take([2, 0]).column("n").to_list() == [3, 1]
    assert read_table({"a": [1, 2]}).take([1]).place(0) == "row 1"


FRAME = {
    "i": [1, 2, 3],
    "f": [1.5, None, 3.0],
    "s": ["x", None, "z"],
    "b": [True, False, True],
    "t": [datetime.datetime(2020, 1, 1), None, datetime.datetime(2021, 1, 1, 12)],
}


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        lambda d: pl.DataFrame(d).lazy(),
        pd.DataFrame,
        lambda d: pd.DataFrame(d).convert_dtypes(),
        lambda d: pd.DataFrame(d).astype({"s": "category"}),
        lambda d: pl.DataFrame(d).to_arrow(),
        lambda d: nw.from_native(pl.DataFrame(d)),
        lambda d: {k: np.array(v, dtype=object) for k, v in d.items()},
        lambda d: {k: pd.Series(v) for k, v in d.items()},
        dict,
    ],
)
def test_frames_of_every_kind_give_the_same_table(make):
    table = read_table(make(FRAME))
    assert table.frame.to_dict(as_series=False) == FRAME
    assert table.frame.dtypes[2:] == [pl.String, pl.Boolean, pl.Datetime("us")]


def test_arrays():
    assert read_table(np.arange(6.0).reshape(3, 2)).names == ("column_1", "column_2")
    assert read_table(np.arange(3)).frame.shape == (3, 1)  # (b,) is (b, 1)
    assert read_table([[1, "x"], [2, "y"]]).frame.rows() == [(1, "x"), (2, "y")]
    with pytest.raises(DataError, match="shape"):
        read_table(np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match="differ in length"):
        read_table({"a": [1, 2], "b": [1]})


def test_rarer_types_become_plain():
    frame = pl.DataFrame(
        {
            "l": [[1], [2, 3]],
            "c": pl.Series(["u", "v"], dtype=pl.Categorical),
            "z": pl.Series([datetime.timedelta(seconds=90), None]),
            "k": pl.Series(["1.5", "2"]).cast(pl.Decimal(10, 2)),
            "o": pl.Series([None, None]),
            "t": pl.Series(["2020-01-01 00:00"])
            .str.to_datetime()
            .dt.replace_time_zone("Asia/Tokyo")
            .extend_constant(None, 1),
        }
    )
    table = read_table(frame)
    assert table.frame.rows()[0] == ("[1]", "u", 90.0, 1.5, None, datetime.datetime(2019, 12, 31, 15))


def test_pandas_names_that_are_no_text_or_come_twice():
    assert read_table(pd.DataFrame({0: [1], 1: [2]})).names == ("0", "1")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_written_tables_are_read_back(tmp_path, suffix):
    table = read_table(FRAME)
    path = tmp_path / f"out{suffix}"
    write_table(table, path, {"prediction": np.array(["No", "Yes", "No"]), "p_Yes": np.array([0.25, 0.75, 0.5])})
    back = read_table(path)
    assert back.names == (*FRAME, "prediction", "p_Yes")
    assert back.column("p_Yes").to_list() == [0.25, 0.75, 0.5]
    assert [back.column(n).to_list() for n in "ifst"] == [FRAME[n] for n in "ifst"]


def test_the_original_cells_are_written_unchanged(tmp_path, mixed):
    out = tmp_path / "out.csv"
    write_table(read_table(mixed), out, {"n": [7, 8, 9]})
    lines = out.read_text().splitlines()
    assert lines[0] == "n,f,s,d,b,n_2"
    assert [line.rpartition(",")[0] for line in lines[1:]] == MIXED.splitlines()[1:]


def test_writing_where_nothing_can_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot write"):
        write_table(read_table({"a": [1]}), tmp_path / "no" / "out.csv")
    with pytest.raises(DataError, match="2 values for 1 rows"):
        write_table(read_table({"a": [1]}), tmp_path / "out.csv", {"p": [1, 2]})


def test_files_that_cannot_be_read(tmp_path, mixed):
    packed = gzip.compress(MIXED.encode())
    files = {
        "empty.csv": (b"", "empty"),
        "blank.csv": (b"\n \n", "empty"),
        "broken.csv.gz": (packed[:-12], "not a whole .gz"),
        "image.csv": (b"\x89PNG\r\n\x1a\n\0\0\0", "binary"),
        "book.csv": (b"PK\x03\x04rest", "Excel"),
        "text.parquet": (b"a,b\n1,2\n", "not a Parquet"),
        "cut.parquet": (b"PAR1 and no more", "not a whole Parquet"),
        "nothing.csv": (b"a,b\n?,NA\n,\n", "no cell"),
    }
    for name, (data, words) in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DataError, match=words) as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"no such file: .*mixd\.csv; did you mean '.*mixed\.csv'"):
        read_table(tmp_path / "mixd.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(
        DataError, match="no such file: irs; and no packaged data set has that name: did you mean 'iris'"
    ):
        read_table("irs")


def test_gz_and_suffixes_are_told_by_the_bytes(tmp_path):
    for name, data in (("a.csv.gz", gzip.compress(MIXED.encode())), ("b.data", MIXED.encode())):
        (tmp_path / name).write_bytes(data)
        assert read_table(tmp_path / name).n_rows == 3


def test_no_such_column_names_the_nearest(mixed):
    with pytest.raises(DataError, match="no column is called 'prediction' in mixed: known: b, d, f, n, s") as caught:
        read_table(mixed).column("prediction")
    assert "\n" not in str(caught.value)


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=6),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6),
)
def test_numbers_written_as_text_come_back_bit_for_bit(whole, floats):
    table = read_table({"i": [str(v) for v in whole], "f": [repr(v) for v in floats[: len(whole)]]})
    assert table.column("i").to_list() == whole
    assert table.column("f").cast(pl.Float64).to_list() == floats[: len(whole)]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
@pytest.mark.parametrize(
    "file, rows, columns, missing",
    [
        ("heart.csv", 303, 15, {"Ca": 4, "Thal": 2}),
        ("adult.csv.gz", 32561, 15, {"column_2": 1836}),
        ("horse-colic.csv", 300, 28, {"column_24": 0}),
        ("abalone.csv", 4177, 9, {}),
        ("winequality-red.csv", 1599, 12, {}),
    ],
)
def test_real_files_load_unprepared(file, rows, columns, missing):
    table = read_table(REAL / file)
    assert table.frame.shape == (rows, columns)
    assert {name: table.column(name).null_count() for name in missing} == missing


def test_text_of_pandas_is_the_same_with_and_without_arrow(monkeypatch):
    frame = pd.DataFrame({"a": ["x", None, "ü y", ""], "b": pd.Series(["1", "2", float("nan"), "x"], dtype=object)})
    found = read_table(frame).frame

    def absent(series):
        raise ImportError("No module named 'pyarrow'")

    monkeypatch.setattr("narwhals.Series.to_arrow", absent)
    assert found.equals(read_table(frame).frame)
    assert found["a"].to_list() == ["x", None, "ü y", None]
