"""What each op is in ONNX (opset 18): plain nodes, for which the package onnx is not needed.

Where ONNX Runtime has no kernel of a dtype, it is computed in another one (`COMPUTED_AS`) or by other nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.interchange.onnx_graph import COMPUTED_AS, Graph, Operand
from fallline.passes.rows import Call, RowProgram, Size

LAST = np.iinfo(np.int64).max

# Nodes of the same meaning, for numbers and for booleans.
SAME = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "negative": "Neg", "power": "Pow",
    "absolute": "Abs", "sign": "Sign", "floor": "Floor", "maximum": "Max", "minimum": "Min", "equal": "Equal",
    "less": "Less", "less_equal": "LessOrEqual", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin",
    "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf", "bitwise_and": "BitwiseAnd",
    "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor", "invert": "BitwiseNot", "matmul": "MatMul",
    "identity": "Identity", "stop_gradient": "Identity",
}  # fmt: skip
COMPARISONS = {"equal", "less", "less_equal"}  # of any dtype, they give booleans
OF_BOOLEANS = {
    "add": "Or", "multiply": "And", "bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor", "invert": "Not"
}  # fmt: skip

Lowering = Callable[..., str]
LOWERINGS: dict[str, Lowering] = {}
# Ops that are no nodes, and why.
NOT_NODES = {
    "input": "it is an input or an initializer of the graph",
    "constant": "it is an initializer of the graph",
}


def lowering(*names: str) -> Callable[[Lowering], Lowering]:
    def add(f: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(names, f))
        return f

    return add


@lowering(*SAME)
def _same(g: Graph, call: Call, *args: Operand) -> str:
    kind = OF_BOOLEANS.get(call.op, SAME[call.op]) if args[0].dtype.kind == "b" else SAME[call.op]
    given = str(args[0].dtype)
    inner = COMPUTED_AS.get((kind, given), given)
    made = g.node(kind, *(g.cast(a.name, given, inner) for a in args))
    return made if call.op in COMPARISONS else g.cast(made, inner, call.dtype)


@lowering("tan")
def _tan(g: Graph, call: Call, x: Operand) -> str:
    return g.node("Div", g.node("Sin", x.name), g.node("Cos", x.name))


@lowering("arctan")
def _arctan(g: Graph, call: Call, x: Operand) -> str:
    """In float64 y + (x cos y - sin y) / (cos y + x sin y), y the arctan in float32: the rest is its third power."""
    if x.dtype == np.float32:
        return g.node("Atan", x.name)
    y = g.cast(g.node("Atan", g.cast(x.name, x.dtype, "float32")), "float32", x.dtype)
    sin, cos = g.node("Sin", y), g.node("Cos", y)
    above = g.node("Sub", g.node("Mul", x.name, cos), sin)
    better = g.node("Add", y, g.node("Div", above, g.node("Add", cos, g.node("Mul", x.name, sin))))
    finite = _finite(g, x)
    quarter = g.node("Mul", g.node("Sign", x.name), g.number(np.pi / 2, x))
    return g.node("Where", finite, better, quarter)


@lowering("log1p")
def _log1p(g: Graph, call: Call, x: Operand) -> str:
    """log(u) x / (u - 1), u = 1 + x, which loses no digit of a small x.   source: Kahan 1982, HP-15C handbook"""
    one = g.number(1.0, x)
    u = g.node("Add", x.name, one)
    kept = g.node("Mul", g.node("Log", u), g.node("Div", x.name, g.node("Sub", u, one)))
    far = g.node("Equal", u, g.number(np.inf, x))
    return g.node("Where", g.node("Or", g.node("Equal", u, one), far), x.name, kept)


@lowering("expm1")
def _expm1(g: Graph, call: Call, x: Operand) -> str:
    """(u - 1) x / log(u), u = e^x; x for u = 1, and u - 1 where that is -1 or infinite.   source: as for log1p"""
    one = g.number(1.0, x)
    u = g.node("Exp", x.name)
    less = g.node("Sub", u, one)
    kept = g.node("Mul", less, g.node("Div", x.name, g.node("Log", u)))
    end = g.node("Or", g.node("Equal", less, g.number(-1.0, x)), g.node("Equal", u, g.number(np.inf, x)))
    return g.node("Where", g.node("Equal", u, one), x.name, g.node("Where", end, less, kept))


@lowering("isfinite")
def _isfinite(g: Graph, call: Call, x: Operand) -> str:
    return _finite(g, x)


def _finite(g: Graph, x: Operand) -> str:
    """x - x is 0, or NaN for infinite x and NaN."""
    zero = g.node("Sub", x.name, x.name)
    return g.node("Equal", zero, zero)


@lowering("remainder")
def _remainder(g: Graph, call: Call, a: Operand, b: Operand) -> str:
    """Of the sign of b: for floats the C library's, plus b where its sign is the other; 0 for whole numbers by 0."""
    zero = g.number(0, a)
    if a.dtype.kind != "f":
        none = g.node("Equal", b.name, zero)
        rest = g.node("Mod", a.name, g.node("Where", none, g.number(1, b), b.name))
        return g.node("Where", none, zero, rest)
    rest = g.node("Mod", a.name, b.name, fmod=1)
    signs = [g.node("Less", name, zero) for name in (rest, b.name)]
    other = g.node("And", g.node("Xor", *signs), g.node("Not", g.node("Equal", rest, zero)))
    return g.node("Where", other, g.node("Add", rest, b.name), rest)


