"""Products: which kernel multiplies two matrices, and in which blocks."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from fallline.engines.llvm import amx, gemm
from fallline.engines.llvm.entries import Argument
from fallline.engines.llvm.gemm import Blocks
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.target import Target
from fallline.graph.value import Value
from fallline.passes.access import Access


class ProductPlan(NamedTuple):
    """A product of stacks of matrices.

    arguments  of the kernel, by their names in `gemm.ARGUMENTS`: all but addresses
    """

    kernel: Kernel
    blocks: Blocks
    arguments: dict[str, Argument]


class Products:
    """The choice of kernels on one CPU at one precision ("float32", "bf16x3" or "bf16", for products of float32)."""

    def __init__(self, target: Target, precision: str = "float32"):
        self.target, self.precision = target, precision

    def plan(self, product: Value, left: Access, right: Access) -> ProductPlan:
        """How a matmul is computed from factors that are reached so; their stacks have even steps (`batch_step`)."""
        M, N, K, batches = *product.shape[-2:], left.shape[-1], math.prod(product.shape[:-2])
        if self.precision != "float32" and product.dtype.itemsize == 4:
            blocks = amx.plan(M, N, K, batches, amx.PARTS[self.precision])
            kernel = amx.gemm(self.precision)
        else:
            blocks = gemm.plan(M, N, K, batches, product.dtype.itemsize, self.target)
            kernel = gemm.gemm(product.dtype, self.target)
        (a_row, a_col), (b_row, b_col) = left.strides[-2:], right.strides[-2:]
        arguments: dict[str, Argument] = {
            "a_row": a_row, "a_col": a_col, "b_row": b_row, "b_col": b_col, "c_row": N, "M": M, "N": N, "K": K,
            "batches": batches, "a_batch": batch_step(left) or 0, "b_batch": batch_step(right) or 0, "c_batch": M * N,
            "rows": blocks.rows, "columns": blocks.columns, "row_blocks": blocks.row_blocks,
            "column_blocks": blocks.column_blocks,
        }  # fmt: skip
        return ProductPlan(kernel, blocks, arguments)


def batch_step(access: Access) -> int | None:
    """Entries from one matrix of a stack to the next, over all leading axes; None where there is no such even step."""
    lead = [(d, s) for d, s in zip(access.shape[:-2], access.strides[:-2], strict=True) if d > 1]
    for outer, inner in pairwise(lead):
        if outer[1] != inner[0] * inner[1]:
            return None
    return lead[-1][1] if lead else 0
