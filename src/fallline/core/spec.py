"""Spec: the shape and dtype of an array that need not exist yet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import DtypeError

# The dtypes a program may hold, with the short names used in program text.
DTYPES = {
    np.dtype("float32"): "f32",
    np.dtype("float64"): "f64",
    np.dtype("int32"): "i32",
    np.dtype("int64"): "i64",
    np.dtype("uint32"): "u32",
    np.dtype("bool"): "bool",
}


def as_dtype(dtype: Any) -> np.dtype:
    """The dtype of that name, refused when programs cannot hold it."""
    found = np.dtype(dtype)
    if found not in DTYPES:
        known = ", ".join(str(d) for d in DTYPES)
        raise DtypeError(f"dtype {found} cannot be used in a program: use one of {known}")
    return found


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and dtype of an array, without its contents."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: Any) -> Spec:
        """The spec of an array, a number, a Value, or of a Spec (itself)."""
        if isinstance(array, Spec):
            return array
        spec = getattr(array, "spec", None)
        if isinstance(spec, Spec):
            return spec
        found = np.asarray(array)
        return cls(found.shape, as_dtype(found.dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    def with_shape(self, shape: tuple[int, ...]) -> Spec:
        return Spec(tuple(shape), self.dtype)

    def with_dtype(self, dtype: Any) -> Spec:
        return Spec(self.shape, as_dtype(dtype))

    def __str__(self) -> str:
        return f"{DTYPES[self.dtype]}[{','.join(map(str, self.shape))}]"


def spec(shape: tuple[int, ...] | int, dtype: Any = "float32") -> Spec:
    """spec((32, 13)) is a float32 array of 32 rows and 13 columns."""
    return Spec((shape,) if isinstance(shape, int) else tuple(int(d) for d in shape), as_dtype(dtype))
