"""Products: which kernel multiplies two matrices, and in which blocks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from fallline.engines.llvm import amx, gemm
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.target import Target
from fallline.graph.value import Value
from fallline.passes.access import Access


class ProductPlan(NamedTuple):
    """A product of stacks of matrices.

    batches        how many products;  batch_strides  from one to the next, of both factors and the result, in entries
    """

    kernel: Kernel
    blocks: Any
    batches: int
    batch_strides: tuple[int, int, int]


class Products:
    """The choice of kernels on one CPU at one precision ("float32", "bf16x3" or "bf16", for products of float32)."""

    def __init__(self, target: Target, precision: str = "float32"):
        self.target, self.precision = target, precision

    def plan(self, product: Value, left: Access, right: Access) -> ProductPlan:
        rows, columns = product.shape[-2:]
        inner, batches = left.shape[-1], math.prod(product.shape[:-2])
        strides = _batch_stride(left), _batch_stride(right), rows * columns
        if self.precision != "float32" and product.dtype.itemsize == 4:
            blocks = amx.plan(rows, columns, inner, batches, 2 if self.precision == "bf16x3" else 1)
            return ProductPlan(amx.gemm(self.precision), blocks, batches, strides)
        blocks = gemm.plan(rows, columns, inner, batches, product.dtype.itemsize, self.target)
        return ProductPlan(gemm.gemm(product.dtype, self.target), blocks, batches, strides)


def even_batches(access: Access) -> bool:
    """Whether the matrices of a stack follow each other in even steps."""
    return _batch_run(access) is not None


def _batch_stride(access: Access) -> int:
    return _batch_run(access) or 0


def _batch_run(access: Access) -> int | None:
    """The step from one matrix of a stack to the next, over all leading axes; None where there is no such step."""
    lead = [(d, s) for d, s in zip(access.shape[:-2], access.strides[:-2], strict=True) if d > 1]
    for outer, inner in pairwise(lead):
        if outer[1] != inner[0] * inner[1]:
            return None
    return lead[-1][1] if lead else 0
