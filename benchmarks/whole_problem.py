"""whole_problem: the time until the optimum of a loss on all rows is reached, and how many gradients that takes.

Logistic regression beside scikit-learn's, least squares beside SciPy's L-BFGS-B with NumPy's products and beside
ensmallen's. All start at 0 in float64, on the same arrays. A run ends at the first iteration whose objective is within
TOLERANCE of the optimum, which Newton's method finds beforehand: how many iterations that takes is found out first, and
then each is timed with just so many, in turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pinned
from benchmarks.report import Report, duration, number
from benchmarks.rounds import in_turn

TOLERANCE = 1e-6  # of the objective, relative
MOST = 500  # iterations
OURS = "fallline"
SHAPES = ((100, 1_000), (10_000, 100), (100_000, 100), (100_000, 1_000))
QUICK_SHAPES = ((30, 60), (200, 10))
L2 = 1.0  # λ: the penalty is λ/(2n) Σw², scikit-learn's with C = 1
HEART = Path(__file__).parents[1] / "shared" / "data" / "heart.csv"  # the real table, where a copy lies there
ENSMALLEN = Path(__file__).parent / "scripts" / "ensmallen_least_squares.cpp"


@dataclass
class Reached:
    """What one contestant needed: iterations and gradient evaluations until the tolerance."""

    iterations: int
    evaluations: int
    error: float  # (J - J*) / J*


@dataclass
class Task:
    """One problem.   x (n, d), y (n,) numbers or 0 and 1;  penalty: λ / n"""

    name: str
    loss: str
    x: np.ndarray
    y: np.ndarray
    penalty: float

    def objective(self, w: np.ndarray, b: float = 0.0) -> float:
        s = self.x @ w + b
        losses = np.logaddexp(0, s) - self.y * s if self.loss == "bce" else (s - self.y) ** 2
        return float(np.mean(losses) + 0.5 * self.penalty * (w @ w))


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    report.open({})
    peers, absent = _peers(asked.peers)
    for name, reason in absent.items():
        report.say(f"without {name}: {reason}")
    entries = []
    for threads in asked.threads:
        given = {"peers": peers, "engine": asked.engine, "rounds": asked.rounds, "quick": asked.quick,
                 "threads": threads}  # fmt: skip
        done = subprocess.run(
            pinned.command("whole_problem", json.dumps(given)), env=pinned.environment(threads), cwd=pinned.ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        entries += json.loads(done.stdout.splitlines()[-1])
    _show(report, entries)
    report.write(entries)


def _peers(asked: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """(the peers that can be run, the others with the reason)"""
    known = ("sklearn", "scipy", "ensmallen")
    wanted = [] if asked == ["none"] else list(asked or known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; known are {', '.join(known)}, or none")
    absent = {}
    if "ensmallen" in wanted and (reason := _without_ensmallen()):
        absent["ensmallen"] = reason
    return [name for name in wanted if name not in absent], absent


def _without_ensmallen() -> str:
    """Why the small program with ensmallen cannot be built; "" where it can."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "there is no g++"
    with tempfile.TemporaryDirectory() as folder:
        probe = subprocess.run(
            [compiler, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"], input="#include <ensmallen.hpp>\n", cwd=folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return "" if probe.returncode == 0 else "its headers are not installed (Debian: libensmallen-dev)"


def tasks(quick: bool) -> list[Task]:
    """Logistic regression on the heart table and on synthetic rows, then least squares of several shapes."""
    rng = np.random.default_rng(0)
    x, y = _heart()
    found = [Task("logistic, heart", "bce", x, y, L2 / len(y))]
    n, d = (400, 10) if quick else (100_000, 100)
    x, w = rng.normal(size=(n, d)), rng.normal(size=d) / np.sqrt(d)
    y = (2 * (x @ w) + rng.logistic(size=n) > 0).astype(np.float64)
    found.append(Task(f"logistic, {n:,} × {d}", "bce", x, y, L2 / n))
    for n, d in QUICK_SHAPES if quick else SHAPES:
        x = rng.normal(size=(n, d))
        y = x @ (rng.normal(size=d) / np.sqrt(d)) + rng.normal(size=n)
        found.append(Task(f"least squares, {n:,} × {d:,}", "mse", x, y, L2 / n))
    return found


def _heart() -> tuple[np.ndarray, np.ndarray]:
    """The table with its numbers standardised and its words one-hot; the packaged simulated patients without it."""
    import fallline as fl
    from fallline.data.columns import Columns

    table = fl.read_table(str(HEART) if HEART.exists() else "simulated-heart")
    columns = Columns.fit(table, target="AHD", rows=np.arange(table.n_rows))
    numbers, _ = columns.transform(table)
    y = np.array([label == "Yes" for label in table.column("AHD").to_list()], np.float64)
    return np.ascontiguousarray(numbers, np.float64), y


class Ours:
    """fl.fit with L-BFGS, from the zero weights."""

    def __init__(self, task: Task, engine: str, threads: int):
        import fallline as fl

        self.task, self.fl = task, fl
        network = fl.Sequential(fl.Dense(1, init="zeros", use_bias=task.loss == "bce"))
        self.given = network, (task.x, task.y)
        limit = None if engine == "numpy" else threads
        self.options: dict[str, Any] = {"l2": task.penalty, "loss": task.loss, "engine": engine, "threads": limit}

    def run(self, iterations: int) -> Any:
        solver = self.fl.LBFGS(tolerance=0.0)
        return self.fl.fit(*self.given, optimizer=solver, epochs=iterations, **self.options)

    def reach(self, best: float) -> Reached:
        fit = self.run(MOST)
        values, spent = fit.history["objective"], fit.history["evaluations"]
        k = _first(values, best)
        return Reached(k, int(spent[k]), float(values[k] / best - 1))


def _first(values: np.ndarray, best: float) -> int:
    """The first iteration within the tolerance of the optimum; SystemExit where none is."""
    within = np.flatnonzero(np.asarray(values) <= best * (1 + TOLERANCE))
    if not len(within):
        raise SystemExit(f"the optimum {best:.9g} was not reached: the lowest value is {np.min(values):.9g}")
    return int(within[0])


class Sklearn:
    """LogisticRegression(solver="lbfgs"); its looks at the loss with the gradient are counted."""

    def __init__(self, task: Task):
        from sklearn.linear_model import LogisticRegression

        self.task, self.make = task, LogisticRegression

    def run(self, iterations: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, which is asked for
            return self.make(C=1 / L2, tol=1e-14, max_iter=iterations).fit(self.task.x, self.task.y)

    def reach(self, best: float) -> Reached:
        from sklearn.linear_model._linear_loss import LinearModelLoss

        counted, own = [], LinearModelLoss.loss_gradient

        def look(*given: Any, **options: Any) -> Any:
            counted.append(1)
            return own(*given, **options)

        LinearModelLoss.loss_gradient = look
        try:
            return _fewest(lambda k: self._tried(k, best, counted))
        finally:
            LinearModelLoss.loss_gradient = own

    def _tried(self, k: int, best: float, counted: list[int]) -> Reached:
        counted.clear()
        made = self.run(k)
        return Reached(k, len(counted), self.task.objective(made.coef_[0], float(made.intercept_[0])) / best - 1)


class Scipy:
    """SciPy's L-BFGS-B on the least squares, whose gradient is two products of NumPy."""

    def __init__(self, task: Task):
        from scipy.optimize import minimize

        self.task, self.minimize = task, minimize
        self.values: list[float] = []

    def look(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        r = self.task.x @ w - self.task.y
        value = r @ r / len(r) + 0.5 * self.task.penalty * (w @ w)
        return value, (2 / len(r)) * (r @ self.task.x) + self.task.penalty * w

    def run(self, iterations: int, callback: Callable[..., None] | None = None) -> Any:
        options = {"maxiter": iterations, "ftol": 0.0, "gtol": 0.0}
        start = np.zeros(self.task.x.shape[1])
        return self.minimize(self.look, start, jac=True, method="L-BFGS-B", options=options, callback=callback)

    def reach(self, best: float) -> Reached:
        values = [self.task.objective(np.zeros(self.task.x.shape[1]))]
        self.run(MOST, lambda w: values.append(self.task.objective(w)))
        k = _first(np.array(values), best)
        found = self.run(k)
        return Reached(k, int(found.nfev), float(found.fun / best - 1))


class Ensmallen:
    """A program of its own with ensmallen's L-BFGS on the least squares; it reads the arrays and tells its own time."""

    def __init__(self, task: Task, folder: Path):
        self.task, self.folder = task, folder
        self.program = folder / "least_squares"
        if not self.program.exists():
            options = ["-O3", "-march=native", "-std=c++17", "-DNDEBUG"]
            subprocess.run(
                ["g++", *options, str(ENSMALLEN), "-o", str(self.program), "-larmadillo"], check=True,
                capture_output=True,
            )  # fmt: skip
        np.ascontiguousarray(task.x).tofile(folder / "x")
        np.ascontiguousarray(task.y).tofile(folder / "y")

    def run(self, iterations: int) -> dict[str, float]:
        n, d = self.task.x.shape
        given = [str(n), str(d), repr(self.task.penalty), str(iterations)]
        done = subprocess.run([str(self.program), *given], cwd=self.folder, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def reach(self, best: float) -> Reached:
        def tried(k: int) -> Reached:
            found = self.run(k)
            return Reached(k, int(found["evaluations"]), found["objective"] / best - 1)

        return _fewest(tried)


def _fewest(tried: Callable[[int], Reached]) -> Reached:
    """The result of the fewest iterations that reach the tolerance: more of them never leave it again."""
    few, many = 0, 1
    while (found := tried(many)).error > TOLERANCE:
        few, many = many, 2 * many
        if many > MOST:
            raise SystemExit(f"the optimum was not reached in {few} iterations")
    while many - few > 1:
        middle = (few + many) // 2
        between = tried(middle)
        few, many, found = (few, middle, between) if between.error <= TOLERANCE else (middle, many, found)
    return found


def optimum(task: Task) -> float:
    """The least objective, by the normal equations or by Newton's steps."""
    if task.loss == "mse":
        n, d = task.x.shape
        A = task.x.T @ task.x * (2 / n) + task.penalty * np.eye(d)
        return task.objective(np.linalg.solve(A, task.x.T @ task.y * (2 / n)))
    z, v = np.column_stack([task.x, np.ones(len(task.y))]), np.zeros(task.x.shape[1] + 1)
    ridge = task.penalty * np.append(np.ones(task.x.shape[1]), 0.0)
    for _ in range(30):
        p = 1 / (1 + np.exp(-(z @ v)))
        g = z.T @ (p - task.y) / len(p) + ridge * v
        v -= np.linalg.solve((z.T * (p * (1 - p) / len(p))) @ z + np.diag(ridge), g)
    return task.objective(v[:-1], float(v[-1]))


def contestants(task: Task, asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {OURS: Ours(task, asked["engine"], asked["threads"])}
    if task.loss == "bce" and "sklearn" in asked["peers"]:
        found["sklearn"] = Sklearn(task)
    if task.loss == "mse" and "scipy" in asked["peers"]:
        found["scipy"] = Scipy(task)
    if task.loss == "mse" and "ensmallen" in asked["peers"]:
        found["ensmallen"] = Ensmallen(task, folder)
    return found


def measure(task: Task, asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One entry: iterations and gradients until the tolerance, then the seconds that they take."""
    best = optimum(task)
    running = contestants(task, asked, folder)
    reached = {name: each.reach(best) for name, each in running.items()}
    found = in_turn(
        {name: partial(_seconds, running[name], reached[name].iterations) for name in running},
        1 if asked["quick"] else asked["rounds"],
    )
    return {
        "task": task.name, "threads": asked["threads"], "optimum": best,
        "iterations": {n: r.iterations for n, r in reached.items()},
        "evaluations": {n: r.evaluations for n, r in reached.items()},
        "error": {n: r.error for n, r in reached.items()},
        "seconds": {n: m.median for n, m in found.items()},
        "spread": {n: m.spread for n, m in found.items()},
        "ratios": {n: m.over(found[OURS]) for n, m in found.items() if n != OURS},
    }  # fmt: skip


def _seconds(contestant: Any, iterations: int) -> float:
    """A run's wall clock; a program of its own measures itself, without reading its files."""
    start = time.perf_counter()
    told = contestant.run(iterations)
    return told["seconds"] if isinstance(contestant, Ensmallen) else time.perf_counter() - start


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    cells = [
        [e["task"], who, str(e["threads"]), str(e["iterations"][who]), str(e["evaluations"][who]),
         f"{e['error'][who]:.1e}", duration(e["seconds"][who]), f"{e['spread'][who]:.0%}",
         "" if who == OURS else f"{number(e['ratios'][who])}×"]
        for e in entries for who in e["seconds"]
    ]  # fmt: skip
    columns = ["problem", "by", "threads", "iterations", "gradients", "above optimum", "time", "spread", "over ours"]
    report.table(f"until the objective is within {TOLERANCE:g} of the optimum", columns, cells, words=2)


if __name__ == "__main__":
    question = json.loads(sys.argv[1])
    pinned.pin(question["threads"])
    with tempfile.TemporaryDirectory() as made:
        print(json.dumps([measure(task, question, Path(made)) for task in tasks(question["quick"])]))
