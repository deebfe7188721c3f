"""Trail: the weights from epoch to epoch, how their way turns, and the way itself where it is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.tree import leaves
from fallline.nn.layer import Layer

Arrays = dict[str, Any]


class Trail:
    """Follows the weights of one run.

    keep  whether to keep all of them (`path`), not only those of the last epoch
    """

    def __init__(self, keep: bool = False):
        self.keep = keep
        self._at: Arrays = {}
        self._change: Arrays = {}
        self._kept: list[np.ndarray] = []

    def note(self, network: Layer) -> float | None:
        """Takes in the weights after an epoch.

        returns  Δw · Δw' / (‖Δw‖ ‖Δw'‖), the cosine between this epoch's change of the weights and the one before:
                 1 straight on, 0 at a right angle, -1 back and forth; None where there are no two changes to compare
        """
        now = leaves(network, "param")
        if self.keep:
            self._kept.append(flattened(network))
        change = {path: now[path] - before for path, before in self._at.items()}
        turn = _cosine(change, self._change)
        self._at, self._change = now, change
        return turn

    @property
    def path(self) -> np.ndarray | None:
        """(epochs + 1, n_weights) float64, each row in the order of `leaves(network, "param")`; None if not kept."""
        return np.stack(self._kept) if self.keep else None


def _cosine(a: Arrays, b: Arrays) -> float | None:
    if not a or not b:
        return None
    size = math.sqrt(_dot(a, a)) * math.sqrt(_dot(b, b))
    return max(-1.0, min(1.0, _dot(a, b) / size)) if 0 < size < math.inf else None


def _dot(a: Arrays, b: Arrays) -> float:
    return sum(float(np.vdot(a[path], b[path])) for path in a)


def joined(arrays: Any) -> np.ndarray:
    """All entries of some arrays in one float64 vector."""
    parts = [np.ravel(array).astype(np.float64) for array in arrays]
    return np.concatenate(parts) if parts else np.zeros(0)


def flattened(network: Layer) -> np.ndarray:
    """The weights of a network in one float64 vector, in the order of `leaves(network, "param")`."""
    return joined(leaves(network, "param").values())


def parted(vector: np.ndarray, like: Arrays) -> Arrays:
    """A vector of all entries as arrays by path, in the shapes and dtypes of these: `joined` undone."""
    ends = np.cumsum([leaf.size for leaf in like.values()])[:-1]
    parts = np.split(vector, ends) if like else []
    return {
        path: part.reshape(leaf.shape).astype(leaf.dtype)
        for (path, leaf), part in zip(like.items(), parts, strict=True)
    }


__all__ = ["Trail", "flattened", "joined", "parted"]
