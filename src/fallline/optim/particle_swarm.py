"""Particle swarm: particles that fly about and are drawn back to the best places they and their neighbours know."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.optim.gradient_free import Bound, GradientFree, agree, best_of, box_of
from fallline.optim.optimizer import Arrays
from fallline.optim.solver import Move, Objective


@record
class ParticleSwarm(GradientFree):
    """v <- χ (v + φ1 U (p - w) + φ2 U (g - w));  w <- w + v

    p is the best place of the particle, g that of its neighbours, U a number in 0..1 drawn for each weight, and
    χ = 2 / (φ - 2 + sqrt(φ² - 4 φ)), φ = φ1 + φ2, is what makes the swarm contract. One epoch is one flight of all.

    particles  how many; the first starts at the starting weights
    phi1       pull of a particle's own best;  phi2  of its neighbours' best; their sum is above 4
    topology   neighbours: "ring", the two beside it and itself; "global", all: faster, and sooner in a local minimum
    low, high  bounds: who arrives there stays on the bound for that time, thrown back at half the speed
    region     without bounds the swarm starts in a box of this half-width round the starting weights, and may leave it
    tolerance  the run ends when the standard deviation of the particles' best losses falls to this share of their mean,
               or the best places lie no further apart than this in any weight (relative to 1 + its size)
    notes      "spread" (that standard deviation), "speed" (the mean length of v)
    source     Kennedy & Eberhart 1995; χ: Clerc & Kennedy 2002, eq. 4.14; the defaults: Bratton & Kennedy 2007
    """

    particles: int = setting(50, at_least=2)
    phi1: float = setting(2.05, at_least=0)
    phi2: float = setting(2.05, at_least=0)
    topology: str = setting("ring", choices=("ring", "global"))
    low: Bound = None
    high: Bound = None
    region: float = setting(1.0, above=0)
    tolerance: float = setting(1e-8, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("pso",)

    def validate(self) -> None:
        super().validate()
        if not self.phi1 + self.phi2 > 4:
            raise ConfigError(
                f"ParticleSwarm(phi1={self.phi1:g}, phi2={self.phi2:g}): their sum must be above 4, or the swarm never "
                "contracts"
            )

    def init(self, w: np.ndarray) -> Arrays:
        self.bounds(w)
        empty = np.zeros((0, len(w)))
        return {"start": w.copy(), "places": empty, "speeds": empty, "bests": empty, "values": np.zeros(0)}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        bounds = self.bounds(state["start"], objective)
        if len(state["values"]):
            places, speeds = self._flown(state, rng, *bounds)
            values = objective.values(places)
            better = values < state["values"]
            bests = np.where(better[:, None], places, state["bests"])
            values = np.where(better, values, state["values"])
        else:
            low, high = box_of(state["start"], *bounds, self.region)
            places = rng.uniform(low, high, (self.particles, len(w)))
            places[0] = state["start"]
            speeds = (rng.uniform(low, high, places.shape) - places) / 2
            bests, values = places, np.concatenate([[value], objective.values(places[1:])])
        w, value = best_of(w, value, bests, values)
        spread = float(np.std(values)) if np.isfinite(values).all() else np.inf
        notes = {"spread": spread, "speed": float(np.linalg.norm(speeds, axis=1).mean())}
        same = agree(bests, values, max(self.tolerance, objective.eps))
        done = f"the best {same} of all {len(values)} particles agree" if same else ""
        kept = {"start": state["start"], "places": places, "speeds": speeds, "bests": bests, "values": values}
        return Move(w, value, kept, notes, done)

    def _flown(
        self, state: Arrays, rng: np.random.Generator, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(places, speeds) after one flight.   each (particles, n_weights)"""
        places, bests, values = state["places"], state["bests"], state["values"]
        own, common = rng.random((2, *places.shape))
        led = bests[self._leaders(values)]
        pull = self.phi1 * own * (bests - places) + self.phi2 * common * (led - places)
        speeds = self._contraction() * (state["speeds"] + pull)
        places = places + speeds
        outside = (places < low) | (places > high)
        return np.clip(places, low, high), np.where(outside, -speeds / 2, speeds)

    def _leaders(self, values: np.ndarray) -> np.ndarray:
        """Whose best each particle follows.   -> (particles,)"""
        count = len(values)
        if self.topology == "global":
            return np.full(count, np.argmin(values))
        near = (np.arange(count)[:, None] + np.array([0, -1, 1])) % count
        return near[np.arange(count), np.argmin(values[near], axis=1)]

    def _contraction(self) -> float:
        phi = self.phi1 + self.phi2
        return 2 / (phi - 2 + math.sqrt(phi * phi - 4 * phi))


__all__ = ["ParticleSwarm"]
