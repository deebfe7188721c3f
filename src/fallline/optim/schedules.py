"""Learning-rate schedules: rules with stairs, and what they share with the curves.

A schedule runs in plain Python, once per step; the rate enters the training program as data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from fallline.core.errors import ConfigError
from fallline.core.record import Record, as_record, record, setting

UNITS = ("epoch", "step")


class Schedule(Record):
    """at(step) -> learning rate.

    step             counts from 0 over the whole run
    steps_per_epoch  steps of an epoch
    epochs           length of the run; a schedule that has a length and is not given one takes the whole run
    history          the monitored validation loss of each finished epoch

    `unit` says what a schedule counts in, "epoch" (the default) or "step". Stairs (this file) hold the rate for a whole
    unit; curves (curves.py) move with every step, and only their lengths are counted in units.
    """

    at: ClassVar[Callable[..., float]]  # (self, step, *, steps_per_epoch, epochs, history=()) -> rate

    @classmethod
    def sample(cls) -> Schedule:
        """The instance on which the contract tests run."""
        return cls(0.1)  # type: ignore[call-arg]


Rate = float | str | Schedule | Callable[[int], float]  # what an optimizer takes as its learning rate


def rate_at(rate: Any, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
    """The learning rate of a step from a number, a schedule or a function step -> rate."""
    if isinstance(rate, Schedule):
        return float(rate.at(step, steps_per_epoch=steps_per_epoch, epochs=epochs, history=history))
    return float(rate(step)) if callable(rate) else float(rate)


def checked_rate(rate: Any, owner: str) -> Any:
    """The learning rate as a number, schedule or function; of text, "0.01" is a number, "cosine(0.1)" a schedule."""
    if isinstance(rate, str):
        try:
            return float(rate)
        except ValueError:
            return as_record(rate, Schedule)
    if isinstance(rate, bool) or not (isinstance(rate, (int, float, Schedule)) or callable(rate)):
        raise ConfigError(f"{owner}(learning_rate={rate!r}): give a number, a schedule or a function step -> rate")
    return rate


def whole_units(step: int, unit: str, steps_per_epoch: int) -> int:
    """How many whole units lie before a step."""
    return step // steps_per_epoch if unit == "epoch" else step


@record
class Constant(Schedule):
    """learning_rate, always"""

    learning_rate: float = setting(at_least=0)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate


@record
class StepDecay(Schedule):
    """learning_rate · factor^floor(n / every),  n the whole units so far: a staircase"""

    learning_rate: float = setting(at_least=0)
    every: int = setting(10, at_least=1)
    factor: float = setting(0.5, above=0)
    unit: str = setting("epoch", choices=UNITS)

    aliases: ClassVar[tuple[str, ...]] = ("staircase",)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate * self.factor ** (whole_units(step, self.unit, steps_per_epoch) // self.every)


@record
class MultiStep(Schedule):
    """learning_rate · factor^(number of milestones that lie at or before n),  n the whole units so far"""

    learning_rate: float = setting(at_least=0)
    milestones: tuple[int, ...] = (30, 60, 90)
    factor: float = setting(0.1, above=0)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        n = whole_units(step, self.unit, steps_per_epoch)
        return self.learning_rate * self.factor ** sum(m <= n for m in self.milestones)


@record
class Exponential(Schedule):
    """learning_rate · factor^n,  n the whole units so far"""

    learning_rate: float = setting(at_least=0)
    factor: float = setting(0.95, above=0)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate * self.factor ** whole_units(step, self.unit, steps_per_epoch)


@record
class InverseTime(Schedule):
    """learning_rate / (1 + decay n),  n the whole units so far

    The sum of its rates is infinite and that of their squares is not, which is what stochastic descent needs to arrive
    (Robbins & Monro 1951).
    """

    learning_rate: float = setting(at_least=0)
    decay: float = setting(1.0, at_least=0)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate / (1.0 + self.decay * whole_units(step, self.unit, steps_per_epoch))


@record
class SquareRoot(Schedule):
    """learning_rate / sqrt(n),  n the number of the present unit, counted from 1"""

    learning_rate: float = setting(at_least=0)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate / float(whole_units(step, self.unit, steps_per_epoch) + 1) ** 0.5


@record
class Piecewise(Schedule):
    """rates[k] where k boundaries lie at or before n,  n the whole units so far

    rates  one more than boundaries, which rise: Piecewise((0.1, 0.01), boundaries=(20,))
    """

    rates: tuple[float, ...]
    boundaries: tuple[int, ...]
    unit: str = setting("epoch", choices=UNITS)

    def validate(self) -> None:
        if len(self.rates) != len(self.boundaries) + 1:
            raise ConfigError(
                f"{self!r}: {len(self.boundaries)} boundaries need {len(self.boundaries) + 1} rates, "
                f"given {len(self.rates)}"
            )
        if any(a >= b for a, b in pairwise(self.boundaries)):
            raise ConfigError(f"{self!r}: the boundaries must rise: sort them")

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        n = whole_units(step, self.unit, steps_per_epoch)
        return self.rates[sum(b <= n for b in self.boundaries)]

    @classmethod
    def sample(cls) -> Schedule:
        return cls((0.1, 0.02, 0.01), boundaries=(2, 5))


@record
class Plateau(Schedule):
    """learning_rate · factor^k,  k how often the validation loss has not become better for more than `patience` epochs.

    A pure function of the history, so a resumed run has the same rates. An epoch is better when it lies below the best
    so far by more than `threshold` of its size; after each reduction the count of epochs starts again.

    final  the rate does not fall below this
    """

    learning_rate: float = setting(at_least=0)
    factor: float = setting(0.1, above=0, below=1)
    patience: int = setting(10, at_least=0)
    threshold: float = setting(1e-4, at_least=0)
    final: float = setting(0.0, at_least=0)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        best, waited, reductions = float("inf"), 0, 0
        for loss in history:
            margin = self.threshold * abs(best) if best < float("inf") else 0.0
            if loss < best - margin:
                best, waited = loss, 0
            else:
                waited += 1
            if waited > self.patience:
                reductions, waited = reductions + 1, 0
        return max(self.final, self.learning_rate * self.factor**reductions) if reductions else self.learning_rate


__all__ = [
    "Constant", "Exponential", "InverseTime", "MultiStep", "Piecewise", "Plateau", "Rate", "Schedule", "SquareRoot",
    "StepDecay", "checked_rate", "rate_at",
]  # fmt: skip
