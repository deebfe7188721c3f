"""Comparisons, which give booleans, and the choice between two arrays by a condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import DtypeError, GraphError
from fallline.core.spec import Spec
from fallline.graph.op import OPS, as_operand, as_value, broadcast_shape, elementwise, primitive, promote
from fallline.graph.sample import cases, reals
from fallline.graph.value import Value

equal = elementwise(
    "equal", np.equal, result="bool", scalar={"llvm": "eq", "xla": "equal"},
    sample=reals(-1, 1, -1, 1, special={(1.0, 1.0): True, (np.nan, np.nan): False}, smooth=False),
)  # fmt: skip
less = elementwise(
    "less", np.less, result="bool", scalar={"llvm": "lt", "xla": "less"},
    sample=reals(-1, 1, -1, 1, special={(1.0, 2.0): True, (1.0, 1.0): False, (np.nan, 1.0): False}, smooth=False),
)  # fmt: skip
less_equal = elementwise(
    "less_equal", np.less_equal, result="bool", scalar={"llvm": "le", "xla": "less_equal"},
    sample=reals(-1, 1, -1, 1, special={(1.0, 1.0): True, (2.0, 1.0): False}, smooth=False),
)  # fmt: skip
isfinite = elementwise(
    "isfinite", np.isfinite, takes="f", result="bool", scalar={"llvm": "isfinite", "xla": "isfinite"},
    sample=reals(-1, 1, special={np.inf: False, np.nan: False, 1e300: True}, smooth=False),
)  # fmt: skip


def greater(a: Any, b: Any) -> Any:
    """a > b, entry by entry."""
    return less(b, a)


def greater_equal(a: Any, b: Any) -> Any:
    """a >= b, entry by entry."""
    return less_equal(b, a)


def not_equal(a: Any, b: Any) -> Any:
    """a != b, entry by entry."""
    return OPS["invert"](equal(a, b))


def _where_infer(condition: Spec, a: Spec, b: Spec) -> Spec:
    if condition.dtype.kind != "b" or a != b or condition.shape != a.shape:
        raise GraphError(f"where of {condition}, {a}, {b}: operands must have been aligned")
    return a


def _where_forward(condition: Any, a: Any, b: Any, out: Any = None) -> Any:
    if out is None:
        return np.where(condition, a, b)
    np.copyto(out, b)
    np.copyto(out, a, where=condition)
    return out


def _where_front(apply: Any, condition: Any, a: Any, b: Any) -> Any:
    condition = as_operand(condition)
    if condition.dtype.kind != "b":
        raise DtypeError(f"where: the condition must be bool, given {condition.dtype}: write a comparison")
    a, b = promote((a, b), "where")
    shape = broadcast_shape([condition.shape, a.shape, b.shape], "where")
    if not any(isinstance(v, Value) for v in (condition, a, b)):
        return apply(condition, a, b)
    broadcast = OPS["broadcast_to"].apply
    return apply(*[v if v.shape == shape else broadcast(as_value(v), shape=shape) for v in (condition, a, b)])


def _where_vjp(g: Any, y: Any, condition: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return None, where(condition, g, 0.0), where(condition, 0.0, g)


def _where_jvp(tangents: tuple[Any, ...], y: Any, condition: Any, a: Any, b: Any) -> Any:
    _, ta, tb = tangents
    if ta is None and tb is None:
        return None
    return where(condition, 0.0 if ta is None else ta, 0.0 if tb is None else tb)


where = primitive(
    "where", _where_infer, _where_forward, vjp=_where_vjp, jvp=_where_jvp, front=_where_front,
    scalar={"llvm": "select", "xla": "where"},
    sample=cases(lambda rng: ((rng.random((3, 4)) < 0.5, rng.normal(size=(3, 4)), rng.normal(size=(3, 4))), {})),
)  # fmt: skip

__all__ = ["equal", "greater", "greater_equal", "isfinite", "less", "less_equal", "not_equal", "where"]
