"""Op: one primitive, and the four constructors that derive its rules from its structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from fallline.core.errors import DtypeError, GraphError, ShapeError
from fallline.core.spec import DTYPES, Spec
from fallline.graph.sample import Sample
from fallline.graph.value import OPS, Value

Cotangents = tuple[Any, ...]  # one per argument, None where there is none


@dataclass(eq=False)
class Op:
    """A primitive operation. Called on arrays it computes at once; called on Values it builds a node.

    forward  (*arrays, out=None, **attrs) -> array; writes into `out` when given, unless `view`
    infer    (*specs, **attrs) -> Spec of the result
    vjp      (g, y, *args, **attrs) -> for each argument the product of g with the Jacobian, or None
    jvp      (tangents, y, *args, **attrs) -> tangent of y; a tangent of None is zero
    scalar   engine name -> the name of this function there
    sample   test inputs
    front    (apply, *args, **kw) -> result: the public calling convention, where it differs
    view     the result may share the memory of the first argument
    inplace  `out` may be one of the arguments
    """

    name: str
    forward: Callable[..., Any]
    infer: Callable[..., Spec]
    vjp: Callable[..., Cotangents] | None = None
    jvp: Callable[..., Any] | None = None
    scalar: Mapping[str, str] = field(default_factory=dict)
    sample: Sample | None = None
    front: Callable[..., Any] | None = None
    view: bool = False
    inplace: bool = False
    structure: str = "primitive"

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        return self.apply(*args, **attrs) if self.front is None else self.front(self.apply, *args, **attrs)

    def apply(self, *args: Any, **attrs: Any) -> Any:
        """The op itself, on arguments that need no further conversion."""
        for arg in args:
            if isinstance(arg, Value):
                values = tuple([a if isinstance(a, Value) else as_value(a) for a in args])
                return Value(self, values, attrs, self.infer(*[v.spec for v in values], **attrs))
        with np.errstate(all="ignore"):
            return self.forward(*args, **attrs)

    def __repr__(self) -> str:
        return f"Op({self.name})"


def as_value(x: Any, dtype: Any = None) -> Value:
    """A Value from a Value, an array or a number; arrays become constants of the program."""
    if isinstance(x, Value):
        return x
    array = np.asarray(x, dtype=dtype)
    if array.dtype not in DTYPES:
        raise DtypeError(
            f"an array of {array.dtype} cannot be part of a program: use one of {', '.join(map(str, DTYPES))}"
        )
    return Value(OPS["constant"], (), {"value": array}, Spec(array.shape, array.dtype))


def as_operand(x: Any) -> Any:
    """A Value as it is, anything else as an array."""
    return x if isinstance(x, Value) else np.asarray(x)


def new_input(spec: Spec, name: str = "") -> Value:
    """A fresh input node of a program."""
    return Value(OPS["input"], (), {"name": name}, spec)


def promote(args: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """The arguments in one common dtype: Python numbers adapt to the arrays, integers to floats, float32 to float64."""
    given = [getattr(a, "dtype", None) for a in args]
    dtypes = {dtype for dtype in given if dtype is not None}
    if not dtypes:
        return tuple(np.asarray(a) for a in args)
    target = _common(dtypes, name)
    if target.kind != "f" and any(isinstance(a, float) for a in args):
        raise DtypeError(f"{name} of {target} and a float: convert with .astype('float32') first")
    alike = [own is not None and own == target for own in given]  # NumPy takes None for float64
    return tuple([a if same else _cast(a, target, name) for a, same in zip(args, alike, strict=True)])


def _cast(x: Any, dtype: np.dtype, name: str) -> Any:
    if isinstance(x, Value):
        return OPS["astype"](x, dtype)
    try:
        if isinstance(x, (int, float)) or np.asarray(x).dtype.kind in "fiub":  # "1" and None are no numbers
            return np.asarray(x, dtype=dtype)
    except OverflowError:
        pass
    raise DtypeError(f"{name} of {dtype} and {x!r}: give a number of that type")


def _common(dtypes: set[np.dtype], name: str) -> np.dtype:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    floats = [d for d in dtypes if d.kind == "f"]
    numbers = all(d.kind in "fiub" for d in dtypes)
    found = np.result_type(*(floats or dtypes)) if numbers else None
    if found is None or found not in DTYPES or (found.kind != "f" and np.dtype("uint32") in dtypes):
        raise DtypeError(f"{name} of {' and '.join(sorted(map(str, dtypes)))}: convert one of them with .astype first")
    return found


def _are_alike(args: tuple[Any, ...], takes: str) -> bool:
    """Whether these are Values, or arrays, of one shape and dtype and a kind that is taken: nothing is converted."""
    first = args[0] if args else None
    if isinstance(first, Value):
        spec = first.spec
        for arg in args:
            if not isinstance(arg, Value) or (arg.spec is not spec and arg.spec != spec):
                return False
        return spec.dtype.kind in takes
    if not isinstance(first, np.ndarray) or first.dtype.kind not in takes:
        return False
    shape, dtype = first.shape, first.dtype
    return all(isinstance(a, np.ndarray) and a.shape == shape and a.dtype == dtype for a in args)


def _aligned(args: tuple[Any, ...], takes: str, name: str) -> Sequence[Any]:
    """The arguments in one dtype, of the kinds that are taken, and where one is a Value also in one shape."""
    found = promote(args, name)
    if takes == "f" and not any(hasattr(a, "dtype") for a in args):  # Python's whole numbers are numbers like 1.0
        found = tuple(a.astype(np.float64) if a.dtype.kind == "i" else a for a in found)
    if found[0].dtype.kind not in takes:
        raise DtypeError(f"{name} does not take {found[0].dtype}: convert it with .astype('float32') first")
    shape = broadcast_shape([a.shape for a in found], name)
    if not any(isinstance(a, Value) for a in found):
        return found
    return [a if a.shape == shape else OPS["broadcast_to"].apply(as_value(a), shape=shape) for a in found]


_broadcast_shapes = lru_cache(4096)(np.broadcast_shapes)


def broadcast_shape(shapes: list[tuple[int, ...]], name: str) -> tuple[int, ...]:
    """The shape to which all these broadcast by NumPy's rules; ShapeError, naming the op, where there is none."""
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    try:
        return _broadcast_shapes(*shapes)
    except ValueError:
        shown = " and ".join(map(str, shapes))
        raise ShapeError(f"{name} of shapes {shown}: they do not broadcast; reshape one of them") from None


