"""Calls: what every innermost layer of a network is given and gives on some rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fallline.core.tree import leaves, records_in, with_leaves
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.nn.activations import Activation
from fallline.nn.layer import Layer
from fallline.nn.run import Run


class Call(NamedTuple):
    """One call of an innermost layer.

    result  its output
    given   the input of an activation, as the graph has it: also behind a container or a plain function; None for
            another layer, and for one that computes from several inputs
    """

    path: str
    layer: Layer
    result: np.ndarray
    given: np.ndarray | None


def layer_calls(network: Layer, x: Any) -> list[Call]:
    """What the layers without layers inside do on the inputs x in evaluation mode, in the order of the calls."""
    found = leaves(network)
    by_path = {path: part for path, part in records_in(network) if isinstance(part, Layer)}
    calls: list[tuple[str, Layer, Value]] = []

    def look(params: dict[str, Any], x: Any) -> Any:
        filled = with_leaves(network, params)
        run = Run.of(filled, record=True)
        result = filled(x, run)
        calls.extend(call for call in run.calls or [] if _is_innermost(call[1]) and isinstance(call[2], Value))
        return result

    inputs = Program.of(look, found, x).inputs
    before = [_input_of(result, path) if isinstance(layer, Activation) else None for path, layer, result in calls]
    wanted = [*(result for *_, result in calls), *(v for v in before if v is not None)]
    values = iter(Program(inputs, wanted).run(*found.values(), *leaves(x).values()))
    results = [next(values) for _ in calls]
    given = [None if v is None else next(values) for v in before]
    return [
        Call(path, by_path[path] if leaves(layer) else layer, result, z)
        for (path, layer, _), result, z in zip(calls, results, given, strict=True)
    ]


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


__all__ = ["Call", "layer_calls"]
