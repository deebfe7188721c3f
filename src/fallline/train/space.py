"""Space: ranges of values that stand in the place of a value, and the places where a search finds them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import Record, record, setting
from fallline.core.tree import map_records, records_in


class Range(Record):
    """Values of which a search chooses one; it stands in any field of a record, or in the place of a keyword.

    A subclass writes `at` and `place`. SciPy and scikit-learn draw from it by `rvs`.
    size  how many values there are, infinite of a continuous range
    """

    is_open: ClassVar[bool] = True
    size: ClassVar[Any] = math.inf

    def at(self, share: float) -> Any:
        """The value at a share of the range, 0 <= share < 1: uniform shares give the distribution."""
        raise TypeError(f"{type(self).__name__} must define at(share)")

    def place(self, value: Any) -> float:
        """Where a value lies in the range, 0 at its low end, 1 at its high end."""
        raise TypeError(f"{type(self).__name__} must define place(value)")

    def rvs(self, size: int | None = None, random_state: Any = None) -> Any:
        """Random values, as SciPy's distributions give them.   random_state  a seed, a generator, or None"""
        is_generator = hasattr(random_state, "uniform")
        rng = random_state if is_generator else np.random.default_rng(random_state)
        shares = rng.uniform(size=1 if size is None else size)
        found = [self.at(float(share)) for share in shares]
        return found[0] if size is None else found


@record
class Choice(Range):
    """One of some values, all equally likely:  fl.Choice(["relu", "tanh"])."""

    values: Any

    def validate(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, (Sequence, np.ndarray)) or not len(self.values):
            raise ConfigError(f"Choice({self.values!r}): give a list of at least one value")
        object.__setattr__(self, "values", tuple(self.values))

    @property
    def size(self) -> int:
        return len(self.values)

    def at(self, share: float) -> Any:
        return self.values[int(share * len(self.values))]

    def place(self, value: Any) -> float:
        at = next(i for i, known in enumerate(self.values) if known is value or same(known, value))
        return at / max(1, len(self.values) - 1)


@record
class FloatUniform(Range):
    """Numbers from `low` to `high`, all equally likely."""

    low: float
    high: float

    def validate(self) -> None:
        _check_ends(self, self.low, self.high)

    def at(self, share: float) -> float:
        return self.low + share * (self.high - self.low)

    def place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@record
class LogUniform(Range):
    """Numbers from `low` to `high` > `low` > 0 whose logarithms are equally likely: for rates and strengths.

    source  Bergstra & Bengio 2012, section 2.3 ("exponentially drawn")
    """

    low: float = setting(above=0)
    high: float = setting(above=0)

    def validate(self) -> None:
        _check_ends(self, self.low, self.high)

    def at(self, share: float) -> float:
        return float(min(self.high, self.low * (self.high / self.low) ** share))

    def place(self, value: float) -> float:
        return math.log(value / self.low) / math.log(self.high / self.low)


@record
class IntUniform(Range):
    """Whole numbers from `low` to `high`, both among them, all equally likely."""

    low: int
    high: int

    def validate(self) -> None:
        _check_ends(self, self.low, self.high)

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def at(self, share: float) -> int:
        return self.low + int(share * self.size)

    def place(self, value: int) -> float:
        return (value - self.low) / (self.high - self.low)


def _check_ends(made: Record, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{made!r}: give two finite numbers, the lower one first")


def ranges_of(choices: Mapping[str, Any]) -> dict[str, Range]:
    """Every range by its path: "learning_rate", "optimizer.learning_rate", "network.layers.0.units".

    A list is a choice of its values.
    """
    found: dict[str, Range] = {}
    for name, value in choices.items():
        if isinstance(value, list):
            if not value:
                raise ConfigError(f"{name} has nothing to search: give a list of values, as in hidden=[(3,), (3, 3)]")
            found[name] = Choice(value)
            continue
        found |= {path: part for path, part in records_in(value, name) if isinstance(part, Range)}
    return found


def chosen(choices: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The choices with a value in the place of each range."""
    return {
        name: values[name] if name in values else map_records(lambda path, part: values.get(path, part), value, name)
        for name, value in choices.items()
    }


def open_ranges(given: Any) -> Iterator[Range]:
    """The ranges in a network, an optimizer, …, which only a search can close."""
    return (part for _, part in records_in(given) if isinstance(part, Range))


def same(a: Any, b: Any) -> bool:
    """Whether two choices are equal; arrays and odd objects only where they are one and the same."""
    try:
        return bool(a == b)
    except (ValueError, TypeError):
        return a is b


__all__ = ["Choice", "FloatUniform", "IntUniform", "LogUniform", "Range", "chosen", "open_ranges", "ranges_of", "same"]
