"""Generated loops at their edges: short vectors, short units, mixed widths, on every family of CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from fallline.engines.llvm.engine import LlvmEngine, NativeCall
from fallline.graph.op import OPS
from fallline.graph.program import Program
from tests.engines.llvm.families import ENGINES
from tests.engines.parity import assert_same

exp, tanh, where = OPS["exp"], OPS["tanh"], OPS["where"]


every_family = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


def check(engine: LlvmEngine, f: Any, *arrays: np.ndarray, label: Any = "", kind: str = "") -> None:
    """A program on an engine against the interpreter."""
    program = Program.of(f, *arrays)
    call = engine.compile(program)
    assert isinstance(call, NativeCall)
    for k, (ours, meant) in enumerate(zip(call(*arrays), program.run(*arrays), strict=True)):
        assert_same(ours, meant, kind, (label, k))


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def around(x: Any, y: Any) -> list[Any]:
    """A map, sums over rows, columns and everything, maxima, and numbers of a row or a column spread out."""
    wide = tanh(x) * y + 1.0
    return [
        wide, wide.sum(axis=0), wide.sum(axis=1), wide.sum(), wide.max(axis=0), wide.max(axis=1), wide.max(),
        x - x.max(axis=1, keepdims=True), x * y[0] + x[:, :1], wide.transpose() * 2.0,
    ]  # fmt: skip


@every_family
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_length_of_rows_and_columns(engine: LlvmEngine, dtype: str) -> None:
    sides = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65)
    for rows, columns in [*((r, 9) for r in sides), *((6, c) for c in sides)]:
        check(
            engine,
            around,
            normal(rows, columns, dtype=dtype),
            normal(rows, columns + 1, dtype=dtype)[:, 1:].copy(),
            label=(rows, columns),
        )


@every_family
def test_every_number_of_units(engine: LlvmEngine) -> None:
    for rows, columns in [(1, 16383), (1, 16384), (2, 16385), (16385, 1), (5, 9999), (9999, 5), (700, 130), (33, 4097)]:
        check(engine, around, normal(rows, columns), normal(rows, columns), label=(rows, columns))


@every_family
def test_widths_of_numbers_that_meet(engine: LlvmEngine) -> None:
    def f(x: Any, d: Any, i: Any, j: Any, b: Any, u: Any) -> list[Any]:
        return [
            x.astype("float64") + d, (d * 2.0).astype("float32") * x, where(b, x, -x), where(x < 0.5, d, 0.0), i + j,
            (i * 3).astype("int64") - j, b.astype("float32").sum(axis=0), (x < d.astype("float32")) & b,
            (u >> np.uint32(7)).astype("int32") - i, (x * 4.0).astype("int32"), b.astype("int64").sum(axis=1),
            i.astype("float32") * x, (i < 1).astype("bool"), u.astype("float64") * d,
            (b | (i < 0)).astype("uint32") + u,
        ]  # fmt: skip

    i = np.random.default_rng(0).integers(-9, 9, (7, 21))
    u = np.random.default_rng(1).integers(0, 2**32, (7, 21)).astype("uint32")
    check(engine, f, normal(7, 21), normal(7, 21, dtype="float64"), i.astype("int32"), i, i % 2 == 0, u)


@every_family
def test_chains_longer_than_a_loop_can_be(engine: LlvmEngine) -> None:
    def f(x: Any, y: Any) -> list[Any]:
        for k in range(240):
            x = x * 0.5 + y * (0.1 + 0.01 * k)
        return [x, x.sum(axis=0)]

    check(engine, f, normal(5, 37), normal(5, 37))


@every_family
def test_many_arrays_in_one_loop(engine: LlvmEngine) -> None:
    arrays = [normal(4, 19, dtype="float64") + k for k in range(40)]
    check(
        engine, lambda *xs: [sum(xs[1:], start=xs[0]), *(x * 2.0 for x in xs[:9]), *(x.sum() for x in xs[:9])], *arrays
    )


@every_family
def test_spaces_of_many_dimensions(engine: LlvmEngine) -> None:
    x, y = normal(3, 4, 5, 6), normal(4, 1, 6)

    def f(x: Any, y: Any) -> list[Any]:
        turned = x.transpose((2, 0, 3, 1))
        return [
            x * y, turned * 2.0, (x * y).sum(axis=(0, 2)), (x * y).sum(axis=(1, 3)), turned.max(axis=(0, 3)),
            turned.sum(axis=2), x[::2, 1:, ::-1, :4] + 1.0, (x + x[:, :, ::-1]).sum(axis=(0, 1, 2)),
            x.reshape(12, 30).sum(axis=0) + x.sum(axis=(0, 1)).reshape(30), (turned * 1.5).reshape(15, 24).sum(axis=1),
            OPS["broadcast_to"](y[:, :, :1], (3, 4, 5, 6)) * x,
        ]  # fmt: skip

    check(engine, f, x, y)


@every_family
def test_products_with_everything_behind_them(engine: LlvmEngine) -> None:
    def f(x: Any, w: Any, b: Any, r: Any, mask: Any) -> list[Any]:
        z = x @ w
        h = OPS["maximum"](z + b, 0.0)
        return [
            h, where(mask, h, 0.0) * 2.0, (z * z).sum(), z.max(), z - r, (x @ w * r).sum(axis=0), z.transpose() @ x,
            exp(x @ w * 0.1) * r[:, :1], z.sum(axis=1),
        ]  # fmt: skip

    for m, k, n in [(1, 1, 1), (2, 3, 1), (1, 40, 33), (5, 7, 15), (17, 9, 16), (64, 33, 65), (130, 70, 48)]:
        mask = np.random.default_rng(2).random((m, n)) < 0.5
        check(engine, f, normal(m, k, dtype="float64"), normal(k, n, dtype="float64"), normal(n, dtype="float64"),
              normal(m, n, dtype="float64"), mask, label=(m, k, n), kind="run")  # fmt: skip


@every_family
def test_arrays_that_do_not_lie_as_they_should(engine: LlvmEngine) -> None:
    """The caller's arrays may be views, of any byte address."""
    odd = np.zeros(8 * 60 + 3, np.uint8)[3:].view("float64").reshape(6, 10)
    program = Program.of(lambda x: x * 2.0 + 1.0, odd)
    call = engine.compile(program)
    x = normal(10, 6, dtype="float64")
    odd[...] = x.T
    for array in (odd, x.T, normal(12, 20, dtype="float64")[::2, ::-2], np.broadcast_to(x[0, 0], (6, 10))):
        assert_same(call(array)[0], array * 2.0 + 1.0)
