"""Batches: the order of the rows in each epoch, from the seed and the epoch's number alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing

TOGETHER = 4096  # rows of epochs that one generator shuffles: making a generator takes longer than shuffling 300 rows


def epoch_order(n: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> np.ndarray:
    """(n,) int64: every row once; another order for each epoch, the same for the same seed. Not to be written to."""
    if not shuffle:
        return np.arange(n)
    block = max(1, TOGETHER // max(1, n))
    return _orders(n, seed, block, epoch // block)[epoch % block]


@lru_cache(maxsize=8)
def _orders(n: int, seed: int, block: int, number: int) -> np.ndarray:
    """The orders of the epochs number · block and on, (block, n)."""
    rng = np.random.default_rng((seed, number))
    if block == 1:
        orders = rng.permutation(n)[None]
    else:
        orders = np.empty((block, n), np.int64)
        orders[:] = np.arange(n)
        rng.permuted(orders, axis=1, out=orders)
    orders.flags.writeable = False
    return orders


def batch_indices(n: int, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> list[np.ndarray]:
    """The rows of each batch of an epoch; the last batch is short when batch_size (1 or more) does not divide n."""
    order = epoch_order(n, seed=seed, epoch=epoch, shuffle=shuffle)
    return [order[i : i + batch_size] for i in range(0, n, batch_size)]


@dataclass(frozen=True, eq=False, repr=False)
class Batches(Listing):
    """A printed table with one row a batch; `.rows` holds each batch's row numbers, `.frame()` all of it."""

    rows: tuple[np.ndarray, ...] = ()


def batches(n: int, batch_size: int = 64, *, epochs: int = 1, seed: int = 0, shuffle: bool = True) -> Batches:
    """The batches b^k of n training rows in epochs 1, 2, …, as `fl.fit` takes them with this seed.

    Every row is in exactly one batch of each epoch; the last batch is short when batch_size does not divide n, and its
    step counts by its size. A fit with a share of validation rows numbers those that are left to train on.
    """
    for name, given, least in (("n", n, 1), ("batch_size", batch_size, 1), ("epochs", epochs, 1), ("seed", seed, 0)):
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < least:
            raise ConfigError(f"{name}={given!r}: {name} must be a whole number of at least {least}")
    numbers = range(1, epochs + 1)
    listed = [batch_indices(n, batch_size, seed=seed, epoch=epoch, shuffle=shuffle) for epoch in numbers]
    each = [(f"epoch {epoch}", k, rows) for epoch, found in zip(numbers, listed, strict=True)
            for k, rows in enumerate(found, 1)]  # fmt: skip
    columns: dict[str, list[Any]] = {"k": [k for _, k, _ in each], "size": [len(rows) for *_, rows in each],
               "rows": [" ".join(map(str, rows.tolist())) for *_, rows in each]}  # fmt: skip
    order = f"seed {seed}" if shuffle else "in their order"
    title = f"{n:,} rows in batches of {batch_size}, {order}"
    return Batches(title, columns, [epoch for epoch, *_ in each], rows=tuple(rows for *_, rows in each))
