"""The cloud of CMA-ES: a normal distribution of weights, how it is drawn from, how it learns and when it has ended."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fallline.optim.optimizer import Arrays

ALPHA = 2.0  # α_cov, table 1
WORST_CONDITION = 1e14  # of C, beyond which its axes are rounding errors (section B.3, as all that follow)
SHRUNK, GROWN = 1e-12, 1e4  # times the first sigma
RECENT = 0.3  # of the history: its first and its last part are compared


@dataclass(frozen=True)
class Rates:
    """Weights of the trials, the best first, and the learning rates, for n weights and λ trials (table 1)."""

    weights: np.ndarray  # (λ,), positive for the better half, where they sum to 1
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi_n: float  # E|N(0, I)|


@functools.lru_cache(maxsize=64)
def rates_of(n: int, popsize: int, full: bool) -> Rates:
    """The default rates; those of a diagonal C are (n + 2) / 3 times as high (Ros & Hansen 2008, eq. 4)."""
    raw = math.log((popsize + 1) / 2) - np.log(np.arange(1, popsize + 1))
    better, worse = raw[: popsize // 2], raw[popsize // 2 :]
    mu_eff = float(better.sum() ** 2 / (better**2).sum())
    mu_eff_worse = float(worse.sum() ** 2 / (worse**2).sum())
    faster = 1.0 if full else (n + 2) / 3
    c_1 = min(1.0, faster * ALPHA / ((n + 1.3) ** 2 + mu_eff))
    c_mu = faster * ALPHA * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + ALPHA * mu_eff / 2)
    c_mu = min(1 - c_1, c_mu)
    least = min(1 + c_1 / c_mu, 1 + 2 * mu_eff_worse / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
    negative = np.minimum(raw, 0.0)
    weights = np.maximum(raw, 0.0) / better.sum() + least * negative / -negative.sum()
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    return Rates(
        weights=weights,
        mu_eff=mu_eff,
        c_sigma=c_sigma,
        d_sigma=1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
        c_c=(4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
        c_1=c_1,
        c_mu=c_mu,
        chi_n=math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n)),
    )


@dataclass(frozen=True)
class Cloud:
    """N(mean, sigma² C),  C = B diag(D²) Bᵀ

    mean, p_sigma, p_c  (n,)
    C, B                (n, n); for a diagonal C (n,) and none, (0,)
    D                   (n,)
    bests, medians      of the last generations
    learned             the generation in which B and D were computed
    """

    mean: np.ndarray
    C: np.ndarray
    B: np.ndarray
    D: np.ndarray
    p_sigma: np.ndarray
    p_c: np.ndarray
    bests: np.ndarray
    medians: np.ndarray
    sigma: float
    first_sigma: float
    spread: float  # of the losses of the last generation
    popsize: int
    generation: int
    learned: int

    @classmethod
    def at(cls, mean: np.ndarray, sigma: float, popsize: int, full: bool) -> Cloud:
        """A round cloud."""
        n, none = len(mean), np.zeros(0)
        C, B = (np.eye(n), np.eye(n)) if full else (np.ones(n), none)
        return cls(mean.copy(), C, B, np.ones(n), np.zeros(n), np.zeros(n), none, none, sigma, sigma, math.inf,
                   popsize, 0, 0)  # fmt: skip

    @classmethod
    def of(cls, state: Arrays) -> Cloud:
        """The cloud that `state` wrote."""
        kinds: dict[str, Any] = {"float": float, "int": int}
        return cls(**{f.name: kinds.get(str(f.type), np.asarray)(state[f.name]) for f in fields(cls)})

    def state(self) -> Arrays:
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @property
    def full(self) -> bool:
        return self.C.ndim == 2

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """λ trials.   -> (popsize, n)"""
        Y = rng.standard_normal((self.popsize, len(self.mean))) * self.D
        return self.mean + self.sigma * (Y @ self.B.T if self.full else Y)

    def _white(self, Y: np.ndarray) -> np.ndarray:
        """C^-½ y of every row, up to a rotation for more than one.   Y (…, n)"""
        return (Y @ self.B) / self.D if self.full else Y / self.D

    def moved(self, W: np.ndarray, values: np.ndarray) -> Cloud:
        """After one generation.   W (popsize, n), values (popsize,) = J of its rows"""
        n, r = len(self.mean), rates_of(len(self.mean), self.popsize, self.full)
        order = np.argsort(values, kind="stable")
        Y = (W[order] - self.mean) / self.sigma
        step = np.maximum(r.weights, 0.0) @ Y
        white = self._white(step)
        white = self.B @ white if self.full else white
        p_sigma = (1 - r.c_sigma) * self.p_sigma + math.sqrt(r.c_sigma * (2 - r.c_sigma) * r.mu_eff) * white
        length, t = float(np.linalg.norm(p_sigma)), self.generation + 1
        settled = length / math.sqrt(1 - (1 - r.c_sigma) ** (2 * t)) < (1.4 + 2 / (n + 1)) * r.chi_n
        p_c = (1 - r.c_c) * self.p_c + settled * math.sqrt(r.c_c * (2 - r.c_c) * r.mu_eff) * step
        C = self._learned(r, Y, p_c, (not settled) * r.c_c * (2 - r.c_c))
        sigma = self.sigma * math.exp(min(1.0, r.c_sigma / r.d_sigma * (length / r.chi_n - 1)))
        keep = int(np.clip(0.2 * t, self._window(), 20_000))
        bests = np.append(self.bests, values[order[0]])[-keep:]
        medians = np.append(self.medians, np.median(values))[-keep:]
        spread = float(values[order[-1]] - values[order[0]]) if np.isfinite(values).all() else math.inf
        made = replace(self, mean=self.mean + self.sigma * step, C=C, p_sigma=p_sigma, p_c=p_c, sigma=sigma,
                       bests=bests, medians=medians, spread=spread, generation=t)  # fmt: skip
        return made._with_axes(r)

    def _learned(self, r: Rates, Y: np.ndarray, p_c: np.ndarray, missing: float) -> np.ndarray:
        """C after one generation.   Y (popsize, n), the best first; missing  variance that p_c lacks"""
        lengths = np.maximum((self._white(Y) ** 2).sum(axis=1), 1e-300)
        weights = np.where(r.weights < 0, r.weights * Y.shape[1] / lengths, r.weights)
        old = 1 + r.c_1 * missing - r.c_1 - r.c_mu * r.weights.sum()
        if self.full:
            return old * self.C + r.c_1 * np.outer(p_c, p_c) + r.c_mu * (Y.T * weights) @ Y
        return old * self.C + r.c_1 * p_c**2 + r.c_mu * weights @ Y**2

    def _with_axes(self, r: Rates) -> Cloud:
        """With B and D of C, from time to time: they cost n³ (section B.2)."""
        n = len(self.mean)
        if not self.full:
            return replace(self, D=np.sqrt(np.maximum(self.C, 1e-300)), learned=self.generation)
        if self.generation - self.learned < 1 / ((r.c_1 + r.c_mu) * n * 10):
            return self
        C = (self.C + self.C.T) / 2
        D, B = np.linalg.eigh(C)
        return replace(self, C=C, B=B, D=np.sqrt(np.maximum(D, 1e-300)), learned=self.generation)

    def _window(self) -> int:
        """Generations over which stagnation is judged."""
        return 120 + math.ceil(30 * len(self.mean) / self.popsize)

    def ended(self, tolfun: float) -> str:
        """Why the run can go no further; "" if it can."""
        needed = 10 + math.ceil(30 * len(self.mean) / self.popsize)
        recent = self.bests[-needed:]
        span = float(np.ptp(recent)) if np.isfinite(recent).all() else math.inf
        same = span == 0 or max(span, self.spread) <= tolfun
        deviations = self.sigma * (np.sqrt(np.diag(self.C)) if self.full else self.D)
        if len(recent) == needed and same:
            return "the losses no longer differ"
        if (np.maximum(deviations, self.sigma * np.abs(self.p_c)) < SHRUNK * self.first_sigma).all():
            return "the weights no longer differ"
        if (self.mean == self.mean + 0.2 * deviations).any() or self._axis_lost():
            return "the cloud is as small as numbers allow"
        if self.D.max() ** 2 > WORST_CONDITION * self.D.min() ** 2:
            return "the cloud has become too thin"
        if self.sigma * self.D.max() > GROWN * self.first_sigma:
            return "the cloud grows without bound: take a larger sigma"
        return "the losses have stopped falling" if self._stagnates() else ""

    def _axis_lost(self) -> bool:
        """Whether a tenth of the deviation along an axis, each in its turn, changes nothing."""
        i = self.generation % len(self.mean)
        axis = self.B[:, i] if self.full else np.eye(1, len(self.mean), i)[0]
        return bool((self.mean == self.mean + 0.1 * self.sigma * self.D[i] * axis).all())

    def _stagnates(self) -> bool:
        """Whether best and median losses of the last part of the history are no better than those of its first part."""
        if len(self.bests) < self._window():
            return False
        part = int(RECENT * len(self.bests))
        return all(np.median(h[-part:]) >= np.median(h[:part]) for h in (self.bests, self.medians))


__all__ = ["Cloud", "Rates", "rates_of"]
