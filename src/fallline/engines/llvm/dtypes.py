"""How the entries of an array are held: in registers and in memory."""

from __future__ import annotations

import numpy as np

from fallline.engines.llvm.emitter import vector

_REGISTER = {
    np.dtype("float32"): "float",
    np.dtype("float64"): "double",
    np.dtype("int32"): "i32",
    np.dtype("int64"): "i64",
    np.dtype("uint32"): "i32",
    np.dtype("bool"): "i1",
}
HELD = frozenset(_REGISTER)  # the dtypes that kernels know


def type_of(dtype: np.dtype, lanes: int) -> str:
    """The type of a register of `lanes` entries: a truth value is one bit there."""
    return vector(_REGISTER[dtype], lanes)


def memory_type(dtype: np.dtype) -> str:
    """The type of an entry in memory: a truth value is one byte there."""
    return "i8" if dtype.kind == "b" else _REGISTER[dtype]