def elementwise(
    name: str,
    forward: Callable[..., Any],
    deriv: tuple[Callable[..., Any] | None, ...] | None = None,
    *,
    takes: str = "fiub",
    result: str | None = None,
    scalar: Mapping[str, str] | None = None,
    sample: Sample | None = None,
) -> Op:
    """An op that computes each entry from the entries at the same place.

    deriv   per argument (y, *args) -> dy/d(argument), written in ops; None: not differentiable
    takes   NumPy kinds of the dtypes it accepts (f float, i int, u unsigned, b bool)
    result  dtype of the result where it is not that of the arguments
    """

    def infer(*specs: Spec) -> Spec:
        first = specs[0]
        if specs.count(first) < len(specs):
            raise GraphError(f"{name} of {', '.join(map(str, specs))}: operands must have been aligned")
        return first.with_dtype(result) if result else first

    def front(apply: Callable[..., Any], *args: Any) -> Any:
        return apply(*(args if _are_alike(args, takes) else _aligned(args, takes, name)))

    def vjp(g: Any, y: Any, *args: Any) -> Cotangents:
        return tuple(None if d is None else _times(g, d(y, *args)) for d in deriv or ())

    def jvp(tangents: tuple[Any, ...], y: Any, *args: Any) -> Any:
        pairs = zip(tangents, deriv or (), strict=False)
        return _sum([_times(t, d(y, *args)) for t, d in pairs if t is not None and d is not None])

    differentiable = deriv is not None
    return _register(
        Op(name, forward, infer, vjp if differentiable else None, jvp if differentiable else None, scalar or {}, sample,
           front, inplace=True, structure="elementwise")
    )  # fmt: skip


