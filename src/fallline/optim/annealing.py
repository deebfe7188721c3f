"""Simulated annealing: a random walk that climbs readily while it is hot and ever less as it cools."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, Bounds, GradientFree, best_of, mirrored, scalars
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective

FIRST_LOOKS = 20  # trials from which the first temperature is taken
FIRST_ACCEPTED = 0.8  # share of rises that it lets pass (Johnson et al. 1989, section 3)
FEW, MANY = 0.4, 0.6  # share of trials to accept: below it steps get shorter, above it longer
PUSH = 2.0  # how strongly (both from Corana et al. 1987)
GROWN = 10.0  # times the first step, at most: a loss that is bounded would let the walk go to no end while it is hot
FROZEN = 3  # epochs in a row without a change that counts (Kirkpatrick et al. 1983)


@record
class SimulatedAnnealing(GradientFree):
    """w' = w + step · N(0, 1) in every weight;  taken with probability min(1, exp(-(J(w') - J(w)) / T))  (Metropolis)

    T falls once in an epoch, of `trials` trials; with epoch k = 0, 1, …
        T = temperature · cooling^k          "geometric"
        T = temperature / (1 + ln(1 + k))    "logarithmic"
        T = temperature / (1 + k)            "fast"
    The step follows: it grows where more than 60 % of the trials are taken, to ten times its first length at most, and
    shrinks below 40 %. The weights returned are the best ever seen, not those where the walk ends. This T is not a
    learning rate: to lower the rate of gradient descent step by step is learning-rate annealing, another thing.

    temperature  of the first epoch, in units of J; None: such that four of five rises of the first trials pass
    step         standard deviation of the first changes, in units of the weights
    low, high    bounds: a step beyond is reflected there
    tolerance    the run ends when J stayed the same, to this share of |J| (of 1 below 1), for three epochs
    notes        "temperature", "accepted" (share of the trials), "step", "walk_loss" (J where the walk is)
    source       Kirkpatrick, Gelatt & Vecchi 1983; Metropolis et al. 1953; the step: Corana et al. 1987
    """

    temperature: float | None = setting(None, above=0)
    cooling: float = setting(0.9, above=0, below=1)
    trials: int = setting(100, at_least=1)
    step: float = setting(0.1, above=0)
    schedule: str = setting("geometric", choices=("geometric", "logarithmic", "fast"))
    low: Bound = None
    high: Bound = None
    tolerance: float = setting(1e-10, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("sa", "annealing")

    def init(self, w: np.ndarray) -> Arrays:
        self.bounds(w)
        first = math.nan if self.temperature is None else self.temperature  # NaN: not known yet
        names = {"first": first, "step": self.step, "value": math.nan, "epoch": 0.0, "still": 0.0}
        return {"w": w.copy(), **{name: np.asarray(number) for name, number in names.items()}}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        at, (first, step, here, k, still) = state["w"], scalars(state, "first", "step", "value", "epoch", "still")
        here = value if math.isnan(here) else here
        bounds = self.bounds(at, objective)
        if math.isnan(first):
            first, w, value = self._first_temperature(objective, w, value, rng, bounds)
        temperature = first * self._share(int(k))
        accepted, lowest, highest = 0, here, here
        for _ in range(self.trials):
            tried = mirrored(at + step * rng.standard_normal(len(w)), *bounds)
            found, luck = objective.value(tried), rng.random()
            rise = found - here  # NaN passes neither way
            if rise <= 0 or (rise > 0 and luck < math.exp(-rise / temperature)):
                at, here, accepted = tried, found, accepted + 1
                lowest, highest = min(lowest, here), max(highest, here)
                if here < value:
                    w, value = at, here
        share = accepted / self.trials
        notes = {"temperature": temperature, "accepted": share, "step": step, "walk_loss": here}
        counts = highest - lowest > max(self.tolerance, objective.eps) * max(1.0, abs(here))
        still = 0.0 if counts else still + 1
        names = {
            "first": first,
            "step": min(step * _factor(share), GROWN * self.step),
            "value": here,
            "epoch": k + 1,
            "still": still,
        }
        kept = {"w": at, **{name: np.asarray(number) for name, number in names.items()}}
        done = f"frozen: the loss has not changed for {FROZEN} epochs" if still >= FROZEN else ""
        return Move(w, value, kept, notes, done)

    @classmethod
    def sample(cls) -> SimulatedAnnealing:
        return cls(cooling=0.8, trials=50)

    def _share(self, k: int) -> float:
        """T in epoch k, in units of the first one."""
        shares = {"geometric": self.cooling**k, "logarithmic": 1 / (1 + math.log1p(k)), "fast": 1 / (1 + k)}
        return max(shares[self.schedule], 1e-300)

    def _first_temperature(
        self, objective: Objective, w: np.ndarray, value: float, rng: np.random.Generator, bounds: Bounds
    ) -> tuple[float, np.ndarray, float]:
        """(T with exp(-mean rise / T) = 0.8, the best weights, J there).

        Where nothing rises, the size of the falls is taken for that of rises, and where all is flat that of J.
        """
        tried = mirrored(w + self.step * rng.standard_normal((FIRST_LOOKS, len(w))), *bounds)
        values = objective.values(tried)
        changes = values[np.isfinite(values)] - value
        sizes = [part for part in (changes[changes > 0], -changes[changes < 0]) if len(part)]
        size = float(sizes[0].mean()) if sizes else abs(value) or 1.0
        return size / -math.log(FIRST_ACCEPTED), *best_of(w, value, tried, values)


def _factor(share: float) -> float:
    """What the step is multiplied by after an epoch in which this share of the trials was accepted."""
    if share > MANY:
        return 1 + PUSH * (share - MANY) / (1 - MANY)
    return 1 / (1 + PUSH * (FEW - share) / FEW) if share < FEW else 1.0


__all__ = ["SimulatedAnnealing"]
