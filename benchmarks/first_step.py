"""First step: a fresh process that builds a training program, compiles it and runs one step; it prints the seconds."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable

from benchmarks import pinned
from benchmarks.workloads import Workload

SMALL = Workload("small", 64, 3, (5,), 3, 32)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _import_llvmlite() -> None:
    try:
        importlib.import_module("llvmlite.binding")
    except ImportError:  # the engine will do without it
        return


def main(workload: Workload, threads: int, engine: str, precision: str) -> None:
    """llvmlite, fallline: imports;  program: the graph with its derivatives;  ready: that, compiled, and one step;
    again: the same once more in this process."""
    pinned.pin(threads)
    found = {"llvmlite": seconds(_import_llvmlite), "fallline": seconds(lambda: importlib.import_module("fallline"))}
    from benchmarks.contestants import ours

    # Python modules that are loaded at the first use are not what is measured.
    ours_numpy = ours.Training(SMALL, ours.engine_of("numpy", "float32", threads)).build()
    ours_numpy.steps(ours_numpy.in_order(1))

    chosen = ours.engine_of(engine, precision, threads)
    first, second = (ours.Training(workload, chosen) for _ in range(2))
    found["program"] = seconds(lambda: first.step.program(first.state, *first.specs))
    found["ready"] = seconds(lambda: first.build().steps(first.in_order(1)))
    found["again"] = seconds(lambda: second.build().steps(second.in_order(1)))
    print(json.dumps(found))


if __name__ == "__main__":
    fields, asked_threads, asked_engine, asked_precision = sys.argv[1:]
    main(Workload.of(json.loads(fields)), int(asked_threads), asked_engine, asked_precision)