@lowering("where")
def _where(g: Graph, call: Call, condition: Operand, a: Operand, b: Operand) -> str:
    if a.dtype.kind != "b":
        return g.node("Where", condition.name, a.name, b.name)
    kept = g.node("And", condition.name, a.name)
    return g.node("Or", kept, g.node("And", g.node("Not", condition.name), b.name))


@lowering("left_shift", "right_shift")
def _shift(g: Graph, call: Call, x: Operand, by: Operand) -> str:
    """Only unsigned words are shifted: a negative x is turned over for the way to the right, and back."""
    word = {"int32": "uint32", "int64": "uint64"}.get(str(x.dtype), "uint32")

    def shifted(name: str) -> str:
        direction = "LEFT" if call.op == "left_shift" else "RIGHT"
        moved = g.node("BitShift", g.cast(name, x.dtype, word), g.cast(by.name, by.dtype, word), direction=direction)
        return g.cast(moved, word, x.dtype)

    if call.op == "left_shift" or x.dtype.kind == "u":
        return shifted(x.name)
    negative = g.node("Less", x.name, g.number(0, x))
    moved = shifted(g.node("Where", negative, g.node("BitwiseNot", x.name), x.name))
    return g.node("Where", negative, g.node("BitwiseNot", moved), moved)


@lowering("astype")
def _astype(g: Graph, call: Call, x: Operand) -> str:
    return g.node("Cast", x.name, to=call.dtype)


@lowering("sum", "max")
def _reduced(g: Graph, call: Call, x: Operand) -> str:
    axes, keep = call.attrs["axis"], int(call.attrs["keepdims"])
    kind = "ReduceSum" if call.op == "sum" else "ReduceMax"
    return g.computed(kind, x, g.array(axes, np.int64), keepdims=keep) if axes else g.node("Identity", x.name)


@lowering("argmax")
def _argmax(g: Graph, call: Call, x: Operand) -> str:
    return g.computed("ArgMax", x, result="int64", axis=call.attrs["axis"], keepdims=0)


@lowering("argsort")
def _argsort(g: Graph, call: Call, x: Operand) -> str:
    """The order of TopK, which takes equal ones by their place, as a stable sort does."""
    axis = call.attrs["axis"]
    return g.computed("TopK", x, g.sizes([x.shape[axis]]), result="int64", n_outputs=2, axis=axis, largest=0)


@lowering("cumsum")
def _cumsum(g: Graph, call: Call, x: Operand) -> str:
    return g.computed("CumSum", x, g.array(call.attrs["axis"], np.int64))


@lowering("take")
def _take(g: Graph, call: Call, x: Operand, indices: Operand) -> str:
    return g.node("Gather", x.name, _index(g, indices), axis=0)


@lowering("take_along")
def _take_along(g: Graph, call: Call, x: Operand, indices: Operand) -> str:
    return g.node("GatherElements", x.name, _index(g, indices), axis=call.attrs["axis"])


def _index(g: Graph, indices: Operand) -> str:
    return g.cast(indices.name, indices.dtype, "int64")


@lowering("put_add")
def _put_add(g: Graph, call: Call, x: Operand, indices: Operand) -> str:
    rows = g.node("Unsqueeze", _index(g, indices), g.array([-1], np.int64))
    return _scattered(g, call, x, "ScatterND", rows)


@lowering("add_along")
def _add_along(g: Graph, call: Call, x: Operand, indices: Operand) -> str:
    return _scattered(g, call, x, "ScatterElements", _index(g, indices), axis=call.attrs["axis"])


