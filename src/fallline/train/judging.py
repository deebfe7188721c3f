"""Judging: what weights are worth on some rows, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from fallline.core.tree import leaves
from fallline.engines.engine import Call, Engine
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer
from fallline.train.examples import Examples, take_rows
from fallline.train.step import judged

CHUNK = 4096  # rows scored in one engine call: large enough to be fast, small enough to stay in cache


def never() -> bool:
    return False


class Judged(NamedTuple):
    """The mean loss of some rows, Σ w L / Σ w without penalties, and their scores, (n,) or (n, n_scores)."""

    loss: float
    scores: np.ndarray


class Judging:
    """Scores and losses of the same rows at any weights, in evaluation mode.

    The rows are cut into chunks and the program is compiled once: what a look then costs is the work of the engine.
    """

    def __init__(self, network: Layer, loss: Loss, rows: Examples, engine: Engine):
        self._weights = rows.w.astype(np.float64)
        self._total = float(self._weights.sum())
        self._chunks: list[tuple[Call, list[np.ndarray]]] = []
        for start in range(0, len(rows), CHUNK):
            x, y = take_rows(rows.x, np.s_[start : start + CHUNK]), rows.y[start : start + CHUNK]
            self._chunks.append((judged(network, loss, x, y, engine), [*leaves(x).values(), y]))

    def look(self, weights: Mapping[str, np.ndarray], stop: Callable[[], bool] = never) -> Judged | None:
        """What the network is worth with these leaves, all of them, in order; None as soon as `stop` says so."""
        given, scores, losses = list(weights.values()), [], []
        for call, rows in self._chunks:
            score, loss = call(*given, *rows)
            scores.append(score)
            losses.append(loss)
            if stop():
                return None
        mean = float((_whole(losses).astype(np.float64) * self._weights).sum() / self._total)
        return Judged(mean, _whole(scores))


def _whole(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


__all__ = ["CHUNK", "Judged", "Judging", "never"]
