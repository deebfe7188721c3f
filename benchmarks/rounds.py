"""Rounds: contestants measured in turn, so that a clock that drifts hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass
class Measured:
    """One measurement a round.   values: in the order of the rounds"""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.values) - min(self.values)) / self.median

    def over(self, other: Measured) -> float:
        """The median of the ratios within each round."""
        return statistics.median(a / b for a, b in zip(self.values, other.values, strict=True))


def in_turn(measurements: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Measured]:
    """Every measurement once a round; every second round goes backwards, so that none always follows the same one."""
    found: dict[str, list[float]] = {name: [] for name in measurements}
    order: Sequence[str] = list(measurements)
    for r in range(rounds):
        for name in order if r % 2 == 0 else reversed(order):
            found[name].append(measurements[name]())
    return {name: Measured(values) for name, values in found.items()}
