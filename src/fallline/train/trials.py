"""Trials: what a search tries, in what order, and what it remembers of it in a folder."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.files import write_whole
from fallline.core.tree import leaves
from fallline.train.space import Choice, Range
from fallline.train.variants import Choices, Counts, Outcome, Parts, product_of

MOST_TRIALS = 200  # of a grid that nobody limited
TRIALS = 50  # of ranges of numbers, which have no end, where nobody says how many


@dataclass(frozen=True)
class Trial:
    """Values of all ranges by path, and for how many epochs they are trained."""

    values: Choices
    epochs: int

    @property
    def key(self) -> str:
        """The same for the same values and epochs, in any process."""
        told = repr((sorted((path, text_of(value)) for path, value in self.values.items()), self.epochs))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass
class Budget:
    """What a search may spend: trials are counted where they are drawn; None is no limit."""

    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        self.spent, self.start = 0, time.monotonic()

    @property
    def is_spent(self) -> bool:
        """Whether nothing more is to be tried."""
        if self.epochs is not None and self.spent >= self.epochs:
            return True
        return self.seconds is not None and time.monotonic() - self.start >= self.seconds


def draw(ranges: Mapping[str, Range], trials: int | None, seed: int) -> list[Choices]:
    """The values to try: the grid or a seeded part of it, in its order; of ranges without end random ones.

    Trial i of random ones depends on the seed and i alone, so that a longer search begins with the shorter one.
    """
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise ConfigError(f"trials={trials!r}: trials must be a whole number of at least 1")
    if not all(isinstance(part, Choice) for part in ranges.values()):
        shares = [np.random.default_rng((seed, i)).uniform(size=len(ranges)) for i in range(trials or TRIALS)]
        return [_at(ranges, each) for each in shares]
    axes = {path: list(part.values) for path, part in ranges.items() if isinstance(part, Choice)}
    shape = tuple(len(values) for values in axes.values())
    size = math.prod(shape)
    if trials is None and size > MOST_TRIALS:
        raise ConfigError(
            f"the grid has {size:,} trials, more than {MOST_TRIALS}: give trials=50 for a random part of it"
        )
    if trials is None or trials >= size:
        return product_of(axes)
    drawn = np.sort(np.random.default_rng(seed).choice(size, trials, replace=False))
    places = zip(*np.unravel_index(drawn, shape), strict=True)
    return [{name: axes[name][i] for name, i in zip(axes, at, strict=True)} for at in places]


def _at(ranges: Mapping[str, Range], shares: np.ndarray) -> Choices:
    return {path: part.at(float(share)) for (path, part), share in zip(ranges.items(), shares, strict=True)}


def rungs(n: int, epochs: int, eta: int | None) -> list[tuple[int, int]]:
    """(trials, epochs of each) of each round of successive halving, the last one with all epochs; one without eta.

    source  Jamieson & Talwalkar 2016 (arXiv:1502.07943), algorithm 1, with the fraction 1/eta of Li et al. 2018
            (Hyperband, arXiv:1603.06560)
    """
    if eta is None:
        return [(n, epochs)]
    if isinstance(eta, bool) or not isinstance(eta, int) or eta < 2:
        raise ConfigError(f"halving={eta!r}: give the factor by which trials become fewer, a whole number from 2 on")
    rounds = min(_whole_log(n, eta), _whole_log(epochs, eta))
    return [(max(1, n // eta**k), max(1, math.ceil(epochs / eta ** (rounds - k)))) for k in range(rounds + 1)]


def _whole_log(n: int, base: int) -> int:
    """The largest k with base^k <= n."""
    k = 0
    while base ** (k + 1) <= n:
        k += 1
    return k


class Notebook:
    """The finished trials of a search in a folder, one file each, so that a search that was killed can go on.

    Every file is written whole or not at all. A folder belongs to one search: `about` tells which.
    """

    def __init__(self, folder: str | Path | None, about: Mapping[str, Any]):
        self.folder = None if folder is None else Path(folder).expanduser()
        if self.folder is None:
            return
        told = hashlib.sha256(
            repr(sorted((name, text_of(value)) for name, value in about.items())).encode()
        ).hexdigest()
        head = self.folder / "search.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            known = json.loads(head.read_text(encoding="utf-8")) if head.exists() else None
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot use {self.folder} for the trials: {error}; choose another folder") from None
        if known is not None and known.get("about") != told:
            raise ConfigError(
                f"{self.folder} holds the trials of another search (other rows, folds, seed or settings): "
                "choose "
                "another folder, or delete that one"
            )
        if known is None:
            _write(head, {"about": told})

    def recall(self, trial: Trial, choices: Choices) -> Outcome | None:
        """The outcome of the trial, without its networks; None where it was not finished, or its file is damaged."""
        if self.folder is None:
            return None
        try:
            data = json.loads((self.folder / f"{trial.key}.json").read_text(encoding="utf-8"))
            metrics = {
                part: {name: np.array(values) for name, values in found.items()}
                for part, found in data["metrics"].items()
            }
            counts = tuple(data["best_epochs"]), tuple(data["epochs"]), data["parameters"]
            times = np.array(data["seconds"]), np.array(data["epoch_seconds"])
            return Outcome(choices, (), metrics, *times, data["failure"], recalled=Counts(*counts))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def note(self, trial: Trial, outcome: Outcome) -> None:
        """Writes a finished trial."""
        if self.folder is None:
            return
        metrics = {
            part: {name: values.tolist() for name, values in found.items()} for part, found in outcome.metrics.items()
        }
        counts = outcome.counts
        data = {
            "values": {path: text_of(value) for path, value in trial.values.items()}, "metrics": metrics,
            "seconds": outcome.seconds.tolist(), "epoch_seconds": outcome.epoch_seconds.tolist(),
            "failure": outcome.failure, "best_epochs": counts.best_epochs, "epochs": counts.epochs,
            "parameters": counts.parameters,
        }  # fmt: skip
        _write(self.folder / f"{trial.key}.json", data)


def text_of(value: Any) -> str:
    """A choice as text that is the same in every process, also of a function."""
    if isinstance(value, Mapping):
        return repr([(str(name), text_of(part)) for name, part in value.items()])
    if isinstance(value, (tuple, list)):
        return repr([text_of(part) for part in value])
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def digest_of(parts: Parts) -> str:
    """A fingerprint of all rows."""
    found = hashlib.sha256()
    for x, y in parts.present.values():
        arrays = [x.to_numpy()] if hasattr(x, "to_numpy") else list(leaves(x).values())
        for array in (*arrays, y):
            plain = np.asarray(array)
            found.update(repr((plain.shape, str(plain.dtype))).encode())
            found.update(plain.tobytes() if plain.dtype.kind != "O" else repr(plain.tolist()).encode())
    return found.hexdigest()


def _write(path: Path, data: Any) -> None:
    """All of the file or nothing."""
    try:
        write_whole(path, [json.dumps(data, indent=1).encode()])
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; choose another folder") from None


__all__ = ["Budget", "Notebook", "Trial", "digest_of", "draw", "rungs"]
