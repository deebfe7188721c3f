"""steps: the time of one training step, ours and that of every peer that is installed, measured in turn."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from benchmarks import correctness
from benchmarks.contestants import BF16, PEERS, choose_peers, ourselves
from benchmarks.report import Report, number, save_figure
from benchmarks.rounds import Measured, in_turn
from benchmarks.worker import Worker, WorkerError
from benchmarks.workloads import WORKLOADS, Workload, chosen

ROUNDS, SECONDS = 5, 0.4  # of a turn
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.02
CEILING = "ceiling"


@dataclass
class Row:
    """One workload in one precision on some threads.

    ceiling  FLOP/s of multiply-adds, or bytes/s of a copy for a workload that is bound by memory, in each round
    reasons  why a peer has no number
    """

    workload: Workload
    threads: int
    precision: str
    gradient_error: float
    own: Measured
    peers: dict[str, Measured]
    ceiling: Measured
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """The peer's time over ours, within each round, then the median."""
        return {name: found.over(self.own) for name, found in self.peers.items()}

    @property
    def share_of_peak(self) -> float:
        work = self.workload.bytes_per_step if self.workload.is_memory_bound else self.workload.flops_per_step
        return median(work / (t * c) for t, c in zip(self.own.values, self.ceiling.values, strict=True))

    def best(self, precision: str) -> str | None:
        """The fastest peer of a precision."""
        known = {name: m.median for name, m in self.peers.items() if PEERS[name].precision == precision}
        return min(known, key=known.__getitem__) if known else None

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload.name,
            "threads": self.threads,
            "precision": self.precision,
            "us_per_step": self.own.median * 1e6,
            "share_of_peak": self.share_of_peak,
            "ratios": self.ratios,
            "flops_per_step": self.workload.flops_per_step,
            "spread": self.own.spread,
            "gradient_error": self.gradient_error,
            "peers_us_per_step": {name: found.median * 1e6 for name, found in self.peers.items()},
            "missing": self.reasons,
        }


class Field:
    """The workers of one number of threads: ours in each precision, and the peers."""

    def __init__(self, stack: ExitStack, threads: int, peers: list[str], asked: argparse.Namespace):
        self.threads, self.asked = threads, asked
        self.own = {p: stack.enter_context(Worker(ourselves(p).name, threads, asked.engine)) for p in asked.precision}
        self.peers = {name: stack.enter_context(Worker(name, threads, asked.engine)) for name in peers}

    def versions(self) -> dict[str, str]:
        first = next(iter(self.own.values()))
        found = {"fallline": first.ask("version")}
        return found | {PEERS[name].package: worker.ask("version") for name, worker in self.peers.items()}

    def rows(self, workload: Workload, say: Callable[[str], None]) -> Iterator[Row]:
        """Checks, prepares, times: one row for each precision."""
        errors = {p: correctness.gradient_error(w, workload, p) for p, w in self.own.items()}
        if "torch" in self.peers and "float32" in self.own:
            correctness.compare_losses(self.own["float32"], self.peers["torch"], workload)
        reasons = self._prepare(workload, say)
        running = {name: worker for name, worker in self.peers.items() if name not in reasons}
        seconds = QUICK_SECONDS if self.asked.quick else SECONDS
        measurements = {p: partial(w.turn, workload.name, seconds) for p, w in self.own.items()}
        measurements |= {name: partial(w.turn, workload.name, seconds) for name, w in running.items()}
        ceiling = "bandwidth" if workload.is_memory_bound else "peak"
        measurements[CEILING] = partial(next(iter(self.own.values())).ask, ceiling)
        found = in_turn(measurements, QUICK_ROUNDS if self.asked.quick else self.asked.rounds)
        for precision in self.own:
            peers = {n: found[n] for n in running if precision in BF16 or PEERS[n].precision == "float32"}
            yield Row(
                workload, self.threads, precision, errors[precision], found[precision], peers, found[CEILING], reasons
            )

    def _prepare(self, workload: Workload, say: Callable[[str], None]) -> dict[str, str]:
        """Everyone ready and warm for this workload alone; the reasons of those that cannot train it."""
        reasons = {}
        for worker in (*self.own.values(), *self.peers.values()):
            worker.ask("forget")
        for worker in self.own.values():
            worker.prepare(workload)
        for name, worker in self.peers.items():
            try:
                worker.prepare(workload)
            except WorkerError as reason:
                reasons[name] = str(reason)
                say(f"{workload.name}: no {name}: {reason}")
        return reasons


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    names = chosen(asked.workloads, list(WORKLOADS))
    workloads = [
        WORKLOADS[n].shortened() if asked.quick else WORKLOADS[n].in_calls(asked.epochs_per_call) for n in names
    ]
    peers, absent = choose_peers(asked.peers, asked.precision)
    rows: list[Row] = []
    for threads in asked.threads:
        with ExitStack() as stack:
            runners = Field(stack, threads, peers, asked)
            if not rows:
                report.open(runners.versions())
                source = next(iter(runners.own.values())).ask("peak_source")
                if absent:
                    report.say(f"not installed: {', '.join(absent)}")
            for workload in workloads:
                rows += runners.rows(workload, report.say)
    _show(report, rows, peers, source)
    if asked.plot:
        save_figure(figure(rows), asked.plot)
    report.write([row.as_json() for row in rows])


