"""The completeness matrix: native code for every op and dtype, or a line in one table with the reason."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from fallline.engines.llvm.target import host_target
from fallline.graph.op import OPS, Op
from fallline.graph.program import Program
from tests.engines.llvm.families import planned
from tests.engines.test_contract import SAMPLED, calls

# (op, dtype) -> why NumPy computes it
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("matmul", dtype): "products of whole numbers are in no layer or loss; NumPy's are exact"
    for dtype in ("int32", "int64", "uint32")
}
EXCEPTIONS |= {("matmul", "bool"): "products of truth values are in no layer or loss"}
EXCEPTIONS |= {
    ("max", dtype): "`maximum` takes no such numbers, so there is no rule to share" for dtype in ("uint32", "bool")
}
NO_KERNEL = {"input", "constant"}  # they compute nothing


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_every_op_is_native(op: Op) -> None:
    fallen: dict[str, list[str]] = {}
    seen = set()
    for dtype, args, attrs in calls(op):
        with np.errstate(all="ignore"):
            program = Program.of(lambda *a, attrs=attrs: op(*a, **attrs), *args)
        seen.add(dtype)
        found = [e.node.op.name for e in planned(program, host_target()).entries if e.node is not None]
        if found:
            fallen[dtype] = found
    assert set(fallen) == {dtype for name, dtype in EXCEPTIONS if name == op.name and dtype in seen}


def test_every_op_stands_in_the_matrix() -> None:
    assert set(OPS) - {op.name for op in SAMPLED} == NO_KERNEL
    assert {name for name, _ in EXCEPTIONS} <= set(OPS)
