"""Reverse mode: from the goal back to what it depends on, every node once.

dJ/dJ = 1;   for each node v in reverse order, for each argument u of v:   dJ/du += dJ/dv · dv/du
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.core.errors import GraphError
from fallline.graph.op import as_value
from fallline.graph.program import reachable
from fallline.graph.value import Value, scope


def depends_on(order: Sequence[Value], wrt: Sequence[Value]) -> set[int]:
    """The ids of the nodes of `order` that a change of `wrt` can reach through floats."""
    found = {id(v) for v in wrt}
    for node in order:
        if id(node) not in found and node.spec.is_float and any(id(a) in found for a in node.args):
            found.add(id(node))
    return found


def pullback(outputs: Sequence[Value], cotangents: Sequence[Any], wrt: Sequence[Value]) -> list[Value]:
    """Σ_k cotangent_k · d output_k / d w, for each w in `wrt`, as nodes that extend the same graph.

    cotangents  one per output, of its shape; a w that no output depends on gets zeros
    """
    order = reachable(outputs)
    active = depends_on(order, wrt)
    partials: dict[int, Value] = {}
    for out, cotangent in zip(outputs, cotangents, strict=True):
        _accumulate(partials, out, as_value(cotangent))  # a node too: the program shows where the pass starts
    targets = {id(w) for w in wrt}
    kept: dict[int, Value] = {}
    for node in reversed(order):
        g = partials.pop(id(node), None)
        if g is None or id(node) not in active:
            continue
        if id(node) in targets:
            kept[id(node)] = g
        _push_back(node, g, active, partials)
    return [kept[id(w)] if id(w) in kept else as_value(np.zeros(w.shape, w.dtype)) for w in wrt]


def _push_back(node: Value, g: Value, active: set[int], partials: dict[int, Value]) -> None:
    if node.op.vjp is None or not any(id(a) in active for a in node.args):
        return
    with scope(node.scope):
        parts = node.op.vjp(g, node, *node.args, **node.attrs)
        if len(parts) != len(node.args):
            raise GraphError(f"the vjp of {node.op.name} gives {len(parts)} cotangents for {len(node.args)} arguments")
        for arg, part in zip(node.args, parts, strict=True):
            if part is None or id(arg) not in active:
                continue
            if part.shape != arg.shape:
                raise GraphError(f"the vjp of {node.op.name} gives shape {part.shape} for an argument of {arg.shape}")
            _accumulate(partials, arg, as_value(part))


def _accumulate(partials: dict[int, Value], node: Value, part: Value) -> None:
    before = partials.get(id(node))
    partials[id(node)] = part if before is None else before + part
