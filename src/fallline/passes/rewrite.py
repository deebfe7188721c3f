"""Rebuilding a program node by node: the one loop that all passes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

from fallline.core.settings import settings
from fallline.graph.check import verify
from fallline.graph.op import with_args
from fallline.graph.program import Program
from fallline.graph.value import Value, scope

Visit = Callable[[Value, tuple[Value, ...]], Value | None]
Pass = Callable[[Program], Program]


def rewrite(program: Program, visit: Visit) -> Program:
    """The program with every computing node replaced by visit(node, its new arguments); None keeps the node."""
    new: dict[Value, Value] = {v: v for v in program.inputs}
    for path, nodes in groupby(program.order, attrgetter("scope")):
        with scope(path):
            for node in nodes:
                if node not in new:
                    args = tuple([new[a] for a in node.args])
                    made = visit(node, args)
                    new[node] = with_args(node, args) if made is None else made
    return Program(program.inputs, [new[v] for v in program.outputs], program.result)


def run_passes(program: Program, passes: Sequence[Pass]) -> Program:
    """The passes in turn; with FALLLINE_VERIFY=1 the verifier reads the program after each."""
    for one in passes:
        program = one(program)
        if settings.verify:
            verify(program)
    return program
