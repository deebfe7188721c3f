"""Simplify: algebra that holds for every float, infinities and NaN included (so x · 0 stays).

Only the sign of a zero may change, as in x + 0 for x = -0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.rewrite import rewrite

Rule = Callable[[Value, tuple[Value, ...]], Value | None]


def simplify(program: Program) -> Program:
    """Removes copies, neutral elements, double negations and chains of reshapes, transposes and broadcasts."""

    def visit(node: Value, args: tuple[Value, ...]) -> Value | None:
        rule = _RULES.get(node.op.name)
        return None if rule is None else rule(node, args)

    return rewrite(program, visit)


def constant_number(value: Value) -> float | None:
    """The number that every entry of a Value is known to have, or None."""
    while value.op.name in ("broadcast_to", "reshape"):
        value = value.args[0]
    if value.op.name != "constant" or not value.size:
        return None
    array = value.attrs["value"]
    first = array.flat[0]
    return float(first) if array.size == 1 or (array.size <= 4096 and bool(np.all(array == first))) else None


def _copy(node: Value, args: tuple[Value, ...]) -> Value | None:
    return args[0]


def _add(node: Value, args: tuple[Value, ...]) -> Value | None:
    a, b = args
    if constant_number(b) == 0.0:
        return a
    if constant_number(a) == 0.0:
        return b
    if b.op.name == "negative":
        return OPS["subtract"].apply(a, b.args[0])
    return OPS["subtract"].apply(b, a.args[0]) if a.op.name == "negative" else None


def _subtract(node: Value, args: tuple[Value, ...]) -> Value | None:
    a, b = args
    if constant_number(b) == 0.0:
        return a
    return OPS["add"].apply(a, b.args[0]) if b.op.name == "negative" else None


def _multiply(node: Value, args: tuple[Value, ...]) -> Value | None:
    for one, other in (args, args[::-1]):
        factor = constant_number(other)
        if factor == 1.0:
            return one
        if factor == -1.0 and node.dtype.kind == "f":
            return OPS["negative"].apply(one)
    return None


def _divide(node: Value, args: tuple[Value, ...]) -> Value | None:
    return args[0] if constant_number(args[1]) == 1.0 else None


def _negative(node: Value, args: tuple[Value, ...]) -> Value | None:
    inner = args[0]
    if inner.op.name == "negative":
        return inner.args[0]
    return OPS["subtract"].apply(*inner.args[::-1]) if inner.op.name == "subtract" else None


def _power(node: Value, args: tuple[Value, ...]) -> Value | None:
    base, exponent = args
    number = constant_number(exponent)
    if number == 1.0:
        return base
    return OPS["multiply"].apply(base, base) if number == 2.0 else None


def _reshape(node: Value, args: tuple[Value, ...]) -> Value | None:
    inner = args[0]
    if inner.op.name == "reshape":
        return OPS["reshape"](inner.args[0], node.shape)
    return inner if inner.shape == node.shape else None


def _transpose(node: Value, args: tuple[Value, ...]) -> Value | None:
    inner = args[0]
    if inner.op.name == "transpose":
        first = inner.attrs["axes"]
        return OPS["transpose"](inner.args[0], tuple(first[a] for a in node.attrs["axes"]))
    return None


def _broadcast(node: Value, args: tuple[Value, ...]) -> Value | None:
    inner = args[0]
    return OPS["broadcast_to"](inner.args[0], node.shape) if inner.op.name == "broadcast_to" else None


def _reduction(node: Value, args: tuple[Value, ...]) -> Value | None:
    """Over axes of one entry each there is nothing to add up or to compare."""
    inner = args[0]
    if any(inner.shape[axis] != 1 for axis in node.attrs["axis"]):
        return None
    return OPS["reshape"](inner, node.shape)


def _where(node: Value, args: tuple[Value, ...]) -> Value | None:
    return args[1] if args[1] is args[2] else None


_RULES: dict[str, Rule] = {
    "identity": _copy,
    "stop_gradient": _copy,
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "negative": _negative,
    "power": _power,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "sum": _reduction,
    "max": _reduction,
    "where": _where,
}
