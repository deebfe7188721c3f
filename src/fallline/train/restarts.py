"""Restarts: training from several random starts, of which the best is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.train.history import History
from fallline.train.model import Model
from fallline.train.trainer import Fit, Trainer


def best_of_starts(trainer: Trainer, start: Callable[[int], Model], starts: int, *, filled: bool) -> Fit:
    """The best of some fits, which begin with the seeds seed, seed + 1, …; the rows of the two parts stay the same.

    The best is the one whose kept weights have the lowest validation loss, without validation rows train loss.
    trainer  of the first start;  start  seed -> model of the others;  filled  whether the network had weights before
    """
    if starts == 1:
        return trainer.run()
    if filled:
        raise ConfigError(f"restarts={starts} of a network that has its weights already: give a recipe, without them")
    fits: dict[int, Fit] = {}
    failure: NonFiniteError | None = None
    for seed in range(trainer.seed, trainer.seed + starts):
        try:
            first = seed == trainer.seed
            one = trainer if first else replace(trainer, model=start(seed), seed=seed, history=History())
            fits[seed] = one.run()
        except NonFiniteError as error:
            failure = failure or error
            continue
        if not len(fits[seed].history):  # a callback ended it before epoch 0: there is nothing to compare
            return fits[seed]
        if fits[seed].ended == "interrupted":
            break
    if not fits and failure is not None:
        raise failure
    column = "validation_loss" if trainer.validation is not None else "train_loss"
    losses = {seed: loss_of_kept(fit, column) for seed, fit in fits.items()}
    best = min(losses, key=lambda seed: (math.isnan(losses[seed]), losses[seed]))
    return replace(fits[best], restarts=_listing(fits, losses, column, best))


def loss_of_kept(fit: Fit, column: str) -> float:
    """The loss of the weights that the fit keeps."""
    row = next(row for row in fit.history if row["epoch"] == fit.best_epoch)
    return float(row.get(column, math.nan))


def _listing(fits: dict[int, Fit], losses: dict[int, float], column: str, best: int) -> Listing:
    """One row for each start that ended with numbers."""
    name = column.replace("_", " ")
    columns: dict[str, Any] = {
        "seed": list(fits),
        "start": [float(fit.history["train_loss"][0]) for fit in fits.values()],
        name: list(losses.values()),
        "epoch": [fit.best_epoch for fit in fits.values()],
        "": ["best" if seed == best else "" for seed in fits],
    }
    return Listing(f"{len(fits)} starts", columns, [""] * len(fits), f"{name}: {spread_text(list(losses.values()))}", 6)


def spread_text(values: Sequence[float]) -> str:
    """Best, worst and what lies between them, in words."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{number_text(low, 6)} at best, {number_text(high, 6)} at worst, a spread of {number_text(high - low, 3)}"
