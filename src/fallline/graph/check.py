"""The verifier: what every program keeps true, checked after every pass in tests."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from fallline.core.errors import GraphError
from fallline.graph.program import Program
from fallline.graph.value import OPS, Value


def verify(program: Program) -> Program:
    """Returns the program, or raises GraphError naming the first node that breaks a rule.

    Rules: inputs are distinct input nodes; every input that is used is listed; arguments come before
    their users; every op is the registered one; every spec is what its op infers; attributes are hashable.
    """
    seen: set[int] = set()
    for node in program.inputs:
        if node.op.name != "input":
            raise GraphError(f"{node!r} is listed as an input and computes something")
        if id(node) in seen:
            raise GraphError(f"input {node.attrs['name']!r} is listed twice")
        seen.add(id(node))
    for node in program.order:
        if node.op.name == "input":
            if id(node) not in seen:
                raise GraphError(
                    f"the program uses the input {node.attrs['name']!r} {node.spec}, which it does not list"
                )
            continue
        _verify_node(node, seen)
        seen.add(id(node))
    return program


def _verify_node(node: Value, seen: set[int]) -> None:
    if OPS[node.op.name] is not node.op:
        raise GraphError(f"{node!r}: the op is not the registered {node.op.name!r}")
    for arg in node.args:
        if id(arg) not in seen:
            raise GraphError(f"{node!r} stands before its argument {arg!r}")
    if node.op.name == "constant":
        value = node.attrs["value"]
        if (value.shape, value.dtype) != (node.shape, node.dtype):
            raise GraphError(f"{node!r} holds an array of {value.dtype} {value.shape}")
        return
    for name, value in node.attrs.items():
        if not isinstance(value, Hashable) or not _hashes(value):
            raise GraphError(f"{node!r}: attribute {name} is not hashable: {value!r}")
    inferred = node.op.infer(*(a.spec for a in node.args), **node.attrs)
    if inferred != node.spec:
        raise GraphError(f"{node!r}: the op infers {inferred}")


def _hashes(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
