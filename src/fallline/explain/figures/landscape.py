"""Landscape: the mean loss of given rows as a function of all weights, and planes through it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.engines.engine import get_engine
from fallline.explain.figures.given import rows_of
from fallline.graph.program import Program
from fallline.nn.run import Run
from fallline.ops.composite import mean
from fallline.train.examples import Examples, row_weights, take_rows
from fallline.train.judging import Judging
from fallline.train.model import Model
from fallline.train.step import gradients_of, row_losses
from fallline.train.trail import flattened, joined, parted

SHOWN = 8  # weights that a message lists
MOST_ROWS = 2000  # whose mean stands for that of all, as a plane takes the loss some 1700 times


class Line(NamedTuple):
    """A direction in the space of the weights.

    step   what 1 on the axis means, (n_weights,);  origin  the number on the axis where the model stands
    label  of the axis
    """

    step: np.ndarray
    origin: float
    label: str


class Landscape:
    """J(w) = mean loss of the rows, w all weights in one vector in the order of `leaves(network, "param")`.

    Computed by the model itself in evaluation mode, in float64, so that a fine grid shows no rounding steps.
    class_weight, penalties  as in `fit`: J as it was made small
    """

    def __init__(self, model: Model, X: Any, y: Any = None, class_weight: Any = None, penalties: Sequence[Any] = ()):
        self.penalties = tuple(penalties)
        self.model = replace(model, network=_doubled(model.network))
        x, targets = rows_of(self.model, X, y)
        self.n_given = len(targets)
        drawn = np.arange(self.n_given)
        if self.n_given > MOST_ROWS:
            drawn = np.sort(np.random.default_rng(0).choice(self.n_given, MOST_ROWS, replace=False))
        self.x, self.y = take_rows(x, drawn), targets[drawn]
        weights = row_weights(None, class_weight, targets, self.model.classes)[drawn]
        rows, engine = Examples(self.x, self.y, weights), get_engine(self.model.engine)
        self.judging, self.leaves = (
            Judging(self.model.network, self.model.loss, rows, engine),
            leaves(self.model.network),
        )
        self.params = leaves(self.model.network, "param")
        if not self.params:
            raise ConfigError("the network has no weights: there is nothing to move along")
        self.weights = flattened(self.model.network)

    def loss_at(self, w: np.ndarray) -> float:
        """The mean loss with these weights; infinite where it is not a number."""
        params = parted(w, self.params)
        with np.errstate(all="ignore"):
            judged = self.judging.look({**self.leaves, **params})
            loss = np.nan if judged is None else judged.loss + sum(float(each(params)) for each in self.penalties)
        return float(loss) if np.isfinite(loss) else np.inf

    @cached_property
    def gradient(self) -> np.ndarray:
        """dJ/dw at the model's own weights."""

        def build(params: dict[str, Any], x: Any, y: Any) -> Any:
            network = with_leaves(self.model.network, params)
            _, losses = row_losses(network, self.model.loss, x, y, Run.of(network))
            return tuple(gradients_of(mean(losses), params).values())

        return joined(Program.of(build, self.params, self.x, self.y).run(*self.params.values(), *self._rows))

    @property
    def _rows(self) -> list[np.ndarray]:
        return [*leaves(self.x).values(), self.y]

    def axis(self, name: str) -> Line:
        """The axis of one weight: "layers.0.W[0, 1]", an end of that which only one has, or "w1" of a linear model."""
        path, index = self._found(name)
        offsets = dict(zip(self.params, np.cumsum([0, *(p.size for p in self.params.values())]), strict=False))
        at = int(offsets[path] + np.ravel_multi_index(index, self.params[path].shape)) if index else int(offsets[path])
        step = np.zeros(self.weights.size)
        step[at] = 1.0
        return Line(step, float(self.weights[at]), entry_name(path, index))

    def _found(self, name: str) -> tuple[str, tuple[int, ...]]:
        match = re.fullmatch(r"([^\[\]]+?) *(?:\[([-\d, ]*)\])?", str(name).strip())
        short = re.fullmatch(r"w_?(\d+)", str(name).strip())
        if match is None:
            raise self._unknown(name)
        paths = [p for p in self.params if p == match[1]] or [
            p for p in self.params if f".{p}".endswith(f".{match[1]}")
        ]
        if not paths and short:
            return self._by_number(name, int(short[1]))
        if len(paths) != 1:
            raise self._unknown(name)
        shape = self.params[paths[0]].shape
        given = [int(part) for part in (match[2] or "").split(",") if part.strip()]
        index = _full_index(given, shape)
        if index is None:
            raise UnknownNameError(f"{name!r}: {paths[0]} has shape {shape}, write {_example(paths[0], shape)}")
        return paths[0], index

    def _by_number(self, name: str, number: int) -> tuple[str, tuple[int, ...]]:
        """The lecture's names in a linear model of one score: w0 is the bias, w1, w2 … belong to the inputs."""
        wide = [p for p, leaf in self.params.items() if leaf.ndim == 2 and leaf.shape[1] == 1]
        biases = [p for p, leaf in self.params.items() if leaf.shape == (1,)]
        if len(wide) == 1 and len(wide) + len(biases) == len(self.params):
            if number and number <= len(self.params[wide[0]]):
                return wide[0], (number - 1, 0)
            if not number and biases:
                return biases[0], (0,)
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownNameError:
        listed = [_example(path, leaf.shape) for path, leaf in self.params.items()]
        shown = ", ".join(listed[:SHOWN]) + (" …" if len(listed) > SHOWN else "")
        return UnknownNameError(f"no weight is called {name!r}: write one of {shown}")


