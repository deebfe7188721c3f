"""Value: a node of a program. There is no tape and no second tensor class; a Value is the node itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.errors import GraphError
from fallline.core.registry import Registry
from fallline.core.spec import Spec

if TYPE_CHECKING:
    from fallline.graph.op import Op

OPS: Registry[Op] = Registry("op", homes=("fallline.ops",))

_numbers = itertools.count()


class _Scope(threading.local):
    path = ""


_scope = _Scope()


class scope:
    """Values made inside carry this path (the layer they belong to); an empty path changes nothing."""

    __slots__ = ("before", "path")

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        self.before = _scope.path
        if self.path:
            _scope.path = self.path

    def __exit__(self, *_: object) -> None:
        _scope.path = self.before


def current_scope() -> str:
    return _scope.path


class Value:
    """One node: an op, its arguments, its attributes, and the shape and dtype of its result.

    number  creation number; an argument always has a smaller one than the node that uses it
    scope   path of the layer that made it, "" outside a model
    """

    __slots__ = ("__weakref__", "args", "attrs", "number", "op", "scope", "spec")
    __array_ufunc__ = None  # ndarray + Value must ask Value.__radd__, not loop over the array

    def __init__(self, op: Op, args: tuple[Value, ...], attrs: dict[str, Any], spec: Spec, where: str | None = None):
        self.op, self.args, self.attrs, self.spec = op, args, attrs, spec
        self.scope = _scope.path if where is None else where
        self.number = next(_numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def size(self) -> int:
        return self.spec.size

    def __repr__(self) -> str:
        return f"Value({self.op.name}: {self.spec})"

    def __bool__(self) -> bool:
        raise GraphError(
            f"the truth of {self!r} is not known while a program is built: use where(condition, a, b) "
            "instead of `if`, and & | instead of `and` `or`"
        )

    def __float__(self) -> float:
        raise GraphError(
            f"{self!r} has no number while a program is built: return it, read it after the run; fl.sin, not math.sin"
        )

    __int__ = __index__ = __float__

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise GraphError(
            f"{self!r} is not an array: use fallline's functions (fl.exp, not np.exp) while a program is built"
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{self!r} is a single number and has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Value]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: Any) -> Value:
        return OPS["add"](self, other)

    def __radd__(self, other: Any) -> Value:
        return OPS["add"](other, self)

    def __sub__(self, other: Any) -> Value:
        return OPS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Value:
        return OPS["subtract"](other, self)

    def __mul__(self, other: Any) -> Value:
        return OPS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Value:
        return OPS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Value:
        return OPS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return OPS["divide"](other, self)

    def __pow__(self, other: Any) -> Value:
        return OPS["power"](self, other)

    def __rpow__(self, other: Any) -> Value:
        return OPS["power"](other, self)

    def __matmul__(self, other: Any) -> Value:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return OPS["matmul"](other, self)

    def __neg__(self) -> Value:
        return OPS["negative"](self)

    def __abs__(self) -> Value:
        return OPS["absolute"](self)

    def __lt__(self, other: Any) -> Value:
        return OPS["less"](self, other)

    def __le__(self, other: Any) -> Value:
        return OPS["less_equal"](self, other)

    def __gt__(self, other: Any) -> Value:
        return OPS["less"](other, self)

    def __ge__(self, other: Any) -> Value:
        return OPS["less_equal"](other, self)

    def __and__(self, other: Any) -> Value:
        return OPS["bitwise_and"](self, other)

    def __or__(self, other: Any) -> Value:
        return OPS["bitwise_or"](self, other)

    def __xor__(self, other: Any) -> Value:
        return OPS["bitwise_xor"](self, other)

    def __rshift__(self, other: Any) -> Value:
        return OPS["right_shift"](self, other)

    def __lshift__(self, other: Any) -> Value:
        return OPS["left_shift"](self, other)

    def __invert__(self) -> Value:
        return OPS["invert"](self)

    def __mod__(self, other: Any) -> Value:
        return OPS["remainder"](self, other)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise GraphError(
            f"{self!r} cannot be changed in place: make a new one with where(condition, a, b) or concatenate"
        )

    def __getitem__(self, index: Any) -> Value:
        return OPS["slice"](self, index)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Value:
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Value:
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Value:
        total = self.sum(axis=axis, keepdims=keepdims)
        return total / max(1, self.size // max(1, total.size))

    def reshape(self, *shape: Any) -> Value:
        return OPS["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Value:
        return OPS["transpose"](self, (axes[0] if len(axes) == 1 else axes) or None)

    @property
    def T(self) -> Value:
        return OPS["transpose"](self, None)

    def astype(self, dtype: Any) -> Value:
        return OPS["astype"](self, dtype)
