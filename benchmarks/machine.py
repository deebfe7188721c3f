"""The machine: what it is, how fast it multiplies and adds, how fast it copies."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CHAINS = 12  # independent sums: more than two units with a latency of four cycles need
ROUNDS = 1 << 20  # of the loop in one measurement
COPIED = 1 << 27  # bytes, well above any cache
SQUARE = 2048  # side of the matrix product that stands in for the loop
REPEATS = 5
FMA = f"benchmark_fma_{CHAINS}"
PACKAGES = {"sklearn": "scikit-learn"}


def version(package: str) -> str:
    try:
        return importlib.metadata.version(PACKAGES.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return ""


def description() -> dict[str, str]:
    """Processor, system and Python."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "llvmlite": version("llvmlite"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def load() -> float:
    """How many processes wanted to run in the last minute, on average; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def flops_per_second(threads: int) -> float:
    """FLOP/s in float32, a multiply-add counting twice: the median of a few runs on all threads at once."""
    call, flops = _work(threads)
    return flops / _median_seconds(call, threads)


def peak_source() -> str:
    """What the peak was measured with."""
    return "a generated loop of multiply-adds" if _fma_loop() is not None else f"a NumPy product {SQUARE} x {SQUARE}"


def bytes_per_second(threads: int) -> float:
    """Bytes/s read plus written by a copy that no cache holds, each thread its own part."""
    source, target = _copied()
    parts = [slice(k * len(source) // threads, (k + 1) * len(source) // threads) for k in range(threads)]

    def copy(k: int) -> None:
        np.copyto(target[parts[k]], source[parts[k]])

    return 2 * source.nbytes / _median_seconds(copy, threads)


@functools.cache
def _copied() -> tuple[np.ndarray, np.ndarray]:
    return np.ones(COPIED // 8), np.zeros(COPIED // 8)


def _median_seconds(call: Callable[[int], object], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        taken = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            list(pool.map(call, range(threads)))
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[1:])


def _work(threads: int) -> tuple[Callable[[int], object], float]:
    """(what thread k calls, the FLOPs of all threads together)."""
    loop = _fma_loop()
    if loop is not None:
        return loop[0], threads * loop[1]
    a = np.ones((SQUARE, SQUARE), np.float32)
    out = np.empty_like(a)
    # The BLAS shares one product among threads of its own.
    return (lambda k: np.matmul(a, a, out=out) if k == 0 else None), 2.0 * SQUARE**3


@functools.cache
def _fma_loop() -> tuple[Callable[[int], object], float] | None:
    """The loop as machine code for this CPU; None where the native engine cannot compile it."""
    try:
        from fallline.engines.llvm.kernel import Kernel
        from fallline.engines.llvm.loader import addresses
        from fallline.engines.llvm.target import host_target

        target = host_target()
        kernel = Kernel(FMA, _write_fma)
        address = addresses([kernel], target)[kernel.name]
    except (ImportError, OSError, RuntimeError):
        return None
    signature = ctypes.CFUNCTYPE(
        None, *[ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
    )
    function, lanes = signature(address), target.lanes(4)
    factors = np.full(2, 0.5, np.float32)

    def call(_: int) -> None:
        left = np.zeros(lanes * CHAINS, np.float32)
        function(factors.ctypes.data, 0, ROUNDS, left.ctypes.data, 0)

    return call, 2.0 * lanes * CHAINS * ROUNDS


def _write_fma(module: object) -> None:
    """s_k <- s_k x + y for each chain k, `last - first` times; the sums go to scratch, or nothing would be computed."""
    from fallline.engines.llvm.emitter import Module, vector
    from fallline.engines.llvm.kernel import entry

    assert isinstance(module, Module)
    f = entry(module, FMA)
    lanes = module.target.lanes(4)
    kind = vector("float", lanes)
    x, y = (f.splat(f.load("float", "%args", k), "float", lanes) for k in range(2))
    sums = f.loop(
        "%last",
        lambda _, *chains: [f.fma(chain, x, y, kind) for chain in chains],
        start="%first",
        carried=[(kind, y)] * CHAINS,
    )
    for k, chain in enumerate(sums):
        f.store(kind, chain, "%scratch", k * lanes)
    f.finish()
