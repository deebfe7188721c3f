"""Share: equal nodes on equal arguments are computed once."""

from __future__ import annotations

from collections.abc import Hashable

from fallline.graph.op import with_args
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.rewrite import rewrite

SMALL = 64  # entries up to which constants are compared by their contents


def share(program: Program) -> Program:
    """Common subexpressions become one node; small equal constants become one constant."""
    known: dict[Hashable, Value] = {}

    def visit(node: Value, args: tuple[Value, ...]) -> Value:
        key = _key(node, args)
        found = known.get(key)
        if found is None:
            found = known[key] = with_args(node, args)
        return found

    return rewrite(program, visit)


def _key(node: Value, args: tuple[Value, ...]) -> Hashable:
    if node.op.name == "constant":
        value = node.attrs["value"]
        return "constant", str(value.dtype), value.shape, value.tobytes() if value.size <= SMALL else id(value)
    return node.op.name, args, tuple(sorted(node.attrs.items())) if node.attrs else ()
