"""scaling: the cost of a unit of work against rows, width, depth, batch and threads, and where it jumps."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks import pinned
from benchmarks.contestants import ourselves
from benchmarks.report import Report, duration, number, save_figure
from benchmarks.rounds import Measured, in_turn
from benchmarks.worker import Worker
from benchmarks.workloads import WORKLOADS, Workload, chosen, deep

CLIFF = 1.5
SECONDS, QUICK_SECONDS = 0.1, 0.005  # of a turn
CALL_STEPS = 32  # steps in one timed call, or the steps of one epoch where these are more
TIMED_SIZES = ("heart", "digits", "mnist")

BASE = Workload("base", 4096, 64, (64, 64), 10, 64)


@dataclass(frozen=True)
class Sweep:
    """One quantity, everything else fixed.

    unit  what the cost is divided by, in words;  units  how many of them a step does
    """

    name: str
    unit: str
    values: tuple[int, ...]
    workload: Callable[[int], Workload]
    units: Callable[[Workload], float]


def _rows(n: int) -> Workload:
    return replace(BASE, rows=n)


def _wide(n: int) -> Workload:
    return replace(BASE, inputs=n, hidden=(n, n), rows=1024)


def _batch(n: int) -> Workload:
    return replace(BASE, batch=n, rows=CALL_STEPS * n)


# Powers of two, what lies between, and their neighbours, where tiles and vectors end.
ROWS = tuple(2**k for k in range(8, 20))
NARROW = (8, 12, 16, 24, 31, 32, 33, 40, 48, 63, 64, 65, 80, 96, 127, 128, 129)
WIDTHS = (*NARROW, 160, 192, 255, 256, 257, 320, 384, 512, 768, 1024)
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 192, 256, 512, 1024)

SWEEPS = {
    s.name: s
    for s in (
        Sweep("rows", "row", ROWS, _rows, lambda w: w.batch),
        Sweep("width", "MFLOP", WIDTHS, _wide, lambda w: w.flops_per_step / 1e6),
        Sweep("depth", "hidden layer", DEPTHS, deep, lambda w: len(w.hidden)),
        Sweep("batch", "row", BATCHES, _batch, lambda w: w.batch),
    )
}
KNOWN = (*SWEEPS, "threads")
QUICK = {"rows": (256, 512, 1024), "width": (8, 16, 24), "depth": (1, 2), "batch": (16, 32, 33)}


@dataclass
class Point:
    """One measured value of a sweep.   seconds: of a step;  units: of work in it"""

    value: int
    seconds: Measured
    units: float
    label: str = ""

    @property
    def cost(self) -> float:
        """Seconds a unit of work."""
        return self.seconds.median / self.units


def jump(a: Point, b: Point) -> float:
    """How much dearer a unit of work gets from one point to its neighbour, at least 1.

    A step that takes longer although it does less work counts as well. That units get cheaper because a fixed cost is
    shared by more of them does not.
    """
    units = b.seconds.over(a.seconds) * a.units / b.units
    return max(1.0, units, a.seconds.over(b.seconds) if a.units < b.units else 0.0)


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    report.open({})
    found: dict[str, list[Point]] = {}
    for precision in asked.precision:
        for name in chosen(asked.sweeps, KNOWN):
            for threads in asked.threads if name != "threads" else [0]:
                title = f"{name}, {precision}" + (f", {threads} thread{'s' * (threads > 1)}" if threads else "")
                series = (
                    _threads(asked, precision) if name == "threads" else {name: _sweep(asked, name, precision, threads)}
                )
                for label, points in series.items():
                    found[title if label == name else f"{title}, {label}"] = points
                    _show(report, title if label == name else f"{title}: {label}", points, _unit(name))
    _tell_cliffs(report, found)
    if asked.plot:
        save_figure(figure(found), asked.plot)
    report.write([entry for title, points in found.items() for entry in _as_json(title, points)])


def _unit(name: str) -> str:
    return SWEEPS[name].unit if name in SWEEPS else "step"


def _sweep(asked: argparse.Namespace, name: str, precision: str, threads: int) -> list[Point]:
    sweep = SWEEPS[name]
    values = QUICK[name] if asked.quick else sweep.values
    workloads = [_timed(sweep.workload(v), f"{name} {v}") for v in values]
    with Worker(ourselves(precision).name, threads, asked.engine) as worker:
        for workload in workloads:
            worker.prepare(workload)
        seconds = QUICK_SECONDS if asked.quick else SECONDS
        measured = in_turn({w.name: partial(worker.turn, w.name, seconds) for w in workloads}, asked.rounds)
    return [Point(v, measured[w.name], sweep.units(w)) for v, w in zip(values, workloads, strict=True)]


def _timed(workload: Workload, name: str) -> Workload:
    """With enough epochs in a call that the call itself does not count."""
    epochs = max(1, -(-CALL_STEPS // workload.steps_per_epoch))
    return replace(workload, name=name, epochs=epochs, per_call=epochs)


def _threads(asked: argparse.Namespace, precision: str) -> dict[str, list[Point]]:
    """Steps of some sizes on 1, 2, … cores, all in turn."""
    counts = range(1, (1 if asked.quick else pinned.cores()) + 1)
    sizes = [
        WORKLOADS[n].shortened() if asked.quick else WORKLOADS[n] for n in TIMED_SIZES[: 1 if asked.quick else None]
    ]
    with ExitStack() as stack:
        workers = {n: stack.enter_context(Worker(ourselves(precision).name, n, asked.engine)) for n in counts}
        seconds = QUICK_SECONDS if asked.quick else SECONDS
        found = {}
        for workload in sizes:
            for worker in workers.values():
                worker.prepare(workload)
            turns = {str(n): partial(worker.turn, workload.name, seconds) for n, worker in workers.items()}
            measured = in_turn(turns, asked.rounds)
            found[workload.name] = [Point(n, measured[str(n)], 1.0) for n in counts]
    return found


def _show(report: Report, title: str, points: Sequence[Point], unit: str) -> None:
    jumps = [None, *(jump(a, b) for a, b in pairwise(points))]
    name = title.split(",")[0]
    cells = [
        [f"{p.value:,}", duration(p.seconds.median), f"{p.seconds.spread:.0%}", duration(p.cost), number(j)]
        for p, j in zip(points, jumps, strict=True)
    ]
    report.table(title, [name, "step", "spread", f"per {unit}", "jump"], cells, words=0)


def _tell_cliffs(report: Report, found: dict[str, list[Point]]) -> None:
    pairs = [(jump(a, b), title, a, b) for title, points in found.items() for a, b in pairwise(points)]
    report.say("")
    if not pairs:
        return
    ratio, title, a, b = max(pairs, key=lambda p: p[0])
    report.say(f"worst jump of a unit's cost between neighbours: {ratio:.2f} ({title}: {a.value:,} to {b.value:,})")
    cliffs = [p for p in pairs if p[0] >= CLIFF]
    report.say(f"cliffs, from {CLIFF} on: {'none' if not cliffs else ''}")
    for ratio, title, a, b in cliffs:
        report.say(f"  {title}: {a.value:,} to {b.value:,}, {ratio:.2f}")


def _as_json(title: str, points: Sequence[Point]) -> list[dict[str, Any]]:
    jumps = [None, *(jump(a, b) for a, b in pairwise(points))]
    return [
        {
            "sweep": title,
            "value": p.value,
            "us_per_step": p.seconds.median * 1e6,
            "us_per_unit": p.cost * 1e6,
            "spread": p.seconds.spread,
            "jump": j,
        }
        for p, j in zip(points, jumps, strict=True)
    ]


def figure(found: dict[str, list[Point]]) -> Any:
    """One panel for each quantity: the cost of a unit of work, on logarithmic axes."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(title.split(",")[0] for title in found))
    made = Figure(figsize=(4.6 * min(3, len(names)), 3.6 * -(-len(names) // 3)), layout="constrained")
    panels = made.subplots(-(-len(names) // 3), min(3, len(names)), squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        for title, points in found.items():
            if title.split(",")[0] == name:
                label = title.partition(", ")[2]
                axes.plot([p.value for p in points], [p.cost * 1e6 for p in points], "o-", ms=3.5, lw=1, label=label)
        _dress(axes, name)
    return made


def _dress(axes: Any, name: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.yaxis.set_minor_formatter(lambda value, _: number(value) if f"{value:e}"[0] in "235" else "")
    axes.tick_params(axis="both", which="both", labelsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, high / 4), high * 1.1)  # noise alone must not fill a panel
    axes.set_xlabel(name, fontsize=9)
    axes.set_ylabel(f"µs per {_unit(name)}", fontsize=9)
    axes.grid(color="0.92", linewidth=0.6, which="major")
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.0)
