"""Feeding: the rows as an engine takes them. Small batches may be filled up, and sparse rows become dense in time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.tree import leaves
from fallline.train.examples import Examples

# A batch is filled up to a power of two of at least SMALLEST rows, or to a multiple of GRAIN, not beyond MOST_FILLED.
SMALLEST = 8
GRAIN, MOST_FILLED = 32, 4096
SHARE = 16  # a last batch is filled up to a whole one where that adds no more than this part of the rows
DENSE_AT_ONCE = 1 << 26  # bytes of sparse rows that one engine call gets


class SparseRows:
    """Rows of a sparse matrix in the place of an array: what is taken of them is dense."""

    def __init__(self, matrix: Any, dtype: Any):
        self.matrix = matrix.tocsr().astype(dtype)
        self.shape, self.dtype = self.matrix.shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.matrix[rows].toarray()

    def part(self, rows: np.ndarray) -> SparseRows:
        """Some of the rows, sparse as they are."""
        return SparseRows(self.matrix[rows], self.dtype)


class Feed:
    """Rows to train on, and batches of them.

    fills  whether small batches are filled up by a row of weight 0, the one behind the last, so that few sizes are
           compiled; only where a batch is a mean of its own, and what a row gives does not depend on the others
    """

    def __init__(self, train: Examples, batch_size: int, fills: bool):
        self.rows, self.batch_size, self.fills = len(train), min(batch_size, len(train)), fills
        self._data = train.arrays
        sparse = [leaf for leaf in leaves(train.x).values() if isinstance(leaf, SparseRows)]
        self.most_steps: int | None = None  # of one call
        if sparse:
            size = sum(leaf.shape[1] * leaf.dtype.itemsize for leaf in sparse)
            self.most_steps = max(1, DENSE_AT_ONCE // (size * self.batch_size))
        elif any(self.size(rows) != rows for rows in {self.batch_size, self.rows % self.batch_size} - {0}):
            *parts, w = train.arrays
            self._data = [np.concatenate([part, part[:1]]) for part in parts] + [np.append(w, w.dtype.type(0))]

    def size(self, rows: int) -> int:
        """How many rows a batch of so many has when it is filled up."""
        chosen = self.rows > self.batch_size == rows  # the size of most batches, and not that of the table
        if not self.fills or rows > MOST_FILLED or chosen:
            return rows
        if self.batch_size - rows <= self.rows // SHARE and rows < self.batch_size:
            return self.batch_size  # then one call has all batches
        most = self.size(self.batch_size) if rows < self.batch_size else MOST_FILLED
        return min(most, max(SMALLEST, 1 << (rows - 1).bit_length()) if rows < 2 * GRAIN else -(-rows // GRAIN) * GRAIN)

    def filled(self, indices: np.ndarray) -> np.ndarray:
        """The batches (steps, rows), each filled up."""
        short = self.size(indices.shape[1]) - indices.shape[1]
        return np.pad(indices, ((0, 0), (0, short)), constant_values=self.rows) if short else indices

    def whole(self, order: np.ndarray) -> np.ndarray:
        """The order of an epoch, where its last batch is as good as whole filled up to a whole one."""
        left = len(order) % self.batch_size
        if not left or self.size(left) != self.batch_size:
            return order
        return np.append(order, np.full(self.batch_size - left, self.rows))

    def counts(self, indices: np.ndarray) -> np.ndarray:
        """(steps,) how many rows of each batch are no filling."""
        return (indices < self.rows).sum(axis=1)

    def given(self, indices: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """The arrays for these batches, and the row numbers in them."""
        if self.most_steps is None:
            return self._data, indices
        rows = indices.ravel()
        *parts, w = self._data
        fills = rows == self.rows
        taken = np.where(fills, 0, rows)
        arrays = [*(part[taken] for part in parts), np.where(fills, 0, w[taken]).astype(w.dtype)]
        return arrays, np.arange(rows.size).reshape(indices.shape)


__all__ = ["Feed", "SparseRows"]
