"""diagnosis: how often fl.diagnose accuses a sound training, and misses what was broken on purpose.

The tables, networks and seeds are others than those of the tests, with which its limits were set. Every fault is put
into every table that it fits.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fallline as fl
from benchmarks.report import Report, duration
from fallline.core.errors import NonFiniteError
from fallline.data.split import split_rows
from fallline.train.tabular import TableOptions, prepare

MOST_ROWS = 2000
SEEDS = (11, 12)
PACKAGED = ("breast-cancer", "wine", "iris", "digits", "diabetes", "simulated-heart")


class Rows(NamedTuple):
    """A table as arrays, scaled.   outputs: scores a row; classes: whether y holds labels"""

    name: str
    X: np.ndarray
    y: np.ndarray
    outputs: int
    classes: bool


Made = tuple[Any, tuple[Any, Any]]
Fault = Callable[[Rows, int], "Made | None"]  # None: it does not suit the table


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    report.open({})
    names = (asked.tables or list(PACKAGED))[: 1 if asked.quick else None]
    tables = [rows_of(name) for name in names] + ([] if asked.quick else [friedman(), checkers()])
    seeds = SEEDS[:1] if asked.quick else SEEDS
    sound = dict(list(SOUND.items())[: 1 if asked.quick else None])
    entries = [_entry("sound", kind, rows, seed, made) for rows in tables for kind, made in sound.items()
               for seed in seeds]  # fmt: skip
    faults = dict(list(FAULTS.items())[:2]) if asked.quick else FAULTS
    entries += [_entry("broken", fault, rows, seeds[0], made) for fault, made in faults.items() for rows in tables]
    found = [entry for entry in entries if entry is not None]
    _show(report, found)
    report.write(found)


def _entry(kind: str, name: str, rows: Rows, seed: int, make: Fault) -> dict[str, Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = make(rows, seed)
        except NonFiniteError:  # the training says by itself that the rate is too high
            return None
        if made is None:
            return None
        start = time.perf_counter()
        names = fl.diagnose(*made).names
    right = not names if kind == "sound" else names[:1] == [name.partition(" / ")[0]]
    seconds = time.perf_counter() - start
    return {"kind": kind, "setup": name, "table": rows.name, "seed": seed, "findings": names, "right": right,
            "among": name.partition(" / ")[0] in names, "seconds": seconds}  # fmt: skip


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    wrong = [e for e in entries if not e["right"]]
    lines = [[e["kind"], e["setup"], e["table"], str(e["seed"]), ", ".join(e["findings"]) or "nothing"] for e in wrong]
    report.table("Wrong", ("kind", "set-up", "table", "seed", "findings"), lines, words=5)
    for kind, words in (("sound", "accused of nothing"), ("broken", "named first")):
        some = [e for e in entries if e["kind"] == kind]
        right = sum(e["right"] for e in some)
        more = f", {sum(e['among'] for e in some)} among the findings" if kind == "broken" else ""
        report.say(f"{kind}: {right} of {len(some)} {words}{more}")
    report.say(f"median time of a diagnosis: {duration(float(np.median([e['seconds'] for e in entries])))}")


def rows_of(name: str) -> Rows:
    """A packaged set, or FILE:TARGET: encoded and scaled as `fallline train` does it; at most some rows of it."""
    file, _, target = name.partition(":")
    table = fl.read_table(file)
    if table.n_rows > MOST_ROWS:
        table = table.take(np.sort(np.random.default_rng(5).choice(table.n_rows, MOST_ROWS, replace=False)))
    made = prepare(table, target or None, TableOptions())
    numbers = made.examples.x[0] if isinstance(made.examples.x, tuple) else made.examples.x
    classes = bool(made.model.classes)
    y = made.examples.y.astype(int) if classes else made.examples.y
    return Rows(table.name, numbers, y, len(made.model.classes) if len(made.model.classes) > 2 else 1, classes)


def friedman() -> Rows:
    """Friedman's first function of five of ten numbers.   source: Friedman 1991"""
    X = np.random.default_rng(21).uniform(size=(600, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    y = y + np.random.default_rng(22).normal(size=600)
    return Rows("friedman", (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std(), 1, False)


def checkers() -> Rows:
    """The four quarters of a square in two colours, with a tenth of them wrong."""
    rng = np.random.default_rng(23)
    X = rng.uniform(-1.7, 1.7, (600, 4))
    return Rows("checkers", X, ((X[:, 0] * X[:, 1] > 0) ^ (rng.uniform(size=600) < 0.1)).astype(int), 1, True)


def _fit(rows: Rows, seed: int, hidden: Any = (24,), activation: str = "relu", *, X: Any = None, y: Any = None,
         network: dict[str, Any] | None = None, **settings: Any) -> Made:  # fmt: skip
    X, y = rows.X if X is None else X, rows.y if y is None else y
    net = fl.mlp(hidden, rows.outputs, activation, **(network or {}))
    chosen = {"epochs": 200, "validation": 0.2, "early_stopping": 15, "optimizer": "adam(0.003)", "l2": 0.003}
    return fl.fit(net, (X, y), seed=seed, strict=False, **{**chosen, **settings}), (X, y)


SOUND: dict[str, Fault] = {
    "relu": lambda rows, seed: _fit(rows, seed, (32,)),
    "tanh, two layers": lambda rows, seed: _fit(rows, seed, (24, 12), "tanh"),
    "gelu and dropout": lambda rows, seed: _fit(rows, seed, (64,), "gelu", network={"dropout": 0.2}),
    "momentum": lambda rows, seed: _fit(rows, seed, (16,), optimizer="momentum(0.01)"),
}


def _unscaled(rows: Rows, seed: int) -> Made:
    scale = 10 ** np.random.default_rng(seed).uniform(-1, 3, rows.X.shape[1])
    return _fit(rows, seed, (16,), X=rows.X * scale, optimizer="sgd(0.05)", epochs=60)


def _leak(rows: Rows, seed: int) -> Made:
    noise = np.random.default_rng(seed).normal(0, 0.03, len(rows.y))
    copy = rows.y + noise * rows.y.std()
    return _fit(rows, seed, X=np.c_[rows.X, copy].astype(np.float32))


def _one_unit(rows: Rows, seed: int) -> Made | None:
    return _fit(rows, seed, (), optimizer="adam(0.03)") if rows.name in ("checkers", "friedman") else None


def _rare(rows: Rows, seed: int) -> Made | None:
    """The second class of two, thinned out to one row in twenty-five."""
    if not rows.classes or rows.outputs > 1:
        return None
    rng = np.random.default_rng(seed)
    rare = np.flatnonzero(rows.y == 1)
    kept = rng.choice(rare, max(12, int((rows.y == 0).sum() * 0.04)), replace=False)
    chosen = np.sort(np.r_[np.flatnonzero(rows.y == 0), kept])
    return _fit(rows, seed, (8,), X=rows.X[chosen] * 0.3, y=rows.y[chosen], l2=0.02)


def _by_heart(rows: Rows, seed: int) -> Made | None:
    if rows.outputs > 1 or rows.name == "breast-cancer":  # these can be told from few rows, or lose a class
        return None
    some = split_rows(len(rows.y), validation=0.0, test=max(1, len(rows.y) - 60), seed=seed).train
    return _fit(rows, seed, (300, 300), X=rows.X[some], y=rows.y[some], validation=0.4, early_stopping=None,
                epochs=150, l2=0.0)  # fmt: skip


def _shuffled(rows: Rows, seed: int) -> Made:
    return _fit(rows, seed, y=np.random.default_rng(seed).permutation(rows.y))


def _dead(rows: Rows, seed: int) -> Made:
    net = fl.mlp((24,), rows.outputs).build(fl.spec(rows.X[:2].shape, "float32"), seed)
    net = fl.with_leaves(net, {"layers.0.b": np.full(24, -30, "float32")})
    return fl.fit(net, (rows.X, rows.y), epochs=20, strict=False), (rows.X, rows.y)


def _as_numbers(rows: Rows, seed: int) -> Made | None:
    return _fit(rows, seed, y=rows.y * 1.0, loss="mse") if rows.classes and rows.outputs == 1 else None


def _raw_target(rows: Rows, seed: int) -> Made | None:
    y = 300 * rows.y + 1000
    return None if rows.classes else _fit(rows, seed, y=y, optimizer="adam(0.001)", epochs=40)


def _duplicate(rows: Rows, seed: int) -> Made:
    j = int(np.argmax([len(np.unique(column)) for column in rows.X.T]))
    return _fit(rows, seed, X=np.c_[rows.X, 0.3 * rows.X[:, j] - 2])


FAULTS: dict[str, Fault] = {
    "learning rate too low": lambda rows, seed: _fit(rows, seed, optimizer="adam(0.00001)", epochs=30),
    "learning rate too high": lambda rows, seed: _fit(rows, seed, optimizer="sgd(3)", epochs=25),
    "equals one linear layer": lambda rows, seed: _fit(rows, seed, (16, 16), "linear"),
    "learning rate too high / of Adam": lambda rows, seed: _fit(rows, seed, optimizer="adam(5)", epochs=40),
    "inputs not scaled": _unscaled,
    "leaking column": _leak,
    "duplicated column": _duplicate,
    "saturation": lambda rows, seed: _fit(rows, seed, (24, 24), "tanh", network={"init": "normal(12)"}, epochs=25),
    "dead units": _dead,
    "vanishing gradients": lambda rows, seed: _fit(rows, seed, (16,) * 9, "sigmoid", epochs=25),
    "exploding gradients": lambda rows, seed: _fit(rows, seed, (60,) * 7, network={"init": "normal(1)"}, epochs=10),
    "identical units": lambda rows, seed: _fit(rows, seed, (16,), "tanh", network={"init": "zeros"}, epochs=25),
    "regularised too strongly": lambda rows, seed: _fit(rows, seed, l2=20.0),
    "stopped too early": lambda rows, seed: _fit(rows, seed, epochs=4, optimizer="adam(0.001)"),
    "classes trained as numbers": _as_numbers,
    "targets not scaled": _raw_target,
    "overfit": _by_heart,
    "underfit": _one_unit,
    "class imbalance ignored": _rare,
    "nothing to learn": _shuffled,
}