def _show(report: Report, rows: list[Row], peers: list[str], source: str) -> None:
    columns = [
        "workload",
        "precision",
        "threads",
        "µs/step",
        "spread",
        "GF/s",
        "of peak",
        "best f32 peer",
        "best bf16 peer",
    ]
    if not any(row.precision in BF16 for row in rows):
        columns.pop()
    ratios = [_ratio_cells(row, len(columns) == 9) for row in rows]
    cells = [
        [row.workload.name, row.precision, str(row.threads), number(row.own.median * 1e6), f"{row.own.spread:.0%}",
         number(row.workload.flops_per_step / row.own.median / 1e9), f"{row.share_of_peak:.0%}", *ratio]
        for row, ratio in zip(rows, ratios, strict=True)
    ]  # fmt: skip
    report.table("time of a step", columns, cells, words=2)
    if peers:
        told = [
            [row.workload.name, row.precision, str(row.threads), *(_peer_cell(row, name) for name in peers)]
            for row in rows
        ]
        report.table(
            "peers: µs/step (their time over ours)", ["workload", "precision", "threads", *peers], told, words=2
        )
    report.say("")
    report.say(f"peak: {source}, on as many threads; of logreg the share is that of a large copy's bytes/s.")
    worst = {p: max(row.gradient_error for row in rows if row.precision == p) for p in {row.precision for row in rows}}
    told_errors = ", ".join(f"{p} {error:.1e}" for p, error in sorted(worst.items()))
    report.say(f"largest error of one step's gradient against float64: {told_errors}")
    for name in peers:
        report.say(f"{name}: {PEERS[name].note}")


def _ratio_cells(row: Row, with_bf16: bool) -> list[str]:
    shown = []
    for precision in ("float32", "bf16") if with_bf16 else ("float32",):
        best = row.best(precision)
        shown.append(f"{row.ratios[best]:.2f}× {best}" if best else "–")
    return shown


def _peer_cell(row: Row, name: str) -> str:
    if name not in row.peers:
        return "–"
    return f"{number(row.peers[name].median * 1e6)} ({row.ratios[name]:.2f}×)"


def figure(rows: list[Row]) -> Any:
    """How many times as long each peer takes, a line for each row of the table."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(8.0, 1.2 + 0.32 * len(rows)))
    axes = made.add_subplot()
    names = list(dict.fromkeys(name for row in rows for name in row.peers))
    for k, name in enumerate(names):
        known = [(row.ratios[name], -i) for i, row in enumerate(rows) if name in row.peers]
        axes.plot(*zip(*known, strict=True), "osD^vPX*"[k % 8], label=name, markersize=6)
    axes.axvline(1.0, color="0.3", linewidth=1)
    axes.set_yticks([-i for i in range(len(rows))], [_label(row) for row in rows])
    axes.set_xscale("log")
    axes.set_ylim(0.5 - len(rows), 0.5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_xlabel("time of a step over Fallline's")
    axes.grid(axis="x", which="both", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if names:
        axes.legend(bbox_to_anchor=(1.01, 1.0), loc="upper left", frameon=False)
    return made


def _label(row: Row) -> str:
    threads = f"{row.threads} thread{'s' * (row.threads > 1)}"
    return f"{row.workload.name}, {threads}" + ("" if row.precision == "float32" else f", {row.precision}")
