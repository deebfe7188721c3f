"""large_table: memory and time of a fit on a million rows of 50 mixed columns, and of a million predictions.

Each measurement is a process of its own: the peak of its memory, less what it held when the table was there. The second
table has the columns of heart.csv, whose model a million rows are put to.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import polars as pl

import fallline as fl
from benchmarks.report import Report, duration, number
from fallline.data.simulated import simulated_heart

ROWS, QUICK_ROWS = 1_000_000, 2_000
NUMBERS, GAPPY, CATEGORIES, FLAGS, DATES = 30, 5, 10, 3, 2
PRESETS: dict[str, dict[str, Any]] = {
    "plain": {"preset": "plain", "epochs": 2, "batch_size": 1024},
    "fast": {"budget": "fast"},
    "default": {},
}
LIMIT_GB, LIMIT_SECONDS = 4.0, 1.0


def mixed_table(n: int) -> tuple[pl.DataFrame, np.ndarray]:
    """50 columns (numbers, some with gaps, text of 3 to 300 levels, true/false, dates) and a target of them."""
    rng = np.random.default_rng(0)
    cells: dict[str, Any] = {f"number_{i}": rng.normal(i, 1 + i, n) for i in range(NUMBERS)}
    for i in range(GAPPY):
        gaps = rng.normal(size=n)
        gaps[rng.random(n) < 0.1] = np.nan
        cells[f"gappy_{i}"] = gaps
    for i in range(CATEGORIES):
        levels = [f"level {k}" for k in range(3 + 30 * i)]
        cells[f"text_{i}"] = pl.Series(rng.integers(0, len(levels), n)).replace_strict(
            list(range(len(levels))), levels, return_dtype=pl.String
        )
    cells |= {f"flag_{i}": rng.random(n) < 0.3 for i in range(FLAGS)}
    days = pl.Series(rng.integers(15_000, 19_000, n), dtype=pl.Int32)
    cells |= {f"day_{i}": days.cast(pl.Date) for i in range(DATES)}
    y = (cells["number_0"] + cells["flag_0"] + rng.normal(size=n) > 0.3).astype(int)
    return pl.DataFrame(cells), y


def measure(what: str, n: int) -> dict[str, Any]:
    """In this process: gigabytes beyond the input at the peak, and seconds."""
    if what == "predict":
        return _predictions(n)
    X, y = mixed_table(n)
    few = X.select(pl.exclude("^text_.*$")).head(200)
    fl.TabularClassifier(preset="plain", epochs=1).fit(few, y[:200])  # loads all that is loaded once
    before, start = _resident(), time.perf_counter()
    fl.TabularClassifier(**PRESETS[what]).fit(X, y)
    return {"gigabytes": (_peak() - before) / 1e9, "seconds": time.perf_counter() - start}


def _predictions(n: int) -> dict[str, Any]:
    heart = pl.DataFrame(simulated_heart())
    X, y = heart.drop("AHD"), heart["AHD"].to_numpy()
    many = pl.concat([X] * (n // len(X) + 1)).head(n)
    found: dict[str, Any] = {}
    for name, given in (("plain", {"preset": "plain"}), ("bag", {"budget": "fast"})):
        model = fl.TabularClassifier(**given).fit(X, y)
        model.predict_proba(many)  # compiles
        start = time.perf_counter()
        model.predict_proba(many)
        found[name] = time.perf_counter() - start
    return {"seconds": found["plain"], "bag_seconds": found["bag"], "gigabytes": _peak() / 1e9}


def _peak() -> float:
    """Bytes: the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def _resident() -> float:
    """Bytes now, where the system says so; else the peak so far."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return _peak()


def main(asked: argparse.Namespace) -> None:
    report, n = Report(asked.json), QUICK_ROWS if asked.quick else ROWS
    report.open({})
    found = {}
    for what in ("plain",) if asked.quick else (*PRESETS, "predict"):
        call = [sys.executable, "-m", "benchmarks.large_table", what, str(n)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{what}: {done.stderr.strip().splitlines()[-1]}")
        found[what] = json.loads(done.stdout.splitlines()[-1])
    lines = [[w, number(e["gigabytes"]), duration(e["seconds"])] for w, e in found.items()]
    report.table(f"{n:,} rows × 50 columns", ("fit", "GB beyond the table", "time"), lines)
    report.say(
        f"the bar: {LIMIT_GB:g} GB beyond the table; a million predictions of the plain network: {LIMIT_SECONDS:g} s"
    )
    report.write([{"what": what, "rows": n, **entry} for what, entry in found.items()])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
