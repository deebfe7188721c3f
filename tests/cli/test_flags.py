"""Flags from fields, and the library's messages in the words of the flags."""

from __future__ import annotations

import dataclasses
import re

import pytest

from fallline.cli.flags import described, from_flags, parse
from fallline.cli.words import in_flags, one_line
from fallline.core.errors import ConfigError
from fallline.core.record import Record, as_record
from fallline.nn.layer import Layer
from fallline.optim.optimizer import Minimizer
from fallline.optim.random_search import RandomSearch
from fallline.optim.schedules import Schedule
from fallline.train.tabular import TableOptions

from .conftest import Call


def test_every_field_is_described() -> None:
    """The help of `train` is the docstring of TableOptions."""
    assert set(described(TableOptions)) == {field.name for field in dataclasses.fields(TableOptions)}


@pytest.mark.parametrize("name, family", [("optimizer", Minimizer), ("schedule", Schedule), ("activation", Layer)])
def test_what_the_help_quotes_can_be_given(name: str, family: type[Record]) -> None:
    quoted = re.findall(r'"([^"]+)"', described(TableOptions)[name])
    assert quoted
    for text in quoted:
        assert isinstance(as_record(text, family), family)


def test_every_field_is_a_flag_with_its_default(call: Call) -> None:
    page = " ".join(call("train", "--help").out.split())
    for field in dataclasses.fields(TableOptions):
        assert f"--{field.name.replace('_', '-')} " in page
    assert "(default 64,32)" in page
    assert "(default 0.2)" in page


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("64,32", "tuple[int, ...]", (64, 32)),
        ("(64, 32)", "tuple[int, ...]", (64, 32)),
        ("64,", "tuple[int, ...]", (64,)),
        ("none", "tuple[int, ...]", ()),
        ("64", "int | str", 64),
        ("full", "int | str", "full"),
        ("0.2", "float | int", 0.2),
        ("60", "float | int", 60),
        ("1e-3", "float | None", 1e-3),
        ("none", "float | None", None),
        ("7", "int", 7),
        ("adam(beta1=0.9)", "str", "adam(beta1=0.9)"),
    ],
)
def test_text_of_flags(text: str, kind: str, value: object) -> None:
    found = parse("flag", text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text, kind", [("x", "int"), ("1.5", "int"), ("nan", "float"), ("1;2", "tuple[int, ...]")])
def test_wrong_text(text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"--some-flag .*: give"):
        parse("some_flag", text, kind)


def test_flags_not_given_leave_the_defaults() -> None:
    assert from_flags(TableOptions, {"hidden": None, "epochs": "7"}) == TableOptions(epochs=7)


@pytest.mark.parametrize(
    "library, told",
    [
        ('pass missing=["n/a"] or drop it', 'pass --missing "n/a" or drop it'),
        ("target=9: there are 3 columns", "--target 9: there are 3 columns"),
        ("pass delimiter=", "pass --delimiter"),
        ("(encoding= sets another)", "(--encoding sets another)"),
        ("TableOptions(dropout=-1.0): dropout must be at least 0", "--dropout -1.0: must be at least 0"),
        ("TableOptions(engine='x'): known", "--engine x: known"),
        ("Adam(missing=1, target=2): no", "Adam(missing=1, target=2): no"),
        ("a == b and target==3", "a == b and target==3"),
        ("the retarget=3", "the retarget=3"),
    ],
)
def test_words(library: str, told: str) -> None:
    assert in_flags(library, ["target", "missing", "delimiter", "encoding", "dropout", "engine"]) == told


def test_one_line() -> None:
    assert one_line("a\nb\r\nc\x1b[1m") == "a b c [1m"


def test_a_solver_has_no_learning_rate_to_set() -> None:
    with pytest.raises(ConfigError, match="finds the length of its steps itself: leave out learning_rate"):
        TableOptions(optimizer="newton", learning_rate=0.1)
    assert TableOptions(optimizer="random(trials=10)").made_optimizer() == RandomSearch(trials=10)
