"""Replay: how to come back to the arrays before a failed step, where the engine has gone on in its own memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from fallline.engines.engine import LoopResult

Run = Callable[[Sequence[np.ndarray], np.ndarray, Sequence[np.ndarray]], LoopResult]
SHARE = 0.01  # of the time, at most, that goes into reading arrays out of the engine


class Replay:
    """Carried arrays that are known, and the calls since: what is repeated to see a failed step again.

    run  (carry, indices, scanned) -> LoopResult
    """

    def __init__(self, run: Run, carry: Sequence[np.ndarray]):
        self._run = run
        self._seconds = 0.0  # that reading the arrays took last
        self._keep(carry)

    def _keep(self, carry: Sequence[np.ndarray]) -> None:
        start = time.perf_counter()
        self._known = list(carry)
        self._calls: list[tuple[np.ndarray, Sequence[np.ndarray]]] = []
        self._at = time.perf_counter()
        self._seconds = self._at - start

    def note(self, indices: np.ndarray, scanned: Sequence[np.ndarray]) -> None:
        """A call that is about to be made."""
        self._calls.append((indices, scanned))

    def done(self, carry: Sequence[np.ndarray]) -> None:
        """The call went well; now and then its arrays are read, so that there is never much to repeat."""
        if (time.perf_counter() - self._at) * SHARE >= self._seconds:
            self._keep(carry)

    def before(self, step: int) -> Sequence[np.ndarray]:
        """The carried arrays before that step of the last call, counted from 0."""
        carry: Sequence[np.ndarray] = self._known
        for indices, scanned in self._calls[:-1]:
            carry = self._run(carry, indices, scanned).carry
        indices, scanned = self._calls[-1]
        if step > 0:
            carry = self._run(carry, indices[:step], [values[:step] for values in scanned]).carry
        return list(carry)


__all__ = ["Replay"]
