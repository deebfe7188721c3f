"""SPSA: a gradient from two looks at J, whatever the number of weights."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, GradientFree, scalars
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
        if math.isnan(a):
            a = self._first_gain(objective, at, rng)
        low, high = self.bounds(at, objective)
        slopes = []
        for _ in range(self.iterations):
            g, pair, values = self._estimate(objective, at, k, rng)
            if self.keep == "best" and min(values) < value:
                w, value = pair[int(np.argmin(values))], float(min(values))
            slopes.append(float(np.linalg.norm(g)))
            at = np.clip(at - a / (self.A + k + 1) ** self.alpha * g, low, high)
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

    def _estimate(
        self, objective: Objective, at: np.ndarray, k: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ĝ, the two points, J there); ĝ is 0 where J is not finite.   at (n_weights,)"""
        c = self.c / (k + 1) ** self.gamma
        delta = rng.choice([-1.0, 1.0], len(at))
        pair = np.clip(np.stack([at + c * delta, at - c * delta]), *self.bounds(at, objective))
        values = objective.values(pair)
        slope = (values[0] - values[1]) / (2 * c) if np.isfinite(values).all() else 0.0
        return slope * delta, pair, values  # 1 / Δ = Δ

    def _first_gain(self, objective: Objective, at: np.ndarray, rng: np.random.Generator) -> float:
        """a with which the first step is `first_step` long; where J is flat, that of a slope of 1."""
        slopes = [np.linalg.norm(self._estimate(objective, at, 0, rng)[0]) for _ in range(FIRST_LOOKS)]
        return self.first_step * (self.A + 1) ** self.alpha / (float(np.mean(slopes)) or 1.0)


__all__ = ["SPSA"]
