"""Flow: the values of a program and the derivatives that flow through its nodes, by the rules of its ops.

The rules are called on arrays, so that every number on the way is there to be shown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from fallline.graph.program import Program
from fallline.graph.value import Value

SILENT = ("broadcast_to", "identity", "reshape", "astype")  # they repeat or regroup numbers and change none
HELD = "held fixed"  # said of what stop_gradient makes: the numbers of its operand, without their derivative
Arrays = dict[int, np.ndarray]  # by the id of the node


class Part(NamedTuple):
    """What one node gives to one of its operands in reverse mode.

    position      of the operand among the node's arguments;  source  the operand past silent nodes
    local         the partial's value, None for an op that mixes entries
    contribution  dJ/d(node) · d(node)/d(source)
    """

    position: int
    source: Value
    local: np.ndarray | None
    contribution: np.ndarray


def is_by_entry(node: Value) -> bool:
    """Whether each entry of the node depends on the entries at the same place alone."""
    return node.op.structure == "elementwise" or node.op.name == "where"


def is_silent(node: Value) -> bool:
    return node.op.name in SILENT


def is_held(node: Value) -> bool:
    """Whether the node is taken as fixed, so that no derivative goes through it."""
    return node.op.name == "stop_gradient"


def source_of(node: Value, kept: Collection[int]) -> Value:
    """The node itself where it is kept, else the one whose numbers it repeats."""
    while id(node) not in kept and is_silent(node):
        node = node.args[0]
    return node


def values_of(program: Program, arrays: Sequence[np.ndarray]) -> Arrays:
    """The value of every node: the reference interpreter, which here forgets nothing."""
    values = program.bind(arrays)
    with np.errstate(all="ignore"):
        for node in program.order:
            if id(node) not in values:
                values[id(node)] = np.asarray(node.op.forward(*(values[id(a)] for a in node.args), **node.attrs))
    return values


def flow_back(kept: Sequence[Value], goal: Value, active: set[int], values: Arrays) -> tuple[Arrays, list[list[Part]]]:
    """Reverse mode: dJ/dJ = 1, then from the goal back to every kept node that it depends on.

    kept    nodes in the order of the forward pass;  active  ids of the nodes that have a derivative
    returns the partials of the active kept nodes, and for each kept node its parts
    """
    ids = set(map(id, kept))
    partials: Arrays = {id(goal): np.ones(goal.shape, goal.dtype)}
    parts: list[list[Part]] = []
    with np.errstate(all="ignore"):
        for node in reversed(kept):
            g = partials.get(id(node))
            found = [] if g is None or id(node) not in active else _parts(node, g, active, values, ids)
            for part in () if is_held(node) else found:
                before = partials.get(id(part.source))
                total = part.contribution if before is None else before + part.contribution
                partials[id(part.source)] = total
            parts.append(found)
    zeros = {id(v): np.zeros(v.shape, v.dtype) for v in kept if id(v) in active and id(v) not in partials}
    return {**partials, **zeros}, parts[::-1]


def _parts(node: Value, g: np.ndarray, active: set[int], values: Arrays, kept: Collection[int]) -> list[Part]:
    if is_held(node):
        return _held_part(node, active, kept)
    rule = node.op.vjp
    if rule is None:
        return []
    y, args = values[id(node)], [values[id(a)] for a in node.args]
    units = rule(np.ones(node.shape, node.dtype), y, *args, **node.attrs) if is_by_entry(node) else None
    if units is not None and node.op.structure == "elementwise":
        whole = tuple(None if unit is None else g * unit for unit in units)
    else:
        whole = rule(g, y, *args, **node.attrs)
    found = []
    for i, (arg, contribution) in enumerate(zip(node.args, whole, strict=True)):
        if contribution is None or id(arg) not in active:
            continue
        source, contribution = back_to_source(arg, contribution, kept, values)
        if id(source) in active and id(source) in kept:
            local = None if units is None else np.asarray(units[i])
            found.append(Part(i, source, local, np.asarray(contribution)))
    return found


def _held_part(node: Value, active: set[int], kept: Collection[int]) -> list[Part]:
    """The part that stands for what does not flow: 0."""
    source = source_of(node.args[0], kept)
    if id(source) not in active or id(source) not in kept:
        return []
    return [Part(0, source, np.zeros(node.shape, node.dtype), np.zeros(source.shape, source.dtype))]


def back_to_source(node: Value, contribution: Any, kept: Collection[int], values: Any = None) -> tuple[Value, Any]:
    """The node that an argument takes its numbers from, and what arrives there.

    values  of the nodes; None for a contribution that is itself a node
    """
    while id(node) not in kept and is_silent(node) and node.op.vjp is not None:
        of = (lambda v: v) if values is None else (lambda v: values[id(v)])
        contribution = node.op.vjp(contribution, of(node), *map(of, node.args), **node.attrs)[0]
        node = node.args[0]
    return node, contribution


def flow_forward(order: Sequence[Value], start: Value, tangent: np.ndarray, values: Arrays) -> Arrays:
    """Forward mode: dv/dt of every node that depends on `start`, which moves along `tangent`; others are left out."""
    found: Arrays = {id(start): tangent}
    with np.errstate(all="ignore"):
        for node in order:
            if id(node) in found or node.op.jvp is None or not node.spec.is_float:
                continue
            given = tuple(found.get(id(a)) for a in node.args)
            if all(t is None for t in given):
                continue
            moved = node.op.jvp(given, values[id(node)], *(values[id(a)] for a in node.args), **node.attrs)
            if moved is not None:
                found[id(node)] = np.asarray(moved)
    return found
