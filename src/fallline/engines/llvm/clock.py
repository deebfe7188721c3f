"""Clock: how long each entry of a table takes, and all of them together."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fallline.engines.llvm.driver import ENTRY_WORDS
from fallline.engines.llvm.engine import NativeCall, NativeLoop
from fallline.engines.report import MOST_STEPS, Sample, repeated, seconds_of
from fallline.graph.value import Value

MOST_BYTES = 1 << 26  # of the row numbers of all steps of one measurement


class Clock:
    """Measures each entry of a program alone, and the whole, on one thread, with its arrays filled by a real run."""

    def __init__(self, native: NativeLoop | NativeCall, sample: Sample):
        self.native, self.bound, self.most = native, native.bound, MOST_STEPS
        self._kept: list[Any] = []
        if isinstance(native, NativeLoop):
            self._fill_loop(native, sample)
        else:
            self._kept = [np.ascontiguousarray(a) for a in sample.batch]
            native(*(a.reshape(v.shape) for a, v in zip(self._kept, native.program.inputs, strict=True)))
            self.bound.given = dict(enumerate(self._kept))

    def _fill_loop(self, native: NativeLoop, sample: Sample) -> None:
        """One real step; then memory for the numbers of many steps, which are all like the first one."""
        assert sample.carry is not None
        assert sample.rows is not None
        split = sample.carry + sample.scan
        carried, scanned, tables = (
            sample.arrays[: sample.carry],
            sample.arrays[sample.carry : split],
            sample.arrays[split:],
        )
        native(carried, [a[None] for a in scanned], tables, sample.rows[None])
        self.most = max(1, min(MOST_STEPS, MOST_BYTES // max(1, sample.rows.nbytes)))
        indices = np.tile(sample.rows, (self.most, 1))
        repeated = [np.repeat(a[None], self.most, axis=0) for a in scanned]
        records = [np.empty((self.most, *v.shape), v.dtype) for v in native.program.outputs[sample.carry :]]
        self._kept = [indices, records, native.point(repeated, tables, indices, records)]

    def measure(self) -> tuple[list[float], float]:
        """Seconds of each entry, and of one whole run."""
        assert self.native.planned is not None
        bound, planned, entries = self.bound, self.native.planned, self.native.planned.table.entries
        table, _, _, *rest = bound.arguments(1, 0, 0)

        def native(at: int, count: int) -> float:
            start = table + 8 * ENTRY_WORDS * at
            return seconds_of(lambda steps: bound.run(start, count, steps, *rest), self.most)

        def fallback(node: Value) -> float:
            return seconds_of(repeated(partial(bound.compute, planned, node)), self.most)

        if bound.fallbacks:
            whole = seconds_of(repeated(bound.step_with_fallbacks), self.most)
        else:
            whole = native(0, len(entries))
        alone = [native(k, 1) if e.node is None else fallback(e.node) for k, e in enumerate(entries)]
        bound.given = {}
        return alone, whole


__all__ = ["Clock"]
