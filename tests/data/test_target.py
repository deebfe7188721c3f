"""The target: found, inferred, encoded, decoded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fallline.core.errors import DataError
from fallline.core.record import from_json, to_json
from fallline.data.table import read_table
from fallline.data.target import find_target, fit_target, infer_array, infer_target
from tests.tolerance import assert_close

N = 60


def with_target(cells):
    return read_table({"x": [0.5 * i for i in range(len(cells))], "y": cells})


@pytest.mark.parametrize(
    "cells, kind",
    [
        (["No", "Yes"] * (N // 2), "binary"),
        ([True, False] * (N // 2), "binary"),
        ([0, 1] * (N // 2), "binary"),
        ([1.0, 2.0] * (N // 2), "binary"),
        (["a", "b", "c"] * (N // 3), "classes"),
        ([3, 4, 5, 6] * (N // 4), "classes"),
        ([0.5 * i for i in range(N)], "numbers"),
        (list(range(N)), "counts"),
        ([i - 30 for i in range(N)], "numbers"),
        ([1, 2, 3, 4, 5], "counts"),  # too few rows for five classes
    ],
)
def test_what_is_predicted(cells, kind):
    found, reason = infer_target(with_target(cells), "y")
    assert found == kind
    assert reason


def test_the_task_can_be_told():
    table = with_target([3, 4, 5, 6] * 15)
    assert infer_target(table, "y", "regression")[0] == "counts"
    assert infer_target(table, "y", "numbers")[0] == "numbers"
    assert infer_target(with_target(list(range(12)) * 5), "y", "classification")[0] == "classes"
    assert infer_target(read_table("diabetes"), "progression")[0] == "numbers"
    assert infer_target(read_table("digits"), "digit")[0] == "classes"
    with pytest.raises(DataError, match="did you mean 'regression'"):
        infer_target(table, "y", "regresion")
    with pytest.raises(DataError, match="has 4 classes"):
        infer_target(table, "y", "binary")


@pytest.mark.parametrize(
    "cells, classes",
    [
        (["b", "a", "b"] * 4, ("a", "b")),
        (["10", "9", "9"] * 4, (9, 10)),
        ([2.0, 1.0, 1.0] * 4, (1, 2)),
        ([True, False, True] * 4, (False, True)),
        (["01", "0A", "01"] * 4, ("01", "0A")),
    ],
)
def test_classes_keep_their_labels(cells, classes):
    table = with_target(cells)
    target = from_json(json.loads(json.dumps(to_json(fit_target(table, "y")))))
    assert target == fit_target(table, "y")
    assert target.classes == classes
    assert [type(c) for c in target.classes] == [type(c) for c in classes]
    codes = target.encode(table)
    assert codes.dtype == np.int32
    assert target.decode(codes).tolist() == [classes[c] for c in codes]
    assert [str(v) for v in target.decode(codes)[:3]] == [
        str(c) if classes != (1, 2) and classes != (9, 10) else str(int(float(c))) for c in cells[:3]
    ]


def test_labels_are_compared_by_value_across_sources():
    whole = fit_target(with_target([1, 2] * 5), "y")
    for same in ([2.0, 1.0], ["2", "1"], ["02", "1.0"]):
        np.testing.assert_array_equal(whole.encode(with_target(same)), [1, 0])
    text = fit_target(with_target(["False", "True"] * 5), "y")
    np.testing.assert_array_equal(text.encode(with_target([True, False])), [1, 0])
    boolean = fit_target(with_target([True, False] * 5), "y")
    np.testing.assert_array_equal(boolean.encode(with_target(["True", "false"])), [1, 0])


def test_numbers_are_standardised_and_come_back(rng):
    y = rng.normal(1e4, 20.0, size=50)
    table = with_target(y)
    target = fit_target(table, "y", rows=np.arange(30))
    assert_close(target.mean, y[:30].mean())
    assert_close(target.scale, y[:30].std())
    encoded = target.encode(table)
    assert encoded.dtype == np.float32
    assert_close(encoded, ((y - y[:30].mean()) / y[:30].std()).astype(np.float32), "f32")
    assert_close(target.decode(encoded), y, "f32")
    assert from_json(json.loads(json.dumps(to_json(target)))) == target


def test_counts_may_stay_in_their_unit():
    target = fit_target(with_target(list(range(N))), "y", scaled=False)
    assert (target.kind, target.mean, target.scale) == ("counts", 0.0, 1.0)
    with pytest.raises(DataError, match="is -1 in row 0"):
        infer_target(with_target([-1, 2, 3]), "y", "counts")


@pytest.mark.parametrize(
    "cells, task, words",
    [
        (["a", None, "b", None], None, r"missing in 2 of 4 rows \(first: row 1\)"),
        ([1.0, 2.0, np.inf, 0.5], None, "infinite in row 2"),
        ([1, 1, 1], None, "is 1 in every one of the 3 rows"),
        (["a", "a"], None, 'is "a" in every one'),
        ([2.5, 2.5], "regression", "in every one"),
        (["a", "b"], "regression", r'is text \("a" in row 0\)'),
        ([str(i) for i in range(30)] + ["x"], None, r'holds text \("x" in row 30\)'),
        ([f"name {i}" for i in range(30)], None, "30 different values in 30 rows, too many for classes"),
    ],
)
def test_targets_that_cannot_be_trained_on(cells, task, words):
    with pytest.raises(DataError, match=words) as caught:
        infer_target(with_target(cells), "y", task)
    assert "\n" not in str(caught.value)


def test_a_class_that_training_did_not_have():
    target = fit_target(with_target(["a", "b"] * 4), "y")
    with pytest.raises(DataError, match=r'"c" in row 1, which is none of the classes \("a", "b"\)'):
        target.encode(with_target(["a", "c"]))


@pytest.mark.parametrize(
    "given, name",
    [(None, "3"), ("x", "x"), ("3", "3"), (1, "x"), (-1, "3"), ("-2", "y"), ("2", "y")],
)
def test_which_column(given, name):
    assert find_target(read_table({"x": [1], "y": [2], "3": [3]}), given) == name


def test_no_such_column():
    table = read_table({"Age": [1], "AHD": [2]})
    with pytest.raises(DataError, match="did you mean 'AHD'"):
        find_target(table, "AHDD")
    for position in (0, 3, -3):
        with pytest.raises(DataError, match="2 columns, counted from 1"):
            find_target(table, position)
    assert find_target(read_table("iris")) == "species"


ARRAYS = {
    "two numbers": np.tile([3.0, 5.0], 20),
    "true and false": np.arange(20) % 3 == 0,
    "few whole numbers": np.arange(60) % 7,
    "few whole floats": (np.arange(60) % 7).astype("float32"),
    "few rows of each": np.arange(14) % 7,
    "counts": np.arange(50, dtype="uint8"),
    "whole and negative": np.arange(50) - 9,
    "fractions": np.linspace(-1, 1, 30),
    "a fraction among few": np.tile([0.0, 0.5, 1.0], 20),
    "text": np.array(["a", "b", "c"] * 9),
    "numbers as text": np.array(["1", "2", "3"] * 9),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_is_judged_as_the_column_would_be(case):
    y = ARRAYS[case]
    assert infer_array(y) == infer_target(read_table({"y": y}), "y")[0]


@pytest.mark.parametrize(
    "y", [np.ones(9), np.array([1.0, np.nan, 2.0]), np.array([0.0, np.inf]), np.array([1e200, 2.0])]
)
def test_an_array_that_cannot_be_a_target_is_refused_as_the_column_is(y):
    with pytest.raises(DataError) as column:
        infer_target(read_table({"y": y}), "y")
    with pytest.raises(DataError) as array:
        infer_array(y)
    assert str(array.value) == str(column.value)
