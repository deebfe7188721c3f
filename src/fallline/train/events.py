"""Events: what the one training loop tells its consumers, and what a consumer may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Started:
    """Training begins, or goes on after `epoch` finished epochs.

    batches  steps in one epoch;  rows, validation_rows  sizes of the two parts of the data
    history  the rows of the history so far, where it goes on
    """

    epochs: int
    batches: int
    rows: int
    validation_rows: int = 0
    epoch: int = 0
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Inside `epoch` (counted from 1), `batch` of `batches` steps are done; `loss` is that of the last ones."""

    epoch: int
    batch: int
    batches: int
    loss: float


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """One row of the history; row["epoch"] is 0 for the untrained network."""

    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """Training is over: why, in words for the user, and the epoch whose weights are kept (None: there was none)."""

    reason: str
    best_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """A consumer's answer that ends training after this event; `reason` becomes that of Ended."""

    reason: str


Event = Started | BatchProgress | EpochEnded | Ended
Consumer = Callable[[Event], Stop | None]


def tell(consumers: Iterable[Consumer], event: Event) -> Stop | None:
    """Shows the event to every consumer, in order; the first Stop wins."""
    answers = [consumer(event) for consumer in consumers]
    return next((answer for answer in answers if answer is not None), None)
