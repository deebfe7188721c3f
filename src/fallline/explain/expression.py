"""Expressions: nodes as formulas in the notation of the board, in terms of named nodes."""

from __future__ import annotations

from collections.abc import Mapping

from fallline.core.numbers import number_text
from fallline.graph.op import new_input, with_args
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.fold import fold
from fallline.passes.simplify import constant_number, simplify

# Symbol and binding strength of the ops that are written between or before their operands.
_INFIX = {
    "add": (" + ", 1),
    "subtract": (" − ", 1),
    "multiply": (" · ", 2),
    "divide": (" / ", 2),
    "matmul": (" @ ", 2),
    "power": ("^", 4),
    "less": (" < ", 0),
    "less_equal": (" ≤ ", 0),
    "equal": (" = ", 0),
}
_NEGATIVE = 3
_ATOM = 9
SILENT = ("broadcast_to", "identity", "reshape", "astype")  # they repeat or regroup numbers and change none
_WORDS = {"absolute": "abs", "sigmoid": "σ", "sum": "Σ", "log1p": "log1p"}


def in_words(node: Value, names: Mapping[int, str]) -> str:
    """The formula of a node in terms of the named ones, in its simplest form."""
    cut: dict[int, Value] = {}  # named nodes become inputs, so that simplifying stops at them
    found, stack = {id(node): node}, [node]
    while stack:
        v = stack.pop()
        if (id(v) in names and v is not node) or v.op.name == "input":
            cut[id(v)] = new_input(v.spec, names.get(id(v), v.attrs.get("name", "")))
            continue
        fresh = [a for a in v.args if id(a) not in found]
        found.update((id(a), a) for a in fresh)
        stack += fresh
    for v in sorted(found.values(), key=lambda v: v.number):
        if id(v) not in cut:
            cut[id(v)] = v if v.op.name == "constant" else with_args(v, tuple(cut[id(a)] for a in v.args))
    whole = Program([v for v in cut.values() if v.op.name == "input"], [cut[id(node)]])
    short = simplify(fold(simplify(fold(whole)))).outputs[0]
    return call_words(short, {id(v): v.attrs["name"] for v in whole.inputs})


def call_words(node: Value, names: Mapping[int, str]) -> str:
    """The formula one op deep: its operands by name."""
    return _written(node, names, open_first=node.op.name != "input")[0]


def _written(node: Value, names: Mapping[int, str], *, open_first: bool = False) -> tuple[str, int]:
    """The text of a node and how tightly it binds; operands that bind less are bracketed.

    Deep chains of unnamed nodes do not occur: callers name every node of the program, and the nodes of a
    derivative rule are few.
    """
    if id(node) in names and not open_first:
        return names[id(node)], _ATOM
    name = node.op.name
    number = constant_number(node)
    if number is not None or name == "constant":
        return number_text(node.attrs["value"] if number is None else number), _ATOM
    if name == "input":
        return node.attrs["name"] or "input", _ATOM
    if name in (*SILENT, "stop_gradient"):
        return _written(node.args[0], names)
    if name == "negative":
        return "−" + _bracketed(node.args[0], names, _NEGATIVE), _NEGATIVE
    if name in _INFIX:
        symbol, strength = _INFIX[name]
        left = _bracketed(node.args[0], names, strength)
        right = _bracketed(node.args[1], names, strength + (name in ("subtract", "divide", "power")))
        return left + symbol + right, strength
    if name == "transpose":
        return _bracketed(node.args[0], names, _ATOM) + "ᵀ", _ATOM
    inner = ", ".join(_written(a, names)[0] for a in node.args)
    return f"{_WORDS.get(name, name)}({inner}{_attributes(node)})", _ATOM


def _bracketed(node: Value, names: Mapping[int, str], strength: int) -> str:
    text, found = _written(node, names)
    return f"({text})" if found < strength else text


def _attributes(node: Value) -> str:
    axis = node.attrs.get("axis")
    if axis is None or (isinstance(axis, tuple) and len(axis) == node.args[0].ndim):
        return ""
    return f", axis={axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis}"
