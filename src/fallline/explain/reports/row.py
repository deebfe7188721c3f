"""One row explained: the user's cells through a fitted model, and what each input and each weight does to the answer.

Values and partial derivatives are those of `fl.trace`; only the units are the user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DataError
from fallline.core.listing import Listing
from fallline.core.numbers import number_text, plain
from fallline.core.registry import nearest
from fallline.core.tree import leaves, records_in
from fallline.data.cells import number_values
from fallline.data.table import Table, read_table
from fallline.explain.drawing.draw import Drawing
from fallline.explain.reports.report import DIGITS, Report, Section
from fallline.explain.reports.row_inputs import Input, entry_names, inputs_of, length, switched
from fallline.explain.reports.row_text import sections_of
from fallline.explain.tracing.node import Node
from fallline.explain.tracing.trace import Trace, trace
from fallline.nn.layer import Layer
from fallline.train.examples import as_targets, n_rows, take_rows
from fallline.train.model import Model, score_rows


class Goal(NamedTuple):
    """What is explained: P, a probability; ŷ, a number in the target's unit; or s, a score.

    words  what the symbol stands for;  value  in the user's unit
    scale  of the user's unit over that of the traced prediction
    code   of the predicted class, None for numbers
    """

    symbol: str
    words: str
    value: float
    scale: float
    code: int | None


@dataclass(frozen=True, eq=False, repr=False)
class RowExplanation(Report):
    """One row through a fitted model.

    source  what the row is taken from;  row  its number, from 0;  place  row and line, as text
    data    the row as the model takes it: a Table of one row, or arrays
    actual  its target in the user's terms, None where it is not known
    trace   of the prediction;  loss_trace  of the loss, None without a target
    """

    model: Model
    source: str
    row: int
    place: str
    data: Any
    actual: Any
    trace: Trace
    loss_trace: Trace | None

    @property
    def title(self) -> str:
        return f"{self.source}, {self.place}: {self.answer}"

    @property
    def style(self) -> str:
        return super().style + self.drawing.style

    def sections(self) -> list[Section]:
        return sections_of(self)

    @cached_property
    def scores(self) -> np.ndarray:
        """The raw scores of the row, (1,) or (1, n)."""
        return self.model.scores(self.data)

    @cached_property
    def prediction(self) -> Any:
        """The predicted class, or number in the target's unit."""
        return plain(self.model.predicted(self.scores)[0])

    @cached_property
    def probabilities(self) -> dict[Any, float]:
        """The probability of each class; empty where the loss gives none."""
        if not (self.model.classes and self.model.loss.probabilistic):
            return {}
        found = self.model.probabilities(self.scores)[0]
        return dict(zip(self.model.classes, map(float, found), strict=True))

    @cached_property
    def goal(self) -> Goal:
        target, traced = self.model.target.name or "the target", float(self.trace.goal.value.ravel()[0])
        if not self.model.classes:
            scale = float(getattr(self.model.target, "scale", 1.0))
            return Goal("ŷ", f"the predicted {target}", float(self.prediction), scale, None)
        code = list(self.model.classes).index(self.prediction)
        if self.probabilities:
            return Goal("P", f"the probability of {target} = {self.prediction}", traced, 1.0, code)
        return Goal("s", f"the score, which decides for {target} = {self.prediction}", traced, 1.0, code)

    @property
    def answer(self) -> str:
        """The prediction in a few words."""
        name = f"{self.model.target.name} = " if self.model.target.name else ""
        if not self.model.classes:
            return f"{name}{number_text(self.goal.value, DIGITS)}"
        how = f" with probability {self.probabilities[self.prediction]:.4g}" if self.probabilities else ""
        return f"{name}{self.prediction}{how}"

    @property
    def loss(self) -> float | None:
        """The loss of the row, None without a target."""
        return None if self.loss_trace is None else float(self.loss_trace.goal.value.ravel()[0])

    @cached_property
    def inputs(self) -> list[Input]:
        """Every column of the row and what marks a missing cell, the one that moves the prediction most first."""
        return sorted(inputs_of(self), key=lambda each: -abs(each.partial))

    @property
    def layers(self) -> list[tuple[str, Layer, Node]]:
        """(path, layer, node of its output) of every layer, from the input on."""
        known = {path: layer for path, layer in records_in(self.model.network) if isinstance(layer, Layer) and path}
        return [(n.name, known[n.name], n) for n in self.trace.nodes if n.name in known]

    @cached_property
    def switches(self) -> Listing:
        """What the model answers when a category is another one: computed anew, as a category has no derivative."""
        found = list(switched(self))
        columns: dict[str, list[Any]] = {"column": [], "now": [], "instead": [], self.goal.symbol: [], "change": []}
        if found:
            x = [np.concatenate(parts) for parts in zip(*(f.x for f in found), strict=True)]
            x_tree = tuple(x) if len(x) > 1 else x[0]
            values = self._goals(score_rows(self.model.network, x_tree, self.model.engine))
            order = sorted(range(len(found)), key=lambda i: -abs(values[i] - self.goal.value))
            rows = [
                (found[i].column, found[i].now, found[i].instead, values[i], values[i] - self.goal.value) for i in order
            ]
            columns = {name: list(cells) for name, cells in zip(columns, zip(*rows, strict=True), strict=True)}
        return Listing("", columns, [""] * len(found), digits=4)

    def _goals(self, scores: np.ndarray) -> list[float]:
        """The explained quantity for other scores."""
        if self.goal.symbol == "P":
            return [float(p) for p in self.model.probabilities(scores)[:, self.goal.code]]
        return [float(v) for v in (scores if self.model.classes else self.model.predicted(scores))]

    def gradient(self, name: str) -> np.ndarray:
        """d(goal)/d(a parameter or an input), in the user's unit of the goal; name a path such as "layers.0.W"."""
        node = self.trace[name]
        return np.zeros(node.value.shape) if node.partial is None else node.partial * self.goal.scale

    def loss_gradient(self, name: str) -> np.ndarray | None:
        """dJ/d(a parameter or an input); None without a target."""
        if self.loss_trace is None:
            return None
        node = self.loss_trace[name]
        return np.zeros(node.value.shape) if node.partial is None else node.partial

    @cached_property
    def weights(self) -> Listing:
        """Each array of weights: its size, the size of its partials, and the entry that moves the prediction most."""
        d = f"d{self.goal.symbol}/dw"
        names = ("array", "shape", "|w|", f"|{d}|", "largest at", "w there", d)
        rows = []
        for path, w in leaves(self.model.network, "param").items():
            g = self.gradient(path)
            at = np.unravel_index(np.argmax(np.abs(g)), g.shape)
            rows.append((path, str(w.shape), length(w), length(g), self._entry(path, at), w[at], g[at]))
        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        if self.loss_trace is not None:
            columns["|dJ/dw|"] = [length(self.loss_gradient(str(path))) for path in columns["array"]]
        return Listing("", columns, [""] * len(rows), digits=4)

    def open(self, name: str, most: int | None = None) -> Listing:
        """The entries of one array of weights, the one that moves the prediction most first."""
        params = leaves(self.model.network, "param")
        if name not in params:
            raise ConfigError(f"no weights are called {name!r}: {nearest(name, params)}")
        w, g, of_loss = params[name], self.gradient(name), self.loss_gradient(name)
        order = np.argsort(-np.abs(g), axis=None, kind="stable")[:most]
        found = [np.unravel_index(i, w.shape) for i in order]
        columns: dict[str, list[Any]] = {
            "entry": [self._entry(name, at) for at in found],
            "w": [w[at] for at in found],
            f"d{self.goal.symbol}/dw": [g[at] for at in found],
        }
        if of_loss is not None:
            columns["dJ/dw"] = [of_loss[at] for at in found]
        note = f"{len(found)} of {w.size:,} entries" if len(found) < w.size else ""
        return Listing("", columns, [""] * len(found), note, digits=DIGITS)

    def _entry(self, path: str, at: Any) -> str:
        """[3, 7], or [Age, 7] where an axis of the array has names."""
        named, names = self._names.get(path, (-1, ()))
        return f"[{', '.join(names[i] if axis == named else str(i) for axis, i in enumerate(at))}]"

    @cached_property
    def _names(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """By path the axis that has names, and these: of matrices that read columns, of vectors of categories."""
        return entry_names(self.model, self.trace)

    @property
    def reverse(self) -> Listing:
        """Reverse mode from the prediction back, layer by layer."""
        return self.trace.table(by="module")

    @cached_property
    def drawing(self) -> Drawing:
        """The network as a graph of its layers."""
        return self.trace.draw(by="module")

    def __getitem__(self, name: str) -> Input:
        """The input of that name."""
        named = {each.name: each for each in self.inputs}
        if name not in named:
            raise DataError(f"no input is called {name!r}: {nearest(name, named)}")
        return named[name]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain data, for JSON."""
        return {
            "row": self.row,
            "place": self.place,
            "target": self.model.target.name,
            "prediction": self.prediction,
            "probabilities": {str(label): p for label, p in self.probabilities.items()},
            "actual": self.actual,
            "loss": self.loss,
            "explained": {"symbol": self.goal.symbol, "words": self.goal.words, "value": self.goal.value},
            "inputs": [each._asdict() for each in self.inputs],
            "layers": [_layer_dict(*each) for each in self.layers],
            "switches": _rows(self.switches),
            "weights": _rows(self.weights),
        }


def explain_row(model: Model, X: Any, y: Any = None, row: int = 0) -> RowExplanation:
    """Follows one row through a fitted model, forwards to the prediction and back to every input and weight.

    X    what `predict` reads: a table (frame, file) or arrays;  row  which one of it, counted from 0
    y    the targets of all rows of X; a table may hold them itself. Without a target the loss is left out.
    """
    model = getattr(model, "model", model)  # of a Fit
    if not isinstance(model, Model):
        raise ConfigError(f"explain_row takes a fitted model, given {type(model).__name__}: train it with fl.fit")
    given = read_table(X) if model.columns is not None else model.inputs(X)
    rows = given.n_rows if isinstance(given, Table) else n_rows(given)
    name = given.name if isinstance(given, Table) else "X"
    if isinstance(row, bool) or not isinstance(row, (int, np.integer)) or not 0 <= row < rows:
        raise ConfigError(f"row={row!r}: {name} has {rows:,} rows, counted from 0 to {rows - 1:,}")
    one = given.take([row]) if isinstance(given, Table) else take_rows(given, [row])
    place = one.place(0) if isinstance(one, Table) else f"row {row}"
    actual = _target(model, one) if y is None else _nth(y, int(row), rows)
    loss_trace = None if actual is None else trace(model, one, [actual])
    return RowExplanation(model, name, int(row), place, one, actual, trace(model, one), loss_trace)


def _target(model: Model, one: Any) -> Any:
    """The target in a table of one row, as the model names it; None where it has none."""
    name = model.target.name
    if not isinstance(one, Table) or name not in one.names or one.column(name)[0] is None:
        return None
    found = model.target.encode(one)
    return plain(model.target.decode(found)[0]) if model.classes else float(number_values(one.column(name))[0])


def _nth(y: Any, row: int, rows: int) -> Any:
    targets = as_targets(y)
    if targets.ndim == 0 or len(targets) != rows:
        raise DataError(f"X has {rows:,} rows and y has shape {targets.shape}: give one target for each row of X")
    return plain(targets[row]) if targets.ndim == 1 else targets[row]


def _layer_dict(path: str, layer: Layer, node: Node) -> dict[str, Any]:
    value = node.value[0].astype(np.float64)
    summary = {"mean": value.mean(), "spread": value.std(), "least": value.min(), "largest": value.max()}
    return {
        "path": path,
        "layer": type(layer).__name__,
        "shape": list(value.shape),
        **{k: float(v) for k, v in summary.items()},
    }


def _rows(listing: Listing) -> list[dict[str, Any]]:
    columns = ([plain(c) for c in cells] for cells in listing.columns.values())
    return [dict(zip(listing.columns, row, strict=True)) for row in zip(*columns, strict=True)]


__all__ = ["Goal", "Input", "RowExplanation", "explain_row"]
