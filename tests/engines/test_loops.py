"""The contract of `Engine.loop`: many steps in one call are the interpreter's steps, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from fallline.core.errors import DataError, ShapeError
from fallline.engines.engine import ENGINES, Engine
from fallline.graph.op import OPS, primitive
from fallline.graph.program import Program
from tests.engines.parity import assert_same
from tests.engines.threads import in_threads

every_engine = pytest.mark.parametrize(
    "engine", [e for e in ENGINES.values() if e.is_available()], ids=lambda e: e.name
)
TABLE = np.random.default_rng(0).normal(size=(12, 3))
ROWS = np.random.default_rng(1).integers(0, 12, (6, 4))


def check(
    engine: Engine,
    step: Callable[..., Any],
    carry: Sequence[Any],
    scanned: Sequence[np.ndarray] = (),
    data: Sequence[np.ndarray] = (TABLE,),
    rows: np.ndarray = ROWS,
    again: int = 2,
) -> None:
    """The loop against the interpreter, step by step; called again with the carry that it gave back."""
    start = carry = [np.asarray(c) for c in carry]
    batch = [d[rows[0]] for d in data]
    program = Program.of(lambda *a: step(*a), *carry, *(s[0] for s in scanned), *batch)
    run = engine.loop(program, carry=len(carry), scan=len(scanned))
    given: Sequence[np.ndarray] = carry
    kept = [c.copy() for c in carry]
    for call in range(again):
        result = run(given, scanned, data, rows)
        meant_records: list[list[np.ndarray]] = []
        for s, at in enumerate(rows):
            outputs = program.run(*carry, *(x[s] for x in scanned), *(d[at] for d in data))
            carry, records = outputs[: len(kept)], outputs[len(kept) :]
            meant_records.append(records)
        assert result.steps == len(rows)
        for j, ours in enumerate(result.records):
            assert_same(ours, np.array([r[j] for r in meant_records]), label=f"call {call} record {j}")
        if call == again - 1:
            for k, (ours, meant) in enumerate(zip(result.carry, carry, strict=True)):
                assert_same(ours, meant, label=f"carry {k}")
        given = result.carry
    for array, before in zip(start, kept, strict=True):
        np.testing.assert_array_equal(array, before)


@every_engine
def test_carry_scan_and_records(engine: Engine) -> None:
    def step(total: Any, count: Any, rate: Any, rows: Any) -> Any:
        moved = total * 0.5 + rate * rows.sum(axis=0)
        return moved, count + 1, moved.sum(), moved, count, rows[0]

    check(engine, step, [np.ones(3), np.int64(0)], [np.linspace(0.1, 1, 6)])


@every_engine
def test_the_old_carry_may_be_recorded(engine: Engine) -> None:
    check(engine, lambda a, rows: (a + rows.sum(axis=0), a, a * 2.0, a[::-1]), [np.ones(3)])


@every_engine
def test_carried_arrays_may_swap_stay_or_be_copies_of_each_other(engine: Engine) -> None:
    a, b, c = np.ones(3), np.arange(3.0), np.full(3, -1.0)
    mean = lambda rows: rows.sum(axis=0) / 4.0  # noqa: E731
    check(engine, lambda a, b, rows: (b, a), [a, b])
    check(engine, lambda a, b, c, rows: (b, c, a, a.sum()), [a, b, c])
    check(engine, lambda a, b, rows: (b, a + mean(rows)), [a, b])
    check(engine, lambda a, b, rows: (a, a), [a, b])
    check(engine, lambda a, b, rows: (b + mean(rows), b + mean(rows), b), [a, b])
    check(engine, lambda a, b, rows: (a, b, a * b), [a, b])
    check(engine, lambda a, b, rows: (a[::-1], b), [a, b])
    check(engine, lambda a, b, rows: (mean(rows), rows[0], rows[1]), [a, b])
    check(engine, lambda a, b, rows: (np.full(3, 7.0), np.zeros(3), a), [a, b])


@every_engine
def test_nothing_is_overwritten_that_is_still_read(engine: Engine) -> None:
    w, v = np.random.default_rng(2).normal(size=(2, 20, 20))
    tall = np.random.default_rng(3).normal(size=(20, 5))
    square = lambda rows: OPS["broadcast_to"](rows.sum(), (20, 20)) * 0.01  # noqa: E731
    check(engine, lambda w, v, r: (w + square(r), w.transpose() * 0.5), [w, v])
    check(engine, lambda w, v, r: (w * 0.1 + square(r), (w @ v) * 0.05), [w, v])
    check(engine, lambda w, v, r: ((w @ v) * 0.05 + w * 0.1, v * 0.9 + square(r)), [w, v])
    check(engine, lambda w, v, r: (w * 0.5 + w.transpose() * 0.1, v - OPS["flip"](v, 0) * 0.1), [w, v])
    check(engine, lambda w, v, r: (w * 0.5 + w.sum(axis=0), v * 0.5 + v.max(axis=1, keepdims=True)), [w, v])
    check(engine, lambda w, v, r: (w * 0.5 + w[0], v * 0.5 + v[:, 3:4], (w * v).sum()), [w, v])
    check(engine, lambda w, t, r: (w * 0.9 + t @ t.transpose() * 0.01, w @ t * 0.1), [w, tall])
    check(engine, lambda w, v, r: (OPS["tanh"](w) @ v * 0.1, OPS["cumsum"](v, axis=0) * 0.05 + w), [w, v])


@every_engine
def test_several_tables_and_dtypes(engine: Engine) -> None:
    labels, keys = np.arange(12, dtype=np.int32) % 5, np.arange(24, dtype=np.uint32).reshape(12, 2)
    flags, deep = labels % 2 == 0, np.arange(72.0, dtype=np.float32).reshape(12, 2, 3)
    empty = np.zeros((12, 0))

    def step(n: Any, x: Any, y: Any, k: Any, f: Any, d: Any, e: Any) -> Any:
        count = OPS["where"](f, y, 0).sum()
        return n + count, y, k, f, d, d.sum(axis=0), x[0], (e * 2.0).sum()

    check(engine, step, [np.int32(0)], data=(TABLE, labels, keys, flags, deep, empty))


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_it_ends_after_the_first_step_that_is_not_finite(engine: Engine, bad: float, dtype: str) -> None:
    table = np.ones((5, 1), dtype)
    table[3] = bad
    program = Program.of(lambda n, rows: (n + rows.sum(), n, n + rows.sum()), np.zeros((), dtype), table[:1])
    run = engine.loop(program, carry=1, scan=0, watch=1)
    result = run([np.zeros((), dtype)], [], [table], np.arange(5)[:, None])
    assert result.steps == 4
    assert [r.shape for r in result.records] == [(4,), (4,)]
    assert_same(result.records[1], np.array([1, 2, 3, 3 + bad], dtype))
    assert_same(result.carry[0], np.asarray(3 + bad, dtype))
    after = run([np.zeros((), dtype)], [], [table], np.arange(3)[:, None])
    assert_same(after.carry[0], np.asarray(3, dtype))
    watching_the_old = engine.loop(program, carry=1, scan=0, watch=0)
    assert watching_the_old([np.zeros((), dtype)], [], [table], np.arange(5)[:, None]).steps == 5


@every_engine
def test_a_carry_can_be_read_late_and_never_changes(engine: Engine) -> None:
    program = Program.of(lambda n, rows: (n + rows.sum(axis=0), n.sum()), np.zeros(3), TABLE[:4])
    run = engine.loop(program, carry=1, scan=0)
    start = np.zeros(3)
    first = run([start], [], [TABLE], ROWS)
    read = first.carry[0]
    kept = read.copy()
    second = run(first.carry, [], [TABLE], ROWS)
    third = run([start], [], [TABLE], ROWS[:1])  # arrays of its own, while nobody has read what the second call left
    np.testing.assert_array_equal(start, 0)
    np.testing.assert_array_equal(read, kept)
    assert_same(third.carry[0], TABLE[ROWS[0]].sum(axis=0))
    np.testing.assert_array_equal(first.carry[0], kept)
    assert_same(second.records[0][0], np.asarray(kept.sum()))
    own = third.carry[0]
    own[...] = 0.0  # the receiver's
    assert_same(run([own], [], [TABLE], ROWS[:1]).carry[0], TABLE[ROWS[0]].sum(axis=0))


@every_engine
def test_loops_without_a_carry_a_batch_or_anything_to_compute(engine: Engine) -> None:
    none = np.zeros((4, 0), np.int64)
    sums = engine.loop(Program.of(lambda rows: rows.sum(axis=0), TABLE[:4]), carry=0, scan=0)([], [], [TABLE], ROWS)
    assert len(sums.carry) == 0
    assert_same(sums.records[0], TABLE[ROWS].sum(axis=1))
    twice = engine.loop(Program.of(lambda n: (n * 2.0, n), np.ones(3)), carry=1, scan=0)([np.ones(3)], [], [], none)
    assert_same(twice.carry[0], np.full(3, 16.0))
    assert_same(twice.records[0], np.repeat([[1.0], [2.0], [4.0], [8.0]], 3, axis=1))
    same = engine.loop(Program.of(lambda n: n, np.ones(3)), carry=1, scan=0)([np.full(3, 5.0)], [], [], none)
    assert_same(same.carry[0], np.full(3, 5.0))
    turned = engine.loop(Program.of(lambda n, rows: n + rows.sum(), np.zeros(()), TABLE[:4]), carry=1, scan=0)
    result = turned([np.zeros(())], [], [np.asfortranarray(TABLE)], ROWS.astype("int32"))
    assert_same(result.carry[0], np.asarray(TABLE[ROWS].sum()))


@every_engine
def test_two_loops_hand_the_carry_to_each_other(engine: Engine) -> None:
    step = lambda n, rows: (n * 0.5 + rows.sum(axis=0), n.sum())  # noqa: E731
    whole = engine.loop(Program.of(step, np.zeros(3), TABLE[:4]), carry=1, scan=0)
    short = engine.loop(Program.of(step, np.zeros(3), TABLE[:2]), carry=1, scan=0)
    carry: Sequence[np.ndarray] = [np.zeros(3)]
    meant = np.zeros(3)
    for _ in range(3):
        carry = whole(carry, [], [TABLE], ROWS).carry
        carry = short(carry, [], [TABLE], ROWS[:1, :2]).carry
        for at in (*ROWS, ROWS[0, :2]):
            meant = meant * 0.5 + TABLE[at].sum(axis=0)
    assert_same(carry[0], meant)


@every_engine
def test_no_steps(engine: Engine) -> None:
    program = Program.of(lambda n, rows: (n + rows.sum(), n), np.zeros(()), TABLE[:4])
    result = engine.loop(program, carry=1, scan=0, watch=0)([np.array(5.0)], [], [TABLE], ROWS[:0])
    assert (result.steps, result.records[0].shape) == (0, (0,))
    assert result.carry[0] == 5.0


@pytest.fixture
def odd() -> Iterator[Any]:
    """An op that only NumPy knows: 1 where the number of entries so far is odd."""
    forward = lambda x, out=None: np.add(x, np.arange(x.size).reshape(x.shape) % 2, out=out)  # noqa: E731
    op = primitive("odd_ones", lambda x: x, forward)
    yield op
    del OPS._entries["odd_ones"]


@every_engine
def test_an_op_that_only_numpy_knows_runs_within_a_loop(engine: Engine, odd: Any) -> None:
    def step(w: Any, rate: Any, rows: Any) -> Any:
        mixed = odd(OPS["tanh"](rows) * rate)
        moved = odd(w + mixed.sum(axis=0)) * 0.5
        return moved, moved.sum(), odd(rows.transpose()), mixed

    check(engine, step, [np.ones(3)], [np.linspace(0.1, 1, 6)])
    program = Program.of(lambda x: (odd(x) * 2.0 + odd(x * 3.0).transpose(), odd(x)), np.ones((4, 4)))
    for ours, meant in zip(engine.compile(program)(np.ones((4, 4))), program.run(np.ones((4, 4))), strict=True):
        assert_same(ours, meant)


@every_engine
def test_such_a_loop_ends_where_it_should(engine: Engine, odd: Any) -> None:
    table = np.array([[1.0], [np.inf], [1.0]])
    program = Program.of(lambda n, rows: (n + odd(rows).sum(), n + odd(rows).sum()), np.zeros(()), table[:1])
    result = engine.loop(program, carry=1, scan=0, watch=0)([np.zeros(())], [], [table], np.arange(3)[:, None])
    assert (result.steps, result.records[0].shape) == (2, (2,))


@every_engine
def test_an_index_outside_is_the_error_of_the_reference(engine: Engine) -> None:
    words, x = np.arange(12, dtype=np.int32), np.arange(20.0).reshape(10, 2)
    program = Program.of(lambda w, i: (w + OPS["take"](w, i).sum(axis=0), w.sum()), x, words[:2])
    run = engine.loop(program, carry=1, scan=0)
    with pytest.raises(DataError, match="row 11 of an array of 10 rows"):
        run([x], [], [words], np.array([[0, 1], [2, 11], [3, 4]]))
    result = run([x], [], [words], np.array([[0, 1]]))
    assert_same(result.carry[0], x + x[0] + x[1])


@every_engine
def test_threads_share_a_loop(engine: Engine) -> None:
    program = Program.of(lambda n, rows: (n + rows.sum(axis=0), n.sum()), np.zeros(3), TABLE[:4])
    run = engine.loop(program, carry=1, scan=0)

    def work(k: float) -> list[Any]:
        return [run([np.full(3, k)], [], [TABLE], ROWS[:2]).records[0][0] for _ in range(30)]

    found = in_threads(*(lambda k=float(k): work(k) for k in range(4)))
    assert found == [[3.0 * k] * 30 for k in range(4)]


@every_engine
def test_arrays_that_do_not_fit_are_refused(engine: Engine) -> None:
    program = Program.of(lambda n, r, rows: (n + r * rows.sum(axis=0), n.sum()), np.zeros(3), np.zeros(()), TABLE[:4])
    run = engine.loop(program, carry=1, scan=1)
    rates = np.ones(6)
    wrong: list[tuple[Any, Any, Any, Any]] = [
        (np.zeros(4), rates, TABLE, ROWS), (np.zeros(3), rates[:5], TABLE, ROWS),
        (np.zeros(3), rates, TABLE[:, :2], ROWS),
        (np.zeros(3), rates, TABLE, ROWS[:, :3]), (np.zeros(3), np.ones((6, 2)), TABLE, ROWS),
    ]  # fmt: skip
    for n, r, table, rows in wrong:
        with pytest.raises((ShapeError, ValueError, IndexError)):
            run([n], [r], [table], rows)
    assert run([np.zeros(3)], [rates], [TABLE], ROWS).steps == 6
