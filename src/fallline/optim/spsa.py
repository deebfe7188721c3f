"""SPSA: a gradient from two looks at J, whatever the number of weights."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, Bounds, GradientFree, best_of, scalars
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective

FIRST_LOOKS = 10  # pairs from which the first gain is taken


@record
class SPSA(GradientFree):
    """w <- w - a_k ĝ,  ĝ = (J(w + c_k Δ) - J(w - c_k Δ)) / (2 c_k Δ),  Δ of ±1 at random in every weight

        a_k = a / (A + k + 1)^alpha        c_k = c / (k + 1)^gamma        k = 0, 1, …

    ĝ is right in the mean, and costs two evaluations where finite differences cost two for each weight; J may be noisy.
    One epoch is `iterations` such steps and a last look at J(w). Without noise (keep="best") the weights returned are
    the best that were seen, and an epoch that ends higher than it began is undone and a halved.

    a           gain; None: such that the first steps have about the length `first_step`, in units of the weights
    c           about the standard deviation of the noise of J; without noise a small number
    A           about a tenth of all iterations
    keep        "last" for a noisy J, of which the lowest value seen is luck: the weights after the last step
    low, high   bounds: a step beyond ends there
    notes       "gain" (a_k), "estimated_slope" (mean length of ĝ, which is about √n times that of the gradient)
    source      Spall 1992; the gains: Spall 1998, section III
    """

    a: float | None = setting(None, above=0)
    c: float = setting(0.05, above=0)
    A: float = setting(100.0, at_least=0)
    alpha: float = setting(0.602, above=0, at_most=1)
    gamma: float = setting(0.101, above=0, at_most=1)
    first_step: float = setting(1.0, above=0)
    iterations: int = setting(50, at_least=1)
    keep: str = setting("best", choices=("best", "last"))
    low: Bound = None
    high: Bound = None

    aliases: ClassVar[tuple[str, ...]] = ()

    def init(self, w: np.ndarray) -> Arrays:
        self.bounds(w)
        names = {"gain": math.nan if self.a is None else self.a, "value": math.nan, "k": 0.0}
        return {"w": w.copy(), **{name: np.asarray(number) for name, number in names.items()}}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        at, (a, before, k) = state["w"].copy(), scalars(state, "gain", "value", "k")
        before = value if math.isnan(before) else before
        bounds = self.bounds(at, objective)
        if math.isnan(a):
            a, w, value = self._first_gain(objective, w, value, rng, bounds)
        slopes = []
        for _ in range(self.iterations):
            delta, c = _signs(1, len(at), rng)[0], self.c / (k + 1) ** self.gamma
            pair = np.clip(np.stack([at + c * delta, at - c * delta]), *bounds)
            values = objective.values(pair)
            slope = float(values[0] - values[1]) / (2 * c) if np.isfinite(values).all() else 0.0
            if self.keep == "best":
                w, value = best_of(w, value, pair, values)
            at = np.clip(at - a / (self.A + k + 1) ** self.alpha * slope * delta, *bounds)  # 1 / Δ = Δ
            slopes.append(abs(slope) * math.sqrt(len(at)))
            k += 1
        here = float(objective.values(at[None])[0])
        gain = a / (self.A + k) ** self.alpha
        if self.keep == "last" or here < value:
            w, value = at, here
        elif not here < before:
            at, here, a = w, value, a / 2
        names = {"gain": a, "value": here, "k": k}
        kept = {"w": at, **{name: np.asarray(number) for name, number in names.items()}}
        return Move(w, value, kept, {"gain": gain, "estimated_slope": float(np.mean(slopes))})

    @classmethod
    def sample(cls) -> SPSA:
        return cls(iterations=25)

    def _first_gain(
        self, objective: Objective, w: np.ndarray, value: float, rng: np.random.Generator, bounds: Bounds
    ) -> tuple[float, np.ndarray, float]:
        """(a with which the first steps are about `first_step` long, the best weights, J there).

        Where J is flat, a is that of a slope of 1.
        """
        shifts = self.c * _signs(FIRST_LOOKS, len(w), rng)
        tried = np.clip(np.concatenate([w + shifts, w - shifts]), *bounds)
        values = objective.values(tried)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            rises = np.abs(values[:FIRST_LOOKS] - values[FIRST_LOOKS:])
        rises = rises[np.isfinite(rises)]
        slope = float(rises.mean() if len(rises) else 0.0) / (2 * self.c) * math.sqrt(len(w))
        if self.keep == "best":
            w, value = best_of(w, value, tried, values)
        return self.first_step * (self.A + 1) ** self.alpha / (slope or 1.0), w, value


def _signs(count: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """±1 at random.   -> (count, n)"""
    return 2.0 * rng.integers(2, size=(count, n)) - 1


__all__ = ["SPSA"]
