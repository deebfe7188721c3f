"""coverage: how often intervals hold the target, and what a temperature does to log-loss, on rows that nothing saw.

Over random splits, four fifths to learn from: the share of the rest inside the intervals for 80, 90 and 95 %, with
their mean width in parts of the target's standard deviation; and the log-loss of classifiers with and without
calibration.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fallline as fl
from benchmarks.report import Report, number
from benchmarks.table_sets import TableSet, read_set
from fallline.train.metrics import log_loss

SPLITS, QUICK_SPLITS = 20, 1
ALPHAS = (0.2, 0.1, 0.05)
NUMBERS, CLASSES = ("diabetes", "abalone"), ("breast-cancer", "wine", "heart", "horse-colic")
BAR = 0.02  # from the level that was asked for
QUICK: dict[str, Any] = {"hidden": (4,), "epochs": 3}
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"budget": "fast"},
    "plain": {"preset": "plain"},
    "plain, quantiles": {"preset": "plain", "quantiles": [0.025, 0.05, 0.1, 0.5, 0.9, 0.95, 0.975]},
    "plain, normal": {"preset": "plain", "distribution": "normal"},
}


def splits(n: int, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    orders = [np.random.default_rng(seed).permutation(n) for seed in range(k)]
    return [(order[n // 5 :], order[: n // 5]) for order in orders]


def intervals(table: TableSet, given: dict[str, Any], k: int) -> dict[str, Any]:
    """Coverage and mean width at every level, means over the splits."""
    held = {alpha: ([], []) for alpha in ALPHAS}  # type: dict[float, tuple[list[float], list[float]]]
    for seed, (train, test) in enumerate(splits(len(table.y), k)):
        made = fl.TabularRegressor(**given, random_state=seed).fit(table.frame[train], table.y[train])
        for alpha, (shares, widths) in held.items():
            low, high = made.predict_interval(table.frame[test], alpha).T
            y = table.y[test]
            shares.append(float(np.mean((low <= y) & (y <= high))))
            widths.append(float(np.mean(high - low) / table.y.std()))
    return {
        "coverage": {f"{1 - alpha:.2f}": float(np.mean(shares)) for alpha, (shares, _) in held.items()},
        "width": {f"{1 - alpha:.2f}": float(np.mean(widths)) for alpha, (_, widths) in held.items()},
    }


def calibration(table: TableSet, given: dict[str, Any], k: int) -> dict[str, Any]:
    """Log-loss on the rows outside with and without a temperature, means over the splits, and the mean temperature."""
    found: dict[str, list[float]] = {"calibrated": [], "as it is": [], "temperature": []}
    for seed, (train, test) in enumerate(splits(len(table.y), k)):
        made = fl.TabularClassifier(**given, random_state=seed).fit(table.frame[train], table.y[train])
        p = made.predict_proba(table.frame[test])
        scores = np.log(np.clip(p, 1e-300, 1.0)) * made.temperature_  # undone
        raw = np.exp(scores - scores.max(axis=1, keepdims=True))
        raw /= raw.sum(axis=1, keepdims=True)
        y = np.searchsorted(made.classes_, table.y[test])
        for name, value in (("calibrated", p), ("as it is", raw)):
            found[name].append(log_loss(value[:, 1] if value.shape[1] == 2 else value, y))
        found["temperature"].append(made.temperature_)
    return {name: float(np.mean(values)) for name, values in found.items()}


def main(asked: argparse.Namespace) -> None:
    report, k = Report(asked.json), QUICK_SPLITS if asked.quick else SPLITS
    report.open({})
    ways = {"plain": {**WAYS["plain"], **QUICK}} if asked.quick else WAYS
    folder = Path(asked.data) if asked.data else None
    entries = []
    for names, measure in ((NUMBERS, intervals), (CLASSES, calibration)):
        for name in names[:1] if asked.quick else names:
            table = read_set(name, folder)
            if table is None:
                report.say(f"left out: {name}: its file is in no folder that was given (--data)")
                continue
            entries += _judged(table, ways, measure, k, report)
    report.write(entries)


def _judged(
    table: TableSet, ways: dict[str, dict[str, Any]], measure: Callable[..., dict[str, Any]], k: int, report: Report
) -> list[dict[str, Any]]:
    entries = []
    for way, given in ways.items():
        if table.classes and {"quantiles", "distribution"} & set(given):
            continue
        entries.append({"table": table.name, "way": way, "splits": k, **measure(table, given, k)})
    if table.classes:
        lines = [[e["way"], *(number(e[n]) for n in ("as it is", "calibrated", "temperature"))] for e in entries]
        report.table(f"{table.name}: log-loss over {k} splits", ("way", "as it is", "calibrated", "temperature"), lines)
        return entries
    heads = [f"{1 - alpha:.2f}" for alpha in ALPHAS]
    lines = [[e["way"], *(f"{e['coverage'][h]:.3f} ({e['width'][h]:.2f})" for h in heads)] for e in entries]
    report.table(f"{table.name}: coverage (mean width in σ of the target) over {k} splits", ("way", *heads), lines)
    worst = max(abs(e["coverage"][h] - float(h)) for e in entries for h in heads)
    report.say(f"furthest from the level: {worst:.3f}, the bar is {BAR:g}")
    return entries
