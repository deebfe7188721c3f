"""Correctness, checked before anything is timed: a fast step that computes something else is worth nothing."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.contestants import OURS
from benchmarks.worker import Worker
from benchmarks.workloads import Workload

# ‖g - g64‖ / ‖g64‖ of one step. float32 rounds at 6e-8; of a bf16 pair 16 bits are left, of one bf16 number 8.
LIMITS = {"float64": 1e-12, "float32": 1e-6, "bf16x3": 2e-5, "bf16": 0.2}
STEPS = 20
LOSSES = 1e-3  # relative, after STEPS steps of Adam without dropout, with tanh


class WrongResult(SystemExit):
    """The run is refused: the message says which number is off by how much."""


def gradient_error(worker: Worker, workload: Workload, precision: str) -> float:
    """The error of one step's gradient against float64; WrongResult above the precision's limit."""
    error = worker.ask("gradient_error", workload=asdict(workload))
    if not error <= LIMITS[precision]:
        raise WrongResult(
            f"{workload.name}, {precision}: one step's gradient is off by {error:.1e} of its length, "
            f"at most {LIMITS[precision]:.0e} is allowed; nothing was timed"
        )
    return error


def compare_losses(worker: Worker, torch: Worker, workload: Workload) -> float:
    """The largest relative difference between our losses and those of PyTorch; WrongResult above LOSSES."""
    smooth = asdict(workload.smooth())
    mine = worker.ask("losses", workload=smooth, count=STEPS)
    theirs = torch.ask("losses", workload=smooth, count=STEPS)
    difference = max(abs(a - b) / abs(b) for a, b in zip(mine, theirs, strict=True))
    if not difference <= LOSSES:
        raise WrongResult(
            f"{workload.name}: the losses of {STEPS} steps differ from PyTorch's by {difference:.1e}, at most "
            f"{LOSSES:.0e} is allowed ({OURS} ends at {mine[-1]:.6g}, PyTorch at {theirs[-1]:.6g}); nothing was timed"
        )
    return difference
