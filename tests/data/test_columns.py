"""Fitted columns: filling, scaling, encoding, what differs at prediction time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fallline.core.errors import DataError
from fallline.core.record import from_json, to_json
from fallline.data.columns import Columns
from fallline.data.table import read_table
from fallline.data.target import find_target, fit_target
from tests.tolerance import assert_close

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
TABLE = {
    "age": [20.0, None, 40.0, 60.0, 30.0, 50.0],
    "smoker": ["yes", "no", "no", "yes", "no", "yes"],
    "city": ["Rome", "Oslo", "Rome", "", "Oslo", "Rome"],
    "seen": ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05", "2020-01-06"],
    "y": [0, 1, 0, 1, 1, 0],
}


@pytest.fixture
def fitted():
    return Columns.fit(read_table(TABLE), target="y")


def changed(**columns):
    return read_table({**TABLE, **columns})


def test_features_in_the_table_order(fitted):
    assert fitted.feature_names == (
        "age",
        "age missing",
        "smoker",
        "city=Rome",
        "city=Oslo",
        "city missing",
        "seen",
    )
    assert fitted.feature_columns == ("age", "age", "smoker", "city", "city", "city", "seen")
    numbers, codes = fitted.transform(read_table(TABLE))
    assert (numbers.dtype, numbers.shape, codes.dtype, codes.shape) == (np.float32, (6, 7), np.int32, (6, 0))
    np.testing.assert_array_equal(numbers[:, 1], [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(numbers[:, 3:6], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_missing_numbers_are_filled_with_the_median_of_the_training_rows():
    table = read_table(TABLE)
    column = Columns.fit(table, target="y", rows=[0, 1, 2, 3]).fitted[0]
    assert (column.fill, column.low, column.high, column.n_missing) == (40.0, 20.0, 60.0, 1)
    assert_close(column.encode(table)[1], np.array([(40.0 - column.center) / column.scale, 1.0]))


def test_like_scikit_learn(rng):
    frame = pd.DataFrame({"a": rng.normal(5, 3, 90), "b": rng.uniform(size=90), "c": rng.choice(list("xyz"), 90)})
    columns = Columns.fit(read_table(frame))
    numbers, _ = columns.transform(read_table(frame))
    levels = [name.removeprefix("c=") for name in columns.feature_names[2:]]
    assert_close(numbers[:, :2], StandardScaler().fit_transform(frame[["a", "b"]]).astype(np.float32), "f32")
    np.testing.assert_array_equal(
        numbers[:, 2:], OneHotEncoder(categories=[levels], sparse_output=False).fit_transform(frame[["c"]])
    )


def test_robust_scaling_clips_smoothly(rng):
    x = np.append(rng.normal(size=99), 1e6)
    columns = Columns.fit(read_table({"x": x}), scaling="robust")
    low, center, high = np.quantile(x, [0.25, 0.5, 0.75])
    z = (x - center) / (high - low)
    assert_close(
        columns.transform(read_table({"x": x}))[0][:, 0], (z / np.sqrt(1 + (z / 3) ** 2)).astype(np.float32), "f32"
    )
    with pytest.raises(DataError, match="did you mean 'robust'"):
        Columns.fit(read_table({"x": x}), scaling="robst")


def test_heavy_tails_are_scaled_by_their_logarithm():
    gains = np.array([0.0] * 95 + [1e3, 5e3, 2e4, 5e4, 9.9e4])
    column = Columns.fit(read_table({"gain": gains})).fitted[0]
    logged = np.log1p(gains)
    assert column.transform == "log"
    assert_close(column.encode(read_table({"gain": gains}))[:, 0], (logged - logged.mean()) / logged.std())
    assert np.isfinite(column.encode(read_table({"gain": [-5.0, 1e308]}))).all()


def test_json_round_trip(fitted):
    loaded = from_json(json.loads(json.dumps(to_json(fitted))))
    assert loaded == fitted
    for a, b in zip(loaded.transform(read_table(TABLE)), fitted.transform(read_table(TABLE)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_embedding_codes():
    names = [f"c{i % 40}" for i in range(120)] + ["once", ""]
    table = read_table({"c": names, "x": np.arange(122) / 7})
    columns = Columns.fit(table, one_hot_limit=32)
    assert (columns.feature_names, columns.code_names, columns.cardinalities) == (("x",), ("c",), (41,))
    _, codes = columns.transform(table)
    assert set(codes[:120, 0]) == set(range(1, 41))
    np.testing.assert_array_equal(codes[120:, 0], [0, 0])  # seen once, and missing
    assert codes[0, 0] == codes[40, 0] != codes[1, 0]
    assert "unseen or rare" in columns.notes(read_table({"c": ["new"], "x": [1.0]}))[0]
    assert Columns.fit(table, one_hot_limit=50).cardinalities == ()


def test_unseen_categories_are_zeros_and_reported(fitted):
    table = changed(city=["Rome", "Bonn", "Bern", "Bonn", "", "Oslo"])
    np.testing.assert_array_equal(fitted.transform(table)[0][1:4, 3:6], np.zeros((3, 3)))
    (note,) = fitted.notes(table)
    assert "2 unseen" in note
    assert '"Bonn", "Bern"' in note


def test_missing_only_at_prediction_time(fitted):
    table = changed(smoker=["yes", "", "no", "yes", "no", "yes"], city=["Rome"] * 6)
    column = fitted.fitted[1]
    assert_close(column.encode(table)[1, 0], (column.fill - column.center) / column.scale)


def test_categories_are_matched_by_text_then_by_value():
    codes = ["01", "02", "0A", "01", "02"]
    columns = Columns.fit(read_table({"code": codes, "x": [1, 2, 3, 4, 6]}))
    assert columns.feature_names[:2] == ("code=01", "code=02")
    only_digits = read_table({"code": ["02", "01"], "x": [1, 2]})
    np.testing.assert_array_equal(columns.transform(only_digits)[0][:, :2], [[0, 1], [1, 0]])
    whole = Columns.fit(read_table({"k": [1, 2, 1, 2], "x": [1, 2, 3, 5]}), kinds={"k": "category"})
    for same in ([2.0, 1.0, None], ["2", "1", "NA"]):
        numbers = whole.transform(read_table({"k": same, "x": [1, 2, 3]}))[0]
        np.testing.assert_array_equal(numbers[:, :2], [[0, 1], [1, 0], [0, 0]])


def test_categories_may_be_numbers_beyond_the_integers():
    columns = Columns.fit(read_table({"k": [1e300, 2.0, 1e300, 2.0], "x": [1, 2, 3, 5]}), kinds={"k": "category"})
    numbers = columns.transform(read_table({"k": [2.0, 1e300], "x": [1, 2]}))[0]
    np.testing.assert_array_equal(numbers[:, :2].sum(axis=0), [1, 1])
    np.testing.assert_array_equal(numbers[:, :2].sum(axis=1), [1, 1])


def test_booleans_in_every_spelling(fitted):
    column = fitted.fitted[1]
    expected = column.encode(read_table(TABLE))
    for same in (
        ["Y", "n", "N", "y", "n", "Y"],
        [True, False, False, True, False, True],
        [1, 0, 0, 1, 0, 1],
        list("100101"),
    ):
        np.testing.assert_array_equal(column.encode(changed(smoker=same)), expected)
    with pytest.raises(DataError, match="column 'smoker' holds \"often\" in row 2"):
        fitted.transform(changed(smoker=["yes", "no", "often", "yes", "no", "yes"]))


def test_missing_columns_are_named_and_extra_ones_noted(fitted):
    frame = pl.DataFrame(TABLE)
    with pytest.raises(DataError, match=r"lacks 2 of the 4 .*'age', 'city' \(did you mean 'Age'\?\)"):
        fitted.transform(read_table(frame.drop("city").rename({"age": "Age"})))
    assert "'new'" in fitted.notes(read_table(frame.with_columns(new=1)))[0]
    assert fitted.notes(read_table(frame)) == []
    np.testing.assert_array_equal(
        fitted.transform(read_table(frame.select(reversed(frame.columns)).drop("y")))[0],
        fitted.transform(read_table(frame))[0],
    )


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"age": ["20", "x", "40", "60", "30", "50"]}, "column 'age' holds text \\(\"x\" in row 1\\)"),
        ({"age": [1.0, 2.0, np.inf, 3.0, 4.0, 5.0]}, "column 'age' is infinite in row 2"),
        ({"age": TABLE["seen"]}, "column 'age' holds a date"),
        ({"seen": [1, 2, 3, 4, 5, 6]}, "column 'seen' holds a number"),
        ({"seen": ["2020-01-01", "soon", *TABLE["seen"][2:]]}, "column 'seen' holds \"soon\" in row 1"),
    ],
)
def test_columns_whose_kind_changed(fitted, columns, words):
    with pytest.raises(DataError, match=words):
        fitted.transform(changed(**columns))


def test_infinite_training_cells_are_refused_by_name_and_row():
    with pytest.raises(DataError, match="'x' is infinite in row 1"):
        Columns.fit(read_table({"x": [1.0, np.inf, 2.0]}))


def test_an_all_missing_column_is_filled_at_prediction_time(fitted):
    numbers, _ = fitted.transform(changed(age=[None] * 6))
    np.testing.assert_array_equal(numbers[:, 1], np.ones(6))
    assert np.isfinite(numbers).all()


def test_cells_that_lie_outside_the_training_rows():
    table = read_table({"x": [None, None, 5.0, 6.0], "c": ["", "", "a", "b"], "z": [1.5, 2.5, 3.5, 4.5]})
    numbers, _ = Columns.fit(table, kinds={"c": "category"}, rows=[0, 1]).transform(table)
    assert np.isfinite(numbers).all()
    with pytest.raises(DataError, match="no training row"):
        Columns.fit(table, rows=[])


def test_huge_numbers_fit_into_float32(fitted):
    assert np.isfinite(fitted.transform(changed(age=[1e308, -1e308, 1.0, 2.0, 3.0, 4.0]))[0]).all()


def test_describe_covers_every_column(fitted):
    table = read_table({**TABLE, "id": list(range(6)), "same": ["k"] * 6})
    rows = {row[0]: row[1:] for row in Columns.fit(table, target="y").describe()}
    assert set(rows) == set(table.names) - {"y"}
    assert rows["id"][0] == rows["same"][0] == "left out"
    assert "20 … 60" in rows["age"][1]
    assert "1 missing" in rows["age"][1]
    assert fitted.describe()[0][:2] == ("age", "number")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tables are not here")
@pytest.mark.parametrize(
    "file, target, d, cardinalities",
    [
        ("heart.csv", "AHD", 11 + 4 + 3 + 2, ()),  # numbers, levels of ChestPain and Thal, Ca and Thal missing
        ("adult.csv.gz", None, None, (41,)),  # 41 countries, one of them seen once, and the slot for that
        ("horse-colic.csv", "24", None, ()),
        ("abalone.csv", None, 7 + 3, ()),  # numbers, and M, F, I
        ("winequality-red.csv", None, 11, ()),
    ],
)
def test_real_files_end_to_end(file, target, d, cardinalities):
    table = read_table(REAL / file)
    name = find_target(table, target)
    y = fit_target(table, name).encode(table)
    columns = Columns.fit(table, target=name)
    numbers, codes = columns.transform(table)
    assert d is None or numbers.shape[1] == d
    assert len(y) == len(numbers)
    assert columns.cardinalities == cardinalities
    assert codes.shape == (table.n_rows, len(cardinalities))
    assert np.isfinite(numbers).all()
    assert np.isfinite(y).all()


def test_a_wild_number_is_held_at_the_widened_training_range_and_told():
    train = read_table(
        {"x": [0.0, 1.0, 2.0, 3.0], "constant here": [5.0, 5.0, 5.0, 5.0], "other": [1.5, 2.5, 3.5, 4.0]}
    )
    columns = Columns.fit(train, kinds={"constant here": "number"})
    later = read_table(
        {"x": [1e9, -1e9, 1.0, 6.0], "constant here": [9.0, 5.0, 5.0, 5.0], "other": [2.0, 2.0, 2.0, 2.0]}
    )
    numbers, _ = columns.transform(later)
    low, high = columns.transform(read_table({"x": [-3.0, 6.0], "constant here": [5.0, 5.0], "other": [2.0, 2.0]}))[0][
        :, 0
    ]
    np.testing.assert_array_equal(numbers[:, 0], np.float32([high, low, numbers[2, 0], high]))
    np.testing.assert_array_equal(numbers[:, 1], np.zeros(4, np.float32))
    assert "column 'x': 2 numbers far outside the training range" in " ".join(columns.notes(later))


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_weights_of_rows_are_rows_that_stand_there_again(rng, scaling):
    w = rng.integers(1, 4, 50)
    cells = {"x": rng.gamma(2.0, size=50), "town": rng.choice(["a", "b", "c"], 50, p=[0.6, 0.3, 0.1])}
    once = Columns.fit(read_table(cells), scaling=scaling, weights=w.astype(float))
    again = Columns.fit(read_table({name: np.repeat(values, w) for name, values in cells.items()}), scaling=scaling)
    assert once.feature_names == again.feature_names
    assert_close(once.transform(read_table(cells))[0], again.transform(read_table(cells))[0], "f32")


def test_dates_are_split_into_the_parts_that_vary():
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2022, 12, 31), eager=True)
    [column] = Columns.fit(read_table({"sold": days})).fitted
    assert column.features == ("sold", *(f"sold {p} {w}" for p in ("year", "month", "week") for w in ("sin", "cos")))
    assert column.detail().endswith(", time of year, month, week")
    read = column.encode(read_table({"sold": ["2021-03-01", "2021-03-08", None]}))
    assert_close(read[0, 5:7], read[1, 5:7])  # both are Mondays
    assert_close(read[0, 5], np.sin(2 * np.pi * 18687 / 7))  # days since 1970-01-01, a Thursday
    assert_close(read[2, 1:], np.zeros(6))
    mondays = Columns.fit(read_table({"sold": days[::7]})).fitted[0]
    assert 7.0 not in mondays.periods
    [week] = Columns.fit(read_table({"sold": days[:9]})).fitted
    assert week.periods == ()


def test_slopes_of_a_date_are_those_of_its_parts():
    days = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2022, 12, 31), interval="7h", eager=True)
    [column] = Columns.fit(read_table({"at": days})).fitted
    assert len(column.features) == 9
    middle, step = pl.datetime(2021, 5, 5, 13), 60.0  # seconds
    cells = [pl.select(middle + pl.duration(seconds=k * step)).item() for k in (-1, 0, 1)]
    before, _, after = (column.encode(read_table({"at": [c]}))[0] for c in cells)
    assert_close(column.slopes(read_table({"at": [cells[1]]}))[0], (after - before) / (2 * step / 86_400), "fit")
