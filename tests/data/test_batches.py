"""Batches: every row once an epoch, repeatable."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fallline.data.batches import batch_indices, epoch_order


@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 9), st.booleans())
def test_every_row_once_and_the_last_batch_short(n, batch_size, epoch, shuffle):
    batches = batch_indices(n, batch_size, seed=1, epoch=epoch, shuffle=shuffle)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == -(-n // batch_size)


def test_the_seed_and_the_epoch_decide():
    first = epoch_order(50, seed=3, epoch=0)
    np.testing.assert_array_equal(first, epoch_order(50, seed=3, epoch=0))
    assert first.tolist() != epoch_order(50, seed=3, epoch=1).tolist()
    assert first.tolist() != epoch_order(50, seed=4, epoch=0).tolist()


def test_without_shuffling_rows_keep_their_order():
    assert [b.tolist() for b in batch_indices(5, 2, shuffle=False)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in batch_indices(3, 9, shuffle=False)] == [[0, 1, 2]]
