"""Records: ranges, text, JSON, equality, keys."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import (
    RECORDS,
    Record,
    as_record,
    from_json,
    key_of,
    record,
    record_class,
    records_of,
    to_json,
)
from tests.core.shapes import Shape, filled, make

pytestmark = pytest.mark.usefixtures("family")


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("Square", {"side": 0}, r"Square\(side=0\): side must be at least 1"),
        ("Square", {"side": 2.0}, r"Square\(side=2.0\): side must be an int, not float"),
        ("Square", {"side": True}, "side must be an int, not bool"),
        ("Circle", {"radius": 0.0}, r"Circle\(radius=0.0\): radius must be above 0"),
        ("Circle", {"radius": 10}, "radius must be below 10"),
        ("Circle", {"radius": float("nan")}, "radius must be above 0"),
        ("Circle", {"radius": "3"}, "radius must be a float, not str"),
        ("Circle", {"radius": 1j}, "radius must be a float, not complex"),
        ("Circle", {"unit": "n"}, r"Circle\(unit='n'\): known: cm, m"),
        ("Circle", {"unit": "cmm"}, "did you mean 'cm'"),
        ("Circle", {"filled": 1}, "filled must be a bool, not int"),
        ("Circle", {"radius": 6.0}, "a filled circle is at most 5 wide"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(name, **fields)
    assert "\n" not in str(caught.value)


def test_numbers_become_the_declared_type() -> None:
    circle: Any = make("Circle", radius=np.float32(2), filled=np.bool_(False))
    square: Any = make("Square", side=np.int64(3))
    assert [type(v) for v in (circle.radius, circle.filled, square.side)] == [float, bool, int]
    assert type(make("Circle", radius=2).radius) is float  # type: ignore[attr-defined]


def test_records_are_frozen_and_replaced() -> None:
    circle: Any = make("Circle")
    with pytest.raises(dataclasses.FrozenInstanceError):
        circle.radius = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        circle.color = "red"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del circle.radius
    assert circle.replace(radius=2).radius == 2.0
    with pytest.raises(ConfigError, match="above 0"):
        circle.replace(radius=-1)


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(make("Circle")) == "Circle()"
    assert repr(make("Circle", radius=2, unit="cm")) == "Circle(radius=2.0, unit='cm')"
    assert repr(make("Square", side=1)) == "Square(side=1)"
    assert repr(make("Group", W=np.ones((2, 3), np.float32))) == "Group(W=float32[2,3])"


def test_equality_looks_at_every_field() -> None:
    assert filled() == filled()
    assert hash(filled()) == hash(filled())
    group: Any = filled()
    assert group != group.replace(W=np.zeros(3))
    assert group != group.replace(W=group.W.astype(np.float32))
    assert group != group.replace(scale=np.array([1.0, 3.0]))
    assert group.replace(W=np.array([np.nan])) == group.replace(W=np.array([np.nan]))
    assert make("Circle") != make("Group")
    assert make("Group", scale={"a": np.ones(2)}) == make("Group", scale={"a": np.ones(2)})
    assert make("Group", scale={"a": np.ones(2)}) != make("Group", scale={"a": np.zeros(2)})
    assert make("Group", scale=1) != make("Group", scale=True)


def test_keys_tell_programs_apart() -> None:
    """Parameters count by shape and dtype; settings, arrays in them too, by their contents."""
    group: Any = filled()
    assert key_of(group) == key_of(group.replace(W=np.zeros(3)))
    others = [
        group.replace(W=np.zeros(4)),
        group.replace(W=np.zeros(3, np.float32)),
        group.replace(W=None),
        group.replace(scale=np.array([1.0, 3.0])),
        group.replace(scale=np.float64(1)),
        group.replace(scale=np.float64(2)),
        group.replace(scale=1),
        group.replace(scale=1.0),
        group.replace(scale=True),
        group.replace(parts=()),
    ]
    assert len({key_of(r) for r in [group, *others]}) == len(others) + 1


@pytest.mark.parametrize("value", [1, 1.5, True, None, "text", float("inf"), (1, (2.0, "x")), {"a": 1, "b": (2,)}])
def test_json_round_trip_of_a_setting(value: Any) -> None:
    made = make("Group", scale=value)
    assert from_json(json.loads(json.dumps(to_json(made)))) == made


def test_json_round_trip_of_records() -> None:
    data = json.loads(json.dumps(to_json(filled()), allow_nan=False))
    assert data["type"] == "Group"
    assert "W" not in data  # arrays are leaves, not configuration
    found: Any = from_json(data)
    assert found.parts[0] == make("Square", side=2)
    assert found.W is None
    assert found.scale == (1.0, 2.0)
    assert np.isnan(from_json(to_json(make("Group", scale=float("nan")))).scale)


@pytest.mark.parametrize(
    "data, error, message",
    [
        ({"type": "Circel"}, UnknownNameError, "no record is called 'Circel': did you mean 'Circle'"),
        ({"type": "Circle", "radios": 1}, ConfigError, "Circle has no field 'radios': did you mean 'radius'"),
        ({"type": "Square"}, ConfigError, "Square: missing 1 required positional argument: 'side'; its fields: side"),
        ({"type": "Group", "W": [1.0]}, ConfigError, "Group has no field 'W'"),
        ({"type": 3}, UnknownNameError, "no record is called '3'"),
        ({"type": "Circle", "radius": -1}, ConfigError, "above 0"),
    ],
)
def test_json_that_describes_no_record(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_json(data)


@pytest.mark.parametrize("value", [len, object(), {1: 2}, {"type": "Circle"}, {"number": "1"}, {1, 2}])
def test_what_a_file_cannot_hold(value: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be written to a file"):
        to_json(make("Group", scale=value))


def test_a_record_that_is_not_registered_cannot_be_written() -> None:
    class Circle(Shape):
        pass

    with pytest.raises(ConfigError, match="not the registered record of that name"):
        to_json(Circle())


@pytest.mark.parametrize("text", ["circle", "Circle", " CIRCLE ", "circle()", "circle(radius=1.0)", "circle(1)"])
def test_text_form(text: str) -> None:
    assert as_record(text, Shape) == make("Circle")


def test_text_form_of_aliases_classes_and_records() -> None:
    square = make("Square", side=4)
    assert as_record("box(side=4)", Shape) == as_record("Square(4)", Shape) == square
    assert as_record(square, Shape) is square
    assert as_record(type(make("Circle")), Shape) == make("Circle")
    assert as_record("circle(center=(1.0, -2.0), unit='cm')", Shape) == make("Circle", center=(1.0, -2.0), unit="cm")
    assert record_class("box", Shape) is type(square)
    assert set(records_of(Shape)) == {"Square", "Circle", "Group"}


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("circel", UnknownNameError, "no shape is called 'circel': did you mean 'Circle'"),
        ("circle(radius=1", ConfigError, r"cannot read 'circle\(radius=1': write it as Circle\(name=value"),
        ("circle(radius=open('x'))", ConfigError, "must be a float, not str"),
        ("circle(radius=lambda: 1)", ConfigError, "plain values"),
        ("circle(radus=1)", ConfigError, "Circle has no field 'radus': did you mean 'radius'"),
        ("circle(1, 'm', True, (), 5)", ConfigError, "Circle: takes"),
        ("square", ConfigError, "Square: missing"),
        (7, ConfigError, "7 is not a Shape: pass one, or the name of one"),
    ],
)
def test_text_that_describes_no_record(text: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_record(text, Shape)


def test_aliases_are_not_inherited() -> None:
    base: Any = type(make("Square", side=1))
    try:

        @record
        class BigSquare(base):
            pass

        assert BigSquare.aliases == ()
        assert record_class("box", Shape) is base
    finally:
        RECORDS.remove("BigSquare")


def test_an_alias_cannot_take_a_known_name() -> None:
    with pytest.raises(ValueError, match="'box' already means 'Square'"):

        @record
        class Other(Record):
            aliases = ("box",)

    assert "Other" not in RECORDS
