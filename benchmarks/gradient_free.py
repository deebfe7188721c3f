"""gradient_free: evaluations until 10-d Rastrigin and Rosenbrock are below 1e-8, beside pycma and SciPy.

Every method starts at the same random point of the same box for each seed. A run that ends above the target is followed
by another from a new random point, and its evaluations count. What is not solved within the budget counts as infinite.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.report import Report, number
from fallline.core.errors import ConfigError
from fallline.optim.annealing import SimulatedAnnealing
from fallline.optim.cmaes import CMAES
from fallline.optim.differential_evolution import DifferentialEvolution
from fallline.optim.particle_swarm import ParticleSwarm
from fallline.optim.random_search import RandomSearch
from fallline.optim.solver import Objective, Solver
from fallline.optim.spsa import SPSA

TARGET = 1e-8
BUDGET = 400_000  # evaluations for each seed
BAR = 1.5  # times the evaluations of the peer


def rastrigin(w: np.ndarray) -> float:
    """Σ w² + 10 (1 - cos 2πw): 0 at 0, and a local minimum near every other point of whole numbers."""
    return float(np.sum(w * w + 10 * (1 - np.cos(2 * np.pi * w))))


def rosenbrock(w: np.ndarray) -> float:
    """Σ 100 (w_{i+1} - w_i²)² + (1 - w_i)²: a bent valley, with 0 at 1."""
    return float(np.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2))


@dataclass(frozen=True)
class Problem:
    """f on the box from -half to half in each of n weights, whose lowest value is 0."""

    name: str
    f: Callable[[np.ndarray], float]
    half: float
    n: int = 10

    def start(self, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-self.half, self.half, self.n)


PROBLEMS = (Problem("rastrigin", rastrigin, 5.12), Problem("rosenbrock", rosenbrock, 2.048))


class Ended(Exception):
    """The target is reached, or the budget is used up."""


class Counted(Objective):
    """f as an objective and as a function; it counts, and ends the search."""

    def __init__(self, problem: Problem, budget: int):
        super().__init__()
        self.f, self.budget, self.calls, self.best = problem.f, budget, 0, math.inf

    def __call__(self, w: Sequence[float] | np.ndarray) -> float:
        found = self.f(np.asarray(w))
        self.calls += 1
        self.best = min(self.best, found)
        if found <= TARGET or self.calls >= self.budget:
            raise Ended
        return found

    compute = __call__

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        raise ConfigError("these methods are compared without a gradient")

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        raise ConfigError("these methods are compared without a Hessian")

    def closed_form(self) -> np.ndarray:
        raise ConfigError("there is no closed form")


Search = Callable[[Counted, Problem, int], None]  # of (f, problem, seed); it goes on until f raises Ended


def ours(make: Callable[[Problem], Solver]) -> Search:
    def search(f: Counted, problem: Problem, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for run in itertools.count():
            w, solver = problem.start(rng), make(problem)
            value, state, done = f(w), solver.init(w), ""
            for epoch in itertools.count():
                move = solver.iterate(f, w, value, state, np.random.default_rng((seed, run, epoch)))
                w, value, state, done = move.w, move.value, move.state, move.done
                if done:
                    break

    return search


def pycma(f: Counted, problem: Problem, seed: int) -> None:
    """IPOP restarts, from random points of the box as the authors advise."""
    cma, rng = importlib.import_module("cma"), np.random.default_rng(seed)
    options = {"seed": seed + 1, "verbose": -9}
    while True:
        cma.fmin2(f, lambda: problem.start(rng), problem.half / 2, options, restarts=9)


def scipy_de(f: Counted, problem: Problem, seed: int) -> None:
    """Its defaults, but for more generations than any run takes."""
    optimize, rng = importlib.import_module("scipy.optimize"), np.random.default_rng(seed)
    box = [(-problem.half, problem.half)] * problem.n
    for run in itertools.count():
        optimize.differential_evolution(f, box, x0=problem.start(rng), rng=seed + 1000 * run, maxiter=BUDGET)


def scipy_annealing(f: Counted, problem: Problem, seed: int) -> None:
    """Generalised annealing alone: its local search would take gradients by differences."""
    optimize, rng = importlib.import_module("scipy.optimize"), np.random.default_rng(seed)
    box = [(-problem.half, problem.half)] * problem.n
    for run in itertools.count():
        optimize.dual_annealing(f, box, x0=problem.start(rng), rng=seed + 1000 * run, no_local_search=True)


def _box(problem: Problem) -> dict[str, Any]:
    return {"low": -problem.half, "high": problem.half}


METHODS: dict[str, Search] = {
    "CMAES": ours(lambda p: CMAES(sigma=p.half / 2, restarts=9)),
    "CMAES bipop": ours(lambda p: CMAES(sigma=p.half / 2, restarts=19, mode="bipop")),
    "DifferentialEvolution": ours(lambda p: DifferentialEvolution(**_box(p))),
    "ParticleSwarm": ours(lambda p: ParticleSwarm(**_box(p))),
    "SimulatedAnnealing": ours(lambda p: SimulatedAnnealing(step=p.half / 10, **_box(p))),
    "SPSA": ours(lambda p: SPSA(**_box(p))),
    "RandomSearch": ours(lambda p: RandomSearch(p.half / 10)),
}
PEERS: dict[str, tuple[str, Search, tuple[str, ...]]] = {  # name: package, how it searches, beside which of ours
    "pycma": ("cma", pycma, ("CMAES", "CMAES bipop")),
    "scipy": ("scipy", scipy_de, ("DifferentialEvolution",)),
    "scipy-annealing": ("scipy", scipy_annealing, ("SimulatedAnnealing",)),
}


@dataclass(frozen=True)
class Found:
    """What a method needed for each seed: evaluations, infinite where the target was not reached; and its best f."""

    evaluations: list[float]
    bests: list[float]

    @property
    def median(self) -> float | None:
        """None where half the seeds or more were not solved."""
        found = float(np.median(self.evaluations))
        return found if math.isfinite(found) else None

    @property
    def solved(self) -> int:
        return sum(map(math.isfinite, self.evaluations))


def measure(report: Report, name: str, search: Search, problem: Problem, seeds: int, budget: int) -> Found:
    """The search from the same points for each seed; it says so when it is through, for all take minutes."""
    evaluations: list[float] = []
    bests = []
    for seed in range(seeds):
        f = Counted(problem, budget)
        try:
            search(f, problem, seed)
        except Ended:
            evaluations.append(f.calls if f.best <= TARGET else math.inf)
            bests.append(f.best)
    told = ", ".join("–" if math.isinf(n) else f"{n:,.0f}" for n in sorted(evaluations))
    report.say(f"{problem.name}, {name}: {told}")
    return Found(evaluations, bests)


def main(asked: argparse.Namespace) -> None:
    peers = _peers(asked.peers)
    methods = [name for name in METHODS if asked.methods is None or name in asked.methods]
    if unknown := set(asked.methods or ()) - set(METHODS):
        raise SystemExit(f"--methods {', '.join(sorted(unknown))}: known are {', '.join(METHODS)}")
    seeds, budget, n = (2, 20_000, 2) if asked.quick else (asked.seeds, BUDGET, 10)
    report = Report(asked.json)
    there = [name for name in peers if importlib.util.find_spec(PEERS[name][0])]
    report.open({PEERS[name][0]: machine.version(PEERS[name][0]) for name in there})
    if absent := [name for name in peers if name not in there]:
        report.say(f"not installed: {', '.join(absent)}")
    entries = []
    for problem in (Problem(p.name, p.f, p.half, n) for p in PROBLEMS):
        given = problem, seeds, budget
        found = {name: measure(report, name, METHODS[name], *given) for name in methods}
        beside = {k: measure(report, k, PEERS[k][1], *given) for k in there if set(PEERS[k][2]) & set(methods)}
        entries += [_entry(problem, name, own, beside) for name, own in found.items()]
    _show(report, entries, seeds, n)
    report.write(entries)


def _peers(asked: list[str] | None) -> list[str]:
    chosen = list(PEERS) if asked is None else [] if asked == ["none"] else asked
    if unknown := [name for name in chosen if name not in PEERS]:
        raise SystemExit(f"--peers {', '.join(unknown)}: known are {', '.join(PEERS)}")
    return chosen


def _entry(problem: Problem, name: str, own: Found, beside: dict[str, Found]) -> dict[str, Any]:
    entry = {"problem": problem.name, "method": name, "evaluations": own.median, "solved": own.solved,
             "median_best": float(np.median(own.bests)), "peer": None, "peer_evaluations": None, "peer_solved": None,
             "ratio": None}  # fmt: skip
    for peer, found in beside.items():
        if name in PEERS[peer][2]:
            both = own.median is not None and found.median is not None
            entry |= {"peer": peer, "peer_evaluations": found.median, "peer_solved": found.solved,
                      "ratio": own.median / found.median if own.median and both and found.median else None}  # fmt: skip
    return entry


def _show(report: Report, entries: list[dict[str, Any]], seeds: int, n: int) -> None:
    def counted(evaluations: float | None) -> str:
        return "–" if evaluations is None else f"{evaluations:,.0f}"

    cells = [
        [e["problem"], e["method"], counted(e["evaluations"]), f"{e['solved']}/{seeds}", f"{e['median_best']:.1e}",
         e["peer"] or "–", counted(e["peer_evaluations"]), f"{e['peer_solved']}/{seeds}" if e["peer"] else "–",
         f"{number(e['ratio'])}{'×' if e['ratio'] else ''}"]
        for e in entries
    ]  # fmt: skip
    columns = [
        "problem",
        "method",
        "evaluations",
        "solved",
        "median best",
        "peer",
        "its evaluations",
        "solved",
        "ratio",
    ]
    report.table(f"evaluations until f <= {TARGET:g} in {n} weights, median of {seeds} seeds", columns, cells, words=2)
    report.say("")
    above = [f"{e['problem']} {e['method']}" for e in entries if e["ratio"] is not None and e["ratio"] > BAR]
    report.say(f"above {BAR:g} times the peer: {', '.join(above) or 'none'}")
