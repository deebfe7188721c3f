"""Layers: what each layer of a network does on some rows: its outputs, its saturation, its dead units, its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.core.tree import leaves, records_in, with_leaves
from fallline.explain.diagnosis.subject import Subject, subject_of
from fallline.explain.reports.report import layer_text
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.nn.activations import Activation
from fallline.nn.layer import Layer
from fallline.nn.run import Run
from fallline.train.response import slopes

FLAT = 0.01  # a unit whose slope is below passes next to nothing of a gradient on
DIGITS = 4


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """One layer on some rows.

    mean, spread  of all entries of its output;  units  the length of its last axis
    slope         φ' of each entry, of an activation that works on each entry by itself; None elsewhere
    gradient      the norm of dJ/dw over the layer's own weights, of `weights` entries; None without weights or targets
    """

    path: str
    layer: Layer
    mean: float
    spread: float
    units: int
    slope: np.ndarray | None
    gradient: float | None
    weights: int

    @property
    def saturated(self) -> float | None:
        """The share of the entries with |φ'| < 0.01."""
        return None if self.slope is None else float((np.abs(self.slope) < FLAT).mean())

    @property
    def dead(self) -> int | None:
        """The number of units whose φ' is 0 on every row: they pass nothing back, so the weights before them rest."""
        return None if self.slope is None else int((~self.slope.reshape(-1, self.units).any(axis=0)).sum())


def layer_report(model: Any, X: Any, y: Any = None, loss: Any = None) -> Listing:
    """One row for each layer, in the order of the calls, on the rows X as `predict` sees them.

    mean, spread  of the layer's outputs
    saturated     share of the outputs with |φ'| < 0.01, where a unit passes next to nothing of a gradient on
    dead          units with φ' = 0 on every row: never active, for a ReLU
    gradient      with y: the norm of dJ/dw over the layer's weights, J the mean loss of a training step on these rows

    model   what fl.fit returns, a model, or a filled network (then y's own loss, or `loss`)
    φ' comes from the activation's graph at its input. Plain functions among the layers have no row.
    """
    subject = subject_of(model, X, y, loss, asked_by="layer_report")
    if subject.x is None:
        raise ConfigError("layer_report needs rows: layer_report(model, X), or layer_report(model, X, y)")
    return listing(layer_facts(subject), subject.rows, with_gradient=bool(subject.gradients))


def listing(rows: Sequence[LayerFacts], n: int, *, with_gradient: bool) -> Listing:
    """The facts as a table."""
    columns: dict[str, list[Any]] = {
        "layer": [f"{row.path} {layer_text(row.layer)}".strip() for row in rows],
        "mean": [row.mean for row in rows],
        "spread": [row.spread for row in rows],
        "units": [row.units for row in rows],
        "saturated": [row.saturated for row in rows],
        "dead": [row.dead for row in rows],
    }
    if with_gradient:
        columns["gradient"] = [row.gradient for row in rows]
    note = "saturated: share of outputs with |φ′| < 0.01. dead: units with φ′ = 0 on every row."
    note += " gradient: norm of dJ/dw over the layer's weights." if with_gradient else ""
    return Listing(f"Layers on {n} row{'s' * (n != 1)}", columns, [""] * len(rows), note, digits=DIGITS)


def layer_facts(subject: Subject) -> list[LayerFacts]:
    """The facts of every innermost layer, once for each call."""
    found, by_path = leaves(subject.network), dict(records_in(subject.network))
    calls: list[tuple[str, Layer, Value]] = []

    def look(params: dict[str, Any], x: Any) -> Any:
        network = with_leaves(subject.network, params)
        run = Run.of(network, record=True)
        result = network(x, run)
        calls.extend(call for call in run.calls or [] if _is_innermost(call[1]) and isinstance(call[2], Value))
        return result

    inputs = Program.of(look, found, subject.x).inputs
    before = [_input_of(result, path) if isinstance(layer, Activation) else None for path, layer, result in calls]
    wanted = [*(result for *_, result in calls), *(v for v in before if v is not None)]
    values = iter(Program(inputs, wanted).run(*found.values(), *leaves(subject.x).values()))
    results = [next(values) for _ in calls]
    given = [None if v is None else next(values) for v in before]
    with np.errstate(all="ignore"):  # weights that have grown beyond all bounds are a finding, not a warning
        return [
            _facts(path, by_path[path] if leaves(layer) else layer, result, z, subject.gradients)
            for (path, layer, _), result, z in zip(calls, results, given, strict=True)
        ]


def _facts(path: str, layer: Any, y: np.ndarray, z: np.ndarray | None, gradients: dict[str, np.ndarray]) -> LayerFacts:
    own = [gradients[p] for p in (f"{path}.{name}".lstrip(".") for name in leaves(layer, "param")) if p in gradients]
    return LayerFacts(
        path,
        layer,
        float(y.mean(dtype=np.float64)),
        float(y.std(dtype=np.float64)),
        y.shape[-1] if y.ndim > 1 else 1,
        None if z is None or z.shape != y.shape else slopes(layer, z),
        float(np.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in own))) if own else None,
        sum(g.size for g in own),
    )


def _is_innermost(layer: Layer) -> bool:
    return not any(isinstance(part, Layer) and part is not layer for _, part in records_in(layer))


def _input_of(result: Value, path: str) -> Value | None:
    """What a layer without other inputs was given: the one node outside of it that its result is computed from."""
    found, seen, stack = {}, set(), [result]
    while stack:
        node = stack.pop()
        if id(node) in seen or node.op.name == "constant":
            continue
        seen.add(id(node))
        inside = node.scope == path and node.op.name != "input"
        if inside:
            stack.extend(node.args)
        elif node.op.name != "input" or not node.attrs["name"]:
            found[id(node)] = node
    return next(iter(found.values())) if len(found) == 1 else None


__all__ = ["LayerFacts", "layer_facts", "layer_report", "listing"]
