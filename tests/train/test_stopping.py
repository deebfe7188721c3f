"""Stopping rules against a plain loop that states what they mean; records; refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.core.errors import ConfigError
from fallline.core.record import as_record, from_json, to_json
from fallline.train.events import BatchProgress, Consumer, Ended, EpochEnded, Started, Stop, tell
from fallline.train.stopping import Best, EarlyStopping, StoppingRule, TargetLoss, TimeLimit, as_rule

VALUES = st.lists(st.one_of(st.integers(0, 6).map(float), st.just(math.nan)), min_size=1, max_size=30)


def rows(values: list[float], column: str = "validation_loss") -> list[dict[str, Any]]:
    return [{"epoch": i, column: v} for i, v in enumerate(values)]


def stop_epoch(rule: Any, values: list[float], column: str = "validation_loss") -> int | None:
    watch = rule.watch()
    return next((row["epoch"] for row in rows(values, column) if watch(EpochEnded(row))), None)


def meant(values: list[float], patience: int, min_delta: float) -> int | None:
    """The first epoch that lies `patience` after the last one that gained more than min_delta on the gain before."""
    reference, since = math.inf, 0
    for epoch, value in enumerate(values):
        if value < reference - min_delta:
            reference, since = value, epoch
        if epoch - since >= patience:
            return epoch
    return None


@given(VALUES, st.integers(1, 5), st.sampled_from([0.0, 1.0, 2.5]))
def test_early_stopping_is_what_it_says(values: list[float], patience: int, min_delta: float) -> None:
    rule = EarlyStopping(patience=patience, min_delta=min_delta)
    assert stop_epoch(rule, values) == meant(values, patience, min_delta)


@given(VALUES, st.integers(1, 5))
def test_higher_is_the_mirror_image_of_lower(values: list[float], patience: int) -> None:
    mirrored = [-v for v in values]
    rule = EarlyStopping("validation_auc", patience=patience)
    assert stop_epoch(rule, mirrored, "validation_auc") == meant(values, patience, 0.0)


@given(VALUES)
def test_best_is_the_first_minimum(values: list[float]) -> None:
    watch = EarlyStopping(patience=100).watch()
    for row in rows(values):
        before = watch.best.best_value
        assert watch.best.improves(watch.best.value(row), before) == (
            not math.isnan(row["validation_loss"]) and not row["validation_loss"] >= before
        )
        watch.should_stop(row)
        assert not watch.best.note(row)  # taken in: the same row is no improvement
    finite = [v for v in values if not math.isnan(v)]
    assert watch.best.best_epoch == (values.index(min(finite)) if finite else None)
    if finite:
        assert watch.best.best_value == min(finite)


@given(VALUES, st.integers(0, 30), st.integers(1, 5))
def test_resumed_watch_goes_on_where_it_was(values: list[float], cut: int, patience: int) -> None:
    rule, data = EarlyStopping(patience=patience), rows(values)
    whole, resumed = rule.watch(), rule.watch(data[:cut])
    answers = [whole.should_stop(row) for row in data]
    assert [resumed.should_stop(row) for row in data[cut:]] == answers[cut:]
    assert resumed.best.best_epoch == whole.best.best_epoch


def test_the_weights_kept_are_the_best_even_within_min_delta() -> None:
    watch = EarlyStopping(patience=2, min_delta=0.5).watch()
    answers = [watch.should_stop(row) for row in rows([1.0, 0.9, 0.8])]
    assert watch.best.best_epoch == 2
    assert answers[-1] == Stop("validation loss has not improved for 2 epochs")


def test_epochs_without_a_value_count_towards_patience() -> None:
    watch = EarlyStopping(patience=3).watch()
    data = rows([1.0, math.nan, math.nan, 2.0])
    del data[1]["validation_loss"]
    assert [watch.should_stop(row) is not None for row in data] == [False, False, False, True]


def test_metric_by_name_finds_its_column() -> None:
    assert stop_epoch(EarlyStopping("auc", patience=1), [0.5, 0.6, 0.6], "validation_auc") == 2
    assert stop_epoch(EarlyStopping("val_loss", patience=1), [0.5, 0.4, 0.4]) == 2
    assert stop_epoch(EarlyStopping("mine", patience=1, mode="max"), [0.5, 0.6, 0.6], "mine") == 2


def test_absent_column_is_refused_at_the_first_trained_epoch() -> None:
    watch = EarlyStopping().watch()
    assert watch.should_stop({"epoch": 0, "train_loss": 1.0}) is None
    with pytest.raises(ConfigError, match=r"pass validation=0.2, or watch one of train_loss"):
        watch.should_stop({"epoch": 1, "train_loss": 1.0})


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: EarlyStopping("validation_acuracy"), "did you mean 'accuracy'"),
        (lambda: EarlyStopping(patience=0), "patience must be at least 1"),
        (lambda: EarlyStopping(min_delta=-1.0), "min_delta must be at least 0"),
        (lambda: EarlyStopping(mode="up"), "mode"),
        (lambda: TimeLimit(0.0), "seconds must be above 0"),
        (lambda: TargetLoss(0.1, "lss"), "did you mean 'loss'"),
        (lambda: as_rule(2.5), "pass EarlyStopping"),
    ],
)
def test_refusals(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(
    "rule", [EarlyStopping("auc", patience=3, min_delta=0.1), EarlyStopping(), TimeLimit(5.0), TargetLoss(0.1)]
)
def test_rules_survive_json_and_text(rule: StoppingRule) -> None:
    assert from_json(json.loads(json.dumps(to_json(rule)))) == rule
    assert as_record(repr(rule), StoppingRule) == rule


def test_as_rule() -> None:
    assert as_rule(None) is None
    assert as_rule(False) is None
    assert as_rule(True) == EarlyStopping()
    assert as_rule(7) == EarlyStopping(patience=7)
    assert as_rule("time_limit(seconds=3)") == TimeLimit(3.0)


def test_time_limit_counts_from_started_and_acts_inside_an_epoch() -> None:
    now = 0.0
    watch = TimeLimit(10.0).watch(clock=lambda: now)
    now = 100.0
    assert watch(Started(5, 2, 10)) is None
    now = 109.0
    assert watch(BatchProgress(1, 1, 2, 0.3)) is None
    now = 110.0
    assert watch(BatchProgress(1, 2, 2, 0.3)) == Stop("the time limit of 10 s is reached")
    assert watch(EpochEnded({"epoch": 1})) is not None
    assert watch(Ended("x")) is None


def test_target_loss_is_reached_by_equality_and_never_by_nan() -> None:
    assert stop_epoch(TargetLoss(0.5), [math.nan, 0.6, 0.5], "train_loss") == 2
    assert stop_epoch(TargetLoss(0.9, "accuracy"), [0.95, 0.99], "train_accuracy") == 0


def test_best_prefers_infinity_to_nothing_and_a_number_to_infinity() -> None:
    best = Best("train_loss")
    for row in rows([math.nan, math.inf, 3.0, math.nan], "train_loss"):
        best.note(row)
    assert (best.best_epoch, best.best_value) == (2, 3.0)


def test_tell_asks_everyone_and_the_first_stop_wins() -> None:
    seen: list[str] = []

    def consumer(name: str, answer: Stop | None) -> Consumer:
        return lambda event: seen.append(name) or answer

    found = tell([consumer("a", None), consumer("b", Stop("b")), consumer("c", Stop("c"))], Ended("x"))
    assert found == Stop("b")
    assert seen == ["a", "b", "c"]