def _scattered(g: Graph, call: Call, x: Operand, kind: str, places: str, **attrs: Any) -> str:
    """Zeros to which x is added at the places."""
    inner = COMPUTED_AS.get((kind, str(x.dtype)), str(x.dtype))
    zeros = g.node("ConstantOfShape", g.sizes(call.shape), value=np.zeros(1, inner))
    made = g.node(kind, zeros, places, g.cast(x.name, x.dtype, inner), reduction="add", **attrs)
    return g.cast(made, inner, x.dtype)


@lowering("reshape")
def _reshape(g: Graph, call: Call, x: Operand) -> str:
    """The size that grows with the rows is the one that is left, where it is the only one."""
    shape = call.shape
    growing = [k for k, size in enumerate(shape) if isinstance(size, Size)]
    if len(growing) == 1 and 0 not in shape:
        return g.node("Reshape", x.name, g.array([-1 if k in growing else d for k, d in enumerate(shape)], np.int64))
    return g.node("Reshape", x.name, g.sizes(shape), allowzero=1)


@lowering("transpose")
def _transpose(g: Graph, call: Call, x: Operand) -> str:
    return g.node("Transpose", x.name, perm=call.attrs["axes"])


@lowering("broadcast_to")
def _broadcast_to(g: Graph, call: Call, x: Operand) -> str:
    return g.node("Expand", x.name, g.sizes(call.shape))


@lowering("flip")
def _flip(g: Graph, call: Call, x: Operand) -> str:
    return _sliced(g, x.name, [-1], [-LAST], [call.attrs["axis"]], [-1])


@lowering("slice")
def _slice(g: Graph, call: Call, x: Operand) -> str:
    parts = [(*b, k) for k, (b, d) in enumerate(zip(call.attrs["bounds"], x.shape, strict=True)) if b != (0, d, 1)]
    if not parts:
        return g.node("Identity", x.name)
    starts, stops, steps, axes = zip(*parts, strict=True)
    return _sliced(g, x.name, starts, stops, axes, steps)


def _sliced(g: Graph, x: str, starts: Any, stops: Any, axes: Any, steps: Any) -> str:
    return g.node("Slice", x, g.sizes(starts), g.sizes(stops), g.array(axes, np.int64), g.array(steps, np.int64))


@lowering("unslice")
def _unslice(g: Graph, call: Call, x: Operand) -> str:
    """Zeros around the entries, and between them where the step is above 1."""
    name, zero = x.name, g.number(0, x)
    shape = list(x.shape)
    for axis, ((start, _, step), size) in enumerate(zip(call.attrs["bounds"], call.shape, strict=True)):
        if step > 1:  # each entry and step - 1 zeros, as one axis
            name = g.node("Unsqueeze", name, g.array([axis + 1], np.int64))
            ends = [0] * len(shape) + [0] * (len(shape) + 2)
            ends[len(shape) + 1 + axis + 1] = step - 1
            name = g.node("Pad", name, g.array(ends, np.int64), zero)
            shape[axis] = _plus(shape[axis], 0, step)
            name = g.node("Reshape", name, g.sizes(shape), allowzero=1)
        pads: list[int | Size] = [0] * (2 * len(shape))
        pads[axis], pads[len(shape) + axis] = start, size  # too much behind, cut off again
        name = _sliced(g, g.node("Pad", name, g.sizes(pads), zero), [0], [size], [axis], [1])
        shape[axis] = size
    return name


def _plus(size: int | Size, plus: int, times: int = 1) -> int | Size:
    return Size(size.times * times, size.plus * times + plus) if isinstance(size, Size) else size * times + plus


@lowering("concatenate")
def _concatenate(g: Graph, call: Call, *parts: Operand) -> str:
    return g.node("Concat", *(p.name for p in parts), axis=call.attrs["axis"])


def add_program(g: Graph, program: RowProgram, inputs: Sequence[str]) -> dict[str, str]:
    """Adds the nodes of a program to a graph; the names of its outputs.   inputs  names of its inputs in the graph"""
    operands: list[Operand] = []
    for k, call in enumerate(program.calls):
        g.scope = call.scope
        if call.op == "input":
            name = inputs[k]
        elif call.op == "constant":
            name = g.array(call.attrs["value"])
        else:
            name = _nodes_of(call)(g, call, *(operands[a] for a in call.args))
        operands.append(Operand(name, call.shape, call.dtype))
    g.scope = ""
    return {name: operands[at].name for name, at in program.outputs.items()}


def _nodes_of(call: Call) -> Lowering:
    if call.op not in LOWERINGS:
        place = f"layer {call.scope}: " if call.scope else ""
        raise ConfigError(
            f"{place}the op {call.op} has no nodes in ONNX: say in interchange/onnx_ops.py what it is there"
        )
    return LOWERINGS[call.op]


__all__ = ["LOWERINGS", "NOT_NODES", "add_program"]
