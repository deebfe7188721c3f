"""The contract of every registered op, generated from the registry and from the samples beside the ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallline.graph.op import OPS, Op
from tests.contracts import checks, faults
from tests.tolerance import assert_close

EXEMPT = {"input", "constant"}  # they compute nothing
SAMPLED = [op for op in OPS.values() if op.name not in EXEMPT and op.sample is not None]
CASES = [pytest.param(op, k, id=f"{op.name}-{k}") for op in SAMPLED for k in range(len(checks.cases_of(op)))]
SMOOTH = [p for p in CASES if p.values[0].sample.smooth]
SPECIAL = [
    pytest.param(op, args, expected, id=f"{op.name}-{args}")
    for op in SAMPLED
    for args, expected in op.sample.special.items()
]


def wrapped(n: int, dtype: str) -> int:
    """The integer modulo 2^bits, as a value of the dtype."""
    bits = np.dtype(dtype).itemsize * 8
    n %= 1 << bits
    return n - (1 << bits) if dtype.startswith("int") and n >> (bits - 1) else n


# The meaning of the integer ops in Python's exact integers, before wrapping.
EXACT: dict[str, Any] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "bitwise_and": operator.and_, "bitwise_or": operator.or_, "bitwise_xor": operator.xor, "invert": operator.invert,
    "left_shift": lambda a, b: a << (b % 32), "right_shift": lambda a, b: a >> (b % 32),
}  # fmt: skip
SHIFTS = {"left_shift", "right_shift"}
SIGNED: dict[str, Any] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "negative": operator.neg,
    "absolute": abs, "sign": lambda a: (a > 0) - (a < 0), "maximum": max, "minimum": min, "remainder": operator.mod,
}  # fmt: skip


def test_every_op_has_a_sample() -> None:
    assert [op.name for op in OPS.values() if op.sample is None] == sorted(EXEMPT)


@pytest.mark.parametrize("name", checks.VALUES)
@pytest.mark.parametrize("op, k", CASES)
def test_values(op: Op, k: int, name: str) -> None:
    checks.VALUES[name](op, checks.cases_of(op)[k])


@pytest.mark.parametrize("name", checks.DERIVATIVES)
@pytest.mark.parametrize("op, k", SMOOTH)
def test_derivatives(op: Op, k: int, name: str) -> None:
    checks.DERIVATIVES[name](op, checks.cases_of(op)[k])


@pytest.mark.parametrize("op, args, expected", SPECIAL)
def test_special_values_are_exact(op: Op, args: Any, expected: Any) -> None:
    drawn = checks.cases_of(op)[0][0]
    numbers = args if isinstance(args, tuple) else (args,)
    found = op(*(np.asarray(n, dtype=d.dtype) for n, d in zip(numbers, drawn, strict=True)))
    assert_close(np.asarray(found), np.asarray(expected), "exact")


@given(st.sampled_from(sorted(EXACT)), st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4))
def test_unsigned_ops_are_python_integers(name: str, words: list[int]) -> None:
    n_args = len(checks.cases_of(OPS[name])[0][0])
    pairs = [words[:2], words[2:]] if n_args == 2 else [words]
    if name in SHIFTS:
        pairs[1] = [w % 32 for w in pairs[1]]
    found = OPS[name](*(np.array(p, np.uint32) for p in pairs))
    assert [int(v) for v in found] == [wrapped(EXACT[name](*column), "uint32") for column in zip(*pairs, strict=True)]


@given(st.sampled_from(sorted(SIGNED)), st.sampled_from(["int32", "int64"]), st.data())
def test_signed_ops_are_python_integers(name: str, dtype: str, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    numbers = st.integers(int(limits.min), int(limits.max))
    a = data.draw(numbers)
    pair = [a] if len(checks.cases_of(OPS[name])[0][0]) == 1 else [a, data.draw(numbers)]
    if name == "remainder" and pair[1] == 0:
        pair[1] = 1
    found = OPS[name](*(np.array([n], dtype) for n in pair))
    assert int(found[0]) == wrapped(SIGNED[name](*pair), dtype)


def test_integer_samples_are_all_compared_with_python() -> None:
    drawn = {op.name for op in SAMPLED if op.name in SHIFTS or "bitwise" in op.name or op.name == "invert"}
    assert drawn <= set(EXACT)
    assert {op.name for op in SAMPLED if checks.cases_of(op)[0][0][0].__class__ is np.ndarray
            and checks.cases_of(op)[0][0][0].dtype.kind == "u"} == drawn  # fmt: skip


def test_a_fault_in_a_vjp_is_caught() -> None:
    with faults.fault_in_vjp() as op:
        assert checks.failures(op, checks.VALUES) == set()
        assert checks.failures(op, checks.DERIVATIVES) == {"adjoint", "reverse"}


def test_a_fault_in_a_shared_derivative_is_caught() -> None:
    with faults.fault_in_shared_deriv() as op:
        assert checks.failures(op, checks.VALUES) == set()
        found = checks.failures(op, checks.DERIVATIVES)
        assert {"reverse", "forward"} <= found
        assert "adjoint" not in found  # both modes agree on the wrong matrix: only numbers show it


def test_a_fault_in_the_values_is_caught() -> None:
    with faults.fault_in_out() as op:
        assert checks.failures(op, checks.VALUES) == {"out"}
    with faults.fault_in_shape() as op:
        assert "shape rule" in checks.failures(op, checks.VALUES)
