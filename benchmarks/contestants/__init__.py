"""Contestants: Fallline and the libraries it is compared with, each in a file that is imported where it runs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.workloads import Workload

OURS = "fallline"
BF16 = ("bf16x3", "bf16")
# A library's `fit` does some work once; among this many times as many epochs it is lost.
WHOLE_FITS = 3
SKLEARN = "MLPClassifier; without hidden layers SGDClassifier, whose plain SGD takes one row after the other"


class Unsuited(Exception):
    """The contestant cannot train this workload; the reason in words."""


@dataclass
class Trainer:
    """One workload, ready to be trained.

    run    trains `steps` steps: epochs of shuffled full minibatches, the making of the shuffle included
    reset  back to the starting weights, so that every call meets the same numbers; it is not timed
    """

    run: Callable[[], object]
    steps: int
    reset: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Contestant:
    """A way to train.

    name       in the table;  package  that must be installed;  home  the file of this folder
    precision  of the products: "float32", or "bf16" for those that only rows in bf16 are compared with
    note       what a reader of the table should know
    """

    name: str
    package: str
    home: str
    precision: str = "float32"
    note: str = ""

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def trainer(self, workload: Workload, threads: int, engine: str) -> Trainer:
        """Imports the library and prepares the workload; Unsuited where it cannot train it."""
        module = importlib.import_module(f"benchmarks.contestants.{self.home}")
        return module.trainer(workload, self, threads, engine)


PEERS = {
    c.name: c
    for c in (
        Contestant("torch", "torch", "pytorch", note="PyTorch eager, fused Adam"),
        Contestant("torch.compile", "torch", "pytorch", note="forward, loss and backward compiled, fused Adam"),
        Contestant("jax", "jax", "jax_scan", note="one jitted scan over the steps of an epoch"),
        Contestant("sklearn", "sklearn", "scikit", note=SKLEARN),
        Contestant("keras", "keras", "keras_fit", note="Model.fit on the JAX backend"),
        Contestant("mlpack", "mlpack", "mlpack_logistic", note="logistic regression by minibatch SGD in float64"),
        Contestant("torch-autocast", "torch", "pytorch", "bf16", "PyTorch eager under autocast to bfloat16"),
        Contestant("torch-bf16", "torch", "pytorch", "bf16", "PyTorch eager, parameters and rows in bfloat16"),
    )
}  # fmt: skip


def ourselves(precision: str) -> Contestant:
    return Contestant(f"{OURS} {precision}", OURS, "ours", precision)


def named(name: str) -> Contestant:
    """A contestant by the name that the table shows."""
    return ourselves(name.split()[1]) if name.startswith(OURS) else PEERS[name]


def choose_peers(asked: Sequence[str] | None, precisions: Sequence[str]) -> tuple[list[str], list[str]]:
    """(peers to run, peers that are left out because they are not installed).   asked: ["none"] for no peers"""
    if asked == ["none"]:
        return [], []
    unknown = [name for name in asked or () if name not in PEERS]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; known are {', '.join(PEERS)}, or none")
    with_bf16 = any(p in BF16 for p in precisions)
    wanted = [n for n in asked or PEERS if asked or PEERS[n].precision == "float32" or with_bf16]
    return [n for n in wanted if PEERS[n].is_installed], [n for n in wanted if not PEERS[n].is_installed]
