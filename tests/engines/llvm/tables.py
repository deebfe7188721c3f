"""Tables of native entries for tests: written as functions of (f, args), run on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fallline.engines.llvm.driver import RUN_STEPS, SYNC_BYTES, run_steps
from fallline.engines.llvm.emitter import Function, Module
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.loader import addresses
from fallline.engines.llvm.target import Target, host_target
from fallline.engines.llvm.team import TEAM, Team


def kernel(name: str, body: Callable[[Function], None]) -> Kernel:
    """A kernel of the given body."""

    def write(module: Module) -> None:
        f = entry(module, name)
        body(f)
        f.finish()

    return Kernel(name, write)


def words(*values: int | np.ndarray) -> np.ndarray:
    """Arguments of an entry: whole numbers, and the addresses of arrays."""
    return np.array([x.ctypes.data if isinstance(x, np.ndarray) else x for x in values], "i8")


class Table:
    """Entries (kernel, arguments, units, barrier before) that can be run.

    watch  a float32 or float64 array of one number
    """

    def __init__(
        self,
        entries: Sequence[tuple[Kernel, np.ndarray, int, int]],
        watch: np.ndarray | None = None,
        target: Target | None = None,
    ):
        target = target or host_target()
        found = addresses([run_steps(), *(kernel for kernel, *_ in entries)], target)
        self.call = RUN_STEPS(found["run_steps"])
        self.entries, self.watch = entries, watch
        self.rows = np.array([[found[k.name], args.ctypes.data, units, wait] for k, args, units, wait in entries], "i8")
        self.sync = np.zeros(SYNC_BYTES + 64, "u1")
        self.scratch = np.zeros((16, 4096), "u1")

    def arguments(self, steps: int) -> Callable[[int, int], tuple]:
        """What `Team.run` wants to know."""
        number = (self.watch.ctypes.data, self.watch.itemsize) if self.watch is not None else (0, 0)
        sync = -(-self.sync.ctypes.data // 64) * 64
        fixed = (self.rows.ctypes.data, len(self.rows), steps, *number)
        return lambda thread, threads: (*fixed, thread, threads, self.scratch[thread].ctypes.data, sync)

    def run(self, steps: int = 1, threads: int = 1, team: Team | None = None) -> int:
        """The steps done, of which all threads must give the same number."""
        results: list[int] = []

        def call(*given: int) -> int:
            results.append(self.call(*given))
            return results[-1]

        (team or TEAM).run(threads, call, self.arguments(steps))
        assert len(results) in (1, threads)  # one where the team is busy
        assert len(set(results)) == 1
        return results[0]
