"""CMA-ES: a cloud of trials that learns in which directions J falls, with restarts."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.optim.cloud import Cloud
from fallline.optim.gradient_free import Bound, Bounds, GradientFree, best_of, box_of, mirrored
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective

MOST_FULL = 200  # weights: beyond it learning all n²/2 covariances takes more evaluations than a training has
REGION = 2.0  # sigma to each side of the start, in which the first and later runs are centred
LOST = 0.01  # a run whose losses differ by no more than this share of how far it lies behind the best ends early
MOST_SMALL = 0.5  # of the evaluations of the last large run, for a small run of BIPOP


@record
class CMAES(GradientFree):
    """w ~ m + σ N(0, C);  m, σ and C learn from the better half of the trials, C also from the worse half

        m  <- m + Σ_i w_i σ y_i                                           y_i = (w_i:λ - m) / σ, the best first
        pσ <- (1 - cσ) pσ + sqrt(cσ (2 - cσ) μeff) C^-½ Σ_i w_i y_i       σ <- σ exp((cσ / dσ) (|pσ| / E|N(0, I)| - 1))
        pc <- (1 - cc) pc + sqrt(cc (2 - cc) μeff) Σ_i w_i y_i            C <- (1 - c1 - cμ Σ w_i) C + c1 pc pcᵀ
                                                                               + cμ Σ_i w_i y_i y_iᵀ

    One epoch is one generation of λ trials. Only the order of their losses counts. A run that has converged, or gets
    no further, is followed by the next from another place, with twice the λ (IPOP); with "bipop" also by runs with a
    small λ and a small σ, as many evaluations for each of both kinds.

    sigma       σ of the first generation: about a quarter of the range in which the minimum is expected, ± 2 sigma
    popsize     λ of the first run; None: 4 + ⌊3 ln n⌋
    restarts    how many runs may follow the first
    covariance  "full", "diagonal" (sep-CMA-ES, linear in n: each weight has its own σ), "auto": full up to 200 weights
    low, high   bounds: a trial beyond counts as its reflection
    tolfun      a run ends when the losses of some generations differ by no more than this; one that settles above the
                best of an earlier run ends sooner
    notes       "sigma", "axis_ratio" (longest to shortest axis of the cloud), "popsize", "restart"
    source      Hansen, arXiv:1604.00772 (figure 6, table 1, section B.3); IPOP: Auger & Hansen 2005; BIPOP: Hansen
                2009; diagonal: Ros & Hansen 2008
    """

    sigma: float = setting(0.5, above=0)
    popsize: int | None = setting(None, at_least=4)
    restarts: int = setting(4, at_least=0)
    mode: str = setting("ipop", choices=("ipop", "bipop"))
    covariance: str = setting("auto", choices=("auto", "full", "diagonal"))
    low: Bound = None
    high: Bound = None
    tolfun: float = setting(1e-11, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("cma",)

    def init(self, w: np.ndarray) -> Arrays:
        self.bounds(w)
        full = self.covariance == "full" or (self.covariance == "auto" and len(w) <= MOST_FULL)
        runs = {"restart": 0.0, "doublings": 0.0, "small": 0.0, "last_large": 0.0}
        spent = {"spent": np.zeros(2)}  # evaluations of the large and the small runs
        popsize = self._first_popsize(len(w))
        return {"start": w.copy(), **_numbers(runs), **spent, **Cloud.at(w, self.sigma, popsize, full).state()}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        bounds = self.bounds(state["start"], objective)
        cloud = Cloud.of(state)
        W = cloud.drawn(rng)
        tried = mirrored(W, *bounds)
        values = objective.values(tried)
        w, value = best_of(w, value, tried, values)
        cloud = cloud.moved(W, values)
        notes = {"sigma": cloud.sigma, "axis_ratio": float(cloud.D.max() / cloud.D.min()), "popsize": cloud.popsize,
                 "restart": int(state["restart"])}  # fmt: skip
        kept = {**state, **cloud.state()}
        kept["spent"] = state["spent"] + cloud.popsize * np.eye(2)[int(state["small"])]
        behind = float(cloud.bests.min()) - value  # of an earlier run
        behind = LOST * behind if math.isfinite(behind) else 0.0
        reason = cloud.ended(max(self.tolfun, 4 * objective.eps * abs(value), behind))
        most = MOST_SMALL * float(state["last_large"])
        if state["small"] and cloud.generation * cloud.popsize >= most:
            reason = reason or "its evaluations are used up"
        done = ""
        if reason and int(state["restart"]) < self.restarts:
            kept = self._restarted(kept, cloud, rng, bounds)
        elif reason:
            runs = int(state["restart"]) + 1
            done = f"the run has ended: {reason}" if runs == 1 else f"the last of {runs} runs has ended: {reason}"
        return Move(w, value, kept, notes, done)

    def _first_popsize(self, n: int) -> int:
        return self.popsize or 4 + int(3 * np.log(n))

    def _restarted(self, state: Arrays, ended: Cloud, rng: np.random.Generator, bounds: Bounds) -> Arrays:
        """The state before the first generation of the next run."""
        start, first, sigma = state["start"], self._first_popsize(len(state["start"])), self.sigma
        low, high = box_of(start, *bounds, REGION * sigma)
        if not state["small"]:
            state = {**state, "last_large": np.asarray(float(ended.generation * ended.popsize))}
        large, small = state["spent"]
        is_small = self.mode == "bipop" and state["doublings"] > 0 and small < large
        doublings = int(state["doublings"]) + (not is_small)
        popsize = first * 2**doublings
        if is_small:
            luck = rng.random(2)
            popsize = int(first * (popsize / first / 2) ** (luck[0] ** 2))
            sigma *= 10.0 ** (-2 * luck[1])
        runs = {"restart": float(state["restart"]) + 1, "doublings": doublings, "small": float(is_small)}
        cloud = Cloud.at(rng.uniform(low, high), sigma, popsize, ended.full)
        return {**state, **_numbers(runs), **cloud.state()}


def _numbers(values: dict[str, float]) -> Arrays:
    return {name: np.asarray(float(number)) for name, number in values.items()}


__all__ = ["CMAES"]
