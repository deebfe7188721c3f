"""Variants: networks that differ in named choices, trained on the same split of the same rows.

A choice is a keyword of `mlp` (hidden, activation, dropout …), of `fit` (loss, optimizer, batch_size, l2 …), the
`learning_rate`, or a whole `network` in place of mlp's. `compare`, `search` and the presets train through here.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.core.tree import map_leaves
from fallline.data.split import split_rows
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer, count_parameters
from fallline.nn.mlp import mlp
from fallline.train.descent import Descent
from fallline.train.events import EpochEnded, Event, Started
from fallline.train.examples import as_inputs, as_targets, class_codes, n_rows, take_rows
from fallline.train.fit import choose_target, fit
from fallline.train.trainer import Fit

DESIGN = tuple(name for name in inspect.signature(mlp).parameters if name != "n_outputs")
FITTING = tuple(name for name in inspect.signature(fit).parameters if name not in ("network", "data"))
CHOICES = (*DESIGN, *FITTING, "network")
PER_ROW = ("sample_weight",)  # would have to be split with the rows
Choices = dict[str, Any]
Pair = tuple[Any, np.ndarray]


@dataclass(frozen=True, eq=False)
class Parts:
    """The same rows for every variant: (X, y) to train on, and those to choose and to judge by, or None."""

    train: Pair
    validation: Pair | None = None
    test: Pair | None = None

    @classmethod
    def of(cls, data: Any, validation: float = 0.0, test: float = 0.0, seed: int = 0, loss: Any = None) -> Parts:
        """The rows split by the seed; where they have classes, every part has its share of each."""
        x, y = as_pair(data)
        split = split_rows(len(y), validation=validation, test=test, seed=seed, y=class_codes_of(y, loss))
        pairs = [
            (_rows_of(x, rows), y[rows]) if len(rows) else None for rows in (split.train, split.validation, split.test)
        ]
        return cls(*pairs)  # type: ignore[arg-type]  # some rows always train

    @property
    def present(self) -> dict[str, Pair]:
        """The parts with rows, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: pair for name, pair in found.items() if pair is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {len(y):,}" for name, (_, y) in self.present.items()) + " rows"


class Clock:
    """Notes when each epoch ends, and how many steps it has."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.steps = 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.steps = event.batches
        elif isinstance(event, EpochEnded):
            self.times.append(time.perf_counter())

    @property
    def epoch_seconds(self) -> float:
        """The median: the first epoch also holds the building of the program."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else float("nan")

    @property
    def seconds(self) -> np.ndarray:
        """(epochs + 1,) from the end of epoch 0, in which the program was built, to that of each epoch."""
        return np.array(self.times) - self.times[0] if self.times else np.zeros(0)


@dataclass(frozen=True)
class Counts:
    """The epochs whose weights are kept, and those that were trained, one a fit; how many numbers training changes."""

    best_epochs: tuple[int, ...]
    epochs: tuple[int, ...]
    parameters: int | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one variant.

    choices  all of them;  fits  one a seed;  metrics  part -> metric -> one number a seed ("loss" is always there)
    seconds, epoch_seconds  of training, one number a seed;  failure  why there are no fits, else ""
    clocks   one a seed: when each epoch ended
    descent  in place of fits, where a function went down instead of a network
    recalled  in place of fits, where the outcome was read from a file
    """

    choices: Choices
    fits: tuple[Fit, ...] = ()
    metrics: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    epoch_seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    failure: str = ""
    clocks: tuple[Clock, ...] = ()
    descent: Descent | None = None
    recalled: Counts | None = None

    @cached_property
    def counts(self) -> Counts:
        """Of the fits, or what is remembered of them."""
        if self.recalled is not None:
            return self.recalled
        best, last = [fit.best_epoch for fit in self.fits], [fit.history[-1]["epoch"] for fit in self.fits]
        return Counts(tuple(best), tuple(last), count_parameters(self.fits[0].model.network) if self.fits else None)

    @property
    def parameters(self) -> int | None:
        """How many numbers training changes; None for a variant that could not be trained."""
        return self.counts.parameters

    def mean(self, part: str, metric: str = "loss") -> float:
        """The mean over the seeds; NaN where there is no such number."""
        found = self.metrics.get(part, {}).get(metric)
        return float("nan") if found is None else float(found.mean())


def as_pair(data: Any) -> Pair:
    """(X, y) as arrays; DataError for anything else."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(f"data must be a pair (X, y), given {type(data).__name__}")
    x, y = data[0], as_targets(data[1])
    if not hasattr(x, "to_numpy"):  # a frame keeps the names of its columns
        x = map_leaves(lambda _, leaf: np.asarray(leaf), np.asarray(x) if isinstance(x, list) else x)
    if y.ndim == 0 or _count_rows(x) != len(y):
        raise DataError(f"data: X has {_count_rows(x)} rows and y shape {y.shape}: they must have equally many rows")
    return x, y


