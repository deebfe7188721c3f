"""Trail: the weights from epoch to epoch, how their way turns, and the way itself where it is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
        self._at = self._change = np.zeros(0)
        self._length = 0.0  # of the last change
        self._kept: list[np.ndarray] = []

    def note(self, weights: Iterable[np.ndarray]) -> float | None:
        """Takes in the weights after an epoch.

        returns  Δw · Δw' / (‖Δw‖ ‖Δw'‖), the cosine between this epoch's change of the weights and the one before:
                 1 straight on, 0 at a right angle, -1 back and forth; None where there are no two changes to compare
        """
        parts = [np.ravel(array) for array in weights]
        now = np.concatenate(parts) if parts else np.zeros(0)
        if self.keep:
            self._kept.append(now.astype(np.float64))
        change = now - self._at if len(self._at) else self._change
        length = math.sqrt(float(np.vdot(change, change)))
        product = length * self._length
        turn = float(np.vdot(change, self._change)) / product if 0 < product < math.inf else None
        self._at, self._change, self._length = now, change, length
        return None if turn is None else max(-1.0, min(1.0, turn))

    def kept(self) -> dict[str, Any]:
        """Where the way is, as plain data and arrays; `take_up` undoes it."""
        return {"at": self._at, "change": self._change, "length": self._length, "path": list(self._kept)}

    def take_up(self, kept: dict[str, Any]) -> None:
        """Goes on from a place that was kept."""
        self._at, self._change, self._length, self._kept = (kept[n] for n in ("at", "change", "length", "path"))

    @property
    def path(self) -> np.ndarray | None:
        """(epochs + 1, n_weights) float64, each row in the order of `leaves(network, "param")`; None if not kept."""
        return np.stack(self._kept) if self.keep else None


def joined(arrays: Any) -> np.ndarray:
    """All entries of some arrays in one float64 vector."""
    parts = [array.reshape(-1) for array in arrays]
    return np.concatenate(parts, dtype=np.float64) if parts else np.zeros(0)


def flattened(network: Layer) -> np.ndarray:
    """The weights of a network in one float64 vector, in the order of `leaves(network, "param")`."""
    return joined(leaves(network, "param").values())


def parted(vector: np.ndarray, like: Arrays) -> Arrays:
    """A vector of all entries as arrays by path, in the shapes and dtypes of these: `joined` undone."""
    found, start = {}, 0
    for path, leaf in like.items():
        end = start + leaf.size
        found[path] = vector[start:end].astype(leaf.dtype).reshape(leaf.shape)
        start = end
    return found


__all__ = ["Trail", "flattened", "joined", "parted"]
