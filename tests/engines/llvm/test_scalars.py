"""Elementwise ops as native code: the results of the reference engine, for every dtype, width and kind of CPU."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest

import fallline
from fallline.core.spec import DTYPES
from fallline.graph.op import OPS, Op
from tests.engines.llvm.families import target_for
from tests.tolerance import TOL, assert_close

pytest.importorskip("llvmlite")

from fallline.engines.llvm import scalars
from fallline.engines.llvm.dtypes import memory_type, type_of
from fallline.engines.llvm.emitter import Function, Module, vector
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.loader import addresses, compile_object, write_text
from fallline.engines.llvm.target import host_target, named_target

FAMILIES = ("avx512", "avx2", "sse2", "generic", "neon")
COPIES = ("astype", "identity", "stop_gradient")
ELEMENTWISE = [op for op in OPS.values() if op.structure == "elementwise" or op.name in ("where", *COPIES)]
F32, F64, I32, I64, U32, BOOL = KINDS = [np.dtype(name) for name in map(str, DTYPES)]
REALS = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 2.5, -3.7, 9.0, 1e-8, -1e-8, 1e-20, 17.0, -17.0, 40.0, -80.0, 87.0,
    100.0, 1e4, -3e4, 3e5, 1e10, -1e30, 3e38, -3e38, 1000.0, -1000.0, np.inf, -np.inf, np.nan,
]  # fmt: skip
INTEGERS = [0, 1, 2, 3, 5, 17, 31, 32, 40, 255, 16777217, 16777219, 2**31 - 1]


def kernel_of(name: str, dtypes: tuple[np.dtype, ...], result: np.dtype, lanes: int) -> Kernel:
    """out[i] = op(args[i]) for i < n.   arguments: the addresses of args and out, n"""

    def write(module: Module) -> None:
        f = entry(module, f"scalar_{name}_{'_'.join(d.name for d in (*dtypes, result))}_{lanes}")
        pointers = [f.load("ptr", "%args", k) for k in range(len(dtypes) + 1)]

        def body(i: Any) -> None:
            args = [_load(f, p, i, d, lanes) for p, d in zip(pointers, dtypes, strict=False)]
            y = scalars.emit(name, f, args, dtypes, result, lanes)
            kind = vector(memory_type(result), lanes)
            if result.kind == "b":
                y = f.value(f"zext {type_of(result, lanes)} {y} to {kind}")
            f.store(kind, y, pointers[-1], i)

        f.loop(f.load("i64", "%args", len(dtypes) + 1), body, step=lanes)
        f.finish()

    return Kernel(f"scalar_{name}_{'_'.join(d.name for d in (*dtypes, result))}_{lanes}", write)


def _load(f: Function, pointer: str, i: Any, dtype: np.dtype, lanes: int) -> str:
    kind = vector(memory_type(dtype), lanes)
    x = f.load(kind, pointer, i)
    return x if dtype.kind != "b" else f.value(f"icmp ne {kind} {x}, {f.constant(0, kind)}")


def run(address: int, arrays: tuple[np.ndarray, ...], result: np.dtype, lanes: int) -> np.ndarray:
    n = len(arrays[0])
    padded = [np.resize(a, -(-n // lanes) * lanes) for a in arrays]
    out = np.empty(len(padded[0]), result)
    numbers = np.array([a.ctypes.data for a in (*padded, out)] + [len(out)], np.int64)
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(address)(numbers.ctypes.data, 0, 1, 0, 0)
    return out[:n]


def signatures(op: Op) -> list[tuple[tuple[np.dtype, ...], np.dtype]]:
    """Every choice of dtypes that `supports` takes."""
    if op.name == "astype":
        return [((a,), b) for a, b in itertools.product(KINDS, KINDS)]
    if op.name == "where":
        return [((BOOL, d, d), d) for d in KINDS]
    found: list[tuple[tuple[np.dtype, ...], np.dtype]] = []
    for d, count in itertools.product(KINDS, (1, 2)):
        for result in (d, BOOL):
            if scalars.supports(op.name, (d,) * count, result) and ((d,) * count, result) not in found:
                found.append(((d,) * count, result))
    return found


def values_of(dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            drawn = np.random.default_rng(3).normal(scale=3.0, size=64)
            return np.concatenate([np.array(REALS), drawn]).astype(dtype)
    if dtype.kind == "b":
        return np.array([False, True])
    extra = {"u": [2**32 - 1, 2**31 + 129], "i": [-1, -2, -7, -(2**31)]}[dtype.kind]
    numbers = np.random.default_rng(4).integers(0, 2**31, 20)
    return np.array([*INTEGERS, *extra, *numbers, *([2**62, -(2**63)] if dtype == I64 else [])]).astype(dtype)


def arguments(op: Op, dtypes: tuple[np.dtype, ...], result: np.dtype) -> tuple[np.ndarray, ...]:
    """All combinations of values; for casts to whole numbers only what fits."""
    values = [values_of(d) for d in dtypes]
    if op.name == "astype" and dtypes[0].kind == "f" and result.kind in "iu":
        low, high = (0, 2**32 - 1) if result.kind == "u" else (-(2**31), 2**31 - 256)
        x = values[0]
        values = [x[np.isfinite(x) & (x >= low) & (x <= high)]]
    if op.name == "where":
        values = [values[0], values[1], values[2][::-1][:10]]
    grid = np.meshgrid(*values, indexing="ij")
    return tuple(np.ascontiguousarray(g.reshape(-1)) for g in grid)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_op_gives_what_the_reference_gives(family: str) -> None:
    target = target_for(family)
    cases = []
    for op in ELEMENTWISE:
        for dtypes, result in signatures(op):
            for lanes in (1, target.lanes(4)):
                cases.append((op, dtypes, result, lanes, kernel_of(op.name, dtypes, result, lanes)))
    found = addresses([case[-1] for case in cases], target)
    for op, dtypes, result, lanes, kernel in cases:
        args = arguments(op, dtypes, result)
        with np.errstate(all="ignore"):
            expected = op.forward(*args, **({"dtype": result} if op.name == "astype" else {}))
        actual = run(found[kernel.name], args, result, lanes)
        normal = _without_subnormal(args, expected)
        try:
            assert actual.dtype == expected.dtype
            assert_close(actual[normal], expected[normal], _tolerance(op, result))
        except AssertionError as error:
            raise AssertionError(f"{kernel.name} for {family}: {error}") from None


def _tolerance(op: Op, result: np.dtype) -> str:
    if result.kind != "f" or op.name in (*COPIES, "where", "add", "multiply", "divide", "sqrt", "maximum", "sign"):
        return "exact"
    return "f32" if result == F32 else "f64"


def _without_subnormal(args: tuple[np.ndarray, ...], expected: np.ndarray) -> np.ndarray:
    """Where all is zero or of normal size: programs run with subnormal numbers as zeros."""
    keep = np.ones(len(expected), bool)
    for x in (*args, expected):
        if x.dtype.kind == "f":
            keep &= (x == 0) | ~(np.abs(x) < 2 * np.finfo(x.dtype).tiny)
    return keep


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_functions_are_right_to_a_few_units_in_the_last_place(family: str) -> None:
    target = target_for(family)
    lanes = target.lanes(4)
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(-20, 4.4, 2**16)) * rng.choice([-1, 1], 2**16)
    x = np.concatenate([rng.uniform(-4, 4, 2**16), spread, rng.uniform(0.9, 1.1, 2**12)]).astype(np.float32)
    ops = [op for op in ELEMENTWISE if op.name in fallline.ops.transcendental.__all__]
    kernels = {op.name: kernel_of(op.name, (F32,), F32, lanes) for op in ops}
    found = addresses(list(kernels.values()), target)
    for op in ops:
        with np.errstate(all="ignore"):
            exact = op.forward(x.astype(np.float64))
        actual = run(found[kernels[op.name].name], (x,), F32, lanes)
        normal = _without_subnormal((x,), exact.astype(np.float32)) & np.isfinite(exact)
        unit = np.spacing(np.abs(exact[normal]).astype(np.float32))
        assert np.max(np.abs(actual[normal] - exact[normal]) / unit) < TOL["ulps"], op.name


def test_one_lane_and_a_full_register_give_the_same_bits() -> None:
    target = host_target()
    x = values_of(F32)
    ops = [op for op in ELEMENTWISE if scalars.supports(op.name, (F32,), F32)]
    kernels = {(op.name, n): kernel_of(op.name, (F32,), F32, n) for op in ops for n in (1, 2, 8, target.lanes(4), 32)}
    found = addresses(list(kernels.values()), target)
    for op in ops:
        whole = run(found[kernels[op.name, target.lanes(4)].name], (x,), F32, target.lanes(4))
        for n in (1, 2, 8, 32):
            one = run(found[kernels[op.name, n].name], (x,), F32, n)
            assert np.array_equal(one, whole, equal_nan=True), f"{op.name} of {n} lanes"


@pytest.mark.parametrize("machine", ["aarch64", "x86-64", "x86-64-v3"])
def test_code_for_other_machines_is_made(machine: str) -> None:
    target = named_target(machine)
    kernels = [kernel_of(op.name, d, r, target.lanes(4)) for op in ELEMENTWISE for d, r in signatures(op)[:2]]
    assert compile_object(write_text(kernels, target), target)


def test_every_elementwise_op_has_a_rule() -> None:
    for op in ELEMENTWISE:
        assert scalars.rule_of(op), op.name
        assert signatures(op), op.name


def test_an_op_of_the_users_own_may_name_a_rule() -> None:
    op = Op("squash", np.tanh, lambda s: s, scalar={"llvm": "tanh"}, structure="elementwise")
    assert scalars.rule_of(op) == "tanh"
    assert scalars.rule_of(Op("squash", np.tanh, lambda s: s, structure="elementwise")) == ""


def test_what_has_no_rule_is_not_supported() -> None:
    assert not scalars.supports("matmul", (F32, F32), F32)
    assert not scalars.supports("sum", (F32,), F32)
    assert not scalars.supports("exp", (I32,), I32)
    assert not scalars.supports("add", (F32, F64), F64)
    assert not scalars.supports("where", (F32, F32, F32), F32)
