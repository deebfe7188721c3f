"""Rows of a batch, slices of scanned inputs and records, copies and zeros: every size, nothing beyond the end."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.engines.llvm import moves
from fallline.engines.llvm.moves import CHUNK, plan_bytes, plan_rows
from fallline.engines.llvm.target import host_target
from tests.engines.llvm.tables import Table, words

SIZES = [*range(1, 68), 100, 127, 128, 129, 400, 1000, 3136, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77]
FAMILIES = ["avx512", "avx2", "sse2", "generic"]


def family(name: str):
    try:
        return host_target(name)
    except Exception as error:
        pytest.skip(f"not on this machine: {error}")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("near", [True, False])
def test_rows(name: str, near: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    target = family(name)
    kernel = moves.rows(target)
    if not near:
        monkeypatch.setattr(moves, "NEAR_BYTES", 0)
        kernel = kernel._replace(name="batch_rows_far", write=lambda m: moves._write_rows(m, "batch_rows_far"))
    steps = 3
    for size in SIZES:
        batch = 37 if size < CHUNK - 1 else 3
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
@pytest.mark.parametrize("which", ["scan", "record", "copy", "fill"])
def test_slices(name: str, which: str, rng: np.random.Generator) -> None:
    target = family(name)
    kernel = getattr(moves, which)(target)
    for size in SIZES:
        for threads in (1, 2):
            source, out = rng.integers(1, 256, (3, size), "u1"), np.full((4, size), 7, "u1")
            args = words(out, size) if which == "fill" else words(source, out, size)
            Table([(kernel, args, plan_bytes(size), 1)], target=target).run(3, threads)
            expected = {"scan": source[2:], "record": source[[0, 0, 0]], "copy": source[:1], "fill": 0 * source[:1]}
            rows = expected[which]
            assert (out[: len(rows)] == rows).all(), size
            assert (out[len(rows) :] == 7).all(), size


def test_no_row_and_no_byte() -> None:
    """Of no bytes nothing is done."""
    assert plan_bytes(0) == 0
    assert plan_rows(0, 4).units == 0
    assert plan_rows(5, 0).units == 1
    out = np.full(4, 7, "u1")
    target = host_target()
    args = words(out, out, np.zeros(5, "i8"), 0, 5, 5, 1, 16)
    Table([(moves.rows(target), args, 1, 0)]).run()
    assert (out == 7).all()


def test_long_rows_are_shared_out() -> None:
    assert plan_rows(256, 4) == (16, 16)
    assert plan_rows(8, 1 << 20) == (1, 8)
