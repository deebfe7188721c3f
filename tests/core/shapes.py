"""A small family of records for the tests of core; the fixture `family` registers it."""

from __future__ import annotations

import numpy as np

from fallline.core.record import RECORDS, Record


class Shape(Record):
    """The base of the family."""


def make(name: str, **fields: object) -> Shape:
    """A record of the family by its name."""
    return RECORDS[name](**fields)  # type: ignore[return-value]


def filled() -> Shape:
    """A group with arrays in every role, one of them inside a record inside a setting."""
    inner = make("Group", W=np.ones((2, 2)), mean=np.zeros(2))
    return make("Group", parts=(make("Square", side=2), inner), scale=np.array([1.0, 2.0]), W=np.full(3, 2.0))
