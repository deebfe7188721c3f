"""Coverage: which nodes become native loops and products, and why others do not."""

from __future__ import annotations

from fallline.engines.llvm import scalars
from fallline.engines.llvm.loops import COMBINE
from fallline.graph.value import Value
from fallline.passes.fuse import REDUCTIONS, is_elementwise


def is_native(node: Value) -> bool:
    """Whether there is a kernel for the node as a part of loops, or as a product; others are calls."""
    if 0 in node.shape or any(0 in a.shape for a in node.args):
        return False
    if node.op.view or node.op.name in ("concatenate", "unslice"):
        return True
    if node.op.name == "matmul":
        return node.dtype.kind == "f"
    dtypes = [a.dtype for a in node.args]
    if node.op.name in REDUCTIONS:
        return scalars.supports(COMBINE[node.op.name], [node.dtype, node.dtype], node.dtype)
    name = scalars.rule_of(node.op)
    return is_elementwise(node) and scalars.supports(name, dtypes, node.dtype)


def reason_not_native(node: Value) -> str:
    """Why NumPy has to compute a node that has neither a loop nor a call, in words."""
    name = node.op.name
    dtypes = ", ".join(dict.fromkeys(str(v.dtype) for v in (*node.args, node)))
    if not node.size or not all(a.size for a in node.args):
        return "an array without entries"
    if name == "matmul":
        return f"products are of float32 or float64, not of {dtypes}"
    if is_elementwise(node) and not scalars.rule_of(node.op):
        return f"no rule for the op {name!r}"
    if is_elementwise(node) or name in REDUCTIONS:
        return f"the rule for {name!r} does not cover {dtypes}"
    return f"no kernel for {name!r} of {', '.join(str(a.spec) for a in node.args)}"


__all__ = ["is_native", "reason_not_native"]
