"""Budget: how much work the training of a bag may be."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fallline.core.record import Record, record, setting
from fallline.train.stopping import StoppingRule, TimeLimit

LEVELS = ("fast", "default", "best")
FEW, MANY = 1500, 10_000  # rows from which fewer folds are enough


@dataclass(frozen=True)
class Plan:
    """What a budget allows for some rows.

    folds     of the cross-validation;  repeats  of it, with other folds, of the kinds that were kept
    tried     recipes of networks that are tried on the first folds;  kept  of them, that get all folds
    centres   of a kernel member at most, and where all rows are centres;  kernels  how many kinds of it
    """

    folds: int
    repeats: int
    tried: int
    kept: int
    centres: tuple[int, int]
    kernels: int


@record
class Budget(Record):
    """How much is tried: a level, which is work counted in rows and so gives the same result everywhere, and if wanted
    a limit of seconds on the clock, at which what is left is cut.
    """

    level: str = setting("default", choices=LEVELS)
    seconds: float | None = setting(None, above=0)

    def plan(self, n: int) -> Plan:
        """What is trained on n rows."""
        most = {"fast": (4, 4, 3), "default": (8, 5, 4), "best": (10, 8, 5)}[self.level]
        folds = int(np.clip(most[0] if n <= FEW else most[1] if n <= MANY else most[2], 2, n))
        if self.level == "fast":
            return Plan(folds, 1, 1, 1, (500, 500), 1)
        if self.level == "default":
            return Plan(folds, 1, 3, 2, (800 if n <= MANY else 500, FEW), 2 if n <= MANY else 1)
        return Plan(folds, 2 if n <= FEW else 1, 5, 3, (1500, 2500), 2)

    def clock(self) -> Clock:
        return Clock(self.seconds)


class Clock:
    """The seconds since it was made, and whether they are over."""

    def __init__(self, seconds: float | None):
        self.limit, self._start = seconds, time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, at least a little; infinite without a limit."""
        return np.inf if self.limit is None else max(1e-3, self.limit - self.seconds)

    def rule(self) -> StoppingRule | None:
        """What ends a training when they are."""
        return None if self.limit is None else TimeLimit(self.left)

    @property
    def is_over(self) -> bool:
        return self.limit is not None and self.seconds >= self.limit


__all__ = ["LEVELS", "Budget", "Clock", "Plan"]