def entry_name(path: str, index: Sequence[object]) -> str:
    """layers.0.W[0, 1]"""
    return f"{path}[{', '.join(map(str, index))}]" if index else path


def random_lines(landscape: Landscape, seed: int) -> list[Line]:
    """Two random directions in which every unit's weights move by as much as they are long; biases stand still.

    source  Li et al. 2018 (arXiv:1712.09913), section 4: filter-wise normalisation
    """
    rng, lines = np.random.default_rng(seed), []
    for i in (1, 2):
        parts = []
        for leaf in landscape.params.values():
            drawn = rng.normal(size=leaf.shape)
            across = tuple(range(leaf.ndim - 1))  # all axes but that of the units
            size = np.sqrt((drawn**2).sum(axis=across, keepdims=True))
            own = np.sqrt((leaf**2).sum(axis=across, keepdims=True))
            parts.append(drawn * own / size if leaf.ndim > 1 else np.zeros(leaf.shape))
        step = joined(parts)
        if not step.any():
            raise ConfigError("along='random' scales directions by the weights, which are all 0: train first")
        lines.append(Line(step, 0.0, f"random direction {i}, 1 = as long as the weights"))
    return lines


def main_lines(landscape: Landscape, path: np.ndarray) -> list[Line]:
    """The two directions in which the weights moved most: principal components; of two weights they themselves.

    path  (points, n_weights)
    """
    if path.ndim != 2 or path.shape[1] != landscape.weights.size or len(path) < 2:
        raise ConfigError(
            f"the path has shape {path.shape}, the network {landscape.weights.size} weights: "
            "give at least two points of this network's own training"
        )
    if landscape.weights.size == 1:
        raise ConfigError("the network has one weight: a plane needs two, use along with the weight's name")
    if landscape.weights.size == 2:
        names = [entry_name(p, i) for p, leaf in landscape.params.items() for i in np.ndindex(leaf.shape)]
        return [landscape.axis(name) for name in names]
    _, sizes, directions = np.linalg.svd(path - path.mean(axis=0), full_matrices=False)
    shares = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    lines = []
    for i in (0, 1):
        step = directions[i] if i < len(directions) else np.zeros(path.shape[1])
        forward = float((path[-1] - path[0]) @ step)
        step = -step if (forward or step[np.argmax(np.abs(step))]) < 0 else step
        lines.append(Line(step, 0.0, f"direction {i + 1} of the path, {shares[i]:.1%} of its variance"))
    return lines


def _doubled(tree: Any) -> Any:
    """The tree with its floats in float64."""
    return map_leaves(lambda _, a: a.astype(np.float64) if a.dtype.kind == "f" else a, tree)


def _full_index(given: list[int], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """One index for each axis; axes of length 1 may be left out. None where it does not fit."""
    if len(given) != len(shape):
        free = [i for i, n in enumerate(shape) if n > 1]
        if len(given) != len(free):
            return None
        full = [0] * len(shape)
        for i, at in zip(free, given, strict=True):
            full[i] = at
        given = full
    if any(not -n <= at < n for at, n in zip(given, shape, strict=True)):
        return None
    return tuple(at % n for at, n in zip(given, shape, strict=True))


def _example(path: str, shape: tuple[int, ...]) -> str:
    """layers.0.W[0…3, 0…7]"""
    return entry_name(path, [f"0…{n - 1}" if n > 1 else 0 for n in shape])


__all__ = ["Landscape", "Line", "entry_name", "main_lines", "random_lines"]
