"""Layers: what each layer of a network does on some rows: its outputs, its saturation, its dead units, its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.core.tree import leaves
from fallline.explain.calls import Call, layer_calls
from fallline.explain.diagnosis.subject import Subject, subject_of
from fallline.explain.reports.report import layer_text
from fallline.nn.layer import Layer
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
    return listing(layer_facts(subject, subject.gradients), subject.rows, with_gradient=bool(subject.gradients))


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


def layer_facts(subject: Subject, gradients: dict[str, np.ndarray]) -> list[LayerFacts]:
    """The facts of every innermost layer, once for each call.   gradients: dJ/dw by path, as far as they are known"""
    with np.errstate(all="ignore"):  # weights that have grown beyond all bounds are a finding, not a warning
        return [_facts(call, gradients) for call in layer_calls(subject.network, subject.x)]


def _facts(call: Call, gradients: dict[str, np.ndarray]) -> LayerFacts:
    path, layer, y, z = call
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


__all__ = ["LayerFacts", "layer_facts", "layer_report", "listing"]
