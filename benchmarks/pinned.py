"""Pinned: how many cores a process may use, settled before it imports a library that makes threads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(threads: int) -> None:
    """Keeps this process on its first `threads` cores: the one limit that XLA's threads follow too."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@contextmanager
def inherited(threads: int) -> Iterator[None]:
    """Processes that are started inside run on that many cores only."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(threads)
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def environment(threads: int, **more: str) -> dict[str, str]:
    """The environment of a process with that many threads, which finds this package."""
    found = {**os.environ, **dict.fromkeys(POOLS, str(threads)), **more}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages come with their bytecode; ours is to have it too
    return found


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]
