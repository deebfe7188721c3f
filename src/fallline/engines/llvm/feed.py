"""Feed: memory of its own for short calls of a loop, so that no address changes from one call to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from fallline.core.spec import Spec

MOST_BYTES = 1 << 16  # of one feed: 64 KB are copied in 4 µs, what it takes to find the addresses of new arrays
KEPT = 4  # feeds of a loop, by number of steps: the longest unused one leaves first


class Feed:
    """What calls of so many steps are given, and what they leave.

    indices  (steps, batch) int64;  scanned, records  one array each, (steps, …)
    words    the call of `moves.run_fed`, and address, where they lie
    """

    def __init__(self, steps: int, batch: int, scanned: Sequence[Spec], records: Sequence[Spec]):
        self.indices = np.empty((steps, batch), np.int64)
        call = np.zeros(13, np.int64)
        call[10:12] = self.indices.ctypes.data, self.indices.size
        self.words, self.address = call.data, call.ctypes.data
        self.scanned = [np.empty((steps, *s.shape), s.dtype) for s in scanned]
        self.records = [np.empty((steps, *s.shape), s.dtype) for s in records]

    def take(self, scanned: Sequence[np.ndarray], indices: np.ndarray) -> bool:
        """Copies a call's arrays; False, with anything in the memory, where a shape is not the one that it is for."""
        if indices.shape != self.indices.shape:
            return False
        self.indices[...] = indices
        for own, array in zip(self.scanned, scanned, strict=True):
            if array.shape != own.shape:
                return False
            own[...] = array
        return True


class Feeds:
    """The feeds of a loop by number of steps.   None for calls that are too long"""

    def __init__(self, batch: int | None, scanned: Sequence[Spec], records: Sequence[Spec]):
        self._made: OrderedDict[int, Feed] = OrderedDict()
        row = 8 * (batch or 0) + sum(s.nbytes for s in (*scanned, *records))
        self._most = 0 if batch is None else MOST_BYTES // max(1, row)
        self._make: Callable[[int], Feed] = lambda steps: Feed(steps, batch or 0, scanned, records)

    def of(self, steps: int) -> Feed | None:
        found = self._made.get(steps)
        if found is None and 0 < steps <= self._most:
            found = self._made[steps] = self._make(steps)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        return found


__all__ = ["Feed", "Feeds"]
