"""Bag: members of several kinds (linear, kernel, networks of several recipes) that answer together.

Every kind is trained on the folds of one cross-validation, so that each row has a score by members that never saw it.
Networks are tried on the first folds; those that do best get all of them (successive halving). Scores of left-out rows
decide what share each kind gets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from fallline.core.listing import Listing
from fallline.core.tree import map_leaves
from fallline.engines.engine import Engine, get_engine
from fallline.estimators.budget import FEW, Budget, Clock, Plan
from fallline.estimators.folds import Fold, make_folds
from fallline.estimators.kernel import expected_seconds, fit_kernel
from fallline.estimators.linear import STRENGTHS, fit_linear
from fallline.estimators.members import Members, by_row
from fallline.estimators.mixing import as_good_as_the_best, link_of, mean_loss, mixed, shares_of, spread
from fallline.estimators.recipe import Recipe, recipes_for
from fallline.estimators.targets import Task
from fallline.nn.ensemble import Ensemble, Mixture
from fallline.nn.layer import Layer
from fallline.train.examples import Examples
from fallline.train.fit import start_model

LINEAR = Recipe(hidden=())
TRIAL = 2  # folds on which a recipe is tried
KERNELS = {1: "kernel", 2: "kernel, round"}  # by the norm of the differences
FAR = 1.25  # a recipe whose loss of left-out rows is so many times that of the best kind is not worth its other folds


@dataclass(frozen=True)
class Bag:
    """What training a bag leaves.

    network      all members, each with its share
    out_of_fold  (n,) or (n, n_scores) float64: the score of each row by those members that never saw it
    members      what was trained, with losses of left-out rows, shares and seconds;  seconds  of all of it
    """

    network: Layer
    out_of_fold: np.ndarray
    members: Listing
    seconds: float


@dataclass
class _Kind:
    """Members that were made the same way.

    scores  of every row by those that never saw it; None where the kind was dropped
    """

    name: str
    loss: float
    detail: str
    seconds: float
    networks: Sequence[Layer] = ()
    scores: np.ndarray | None = None


def train_bag(
    examples: Examples,
    task: Task,
    *,
    recipes: Sequence[Recipe] | None = None,
    budget: Budget = Budget(),
    seed: int = 0,
    engine: str | Engine = "auto",
    threads: int | None = None,
) -> Bag:
    """Trains members on folds of the rows and mixes them by how well they told the rows that they never saw.

    recipes  of networks that are tried; None: the first ones of `recipes_for`, as many as the budget allows
    threads  members that train at once; None: one a core. The result does not depend on it
    """
    n_threads = threads or os.cpu_count() or 1
    work = _Work(examples, task, budget, seed, _each_on_one_thread(get_engine(engine), n_threads))
    chosen = recipes_for(len(examples), work.plan.tried) if recipes is None else tuple(recipes)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as pool:
        work.run(chosen, pool)
    return work.bag()


def _each_on_one_thread(engine: Engine, members: int) -> Engine:
    """The engine for members that train at once: cores are shared out once."""
    if members == 1 or engine.threads_refused():
        return engine
    return engine.with_options(threads=1, precision=engine.precision)


@dataclass
class _Work:
    """The training of one bag."""

    examples: Examples
    task: Task
    budget: Budget
    seed: int
    engine: Engine
    kinds: list[_Kind] = field(default_factory=list)

    def __post_init__(self) -> None:
        n, task = len(self.examples), self.task
        self.clock: Clock = self.budget.clock()
        self.plan: Plan = self.budget.plan(n)
        self.folds: list[list[Fold]] = [
            make_folds(n, self.plan.folds, np.random.default_rng((self.seed, r)), task.codes, task.groups)
            for r in range(self.plan.repeats)
        ]

    def run(self, recipes: Sequence[Recipe], pool: ThreadPoolExecutor) -> None:
        """Trains all kinds, the sure ones first."""
        given = self.examples, self.task, self.folds[0]
        first = [pool.submit(_kind, "linear", lambda: _linear(*given, self.engine))]
        for norm in list(KERNELS)[: self.plan.kernels if self._has_time_for_kernels else 0]:
            first.append(pool.submit(_kind, KERNELS[norm], partial(self._kernel, norm)))
        self.kinds += [made.result() for made in first]
        every = [fold for folds in self.folds for fold in folds]
        tried = [Members(r, *given[:2], every, self.seed + k, self.engine) for k, r in enumerate(recipes)]
        try:
            self._networks(tried, pool)
        except BaseException:
            for members in tried:
                members.stopping.set()
            raise

    @property
    def _centres(self) -> int:
        """Of a kernel member: all rows, or some of them."""
        few, many = self.plan.centres
        return len(self.examples) if len(self.examples) <= many else few

    @property
    def _has_time_for_kernels(self) -> bool:
        """Whether they leave half of the seconds to the networks."""
        return self.plan.kernels * expected_seconds(len(self.examples), self._centres) <= self.clock.left / 2

    def _kernel(self, norm: int) -> tuple[Any, str]:
        found = fit_kernel(
            self.examples, self.task, self.folds[0], most=self._centres, norm=norm, seed=self.seed, engine=self.engine
        )
        return found, found.detail

    def _networks(self, tried: Sequence[Members], pool: ThreadPoolExecutor) -> None:
        """Every recipe on a few folds, then the best ones on all."""
        seconds = [self._train(members, TRIAL, pool) for members in tried]
        begun = [k for k, members in enumerate(tried) if members.courses]
        losses = {k: self._loss(tried[k]) for k in begun}
        kept = [
            k
            for k in sorted(begun, key=losses.__getitem__)[: self.plan.kept]
            if len(tried) == 1 or self._is_worth_it(tried[k])
        ]
        for k, members in enumerate(tried):
            name = members.recipe.summary()
            if k in kept:
                seconds[k] += self._train(members, len(members.folds), pool)
            if members.is_whole:
                networks, scores = members.answers()
                scores = by_row(len(self.examples), members.rows, scores)
                self.kinds.append(self._kind_of(name, members, seconds[k], networks, scores))
            else:
                why = "cut by the clock" if self.clock.is_over else f"dropped after {len(members.courses)} folds"
                self.kinds.append(_Kind(name, losses.get(k, np.nan), why, seconds[k]))

    def _train(self, members: Members, n: int, pool: ThreadPoolExecutor) -> float:
        """Trains members, unless time is over; the seconds that it took."""
        start = time.perf_counter()
        if not self.clock.is_over:
            members.train(n, pool, self.clock)
        return time.perf_counter() - start

    def _kind_of(self, name: str, members: Members, seconds: float, networks: Any, scores: np.ndarray) -> _Kind:
        loss = mean_loss(scores, self.examples.y, self.examples.w, self.task.loss)
        return _Kind(name, loss, members.detail, seconds, networks, scores)

    def _loss(self, members: Members) -> float:
        rows = members.rows
        return mean_loss(members.answers()[1], self.examples.y[rows], self.examples.w[rows], self.task.loss)

    def _is_worth_it(self, members: Members) -> bool:
        """Whether the members so far are not both clearly and far worse than the best of the kinds that are there."""
        rows, scores = members.rows, members.answers()[1]
        y, w = self.examples.y[rows], self.examples.w[rows]
        every = [scores, *(kind.scores[rows] for kind in self.kinds if kind.scores is not None)]
        losses = np.stack([np.asarray(self.task.loss(s, y), dtype=np.float64) for s in every])
        means = np.average(losses, axis=1, weights=w)
        return bool(means[0] <= FAR * means.min() or as_good_as_the_best(losses, w)[0])

    def bag(self) -> Bag:
        """All kinds with a share."""
        examples, loss = self.examples, self.task.loss
        whole = [kind for kind in self.kinds if kind.scores is not None]
        scores = np.stack([np.asarray(kind.scores) for kind in whole], axis=1)
        shares, link = shares_of(scores, examples.y, examples.w, loss, self.seed), link_of(loss)
        kept = [kind for kind, share in zip(whole, shares, strict=True) if share > 0]
        each = spread([s for s in shares if s > 0], [len(kind.networks) for kind in kept])
        mix = Mixture(link, shares=np.array(each, examples.w.dtype))
        network = Ensemble(*(member for kind in kept for member in kind.networks), mix=mix)
        together = mixed(scores, shares, link)
        by_kind = {id(kind): float(share) for kind, share in zip(whole, shares, strict=True)}
        listed: dict[str, list[Any]] = {
            "kind": [kind.name for kind in self.kinds],
            "members": [len(kind.networks) for kind in self.kinds],
            "loss": [kind.loss for kind in self.kinds],
            "share": [by_kind.get(id(kind), 0.0) for kind in self.kinds],
            "seconds": [kind.seconds for kind in self.kinds],
            "detail": [kind.detail for kind in self.kinds],
        }
        whole_loss = mean_loss(together, examples.y, examples.w, loss)
        note = (
            f"loss: of rows that the members never saw, together {whole_loss:.5g}; "
            f"{self.plan.folds} folds, budget {self.budget.level}, {self.clock.seconds:.2g} s"
        )
        members = Listing("Members of the bag", listed, [""] * len(self.kinds), note, digits=4)
        return Bag(network, together, members, self.clock.seconds)


def _kind(name: str, make: Callable[[], tuple[Any, str]]) -> _Kind:
    """A kind with one member, fitted to all rows; its scores are those of fits to the folds."""
    start = time.perf_counter()
    found, detail = make()
    return _Kind(name, found.loss, detail, time.perf_counter() - start, [found.network], found.scores)


def _linear(examples: Examples, task: Task, folds: Sequence[Fold], engine: Engine) -> tuple[Any, str]:
    exact = replace(examples, x=map_leaves(_double, examples.x), y=_double("", examples.y), w=_double("", examples.w))
    network = LINEAR.network(task.columns, exact.x, task.n_scores, task.output)
    model = start_model(network, exact, task.loss, task.target, engine, 0, strict=False)
    strengths = STRENGTHS if len(exact) <= FEW else STRENGTHS[::2]
    found = fit_linear(model, exact, folds, engine, strengths)
    return found, f"strength {found.strength:.3g}"


def _double(_: str, leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf


__all__ = ["Bag", "train_bag"]
