"""Expressions: nodes as formulas in the notation of the board, in terms of named nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fallline.core.numbers import number_text
from fallline.explain.tracing.flow import HELD, SILENT, is_held
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
_INNERMOST = re.compile(r"\([^()]*\)")
_NEGATIVE = 3
_ATOM = 9
MOST_OPERATIONS = 500  # that are simplified
LONGEST = 120  # operations and names in a formula that is written out
_WORDS = {"absolute": "abs", "sigmoid": "σ", "sum": "Σ", "log1p": "log1p"}


def in_words(node: Value, names: Mapping[int, str]) -> str:
    """The formula of a node in terms of the named ones, in its simplest form; a long one only by its size."""
    whole, _ = excerpt(node, names)
    if len(whole.calls) > MOST_OPERATIONS:
        return f"(a formula of {len(whole.calls)} operations)"
    short = simplify(fold(simplify(fold(whole))))
    sizes: dict[int, int] = {}
    for v in short.order:
        sizes[id(v)] = 1 + sum(sizes[id(a)] for a in v.args)
    if sizes[id(short.outputs[0])] > LONGEST:
        return f"(a formula of {len(short.calls)} operations)"
    return _formula(short.outputs[0], {id(v): v.attrs["name"] for v in whole.inputs})


def excerpt(node: Value, names: Mapping[int, str]) -> tuple[Program, list[Value]]:
    """The program that computes a node from the named ones, which are its inputs, and those named ones."""
    cut: dict[int, Value] = {}
    found, stack = {id(node): node}, [node]
    while stack:
        v = stack.pop()
        if (id(v) in names and v is not node) or v.op.name == "input":
            cut[id(v)] = new_input(v.spec, names.get(id(v), v.attrs.get("name", "")))
            continue
        fresh = [a for a in v.args if id(a) not in found]
        found.update((id(a), a) for a in fresh)
        stack += fresh
    sources = [found[key] for key in cut]
    inputs = list(cut.values())
    for v in sorted(found.values(), key=lambda v: v.number):
        if id(v) not in cut:
            cut[id(v)] = v if v.op.name == "constant" else with_args(v, tuple(cut[id(a)] for a in v.args))
    return Program(inputs, [cut[id(node)]]), sources


def call_words(node: Value, names: Mapping[int, str]) -> str:
    """The formula one op deep: its operands by name."""
    return f"{_formula(node, names)} ({HELD})" if is_held(node) else _formula(node, names)


def _formula(node: Value, names: Mapping[int, str]) -> str:
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
        return number_text(node.attrs["value"] if number is None else node.dtype.type(number)), _ATOM
    if name == "input":
        return node.attrs["name"] or "input", _ATOM
    repeated = _repeated(node)
    if repeated is not None:
        return _written(repeated, names)
    if name == "negative":
        return "−" + _bracketed(node.args[0], names, _NEGATIVE), _NEGATIVE
    if name in _INFIX:
        symbol, strength = _INFIX[name]
        left = _bracketed(node.args[0], names, strength)
        right = _bracketed(node.args[1], names, strength + (name in ("subtract", "divide", "power")))
        return left + symbol + right, strength
    if name == "transpose":
        return _bracketed(node.args[0], names, _ATOM) + "ᵀ", _ATOM
    if name == "slice":
        return f"{_bracketed(node.args[0], names, _ATOM)}[{_places(node.attrs['bounds'], node.args[0].shape)}]", _ATOM
    inner = ", ".join(_written(a, names)[0] for a in node.args)
    return f"{_WORDS.get(name, name)}({inner}{_attributes(node)})", _ATOM


def _bracketed(node: Value, names: Mapping[int, str], strength: int) -> str:
    text, found = _written(node, names)
    return f"({text})" if found < strength else text


def _repeated(node: Value) -> Value | None:
    """The operand whose numbers the node repeats or regroups: A for 1 @ A of a single one."""
    if node.op.name in (*SILENT, "stop_gradient"):
        return node.args[0]
    if node.op.name == "matmul":
        left, right = node.args
        if left.shape[-1:] == (1,) and constant_number(left) == 1.0:
            return right
        if right.shape[:1] == (1,) and constant_number(right) == 1.0:
            return left
    return None


def _places(bounds: tuple[tuple[int, int, int], ...], shape: tuple[int, ...]) -> str:
    """Which entries a slice takes: "0, :, 2:5"."""
    parts = []
    for (start, stop, step), size in zip(bounds, shape, strict=True):
        if (start, stop, step) == (0, size, 1) and size > 1:
            parts.append(":")
        elif stop - start == 1:
            parts.append(str(start))
        else:
            parts.append(f"{start}:{stop}" + (f":{step}" if step != 1 else ""))
    return ", ".join(parts)


def _attributes(node: Value) -> str:
    if node.op.name == "unslice":
        return f", [{_places(node.attrs['bounds'], node.attrs['shape'])}]"
    axis = node.attrs.get("axis")
    if axis is None or (isinstance(axis, tuple) and len(axis) == node.args[0].ndim):
        return ""
    return f", axis={axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis}"


def bracketed_sum(text: str) -> str:
    """A formula as a factor of a product: in brackets where it is a sum, a quotient or negative."""
    outside, inside = text, ""
    while outside != inside:  # without what stands in brackets already, innermost first
        inside, outside = outside, _INNERMOST.sub("", outside)
    return f"({text})" if text.startswith("−") or any(sign in outside for sign in (" + ", " − ", " / ")) else text
