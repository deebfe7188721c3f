"""Batches: the order of the rows in each epoch, from the seed and the epoch's number alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

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
