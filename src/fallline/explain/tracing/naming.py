"""Naming: what the nodes of a trace are called, and which of them are shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fallline.explain.tracing.flow import is_silent
from fallline.graph.program import Program
from fallline.graph.value import Value

Shape = tuple[int, ...]
REGROUPING = ("reshape", "identity")


def pass_names_on(program: Program, goal: Value, names: dict[int, str]) -> tuple[Value, dict[int, Shape]]:
    """A node that only regroups the numbers of an unnamed one passes its name on: a = W @ x is one step, not two.

    names    of nodes by id, which is changed
    returns  the node that stands for the goal, and the shapes in which such nodes are shown
    """
    shapes: dict[int, Shape] = {}
    for node in program.order:
        if node.op.name not in REGROUPING or not (id(node) in names or node is goal):
            continue
        source = node.args[0]
        while source.op.name in REGROUPING:
            source = source.args[0]
        if source.op.name in ("input", "constant") or is_silent(source) or id(source) in names:
            continue
        shapes[id(source)] = node.shape
        goal = source if node is goal else goal
        if id(node) in names:
            names[id(source)] = names.pop(id(node))
    return goal, shapes


def is_shown(node: Value, names: Collection[int]) -> bool:
    return node.op.name != "constant" and (id(node) in names or not is_silent(node))


def all_names(kept: Sequence[Value], goal: Value, given: dict[int, str]) -> dict[int, str]:
    """Every node's name: inputs keep theirs, then the user's variables, J for the goal, and v1, v2 … for the others."""
    names: dict[int, str] = {}
    used: set[str] = set()
    for i, node in enumerate(v for v in kept if v.op.name == "input"):
        names[id(node)] = _unused(node.attrs["name"] or f"input {i + 1}", used)
    for node in kept:
        wanted = given.get(id(node))
        if wanted and id(node) not in names and wanted not in used:
            names[id(node)] = _unused(wanted, used)
    if id(goal) not in names:
        names[id(goal)] = _unused("J", used)
    count = 0
    for node in kept:
        while id(node) not in names:
            count += 1
            if f"v{count}" not in used:
                names[id(node)] = f"v{count}"
    return names


def _unused(name: str, used: set[str]) -> str:
    """The name, with a dash where another node has it; noted as used."""
    while name in used:
        name += "'"
    used.add(name)
    return name
