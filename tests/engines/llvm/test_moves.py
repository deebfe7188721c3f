"""Rows of a batch, slices of scanned inputs and records: every size, nothing beyond the end."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.engines.llvm import moves
from fallline.engines.llvm.loader import addresses
from fallline.engines.llvm.moves import UNIT_BYTES, plan_bytes, plan_rows
from tests.engines.llvm.families import target_for
from tests.engines.llvm.tables import Table, words

SIZES = [
    *range(1, 68),
    100,
    127,
    128,
    129,
    400,
    1000,
    3136,
    UNIT_BYTES - 1,
    UNIT_BYTES,
    UNIT_BYTES + 1,
    2 * UNIT_BYTES + 77,
]
FAMILIES = ["avx512", "avx2", "sse2", "generic"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("near", [True, False])
def test_rows(name: str, near: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_for(name)
    kernel = moves.rows()
    if not near:
        monkeypatch.setattr(moves, "NEAR_BYTES", 0)
        kernel = kernel._replace(name="batch_rows_far", write=lambda m: moves._write_rows(m, "batch_rows_far"))
    steps = 3
    for size in SIZES:
        batch = 37 if size < UNIT_BYTES - 1 else 3
        table = rng.integers(0, 256, (50, size), "u1")
        indices = rng.integers(-50, 50, (steps, batch))
        plan = plan_rows(batch, size)
        out = np.full((batch + 1, size), 7, "u1")
        args = words(table, out, indices, size, batch, 50, steps, plan.rows)
        for threads in (1, 3):
            out[...] = 7
            Table([(kernel, args, plan.units, 1)], target=target).run(steps, threads)
            assert (out[:batch] == table[indices[-1]]).all(), size
            assert (out[batch] == 7).all(), size


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("which", ["scan", "record"])
def test_slices(name: str, which: str, rng: np.random.Generator) -> None:
    target = target_for(name)
    kernel = getattr(moves, which)()
    for size in SIZES:
        for threads in (1, 2):
            source, out = rng.integers(1, 256, (3, size), "u1"), np.full((4, size), 7, "u1")
            args = words(source, out, size)
            Table([(kernel, args, plan_bytes(size), 1)], target=target).run(3, threads)
            rows = source[2:] if which == "scan" else source[[0, 0, 0]]
            assert (out[: len(rows)] == rows).all(), size
            assert (out[len(rows) :] == 7).all(), size


def test_no_row_and_no_byte() -> None:
    """Of no bytes nothing is done."""
    assert plan_bytes(0) == 0
    assert plan_rows(0, 4).units == 0
    assert plan_rows(5, 0).units == 1
    out = np.full(4, 7, "u1")
    args = words(out, out, np.zeros(5, "i8"), 0, 5, 5, 1, 16)
    Table([(moves.rows(), args, 1, 0)]).run()
    assert (out == 7).all()


def test_long_rows_are_shared_out() -> None:
    assert plan_rows(256, 4) == (16, 16)
    assert plan_rows(8, 1 << 20) == (1, 8)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_within(name: str) -> None:
    kernel = moves.rows_within()
    call = moves.ROWS_WITHIN(addresses([kernel], target_for(name))[kernel.name])
    for count in (0, 1, 2, 3, 4, 7, 8, 9, 33):
        indices = np.arange(count + 1) % 5
        assert call(indices.ctypes.data, count, 5) == 1
        for place in range(count + 1):
            for outside in (5, -1, 2**62, -(2**63)):
                wrong = indices.copy()
                wrong[place] = outside
                assert call(wrong.ctypes.data, count, 5) == (place == count)  # the last one is behind those to look at
