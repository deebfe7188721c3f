"""Splits: complete, disjoint, stratified, by group, by time, by a column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError
from fallline.data.split import split_rows

shares = st.floats(0.0, 0.45)
seeds = st.integers(0, 1000)


def parts_of(split):
    return split.train, split.validation, split.test


def assert_each_row_once(split, n):
    np.testing.assert_array_equal(np.sort(np.concatenate(parts_of(split))), np.arange(n))


@given(st.integers(10, 300), shares, shares, seeds)
def test_shuffled(n, validation, test, seed):
    split = split_rows(n, validation=validation, test=test, seed=seed)
    assert_each_row_once(split, n)
    assert len(split.test) == max(int(n * test + 0.5), int(test > 0))
    again = split_rows(n, validation=validation, test=test, seed=seed)
    for a, b in zip(parts_of(split), parts_of(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rounding_leaves_a_row_to_train_on():
    split = split_rows(10, validation=0.45, test=0.45)
    assert [len(part) for part in parts_of(split)] == [1, 4, 5]


def test_another_seed_is_another_split():
    assert split_rows(100, seed=0).test.tolist() != split_rows(100, seed=1).test.tolist()


@given(st.lists(st.integers(5, 80), min_size=2, max_size=5), st.floats(0.05, 0.4), st.floats(0.05, 0.4), seeds)
def test_stratified_within_one_row(counts, validation, test, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(y)
    split = split_rows(n, validation=validation, test=test, seed=seed, y=y)
    assert_each_row_once(split, n)
    for part, share in ((split.validation, validation), (split.test, test)):
        total = max(int(n * share + 0.5), 1)
        quota = np.array(counts) * total / n
        assert len(part) == total
        assert np.all(np.abs(np.bincount(y[part], minlength=len(counts)) - quota) < 1)
    assert set(y[split.train]) == set(y)


def test_rare_classes_train():
    y = np.array([0] * 20 + [1] + [2] * 2)
    split = split_rows(len(y), y=y)
    assert 20 in split.train
    assert {0, 1, 2} <= set(y[split.train])
    with pytest.raises(DataError, match="too few"):
        split_rows(4, y=[0, 1, 2, 3])


@given(st.lists(st.integers(1, 20), min_size=3, max_size=15), seeds)
def test_groups_stay_together(sizes, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(groups)
    wanted = (1, 1) if n < 10 else (0.2, 0.2)
    split = split_rows(n, validation=wanted[0], test=wanted[1], groups=[f"g{g}" for g in groups], seed=seed)
    assert_each_row_once(split, n)
    held = [set(groups[p]) for p in parts_of(split)]
    assert all(held)
    assert sum(map(len, held)) == len(sizes)


def test_time_and_tail():
    time = np.array(["2020-01-03", "2020-01-01", "2020-01-05", "2020-01-02", "2020-01-04"], dtype="datetime64[D]")
    split = split_rows(5, time=time, validation=1, test=1)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 1, 3], [4], [2])
    tail = split_rows(10, tail=True)
    assert (tail.validation.tolist(), tail.test.tolist()) == ([6, 7], [8, 9])


def test_a_column_of_the_users():
    split = split_rows(4, column=["Train", " test", "VAL", "training"])
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 3], [2], [1])
    with pytest.raises(DataError, match="'dev' in row 1"):
        split_rows(2, column=["train", "dev"])
    with pytest.raises(DataError, match="no row to train"):
        split_rows(1, column=["test"])


def test_counts_of_rows_and_no_test():
    split = split_rows(10, validation=3, test=0)
    assert [len(p) for p in parts_of(split)] == [7, 3, 0]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n": 2}, "2 rows are too few"),
        ({"n": 10, "test": 1.0}, "test=1.0"),
        ({"n": 10, "test": -1}, "test=-1"),
        ({"n": 10, "validation": 10}, "too few"),
        ({"n": 10, "validation": True}, "validation=True"),
        ({"n": 10, "validation": float("nan")}, "validation=nan"),
        ({"n": 10, "tail": True, "time": range(10)}, "time and tail"),
        ({"n": 10, "y": [1, 2]}, r"shape \(2,\)"),
        ({"n": 3, "groups": ["a", None, "b"]}, "groups is missing in row 1"),
        ({"n": 3, "time": [1.0, 2.0, float("nan")]}, "time is missing in row 2"),
        ({"n": 4, "groups": ["a", "a", "b", "b"], "validation": 1, "test": 1}, "2 groups are too few"),
    ],
)
def test_errors(options, words):
    if words.startswith(("groups is", "time is")):
        options = {**options, "validation": 1, "test": 1}
    with pytest.raises(DataError, match=words):
        split_rows(**options)
