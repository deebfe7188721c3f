"""Nodes that compute nothing: inputs, constants, identity, and the end of differentiation."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import GraphError
from fallline.core.spec import Spec
from fallline.graph.op import linear, primitive
from fallline.graph.sample import reals


def _unbound(*_: Any, name: str = "", **__: Any) -> Any:
    raise GraphError(f"the input {name!r} was given no array")


def _constant_spec(*, value: np.ndarray) -> Spec:
    return Spec.of(value)


def _same_spec(x: Spec) -> Spec:
    return x


def _copy(x: Any, out: Any = None) -> Any:
    return np.positive(x, out=out) if np.asarray(x).dtype.kind != "b" else np.logical_or(x, False, out=out)


input = primitive("input", _unbound, _unbound)
constant = primitive("constant", _constant_spec, lambda out=None, *, value: value)

# Gives a Value a new name: differentiating with respect to the copy leaves other uses of the original alone.
identity = linear("identity", _same_spec, _copy, lambda g, x: g, sample=reals(-2, 2))

stop_gradient = primitive("stop_gradient", _same_spec, _copy, sample=reals(-2, 2, smooth=False))

__all__ = ["constant", "identity", "stop_gradient"]
