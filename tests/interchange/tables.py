"""Packaged tables with what real ones have: missing cells, categories, and cells that training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import fallline as fl
from fallline.data.datasets import dataset_names, load_dataset
from fallline.train.tabular import TableOptions, prepare

NAMES = dataset_names()
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Case:
    """A trained model, and rows as a dict of lists, which neither training nor validation had."""

    model: fl.Model
    rows: Columns


def spoilt(columns: Columns, seed: int, *, unseen: bool) -> Columns:
    """With two more columns of text, and a tenth of all cells missing; `unseen` also puts in levels of its own."""
    rng, n = np.random.default_rng(seed), len(next(iter(columns.values())))
    made = {name: list(np.asarray(cells).tolist()) for name, cells in columns.items()}
    made["colour"] = rng.choice(["red", "green", "deep blue", "Ω"], n).tolist()  # as many features
    made["town"] = [f"town {k}" for k in rng.integers(0, 60, n)]  # a code for an embedding
    if unseen:
        for name, cells in made.items():
            for row in np.flatnonzero(rng.random(n) < 0.05).tolist():
                cells[row] = f"new {name}" if isinstance(cells[row], str) else 1e6
    for cells in made.values():
        for row in np.flatnonzero(rng.random(n) < 0.1).tolist():
            cells[row] = None
    return made


@cache
def case(name: str, precision: str | None = None) -> Case:
    """The model of a packaged table after a few epochs on two thirds of it, and the last third."""
    packed = load_dataset(name)
    order = np.random.default_rng(0).permutation(len(packed.columns[packed.target]))
    columns = {key: np.asarray(cells, object)[order].tolist() for key, cells in packed.columns.items()}
    targets, cut = columns.pop(packed.target), 2 * len(order) // 3
    train = spoilt({key: cells[:cut] for key, cells in columns.items()}, 1, unseen=False)
    options = TableOptions(hidden=(16,), epochs=8, precision=precision)
    run = prepare(fl.read_table(train | {packed.target: targets[:cut]}), packed.target, options).train()
    return Case(run.fit.model, spoilt({key: cells[cut:] for key, cells in columns.items()}, 2, unseen=True))
