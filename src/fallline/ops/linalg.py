"""The product of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ShapeError
from fallline.core.spec import Spec
from fallline.graph.op import bilinear, broadcast_shape, promote
from fallline.graph.sample import cases
from fallline.ops.shape import broadcast_to, reshape, transpose


def swap_last(x: Any) -> Any:
    """The transpose of each matrix of a stack."""
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _infer(x: Spec, y: Spec) -> Spec:
    return x.with_shape((*x.shape[:-1], y.shape[-1]))


def _front(apply: Any, x: Any, y: Any) -> Any:
    """NumPy's rules: a vector is a row on the left and a column on the right; leading axes broadcast."""
    x, y = promote((x, y), "matmul")
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError("matmul of a single number: use * instead")
    a = reshape(x, (1, x.shape[0])) if x.ndim == 1 else x
    b = reshape(y, (y.shape[0], 1)) if y.ndim == 1 else y
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul of {x.shape} and {y.shape}: the last axis of the first, {x.shape[-1]}, must equal {b.shape[-2]}"
        )
    lead = broadcast_shape([a.shape[:-2], b.shape[:-2]], "matmul")
    out = apply(broadcast_to(a, lead + a.shape[-2:]), broadcast_to(b, lead + b.shape[-2:]))
    shape = lead + (() if x.ndim == 1 else (a.shape[-2],)) + (() if y.ndim == 1 else (b.shape[-1],))
    return reshape(out, shape)


matmul = bilinear(
    "matmul", _infer, lambda x, y, out=None: np.matmul(x, y, out=out),
    (lambda g, x, y: matmul.apply(g, swap_last(y)), lambda g, x, y: matmul.apply(swap_last(x), g)), front=_front,
    sample=cases(
        lambda rng: ((rng.normal(size=(3, 4)), rng.normal(size=(4, 2))), {}),
        lambda rng: ((rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4, 2))), {}),
    ),
)  # fmt: skip

__all__ = ["matmul", "swap_last"]
