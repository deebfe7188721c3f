"""classic: fl.MLPClassifier with default arguments beside scikit-learn's, the same seeds in turn: time and accuracy."""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import fallline as fl
from benchmarks.report import Report, duration, number
from benchmarks.rounds import in_turn

OURS, THEIRS = "fallline", "scikit-learn"
DEFAULT_ITERATIONS = 200
IMAGES, SIDE, CLASSES = 20_000, 28, 10
TEST = 4_000  # further images, to be judged by
CALLS, BATCH = 200, 32  # of partial_fit


class Rows(NamedTuple):
    """Rows to train on and rows to judge by.   iterations: max_iter, the same for both"""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    iterations: int


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    report.open({})
    entries = []
    for threads in asked.threads:
        for rows in (digits(asked.quick), images(asked.quick, asked.max_iter)):
            entries.append(compared(rows, threads, asked))
        entries.append(going_on(threads, asked))
    _show(report, entries)
    report.write(entries)


def digits(quick: bool) -> Rows:
    """The packaged digits, a quarter of them to judge by."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[: 200 if quick else None]
    test, train = np.split(order, [len(order) // 4])
    return Rows(f"digits, {len(train)} × 64", X[train], y[train], X[test], y[test], 3 if quick else DEFAULT_ITERATIONS)


def images(quick: bool, iterations: int) -> Rows:
    """Drawn images of ten classes: blots that differ in place and strength from image to image, under noise."""
    n, judged = (300, 100) if quick else (IMAGES, TEST)
    rng = np.random.default_rng(0)
    at = np.arange(SIDE) - SIDE / 2
    y = rng.integers(0, CLASSES, n + judged)
    centres, widths = rng.uniform(-9, 9, (CLASSES, 6, 2)), rng.uniform(1.5, 4.0, (CLASSES, 6))
    X = np.zeros((n + judged, SIDE * SIDE))
    for k in range(6):
        moved = centres[y, k] + rng.normal(0, 2.0, (len(y), 2))
        strength = rng.uniform(0.2, 1.0, len(y))[:, None]
        across, down = (np.exp(-(((at - moved[:, [j]]) / widths[y, k][:, None]) ** 2) / 2) for j in (0, 1))
        X += (strength[:, :, None] * down[:, :, None] * across[:, None, :]).reshape(len(y), -1)
    X = np.clip(X + rng.normal(0, 0.4, X.shape), 0, 1)
    rounds = 2 if quick else iterations
    return Rows(f"images, {n} × {SIDE * SIDE}", X[:n], y[:n], X[n:], y[n:], rounds)


def compared(rows: Rows, threads: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Both with the same seeds, in turn: seconds, accuracies, epochs."""
    seeds = range(1 if asked.quick else asked.seeds)
    made: dict[str, Callable[..., Any]] = {
        OURS: partial(ours, threads, asked.engine), THEIRS: MLPClassifier,
    }  # fmt: skip
    accuracy: dict[str, list[float]] = {who: [] for who in made}
    epochs: dict[str, list[int]] = {who: [] for who in made}

    def fitted(who: str) -> float:
        model = made[who](random_state=len(accuracy[who]), max_iter=rows.iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            start = time.perf_counter()
            model.fit(rows.X, rows.y)
            taken = time.perf_counter() - start
        accuracy[who].append(float(model.score(rows.X_test, rows.y_test)))
        epochs[who].append(int(model.n_iter_))
        return taken

    with threadpool_limits(threads):
        found = in_turn({who: partial(fitted, who) for who in made}, len(seeds))
    return {
        "task": rows.name, "threads": threads, "max_iter": rows.iterations,
        "seconds": {who: m.median for who, m in found.items()},
        "spread": {who: m.spread for who, m in found.items()},
        "ratio": found[THEIRS].over(found[OURS]),
        "accuracy": accuracy, "epochs": epochs,
    }  # fmt: skip


def ours(threads: int, engine: str, **settings: Any) -> fl.MLPClassifier:
    """With that many threads; an engine that does not choose them has those of NumPy's library, limited as theirs."""
    refused = fl.get_engine(engine).threads_refused()
    return fl.MLPClassifier(engine=engine, n_jobs=None if refused else threads, **settings)


def going_on(threads: int, asked: argparse.Namespace) -> dict[str, Any]:
    """What one call of partial_fit takes, on 32 rows of digits."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:BATCH], y[:BATCH]
    models = {OURS: ours(threads, asked.engine, random_state=0), THEIRS: MLPClassifier(random_state=0)}
    calls = 3 if asked.quick else CALLS

    def called(who: str) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            models[who].partial_fit(X, y)
        return (time.perf_counter() - start) / calls

    with threadpool_limits(threads):
        for model in models.values():
            model.partial_fit(X, y, classes=range(CLASSES))
        found = in_turn({who: partial(called, who) for who in models}, 1 if asked.quick else asked.rounds)
    return {
        "task": f"partial_fit, {BATCH} × 64", "threads": threads, "max_iter": 1,
        "seconds": {who: m.median for who, m in found.items()},
        "spread": {who: m.spread for who, m in found.items()},
        "ratio": found[THEIRS].over(found[OURS]),
    }  # fmt: skip


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    cells = []
    for e in entries:
        for who in e["seconds"]:
            scores = e.get("accuracy", {}).get(who, [])
            mean = f"{statistics.mean(scores):.4f}" if scores else ""
            deviation = f"{statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
            epochs = f"{statistics.mean(e['epochs'][who]):.0f}" if scores else ""
            cells.append([e["task"], who, str(e["threads"]), epochs, duration(e["seconds"][who]),
                          f"{e['spread'][who]:.0%}", f"{number(e['ratio'])}×" if who == THEIRS else "", mean,
                          deviation])  # fmt: skip
    columns = ["what", "by", "threads", "epochs", "time", "spread", "over ours", "accuracy", "over seeds ±"]
    report.table("MLPClassifier() with default arguments", columns, cells, words=2)
    report.say("")
    limited = {e["task"]: e["max_iter"] for e in entries if e["max_iter"] not in (1, DEFAULT_ITERATIONS)}
    for task, most in limited.items():
        report.say(f"{task}: max_iter={most} for both, where the default is {DEFAULT_ITERATIONS}")
    report.say(
        "accuracy: on rows that neither has seen, mean and standard deviation over the seeds; both start from the"
    )
    report.say("same weights and take the rows in the same order, ours in float32")


__all__ = ["main"]
