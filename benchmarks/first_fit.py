"""first_fit: whole processes, from the start of Python to a trained model, with the disk cache warm."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pinned
from benchmarks.report import Report, duration, number
from benchmarks.rounds import Measured, in_turn
from fallline.data.simulated import simulated_heart

SCRIPTS = Path(__file__).parent / "scripts"
EPOCHS, QUICK_EPOCHS = 100, 5
TARGET = "AHD"
OURS = "fallline"
RUN = "run"  # the folder of our command's result
# peer -> the packages that its scripts import
FITS = {"sklearn": ("sklearn",), "torch": ("torch",)}
TABLES = {"sklearn": ("sklearn", "pandas")}


@dataclass
class Task:
    """One thing done by several processes.

    commands   the command line of each
    accuracy   what each reached, as a word that it did the work
    """

    name: str
    threads: int
    commands: dict[str, list[str]]
    folder: Path
    environment: dict[str, str]
    accuracy: dict[str, float] = field(default_factory=dict)

    def seconds(self, who: str) -> float:
        """The wall clock of a whole process."""
        start = time.perf_counter()
        with pinned.inherited(self.threads):
            done = subprocess.run(
                self.commands[who], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
            )
        taken = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{self.name}, {who}: {done.stderr.strip().splitlines()[-1]}")
        self.accuracy[who] = self._accuracy(who, done.stdout)
        return taken

    def _accuracy(self, who: str, printed: str) -> float:
        if self.commands[who][1] == "-m":
            return _result(self.folder)["metrics"]["test"]["accuracy"]
        return json.loads(printed.splitlines()[-1])["accuracy"]

    def measured(self, rounds: int) -> dict[str, Measured]:
        """Everyone once unmeasured, so that files and caches are warm; then in turn."""
        for who in self.commands:
            self.seconds(who)
        calls: dict[str, Callable[[], float]] = {who: partial(self.seconds, who) for who in self.commands}
        return in_turn(calls, rounds)


def _result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RUN / "result.json").read_text(encoding="utf-8"))


def main(asked: argparse.Namespace) -> None:
    if (asked.csv is None) != (asked.target is None):
        raise SystemExit("--csv and --target belong together: give both or neither")
    report = Report(asked.json)
    report.open({})
    peers, absent = _peers(asked.peers)
    if absent:
        report.say(f"not installed: {', '.join(absent)}")
    entries = []
    for threads in asked.threads:
        with tempfile.TemporaryDirectory() as made:
            for task in _tasks(asked, peers, threads, Path(made)):
                found = task.measured(1 if asked.quick else asked.rounds)
                entries.append(_entry(task, found))
    _show(report, entries)
    report.write(entries)


def _peers(asked: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(peers whose packages are there, those whose packages are not)."""
    wanted = [] if asked == ["none"] else list(asked or FITS)
    unknown = [name for name in wanted if name not in FITS]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; known are {', '.join(FITS)}, or none")
    there = [n for n in wanted if _installed(FITS[n])]
    return there, [n for n in wanted if n not in there]


def _installed(packages: Sequence[str]) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


def _tasks(asked: argparse.Namespace, peers: Sequence[str], threads: int, folder: Path) -> list[Task]:
    engine = {} if asked.engine == "auto" else {"FALLLINE_ENGINE": asked.engine}
    environment = pinned.environment(threads, **engine)
    epochs = QUICK_EPOCHS if asked.quick else EPOCHS
    arrays, table = folder / "heart.npz", folder / "heart.csv"
    write_arrays(arrays)
    if asked.csv:
        shutil.copyfile(asked.csv, table)
    else:
        write_csv(table)
    fits = {who: [str(SCRIPTS / f"{who}_fit.py"), str(arrays), str(epochs)] for who in (OURS, *peers)}
    given = folder, environment
    tasks = [Task(f"import and {epochs} epochs", threads, {who: python(*c) for who, c in fits.items()}, *given)]
    return [*tasks, _command_line(asked, peers, threads, *given)]


def _command_line(
    asked: argparse.Namespace, peers: Sequence[str], threads: int, folder: Path, environment: dict[str, str]
) -> Task:
    """`fallline train` beside scripts that train as long as it did, on as many rows."""
    target = asked.target or TARGET
    limit = ["--epochs", str(QUICK_EPOCHS)] if asked.quick else []
    own = python("-m", "fallline", "train", "heart.csv", "--target", target, "--out", RUN, *limit)
    task = Task(f"a table, to be predicted: {target}", threads, {OURS: own}, folder, environment)
    task.seconds(OURS)
    told = _result(folder)
    options = {name: told["options"][name] for name in ("hidden", "batch_size")}
    options |= {"epochs": told["epochs"], "train_rows": told["split"]["train"]}
    for who in peers:
        if who in TABLES and _installed(TABLES[who]):
            task.commands[who] = python(str(SCRIPTS / f"{who}_table.py"), "heart.csv", target, json.dumps(options))
    return task


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def write_arrays(path: Path) -> None:
    """x (303, n) float32, standardised and one-hot encoded, y (303,) int64, of the simulated heart patients."""
    columns = dict(simulated_heart())
    y = np.array([label == "Yes" for label in columns.pop(TARGET)], np.int64)
    parts = []
    for cells in columns.values():
        if any(isinstance(cell, str) for cell in cells):
            kinds = sorted({cell for cell in cells if cell is not None})
            parts += [np.array([cell == kind for cell in cells], float) for kind in kinds]
        else:
            found = np.array([np.nan if cell is None else cell for cell in cells], float)
            parts.append(np.nan_to_num((found - np.nanmean(found)) / np.nanstd(found)))
    np.savez(path, x=np.stack(parts, axis=1).astype(np.float32), y=y)


def write_csv(path: Path) -> None:
    """The simulated heart patients as a file, missing cells empty."""
    columns = simulated_heart()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _entry(task: Task, found: dict[str, Measured]) -> dict[str, Any]:
    own = found[OURS]
    return {
        "task": task.name,
        "threads": task.threads,
        "seconds": {who: m.median for who, m in found.items()},
        "spread": {who: m.spread for who, m in found.items()},
        "ratios": {who: m.over(own) for who, m in found.items() if who != OURS},
        "accuracy": task.accuracy,
    }


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    cells = [
        [e["task"], who, str(e["threads"]), duration(e["seconds"][who]), f"{e['spread'][who]:.0%}",
         "" if who == OURS else f"{number(e['ratios'][who])}×", f"{e['accuracy'][who]:.3f}"]
        for e in entries for who in e["seconds"]
    ]  # fmt: skip
    report.table(
        "whole processes", ["what", "by", "threads", "time", "spread", "over ours", "accuracy"], cells, words=2
    )
    report.say("")
    report.say(
        "accuracy: on the training rows of the first task, on test rows of the second (splits differ); fallline train"
    )
    report.say(
        "also shares out validation rows, trains a linear baseline, and writes the model, its history and a figure."
    )
