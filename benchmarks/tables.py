"""tables: cross-validated AUC, log-loss, accuracy and RMSE of estimators with default settings, and their fit seconds.

Every contestant gets the same rows: five folds, shuffled (classes in proportion) with seed 0. RMSE is in parts of the
target's standard deviation. The standard error of a mean over folds is that of the folds' values.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks import machine
from benchmarks.contestants.on_tables import OURS, OnTables, choose
from benchmarks.report import Report, duration, number
from benchmarks.table_sets import KNOWN, TableSet, read_set
from fallline.train.metrics import accuracy, auc, classes_of, log_loss

FOLDS = 5
MEASURES = {"auc": "AUC", "log_loss": "log-loss", "accuracy": "accuracy", "rmse": "RMSE / std(y)"}
HIGHER = ("auc", "accuracy")
Entry = dict[str, Any]


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    contestants, absent = choose(asked.contestants)
    report.open({c.package: machine.version(c.package) for c in contestants})
    for reason in absent:
        report.say(f"left out: {reason}")
    threads = max(asked.threads)
    entries = []
    for name in _names(asked):
        table = read_set(name, Path(asked.data) if asked.data else None)
        if table is None:
            report.say(f"left out: {name}: its file is in no folder that was given (--data)")
            continue
        found = judged(_some(table, asked), contestants, asked.folds or FOLDS, 2 if asked.quick else None, threads)
        for entry in found:
            if "failed" in entry:
                report.say(f"left out: {entry['contestant']} on {name}: {entry['failed']}")
        entries += [entry for entry in found if "failed" not in entry]
        if asked.json != "-":  # so that a run that is ended early leaves what it has
            report.write(entries)
        report.say(f"{name}: " + ", ".join(f"{e['contestant']} {duration(e['seconds'])}" for e in entries
                                           if e["table"] == name))  # fmt: skip
    show(report, entries)
    report.write(entries)


def _names(asked: argparse.Namespace) -> list[str]:
    unknown = [name for name in asked.tables or () if name not in KNOWN]
    if unknown:
        raise SystemExit(f"unknown table {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    return asked.tables or list(KNOWN)


def _some(table: TableSet, asked: argparse.Namespace) -> TableSet:
    """At most --rows rows of a table, drawn with seed 0."""
    if asked.rows is None or asked.rows >= len(table.y):
        return table
    return table.take(np.sort(np.random.default_rng(0).permutation(len(table.y))[: asked.rows]))


def judged(table: TableSet, contestants: Sequence[OnTables], folds: int, few: int | None, threads: int) -> list[Entry]:
    """One entry for each contestant: its measures in each fold, and the seconds of all fits.   few: folds to run"""
    chosen = StratifiedKFold(folds, shuffle=True, random_state=0) if table.classes else \
        KFold(folds, shuffle=True, random_state=0)  # fmt: skip
    entries = {c.name: {"table": table.name, "rows": len(table.y), "columns": table.frame.width, "contestant": c.name,
                        "seconds": 0.0, "cpu_seconds": 0.0, "fold_seconds": []} for c in contestants}  # fmt: skip
    for train, test in list(chosen.split(np.zeros(len(table.y)), table.y if table.classes else None))[:few]:
        for contestant in contestants:
            if "failed" not in (entry := entries[contestant.name]):
                try:
                    _judge(entry, contestant, table, train, test, threads)
                except Exception as error:  # whatever a library refuses is its result on this table
                    entry["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return list(entries.values())


def _judge(entry: Entry, contestant: OnTables, table: TableSet, train: Any, test: Any, threads: int) -> None:
    start, worked = time.perf_counter(), time.process_time()
    answer = contestant.make(table.take(train), threads)
    taken = time.perf_counter() - start
    entry["seconds"] += taken
    entry["fold_seconds"].append(taken)
    entry["cpu_seconds"] += time.process_time() - worked
    for name, value in measured(table, answer(table.take(test)), test).items():
        entry.setdefault(name, []).append(value)


def measured(table: TableSet, answers: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """The measures of answers for the rows of a fold."""
    y = table.y[test]
    if not table.classes:
        errors = np.sqrt(np.mean((answers.reshape(y.shape) - y) ** 2, axis=0))
        return {"rmse": float(np.mean(errors / np.std(table.y, axis=0)))}
    proba = np.clip(answers.astype(np.float64), 1e-15, 1.0)
    proba = proba / proba.sum(axis=1, keepdims=True)
    ranked = proba[:, 1] if proba.shape[1] == 2 else proba
    return {"auc": auc(ranked, y), "log_loss": log_loss(proba, y), "accuracy": accuracy(classes_of(proba), y)}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over folds and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def ranks(entries: Sequence[Entry], measure: str) -> dict[str, float]:
    """The mean rank of each contestant (1 is best, ties share) over the tables that all of them answered."""
    by_table: dict[str, dict[str, float]] = {}
    for entry in entries:
        if measure in entry:
            sign = -1 if measure in HIGHER else 1
            by_table.setdefault(entry["table"], {})[entry["contestant"]] = sign * round(
                float(np.mean(entry[measure])), 12
            )
    found: dict[str, list[float]] = {}
    for scores in by_table.values():
        for name, value in scores.items():
            below = sum(other < value for other in scores.values())
            ties = sum(other == value for other in scores.values())
            found.setdefault(name, []).append(below + (ties + 1) / 2)
    return {name: float(np.mean(each)) for name, each in found.items()}


def show(report: Report, entries: Sequence[Entry]) -> None:
    """A table for each measure, with the mean ranks below, and one of the seconds."""
    names = list(dict.fromkeys(e["contestant"] for e in entries))
    tables = list(dict.fromkeys(e["table"] for e in entries))
    for measure, title in MEASURES.items():
        found = {(e["table"], e["contestant"]): e[measure] for e in entries if measure in e}
        if not found:
            continue
        lines = [[t, *(_cell(found.get((t, n))) for n in names)] for t in tables if any((t, n) in found for n in names)]
        placed = ranks(entries, measure)
        lines.append(["mean rank", *(number(placed.get(n), 3) for n in names)])
        report.table(f"{title} ({'higher' if measure in HIGHER else 'lower'} is better)", ("table", *names), lines)
    for key, title in (("seconds", "Seconds of one fit"), ("cpu_seconds", "Seconds of all cores together, of one fit")):
        taken = {(e["table"], e["contestant"]): e[key] / len(e["fold_seconds"]) for e in entries}
        lines = [[t, *(number(taken.get((t, n))) for n in names)] for t in tables]
        lines.append(["all", *(number(sum(taken.get((t, n), 0.0) for t in tables)) for n in names)])
        report.table(title, ("table", *names), lines)
    _show_floor(report, entries)


def _cell(values: Sequence[float] | None) -> str:
    if values is None:
        return "–"
    mean, error = mean_and_error(values)
    return f"{mean:.4f} ± {error:.4f}".replace("0.", ".")


def _show_floor(report: Report, entries: Sequence[Entry]) -> None:
    """Where ours is worse than the linear model by more than a standard error of the difference."""
    by = {(e["table"], e["contestant"]): e for e in entries}
    for table in dict.fromkeys(e["table"] for e in entries):
        ours, linear = by.get((table, OURS)), by.get((table, "linear"))
        if ours is None or linear is None:
            continue
        for measure in MEASURES:
            if measure in ours:
                worse = np.subtract(ours[measure], linear[measure]) * (-1 if measure in HIGHER else 1)
                mean, error = mean_and_error(worse)
                if mean > error:
                    report.say(
                        f"{table}: {MEASURES[measure]} of {OURS} is worse than linear by {mean:.4f} ± {error:.4f}"
                    )
