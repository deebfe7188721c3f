"""Programs as text: one node a line, the form in which golden tests keep them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.graph.value import Value


def program_text(inputs: Sequence[Value], outputs: Sequence[Value], order: Sequence[Value]) -> str:
    """The nodes in order, each as `%3 = multiply(%1, x)  f32[4]  @layer`; small constants are written in place."""
    names = value_names(inputs, order)
    lines = ["program(" + ", ".join(f"{names[id(v)]}: {v.spec}" for v in inputs) + ")"]
    for node in order:
        if node.op.name == "input" or _inline(node):
            continue
        where = f"  @{node.scope}" if node.scope else ""
        lines.append(f"  {names[id(node)]} = {call_text(node, names)}  {node.spec}{where}")
    lines.append("  return " + ", ".join(names[id(v)] for v in outputs))
    return "\n".join(lines)


def value_names(inputs: Sequence[Value], order: Sequence[Value]) -> dict[int, str]:
    """A name for each node: inputs keep theirs, scalar constants are their number, the others are %0, %1 …"""
    names: dict[int, str] = {}
    used: set[str] = set()
    for k, node in enumerate(inputs):
        name = node.attrs["name"] or f"x{k}"
        names[id(node)] = name if name not in used else f"{name}#{k}"
        used.add(names[id(node)])
    count = 0
    for node in order:
        if id(node) in names:
            continue
        if _inline(node):
            names[id(node)] = _number(node.attrs["value"])
        else:
            names[id(node)] = f"%{count}"
            count += 1
    return names


def call_text(node: Value, names: dict[int, str]) -> str:
    """`op(arguments, attribute=value)` of one node."""
    if node.op.name == "constant":
        return f"constant({_summary(node.attrs['value'])})"
    shown = [names[id(a)] for a in node.args]
    shown += [f"{k}={_attr(v)}" for k, v in node.attrs.items()]
    return f"{node.op.name}({', '.join(shown)})"


def _inline(node: Value) -> bool:
    return node.op.name == "constant" and not node.shape


def _number(array: np.ndarray) -> str:
    return f"{array:.9g}" if array.dtype.kind == "f" else str(array)


def _summary(array: np.ndarray) -> str:
    if array.size <= 4:
        return np.array2string(array, separator=", ").replace("\n", "")
    flat = array.ravel()
    return f"{flat[0]}, {flat[1]}, … {flat[-1]}"


def _attr(value: Any) -> str:
    return str(value) if isinstance(value, np.dtype) else repr(value).replace(" ", "")
