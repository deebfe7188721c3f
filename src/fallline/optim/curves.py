"""Learning-rate schedules that move with every step, and those made of other schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.schedules import UNITS, Rate, Schedule, checked_rate, rate_at


def steps_of(length: float, unit: str, steps_per_epoch: int) -> float:
    """A length in steps."""
    return length * steps_per_epoch if unit == "epoch" else length


class Curve(Schedule):
    """A curve over the part 0 … 1 of `length` that has passed; beyond it the rate stays at the curve's end.

    length  in units; None is the whole run. Step k of n has passed k / n, so the end itself lies after the last step.
    """

    length: int | None
    unit: str

    def passed(self, step: int, steps_per_epoch: int, epochs: float) -> float:
        whole = epochs * steps_per_epoch if self.length is None else steps_of(self.length, self.unit, steps_per_epoch)
        return min(1.0, step / whole) if whole else 1.0


@record
class Polynomial(Curve):
    """final + (learning_rate - final) (1 - p)^power,  p the part of the length that has passed"""

    learning_rate: float = setting(at_least=0)
    final: float = setting(0.0, at_least=0)
    power: float = setting(2.0, above=0)
    length: int | None = setting(None, at_least=1)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        left = 1.0 - self.passed(step, steps_per_epoch, epochs)
        return self.final + (self.learning_rate - self.final) * left**self.power


@record
class LinearDecay(Curve):
    """learning_rate + (final - learning_rate) p,  p the part of the length that has passed"""

    learning_rate: float = setting(at_least=0)
    final: float = setting(0.0, at_least=0)
    length: int | None = setting(None, at_least=1)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return self.learning_rate + (self.final - self.learning_rate) * self.passed(step, steps_per_epoch, epochs)


@record
class Cosine(Curve):
    """final + (learning_rate - final) (1 + cos π p) / 2,  p the part of the length that has passed

    source  Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, without restarts
    """

    learning_rate: float = setting(at_least=0)
    final: float = setting(0.0, at_least=0)
    length: int | None = setting(None, at_least=1)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        return _cosine(self.learning_rate, self.final, self.passed(step, steps_per_epoch, epochs))


@record
class CosineRestarts(Schedule):
    """Cosine over `period` units, then again from the top, each time `growth` times as long (SGDR).

    source  Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5: T_0 is `period`, T_mult is `growth`
    """

    learning_rate: float = setting(at_least=0)
    period: int = setting(10, at_least=1)
    growth: float = setting(2.0, at_least=1)
    final: float = setting(0.0, at_least=0)
    unit: str = setting("epoch", choices=UNITS)

    aliases: ClassVar[tuple[str, ...]] = ("sgdr",)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        since, length = float(step), steps_of(self.period, self.unit, steps_per_epoch)
        while since >= length:
            since, length = since - length, length * self.growth
        return _cosine(self.learning_rate, self.final, since / length)


@record
class CosineCycles(Schedule):
    """Cosine from the top to `final`, over and over, `cycles` times in the run, each cycle equally long.

    Steps that are left over, fewer than cycles, have the rate `final`.
    source  Huang et al. 2017 (arXiv:1704.00109), eq. 2; a cycle of T // cycles steps
    """

    learning_rate: float = setting(at_least=0)
    cycles: int = setting(5, at_least=1)
    final: float = setting(0.0, at_least=0)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        length = max(1, int(epochs * steps_per_epoch) // self.cycles)
        over = step >= length * self.cycles
        return self.final if over else _cosine(self.learning_rate, self.final, step % length / length)


@record
class OneCycle(Curve):
    """Up to learning_rate over the part `rise` of the length, then down far below the start, both along a cosine.

    It begins at learning_rate / start_factor and its last step has that / final_factor.
    source  Smith & Topin 2018 (arXiv:1708.07120), in the form of PyTorch
    """

    learning_rate: float = setting(at_least=0)
    rise: float = setting(0.3, above=0, below=1)
    start_factor: float = setting(25.0, at_least=1)
    final_factor: float = setting(1e4, at_least=1)
    length: int | None = setting(None, at_least=1)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        whole = epochs * steps_per_epoch if self.length is None else steps_of(self.length, self.unit, steps_per_epoch)
        top, last = self.rise * whole - 1.0, whole - 1.0
        start = self.learning_rate / self.start_factor
        if step < top:
            return _cosine(start, self.learning_rate, step / top)
        top = max(top, 0.0)
        return _cosine(self.learning_rate, start / self.final_factor, min(1.0, (step - top) / max(last - top, 1.0)))


@record
class Cyclic(Schedule):
    """From `low` up to the top along a line in `half` units, and down again, over and over.

    The top is learning_rate in the first cycle and low + (learning_rate - low) shrink^k in cycle k.
    source  Smith 2017 (arXiv:1506.01186): shrink 1 is "triangular", 1/2 "triangular2"
    """

    learning_rate: float = setting(at_least=0)
    low: float = setting(0.0, at_least=0)
    half: int = setting(4, at_least=1)
    shrink: float = setting(1.0, above=0, at_most=1)
    unit: str = setting("epoch", choices=UNITS)

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        cycle, place = divmod(step / steps_of(self.half, self.unit, steps_per_epoch), 2.0)
        return self.low + (self.learning_rate - self.low) * (1.0 - abs(place - 1.0)) * self.shrink**cycle


@record
class WarmUp(Schedule):
    """r (k + 1) / (n + 1) in step k of the n steps of the warm-up, then the schedule `after` it, which starts at r.

    after   a number, a schedule, or a function step -> rate; it sees a run that is shorter by the warm-up
    length  of the warm-up, in units
    source  Goyal et al. 2017 (arXiv:1706.02677), section 2.2
    """

    after: Rate
    length: int = setting(5, at_least=0)
    unit: str = setting("epoch", choices=UNITS)

    def validate(self) -> None:
        object.__setattr__(self, "after", checked_rate(self.after, "WarmUp"))

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        n = int(steps_of(self.length, self.unit, steps_per_epoch))
        rest = max(epochs - n / steps_per_epoch, 0.0)
        seen = history[n // steps_per_epoch :]
        rate = rate_at(self.after, max(step - n, 0), steps_per_epoch=steps_per_epoch, epochs=rest, history=seen)
        return rate * (step + 1) / (n + 1) if step < n else rate


@record
class Chained(Schedule):
    """One schedule after the other, each from its own step 0.

    schedules  numbers, schedules or functions step -> rate
    lengths    of all but the last, in units; a part takes its length for the length of the run
    """

    schedules: tuple[Rate, ...]
    lengths: tuple[int, ...]
    unit: str = setting("epoch", choices=UNITS)

    def validate(self) -> None:
        object.__setattr__(self, "schedules", tuple(checked_rate(s, "Chained") for s in self.schedules))
        if len(self.schedules) != len(self.lengths) + 1:
            given = f"{len(self.schedules)} schedules and {len(self.lengths)} lengths"
            raise ConfigError(f"Chained with {given}: give the length of each schedule but the last")
        if any(n < 1 for n in self.lengths):
            raise ConfigError(f"Chained(lengths={self.lengths}): each length must be at least 1")

    def at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        start = 0
        for part, length in zip(self.schedules, self.lengths, strict=False):
            n = int(steps_of(length, self.unit, steps_per_epoch))
            if step < start + n:
                return self._part(part, step, start, n / steps_per_epoch, steps_per_epoch, history)
            start += n
        return self._part(
            self.schedules[-1], step, start, max(epochs - start / steps_per_epoch, 0.0), steps_per_epoch, history
        )

    def _part(
        self, part: Any, step: int, start: int, epochs: float, steps_per_epoch: int, history: Sequence[float]
    ) -> float:
        seen = history[start // steps_per_epoch :]
        return rate_at(part, step - start, steps_per_epoch=steps_per_epoch, epochs=epochs, history=seen)

    @classmethod
    def sample(cls) -> Schedule:
        return cls((0.1, Cosine(0.1)), lengths=(2,))


def _cosine(start: float, end: float, part: float) -> float:
    """From start to end along half a cosine; part 0 … 1."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))


__all__ = [
    "Chained",
    "Cosine",
    "CosineCycles",
    "CosineRestarts",
    "Curve",
    "Cyclic",
    "LinearDecay",
    "OneCycle",
    "Polynomial",
    "WarmUp",
]
