"""Folds: which rows train a member of a bag and which judge it, all members with arrays of one size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fallline.core.errors import DataError
from fallline.train.examples import Examples


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers: those that train a member, and those that it never sees."""

    train: np.ndarray
    judge: np.ndarray


def make_folds(
    n: int, k: int, rng: np.random.Generator, codes: np.ndarray | None = None, groups: np.ndarray | None = None
) -> list[Fold]:
    """k folds in a random order: every row judges once.

    codes   (n,) classes, of which every fold has its share to within a row
    groups  (n,) rows of one group are in one fold
    """
    place = _places(n, k, rng, codes) if groups is None else _places_of_groups(groups, k, rng)
    return [Fold(np.flatnonzero(place != j), np.flatnonzero(place == j)) for j in range(k)]


def _places(n: int, k: int, rng: np.random.Generator, codes: np.ndarray | None) -> np.ndarray:
    """(n,) the fold of each row: the rows in a random order, class by class, are dealt out in turn."""
    order = rng.permutation(n)
    if codes is not None:
        order = order[np.argsort(np.asarray(codes)[order], kind="stable")]
    place = np.empty(n, np.int64)
    place[order] = np.arange(n) % k
    return place


def _places_of_groups(groups: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) the fold of each row: the largest groups first, each to the smallest fold."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < k:
        raise DataError(f"groups has {len(counts)} different groups, {k} folds need as many: give more groups")
    order = rng.permutation(len(counts))
    sizes, place = np.zeros(k, np.int64), np.zeros(len(counts), np.int64)
    for group in order[np.argsort(-counts[order], kind="stable")]:
        place[group] = int(np.argmin(sizes))
        sizes[place[group]] += counts[group]
    return place[codes]


def padded(examples: Examples, n: int) -> Examples:
    """The rows and then copies of the first ones with weight 0, n in all: sizes of arrays decide what is compiled."""
    more = n - len(examples)
    if more <= 0:
        return examples
    longer = examples.take(np.concatenate([np.arange(len(examples)), np.arange(more) % len(examples)]))
    weights = longer.w.copy()
    weights[len(examples) :] = 0.0
    return replace(longer, w=weights)


__all__ = ["Fold", "make_folds", "padded"]
