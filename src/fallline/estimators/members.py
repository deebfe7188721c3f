"""Members: the networks of one kind, one a fold, all with the weights of the epoch that is best for all of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fallline.core.tree import leaves, with_leaves
from fallline.engines.engine import Engine
from fallline.estimators.budget import Clock
from fallline.estimators.folds import Fold, padded
from fallline.estimators.recipe import Recipe
from fallline.estimators.targets import Task
from fallline.nn.ensemble import Together
from fallline.nn.layer import Layer
from fallline.train.events import Event, Stop
from fallline.train.examples import Examples
from fallline.train.fit import start_model
from fallline.train.judging import Judging
from fallline.train.stopping import as_rule
from fallline.train.trail import parted
from fallline.train.trainer import Fit, Trainer


@dataclass(frozen=True)
class Course:
    """The training of one member, with its weights after every epoch, and what judges them."""

    fold: Fold
    fit: Fit
    judging: Judging

    @property
    def losses(self) -> np.ndarray:
        """Of the left-out rows, after each epoch."""
        return np.array([row["validation_loss"] for row in self.fit.history])

    def at(self, epoch: int) -> tuple[Layer, np.ndarray]:
        """The network after that epoch, and its scores of the left-out rows."""
        assert self.fit.path is not None
        network = self.fit.model.network
        network = with_leaves(network, parted(self.fit.path[epoch], leaves(network, "param")))
        judged = self.judging.look(leaves(network))
        assert judged is not None  # nothing stops it
        return network, judged.scores[: len(self.fold.judge)]


@dataclass
class Members:
    """A recipe on folds of some rows: `train` adds members, `best_epoch`, `scores` and `networks` answer for all.

    Arrays of all members have the same sizes, so that what is compiled for the first serves the others; which rows a
    member gets and its seed are known beforehand, so that the number of threads changes nothing.
    """

    recipe: Recipe
    examples: Examples
    task: Task
    folds: Sequence[Fold]
    seed: int
    engine: Engine
    stopping: threading.Event = field(default_factory=threading.Event)
    courses: list[Course] = field(default_factory=list)

    def __post_init__(self) -> None:
        task = self.task
        design = self.recipe.network(task.columns, self.examples.x, task.n_scores, task.output, task.start)
        self.design, self.loss = self.recipe.together(design, task.loss, task.n_scores)
        most = max(len(fold.train) for fold in self.folds)
        self.batch = self.recipe.rows_of_batch(most)
        self.sizes = -(-most // self.batch) * self.batch, max(len(fold.judge) for fold in self.folds)
        self.epochs = self.recipe.epochs_of(most)

    def train(self, n: int, pool: ThreadPoolExecutor, clock: Clock) -> None:
        """Members for the next n folds."""
        numbers = range(len(self.courses), min(len(self.courses) + n, len(self.folds)))
        self.courses += list(pool.map(lambda k: self._course(k, clock), numbers))

    def _course(self, k: int, clock: Clock) -> Course:
        fold = self.folds[k]
        rows = padded(self.examples.take(fold.train), self.sizes[0])
        judges = padded(self.examples.take(fold.judge), self.sizes[1])
        seed = int(np.random.default_rng((self.seed, k)).integers(2**31))
        model = start_model(self.design, rows, self.loss, self.task.target, self.engine, seed, strict=False)
        trainer = Trainer(
            model, self.recipe.optimizer(), rows, judges, epochs=self.epochs, batch_size=self.batch, seed=seed,
            engine=self.engine, keep_path=True, consumers=[self._look],
            early_stopping=as_rule([self.recipe.patience or None, clock.rule()]),
        )  # fmt: skip
        fit = trainer.run()
        return Course(fold, fit, Judging(fit.model.network, self.loss, judges, self.engine))

    def _look(self, event: Event) -> Stop | None:
        return Stop("interrupted") if self.stopping.is_set() else None

    @property
    def is_whole(self) -> bool:
        return len(self.courses) == len(self.folds)

    @property
    def rows(self) -> np.ndarray:
        """The rows that the members so far were judged by; of several repeats a row stands there several times."""
        return np.concatenate([course.fold.judge for course in self.courses])

    @property
    def best_epoch(self) -> int:
        """The epoch with the least loss of all left-out rows: one for all members, so that none profits from the noise
        of its few rows. Those that the clock cut count to where all have come.
        """
        done = min(len(course.losses) for course in self.courses)
        weights = [self.examples.w[course.fold.judge].sum() for course in self.courses]
        losses = np.average([course.losses[:done] for course in self.courses], axis=0, weights=weights)
        return int(np.nanargmin(losses))

    def answers(self) -> tuple[list[Layer], np.ndarray]:
        """The networks, and the scores of `rows`."""
        found = [course.at(self.best_epoch) for course in self.courses]
        networks = [net for made, _ in found for net in (made.members if isinstance(made, Together) else [made])]
        return networks, np.concatenate([scores for _, scores in found]).astype(np.float64)

    @property
    def detail(self) -> str:
        done = min(len(course.losses) for course in self.courses) - 1
        cut = f", cut by the clock after {done}" if done < self.epochs else ""
        return f"epoch {self.best_epoch} of {self.epochs}{cut}"


def by_row(n: int, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(n, …) the mean of the scores that each row got.   rows: their numbers, each at least once"""
    total = np.zeros((n, *scores.shape[1:]))
    np.add.at(total, rows, scores)
    return total / np.bincount(rows, minlength=n).reshape(n, *(1,) * (scores.ndim - 1))


__all__ = ["Members", "by_row"]