def linear(
    name: str,
    infer: Callable[..., Spec],
    forward: Callable[..., Any],
    transpose: Callable[..., Any],
    *,
    view: bool = False,
    sample: Sample | None = None,
    front: Callable[..., Any] | None = None,
) -> Op:
    """An op that is linear in its first argument; further arguments are integers or conditions.

    transpose  (g, x, *rest, **attrs) -> the transposed map applied to g; of x only the shape may be used
    """

    def vjp(g: Any, y: Any, x: Any, *rest: Any, **attrs: Any) -> Cotangents:
        return (transpose(g, x, *rest, **attrs), *(None for _ in rest))

    def jvp(tangents: tuple[Any, ...], y: Any, x: Any, *rest: Any, **attrs: Any) -> Any:
        return None if tangents[0] is None else op.apply(tangents[0], *rest, **attrs)

    op = Op(name, forward, infer, vjp, jvp, {}, sample, front, view=view, structure="linear")
    return _register(op)


def bilinear(
    name: str,
    infer: Callable[..., Spec],
    forward: Callable[..., Any],
    transposes: tuple[Callable[..., Any], Callable[..., Any]],
    *,
    sample: Sample | None = None,
    front: Callable[..., Any] | None = None,
) -> Op:
    """An op that is linear in each of its two arguments.

    transposes  for each argument (g, x, y) -> the transposed map of that argument applied to g
    """

    def vjp(g: Any, out: Any, x: Any, y: Any, **attrs: Any) -> Cotangents:
        return transposes[0](g, x, y, **attrs), transposes[1](g, x, y, **attrs)

    def jvp(tangents: tuple[Any, ...], out: Any, x: Any, y: Any, **attrs: Any) -> Any:
        parts = []
        if tangents[0] is not None:
            parts.append(op.apply(tangents[0], y, **attrs))
        if tangents[1] is not None:
            parts.append(op.apply(x, tangents[1], **attrs))
        return _sum(parts)

    op = Op(name, forward, infer, vjp, jvp, {}, sample, front, structure="bilinear")
    return _register(op)


def primitive(
    name: str,
    infer: Callable[..., Spec],
    forward: Callable[..., Any],
    *,
    vjp: Callable[..., Cotangents] | None = None,
    jvp: Callable[..., Any] | None = None,
    view: bool = False,
    inplace: bool = False,
    scalar: Mapping[str, str] | None = None,
    sample: Sample | None = None,
    front: Callable[..., Any] | None = None,
) -> Op:
    """An op whose rules are all written out; without vjp and jvp nothing flows back through it."""
    return _register(Op(name, forward, infer, vjp, jvp, scalar or {}, sample, front, view=view, inplace=inplace))


def _register(op: Op) -> Op:
    return OPS.add(op.name, op)


def _times(g: Any, partial: Any) -> Any:
    """g times a partial derivative, without a node where the partial is the number 1 or -1."""
    if isinstance(partial, float) and abs(partial) == 1.0:
        return g if partial == 1.0 else -g
    return g * partial


def _sum(parts: list[Any]) -> Any:
    """None for no parts: a tangent that is zero."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total


def with_args(node: Value, args: tuple[Value, ...]) -> Value:
    """The node on other arguments, with the same attributes and in the same scope; itself where they are its own."""
    if args == node.args:  # a Value equals only itself
        return node
    return Value(node.op, args, node.attrs, node.op.infer(*[a.spec for a in args], **node.attrs), node.scope)


__all__ = [
    "OPS", "Op", "as_operand", "as_value", "bilinear", "broadcast_shape", "elementwise", "linear", "new_input",
    "primitive", "promote", "with_args",
]  # fmt: skip
