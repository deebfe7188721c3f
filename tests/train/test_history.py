"""History: columns, the best row, rises, CSV there and back, the short table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import DataError, UnknownNameError
from fallline.train.history import SHOWN_ROWS, History

NUMBERS = st.one_of(st.floats(), st.integers(-(10**6), 10**6))


def losses(values: list[float], column: str = "train_loss") -> History:
    return History({"epoch": i, column: v} for i, v in enumerate(values))


def test_columns_have_nan_or_none_where_absent() -> None:
    history = History([{"epoch": 0, "train_loss": 2.0}, {"epoch": 1, "train_loss": 1.0, "validation_auc": 0.75}])
    assert history.names == ["epoch", "train_loss", "validation_auc"]
    np.testing.assert_array_equal(history["validation_auc"], [np.nan, 0.75])
    assert history.columns() == {"epoch": [0, 1], "train_loss": [2.0, 1.0], "validation_auc": [None, 0.75]}
    assert history[-1]["train_loss"] == 1.0
    assert [row["epoch"] for row in history] == [0, 1]
    assert len(history) == 2
    assert "train_loss" in history
    assert "validation_auc" in history
    np.testing.assert_array_equal(history["auc"], history["validation_auc"])


def test_numpy_scalars_become_plain_numbers() -> None:
    row = History([{"epoch": np.int64(3), "train_loss": np.float32(0.5), "x": np.array(2.0)}])[0]
    assert [type(v) for v in row.values()] == [int, float, float]


def test_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train_loss'"):
        losses([1.0])["train_los"]
    with pytest.raises(DataError, match="needs an 'epoch'"):
        History([{"train_loss": 1.0}])


def test_best_is_validation_before_train_and_follows_the_metric() -> None:
    history = History(
        {"epoch": i, "train_loss": t, "validation_loss": v, "validation_auc": a}
        for i, (t, v, a) in enumerate([(3.0, math.nan, 0.5), (2.0, 1.0, 0.9), (1.0, 1.0, 0.9), (0.5, 2.0, 0.6)])
    )
    assert history.best()["epoch"] == 1
    assert history.best("train_loss")["epoch"] == 3
    assert history.best("auc")["epoch"] == 1
    with pytest.raises(DataError, match="no number for 'train_loss' in any of its 1 rows"):
        losses([math.nan]).best()


@pytest.mark.parametrize(
    "values, found",
    [
        ([3, 2, 1], []),
        ([1, 2, 3], []),  # two rises
        ([1, 2, 3, 4], [(0, 3)]),
        ([5, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5], [(1, 4), (5, 10)]),
        ([1, 2, 2, 3, 4], []),  # equal is no rise
        ([1, 2, math.nan, 3, 4, 5, 6], [(3, 6)]),
        ([], []),
    ],
)
def test_rises(values: list[float], found: list[tuple[int, int]]) -> None:
    history = losses(values) if values else History([{"epoch": 0, "train_loss": 1.0}])
    assert history.rises() == found


def test_a_rise_is_reported_with_advice_where_it_is_large() -> None:
    assert str(losses([1.0, 2.0, 3.0, 4.0])).endswith(
        "train loss rose from 1 (epoch 0) to 4 (epoch 3): try a lower learning rate"
    )
    assert str(losses([1.0, 1.01, 1.02, 1.03])).endswith("train loss rose from 1 (epoch 0) to 1.03 (epoch 3)")
    assert "rose" not in str(losses([4.0, 3.0, 2.0, 1.0]))


@given(
    st.lists(
        st.fixed_dictionaries({"epoch": st.integers(0, 999)}, optional={"train_loss": NUMBERS, "a,b": NUMBERS}),
        max_size=8,
    )
)
def test_csv_keeps_every_digit(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("history") / "h.csv"
    History(rows).to_csv(path)
    read = History.from_csv(path)
    assert repr(read.rows) == repr([{n: row[n] for n in History(rows).names if n in row} for row in rows])


def test_text_survives_csv_and_a_strange_file_is_refused(tmp_path: Path) -> None:
    history = History([{"epoch": 0, "note": 'a "b", c'}])
    history.to_csv(tmp_path / "h.csv")
    assert History.from_csv(tmp_path / "h.csv") == history
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is not a history"):
        History.from_csv(tmp_path / "x.csv")


def test_table_is_short_and_shows_first_best_and_last() -> None:
    history = losses([abs(i - 77) + 1.0 for i in range(1001)])
    names, cells = history.table()
    epochs = [line[0].strip() for line in cells]
    assert names == ["epoch", "train_loss"]
    assert len(cells) <= SHOWN_ROWS
    assert (epochs[0], epochs[-1]) == ("0", "1000")
    assert "77*" in epochs
    text = str(history).splitlines()
    assert len({len(line) for line in text[: len(cells) + 1]}) == 1, "columns are aligned"


def test_html_escapes_and_holds_the_same_cells() -> None:
    page = History([{"epoch": 0, "<b>": 1.5}, {"epoch": 1}])._repr_html_()
    assert "&lt;b&gt;" in page
    assert page.count("<tr>") == 3


def test_empty_history_prints() -> None:
    assert str(History()) == repr(History()) == "History(empty)"
    assert History().columns() == {}
