"""compile: the time until the first step is done, each measured in a fresh process.

cold     the cache is empty: the library of kernels is built as well
library  the kernels are there, this program has never been compiled
warm     everything is in the disk cache
again    the same program once more in one process
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import pinned
from benchmarks.report import Report, duration, number
from benchmarks.rounds import Measured
from benchmarks.workloads import WORKLOADS, Workload, chosen, deep

DEPTHS = (2, 8, 32)
# Fills a cache with the kernels that every network shares: none of the workloads has this activation.
OTHER = Workload("another network", 256, 48, (40, 24, 16), 5, 32, activation="tanh")
STATES = ("cold", "library", "warm", "again")


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    report.open({})
    workloads = _workloads(asked)
    entries = []
    for precision in asked.precision:
        for threads in asked.threads:
            entries += _measure_all(asked, workloads, threads, precision)
    _show(report, entries)
    report.write(entries)


def _workloads(asked: argparse.Namespace) -> list[Workload]:
    depths = [deep(d).shortened() for d in (DEPTHS[:1] if asked.quick else DEPTHS)]
    if asked.quick and asked.workloads is None:
        return depths
    return [*depths, *(WORKLOADS[n].shortened() for n in chosen(asked.workloads, list(WORKLOADS)))]


def _measure_all(
    asked: argparse.Namespace, workloads: list[Workload], threads: int, precision: str
) -> list[dict[str, Any]]:
    """One entry for each workload: medians in seconds, over rounds in which all take their turn."""
    found: dict[str, dict[str, list[float]]] = {w.name: defaultdict(list) for w in workloads}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        _first_step(asked, OTHER, threads, precision, library)
        for r in range(1 if asked.quick else asked.rounds):
            for k, workload in enumerate(workloads):
                for name, seconds in _states(asked, workload, threads, precision, library, Path(folder) / f"{r}-{k}"):
                    found[workload.name][name].append(seconds)
    return [_entry(name, threads, precision, times) for name, times in found.items()]


def _states(
    asked: argparse.Namespace, workload: Workload, threads: int, precision: str, library: Path, folder: Path
) -> list[tuple[str, float]]:
    """(name, seconds) of everything that three processes tell: an empty cache, one with the kernels, a full one."""
    full = folder / "full"
    if library.exists():
        shutil.copytree(library, full)
    given = asked, workload, threads, precision
    told = {"cold": _first_step(*given, folder / "empty"), "library": _first_step(*given, full)}
    told["warm"] = _first_step(*given, full)
    shutil.rmtree(folder, ignore_errors=True)
    found = [(state, times["ready"]) for state, times in told.items()]
    found += [("again", times["again"]) for times in told.values()]
    for name in ("program", "llvmlite", "fallline"):
        found += [(name, times[name]) for times in told.values()]
    return found


def _first_step(
    asked: argparse.Namespace, workload: Workload, threads: int, precision: str, cache: Path
) -> dict[str, float]:
    given = json.dumps(asdict(workload)), str(threads), asked.engine, precision
    done = subprocess.run(
        pinned.command("first_step", *given),
        env=pinned.environment(threads, FALLLINE_CACHE=str(cache)),
        cwd=pinned.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{workload.name}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _entry(name: str, threads: int, precision: str, times: dict[str, list[float]]) -> dict[str, Any]:
    seconds = {state: Measured(values) for state, values in times.items()}
    return {
        "workload": name,
        "threads": threads,
        "precision": precision,
        "seconds": {state: found.median for state, found in seconds.items()},
        "spread": {state: found.spread for state, found in seconds.items()},
    }


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    columns = ["workload", "precision", "threads", *STATES, "of it the graph"]
    cells = [
        [e["workload"], e["precision"], str(e["threads"]), *(duration(e["seconds"][s]) for s in (*STATES, "program"))]
        for e in entries
    ]
    report.table("until the first step is done, without imports", columns, cells, words=2)
    report.say("")
    imports = {name: fmean(e["seconds"][name] for e in entries) for name in ("llvmlite", "fallline")}
    report.say(f"imports before: llvmlite {duration(imports['llvmlite'])}, fallline {duration(imports['fallline'])}")
    by_name = {(e["workload"], e["precision"], e["threads"]): e["seconds"] for e in entries}
    low, high = f"depth {DEPTHS[0]}", f"depth {DEPTHS[-1]}"
    for (name, precision, threads), seconds in by_name.items():
        if name == high:
            ratios = [f"{s} {number(seconds[s] / by_name[low, precision, threads][s])}×" for s in STATES]
            report.say(f"{high} over {low}, {precision}: {', '.join(ratios)}")
