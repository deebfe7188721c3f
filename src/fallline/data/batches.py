"""Batches: the order of the rows in each epoch, from the seed and the epoch's number alone."""

from __future__ import annotations

import numpy as np


def epoch_order(n: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> np.ndarray:
    """(n,) int64: every row once; another order for each epoch, the same for the same seed."""
    return np.random.default_rng((seed, epoch)).permutation(n) if shuffle else np.arange(n)


def batch_indices(n: int, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True) -> list[np.ndarray]:
    """The rows of each batch of an epoch; the last batch is short when batch_size (1 or more) does not divide n."""
    order = epoch_order(n, seed=seed, epoch=epoch, shuffle=shuffle)
    return [order[i : i + batch_size] for i in range(0, n, batch_size)]
