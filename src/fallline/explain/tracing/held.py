"""What a reader should know of nodes that are held fixed: whether a derivative is missing because of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fallline.explain.tracing.flow import HELD, is_held

if TYPE_CHECKING:
    from fallline.explain.tracing.node import Node
    from fallline.explain.tracing.trace import Trace

ROUNDING = 100  # rounding units of the parts that cancel in a derivative of 0
MOST_NAMES = 4


def held_note(trace: Trace, nodes: Iterable[Node]) -> str:
    """A sentence about those of the nodes that are held fixed; "" where there are none.

    A softmax subtracts the largest score, which changes the numbers on the way and not the result: the derivative by
    that shift is 0, and nothing is missing. It is not 0 where the true derivative is left out on purpose, as by the
    stand-in for the slope of a step.
    """
    goal = trace.goal.name
    found: dict[str, list[str]] = {}
    for node in nodes:
        if is_held(node.node) and node.partial is not None:
            found.setdefault(_consequence(trace, node), []).append(node.name)
    parts = []
    for consequence, names in found.items():
        shown = ", ".join(names[:MOST_NAMES]) + (f" and {n} more" if (n := len(names) - MOST_NAMES) > 0 else "")
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        said = f"{shown} {are} {HELD}: no derivative goes through {them}"
        parts.append(said + consequence.format(goal=goal, them=them))
    return "; ".join(parts)


def _consequence(trace: Trace, node: Node) -> str:
    """What follows from the goal's derivative by the node, which is 0 where no more than rounding is left of it."""
    size = 0.0
    for reader in trace.nodes:
        for edge in reader.edges:
            if edge.operand == node.name and reader.partial is not None:
                factor = 1.0 if edge.local is None else max(1.0, float(np.max(np.abs(edge.local), initial=0.0)))
                size += factor * float(np.sum(np.abs(reader.partial)))
    left = float(np.max(np.abs(node.partial), initial=0.0)) if node.partial is not None else np.nan
    if not np.isfinite(left):
        return ""
    if left <= ROUNDING * float(np.finfo(node.node.dtype).eps) * size:
        return ", and none is missing, as {goal} does not change with {them}"
    return ", although {goal} changes with {them}"
