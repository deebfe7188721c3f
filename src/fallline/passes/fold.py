"""Fold: what depends on constants alone is computed now."""

from __future__ import annotations

import numpy as np

from fallline.graph.op import as_value
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.rewrite import rewrite

LARGEST = 4096  # entries; a larger constant costs more memory than computing it costs time


def fold(program: Program) -> Program:
    """Nodes whose arguments are all constants become constants, unless the result would be large."""

    def visit(node: Value, args: tuple[Value, ...]) -> Value | None:
        if node.op.view or {a.op.name for a in args} != {"constant"} or node.size > LARGEST:
            return None
        with np.errstate(all="ignore"):
            return as_value(
                np.asarray(node.op.forward(*(a.attrs["value"] for a in args), **node.attrs), dtype=node.dtype)
            )

    return rewrite(program, visit)
