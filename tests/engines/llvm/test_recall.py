"""Recall: a program that was planned once is run by later processes without a pass, and only that very program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.settings import settings
from fallline.engines.engine import get_engine
from fallline.engines.llvm import engine as native
from fallline.engines.llvm import loader, recall
from fallline.engines.llvm.engine import NativeCall
from fallline.engines.llvm.recall import plan_key, program_words
from fallline.graph.program import Program
from tests.tolerance import assert_close

X = np.linspace(-2, 2, 35, dtype="float32").reshape(7, 5)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Plans are kept, as for a user, in a folder of the test alone, and nothing is in memory; the folder of entries."""
    monkeypatch.setattr(settings, "verify", False)
    monkeypatch.setattr(settings, "cache", str(tmp_path))
    monkeypatch.setattr(loader, "_ADDRESSES", {})
    monkeypatch.setattr(loader, "_OBJECTS", {})
    recall._source_stamp.cache_clear()
    yield tmp_path / "objects"
    recall._source_stamp.cache_clear()


def call_of(f: Callable[..., Any], *arrays: np.ndarray) -> NativeCall:
    found = get_engine("llvm").compile(Program.of(f, *arrays))
    assert isinstance(found, NativeCall)
    return found


def branches(x: Any) -> Any:
    return fl.tanh(x @ x.T).sum(axis=1), fl.softmax(2.5 * x), x, fl.argmax(x, axis=1), x.T


def test_a_plan_from_disk_needs_no_pass_and_leaves_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    made = call_of(branches, X)
    assert made.planned is not None

    def refuse(*_: Any) -> None:
        raise AssertionError("the program is planned anew")

    monkeypatch.setattr(native, "Planned", refuse)
    monkeypatch.setattr(native, "optimize", refuse)
    monkeypatch.setattr(loader, "_ADDRESSES", {})  # as in another process
    found = call_of(branches, X)
    for a, b, meant in zip(found(X), made(X), Program.of(branches, X).run(X), strict=True):
        assert a.tobytes() == b.tobytes()
        assert (a.shape, a.dtype) == (meant.shape, meant.dtype)


def test_an_index_outside_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([1, 9])
    messages = []
    for _ in range(2):
        call = call_of(lambda x, i: fl.take(x, i), X, rows)
        with pytest.raises(Exception, match="row 9 of an array of 7 rows") as caught:
            call(X, rows)
        messages.append(str(caught.value))
    assert call.planned is None
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "other",
    [
        lambda x: fl.exp(x * 2.0) + 1.0,
        lambda x: fl.exp(x * 3.0) + 2.0,
        lambda x: fl.sin(x * 3.0) + 1.0,
        lambda x: (fl.exp(x * 3.0) + 1.0).sum(axis=0),
        lambda x: (fl.exp(x * 3.0) + 1.0, x * 3.0),
        lambda x: fl.exp(x * 3.0) + x,
    ],
)
def test_another_program_has_another_key(other: Callable[..., Any]) -> None:
    target = get_engine("llvm").target

    def key(f: Callable[..., Any], x: np.ndarray = X, *facts: Any) -> str | None:
        return plan_key(Program.of(f, x), target, *facts)

    def program(x: Any) -> Any:
        return fl.exp(x * 3.0) + 1.0

    assert key(program) == key(program)
    assert key(program) not in (None, key(other), key(program, X[:3]), key(program, X, "bf16"))
    assert key(program) != key(program, X.astype("float64"))


def test_what_is_not_plain_or_is_large_is_planned_anew() -> None:
    large = np.zeros((300, 300), "float32")
    assert program_words(Program.of(lambda x: x + large[:7, :5], X)) is not None
    assert program_words(Program.of(lambda x: x @ large[:5] @ large, X)) is None
    assert recall._is_plain((1, 2.0, "a", None, (True, np.dtype("f4"))))
    assert not recall._is_plain((1, np.sin))


def test_what_numpy_has_a_part_in_is_not_kept(kept: Path) -> None:
    whole = np.arange(4).reshape(2, 2)
    for _ in range(2):
        call = call_of(lambda k: k @ k + 1, whole)
        assert call.planned is not None
        np.testing.assert_array_equal(call(whole)[0], whole @ whole + 1)


def test_a_program_whose_source_is_newer_than_the_process_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_IMPORTED", 0)
    assert plan_key(Program.of(fl.exp, X), get_engine("llvm").target) is None


@pytest.mark.parametrize("damage", ["no object", "cut", "other words"])
def test_a_plan_that_cannot_be_used_is_made_anew(kept: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    call_of(fl.exp, X)
    key = plan_key(Program.of(fl.exp, X), get_engine("llvm").target, "float32", "call")
    assert key is not None
    path = kept / key
    if damage == "no object":
        for entry in kept.iterdir():
            if entry != path:
                entry.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        recall.store_object(key, b'{}\n{"rows": 1}')
    monkeypatch.setattr(loader, "_ADDRESSES", {})
    call = call_of(fl.exp, X)
    assert call.planned is not None
    assert_close(call(X)[0], np.exp(X), "f32")
