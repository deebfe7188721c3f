"""Differential evolution: a population whose own differences are the steps."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, Bounds, GradientFree, agree, box_of
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective

PER_WEIGHT, LEAST, MOST = 10, 20, 100  # members; Storn & Price advise 5 to 10 for each weight


@record
class DifferentialEvolution(GradientFree):
    """v = w_best + F (w_r1 - w_r2);  u_j = v_j where U(0, 1) < CR and a random j, else w_j;  w <- u if J(u) <= J(w)

    One epoch is one generation: a trial u for every member w of the population, each of which counts at once for those
    that follow. In "rand1bin" the base is a third random member: slower, and harder to mislead.

    NP         members; None: 10 for each weight, at least 20 and at most 100
    F          weight of the difference; two numbers: drawn anew between them in each generation (dithering)
    CR         share of the weights that change at once; two numbers: drawn anew between them for each trial. A low CR
               is best where each weight can be found by itself, a high one where they depend on each other
    low, high  bounds: a weight beyond is drawn anew between them. The population starts spread evenly between them
    region     without bounds it starts in a box of this half-width round the starting weights, and may leave it
    tolerance  the run ends when the standard deviation of the members' losses falls to this share of their mean, or the
               members lie no further apart than this in any weight (relative to 1 + its size)
    notes      "spread" (that standard deviation), "accepted" (share of the trials)
    source     Storn & Price 1997; dithering: Price, Storn & Lampinen 2005; the start, a Latin hypercube: McKay 1979
    """

    NP: int | None = setting(None, at_least=5)
    F: float | tuple[float, float] = (0.5, 1.0)
    CR: float | tuple[float, float] = (0.0, 1.0)
    strategy: str = setting("best1bin", choices=("best1bin", "rand1bin"))
    low: Bound = None
    high: Bound = None
    region: float = setting(1.0, above=0)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("de",)

    def validate(self) -> None:
        super().validate()
        for name, most in (("F", 2.0), ("CR", 1.0)):
            object.__setattr__(self, name, _one_or_two(name, getattr(self, name), most))

    def init(self, w: np.ndarray) -> Arrays:
        self.bounds(w)
        return {"start": w.copy(), "population": np.zeros((0, len(w))), "values": np.zeros(0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        start, members, values = state["start"], state["population"].copy(), state["values"].copy()
        bounds = self.bounds(start, objective)
        low, high = box_of(start, *bounds, self.region)
        accepted = 1.0
        if len(values):
            anew = rng.uniform(low, high, members.shape)  # for weights beyond a bound
            accepted = self._generation(objective, members, values, rng, bounds, anew)
        else:
            members = _latin(self.NP or min(MOST, max(LEAST, PER_WEIGHT * len(w))), low, high, rng)
            members[0] = start
            values = np.concatenate([[value], objective.values(members[1:])])
        best = int(np.argmin(values))
        if values[best] < value:
            w, value = members[best].copy(), float(values[best])
        notes = {"spread": float(np.std(values)) if np.isfinite(values).all() else np.inf, "accepted": accepted}
        same = agree(members, values, max(self.tolerance, objective.eps))
        done = f"the {same} of all {len(values)} members agree" if same else ""
        return Move(w, value, {"start": start, "population": members, "values": values}, notes, done)

    def _generation(
        self, objective: Objective, members: np.ndarray, values: np.ndarray, rng: np.random.Generator,
        bounds: Bounds, anew: np.ndarray,
    ) -> float:  # fmt: skip
        """One trial for each member, in place -> the share of those that were accepted.

        members, anew (NP, n_weights);  anew  what takes the place of a weight beyond its bound
        """
        NP, n = members.shape
        F = self.F if isinstance(self.F, float) else rng.uniform(*self.F)
        best, accepted = int(np.argmin(values)), 0
        CR = self.CR if isinstance(self.CR, float) else rng.uniform(*self.CR, (NP, 1))
        crossed = rng.random((NP, n)) < CR
        crossed[np.arange(NP), rng.integers(n, size=NP)] = True
        for i, (r0, r1, r2) in enumerate(_others(NP, rng)):
            mutant = members[best if self.strategy == "best1bin" else r0] + F * (members[r1] - members[r2])
            mutant = np.where((mutant < bounds[0]) | (mutant > bounds[1]), anew[i], mutant)
            trial = np.where(crossed[i], mutant, members[i])
            found = objective.value(trial)
            if found <= values[i]:
                members[i], values[i], accepted = trial, found, accepted + 1
                best = i if found < values[best] else best
        return accepted / NP


def _one_or_two(name: str, given: Any, most: float) -> float | tuple[float, ...]:
    """A number in 0..most, or two in order."""
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(3)
    sound = (
        found.shape in ((), (2,)) and ((found >= 0) & (found <= most)).all() and (np.diff(np.ravel(found)) >= 0).all()
    )
    if not sound:
        raise ConfigError(
            f"DifferentialEvolution({name}={given!r}): give a number from 0 to {most:g}, or two, (lowest, highest), to "
            "draw between"
        )
    return found.item() if found.ndim == 0 else tuple(found.tolist())


def _others(count: int, rng: np.random.Generator) -> np.ndarray:
    """For each member three different others at random.   -> (count, 3)"""
    taken = np.arange(count)[:, None]
    for known in (1, 2, 3):
        drawn = rng.integers(count - known, size=count)  # among those that are left
        for place in np.sort(taken, axis=1).T:
            drawn += drawn >= place
        taken = np.column_stack([taken, drawn])
    return taken[:, 1:]


def _latin(count: int, low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points of which every weight has one in each of `count` equal parts of its range.   -> (count, n_weights)"""
    parts = rng.permuted(np.tile(np.arange(count), (len(low), 1)), axis=1).T
    return low + (high - low) * (parts + rng.random(parts.shape)) / count


__all__ = ["DifferentialEvolution"]