def _count_rows(x: Any) -> int:
    return len(x) if hasattr(x, "to_numpy") else n_rows(x)


def _rows_of(x: Any, rows: np.ndarray) -> Any:
    """Some rows of a frame, an array or a tree of arrays."""
    if not hasattr(x, "to_numpy"):
        return take_rows(x, rows)
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]


def class_codes_of(y: np.ndarray, loss: Any = None) -> np.ndarray | None:
    """The code of each row's class; None for numbers."""
    target, _ = choose_target(y, None if loss is None else as_record(loss, Loss))
    return class_codes(target.classes, y) if target.classes else None


def n_scores_for(y: Any, loss: str | Loss | None) -> int:
    """How many scores a row a network for these targets gives: what the loss needs, given or chosen by the targets."""
    targets = as_targets(y)
    target, chosen = choose_target(targets, None if loss is None else as_record(loss, Loss))
    return chosen.n_scores(len(target.classes), 1 if targets.ndim == 1 else targets.shape[1])


def check_choices(names: Any) -> None:
    """ConfigError for a keyword that is no choice, with the nearest known ones."""
    for name in names:
        if name in PER_ROW:
            raise ConfigError(f"{name} belongs to single rows, which are split here: use class_weight, or fl.fit")
        if name not in CHOICES:
            raise ConfigError(f"no choice is called {name!r}: {nearest(name, CHOICES)}")


def network_for(data: Any, choices: Mapping[str, Any]) -> Layer:
    """The recipe that the choices describe, with as many outputs as the targets need."""
    design = {name: choices[name] for name in DESIGN if name in choices}
    if choices.get("network") is None:
        return mlp(n_outputs=n_scores_for(data[1], choices.get("loss")), **design)
    if design:
        raise ConfigError(f"{next(iter(design))} shapes mlp's network, not one of your own: give one of the two")
    return choices["network"]


def fit_choices(data: Any, choices: Mapping[str, Any], **fixed: Any) -> Fit:
    """One network with these choices, trained by `fit`.   fixed: further keywords of fit, which win"""
    fitting = {name: choices[name] for name in FITTING if name in choices} | fixed
    return fit(network_for(data, choices), data, **fitting)


def count_for(data: Any, choices: Mapping[str, Any]) -> int:
    """The number of parameters of the network that the choices describe, on inputs like these."""
    x = data[0].to_numpy() if hasattr(data[0], "to_numpy") else data[0]
    network = network_for(data, choices)
    return count_parameters(network.build(take_rows(as_inputs(x, network, np.float32), np.s_[:2]), 0))


def run_variant(parts: Parts, choices: Mapping[str, Any], seeds: Sequence[int]) -> Outcome:
    """Trains one variant once a seed and judges it on every part."""
    fits, seconds, clocks = [], [], []
    found: dict[str, list[Any]] = {part: [] for part in parts.present}
    for seed in seeds:
        clock, start = Clock(), time.perf_counter()
        callbacks = (*several(choices.get("callbacks", ())), clock)
        made = fit_choices(parts.train, choices, validation=parts.validation, seed=seed, callbacks=callbacks)
        seconds.append(time.perf_counter() - start)
        clocks.append(clock)
        fits.append(made)
        for part, pair in parts.present.items():
            found[part].append(made.model.evaluate(*pair))
    metrics = {part: {name: np.array([row[name] for row in rows]) for name in rows[0]} for part, rows in found.items()}
    epochs = np.array([clock.epoch_seconds for clock in clocks])
    return Outcome(dict(choices), tuple(fits), metrics, np.array(seconds), epochs, clocks=tuple(clocks))


def several(given: Any) -> tuple[Any, ...]:
    """One thing or several, as fit takes callbacks and metrics."""
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)


def product_of(axes: Mapping[str, Sequence[Any]]) -> list[Choices]:
    """Every combination of the axes' values, the last axis fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def choice_text(value: Any) -> str:
    """A choice as a cell: "relu", "64, 32", "(none)"."""
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or "(none)"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return str(value)
