"""The driver: every unit once and in order, barriers that hold, the watched number, denormals."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from fallline.engines.llvm.driver import run_steps
from fallline.engines.llvm.emitter import Function
from fallline.engines.llvm.loader import compile_object, write_text
from fallline.engines.llvm.target import host_target, named_target
from tests.engines.llvm.tables import Table, kernel, words


def count_units(f: Function) -> None:
    """args: a counter for each unit."""
    f.loop("%last", lambda i: f.store("i64", f.add(f.load("i64", "%args", i), 1), "%args", i), start="%first")


def follow(f: Function) -> None:
    """Marks its units with the step; counts the marks of the entry before that are missing.

    args  0 own marks, 1 marks of the entry before, 2 units, 3 what those marks must be less the step, 4 faults
    """
    own, before, faults = (f.load("ptr", "%args", k, align=8) for k in (0, 1, 4))
    units, due = f.load("i64", "%args", 2), f.add(f.load("i64", "%args", 3), "%step")

    def look(i: str) -> None:
        with f.when(f.compare("ne", f.load("i64", before, i), due)):
            f.value(f"atomicrmw add ptr {faults}, i64 1 seq_cst")

    f.loop(units, look)
    f.loop("%last", lambda i: f.store("i64", f.add("%step", 1), own, i), start="%first")


def put_number(f: Function) -> None:
    """args: 0 number, 1 float64 values of the steps, of which each is stored."""
    number, values = (f.load("ptr", "%args", k, align=8) for k in range(2))
    f.store("double", f.load("double", values, "%step"), number)


def put_single(f: Function) -> None:
    number, values = (f.load("ptr", "%args", k, align=8) for k in range(2))
    f.store("float", f.value(f"fptrunc double {f.load('double', values, '%step')} to float"), number)


def halve(f: Function) -> None:
    """args: a float32, halved in place."""
    f.store("float", f.binary("fmul", f.load("float", "%args"), "0.5", "float"), "%args")


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_every_unit_is_done_once_a_step(threads: int) -> None:
    counters = [np.zeros(max(units, 1), "i8") for units in (0, 1, 3, 7, 64, 1000)]
    sizes = (0, 1, 3, 7, 64, 1000)
    counting = kernel("test_count_units", count_units)
    table = Table([(counting, c, units, k % 2) for k, (c, units) in enumerate(zip(counters, sizes, strict=True))])
    assert table.run(steps=5, threads=threads) == 5
    for counter, units in zip(counters, sizes, strict=True):
        assert (counter[:units] == 5).all()
        assert (counter[units:] == 0).all()


def test_no_steps_and_no_entries() -> None:
    counter = np.zeros(1, "i8")
    table = Table([(kernel("test_count_units", count_units), counter, 1, 1)])
    assert table.run(steps=0, threads=2) == 0
    assert counter[0] == 0
    table.rows = table.rows[:0]
    assert table.run(steps=3, threads=2) == 3


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("watched", [False, True])
def test_an_entry_begins_when_the_one_before_has_ended(threads: int, watched: bool) -> None:
    n, units, steps = 5, 9, 60
    marks, faults = np.zeros((n, units), "i8"), np.zeros(1, "i8")
    arguments = [words(marks[k], marks[k - 1], units, 1 if k else 0, faults) for k in range(n)]
    following = kernel("test_follow", follow)
    number = np.ones(1) if watched else None
    table = Table([(following, args, units, 1) for args in arguments], watch=number)
    for _ in range(5):
        marks[...] = 0
        begin = time.perf_counter()
        assert table.run(steps, threads) == steps
        assert time.perf_counter() - begin < 10  # eight threads on two cores: 60 · 5 barriers of about 0.1 ms
    assert faults[0] == 0
    assert (marks == steps).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype, body", [("f8", put_number), ("f4", put_single)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_stops_after_the_step_that_is_not_finite(threads: int, dtype: str, body, bad: float) -> None:
    """The number is written by the first entry, which does not wait: yet no thread sees that of the next step."""
    number, values, counter = np.ones(1, dtype), np.linspace(-1e30, 1e30, 50), np.zeros(4, "i8")
    writer = kernel(f"test_{body.__name__}", body)
    counting = kernel("test_count_units", count_units)
    table = Table([(writer, words(number, values), 1, 0), (counting, counter, 4, 0)], watch=number)
    assert table.run(50, threads) == 50
    for last in (0, 1, 30, 49):
        bad_values = values.copy()
        bad_values[last] = bad
        table.entries[0][1][1] = bad_values.ctypes.data
        counter[...] = 0
        assert table.run(50, threads) == last + 1
        assert (counter == last + 1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_zero_inside_only(threads: int) -> None:
    x = np.array([1.2e-38], "f4")
    Table([(kernel("test_halve", halve), x, 1, 0)]).run(1, threads)
    assert x[0] == 0
    assert np.array([1.2e-38], "f4")[0] * np.float32(0.5) > 0


def test_scratch_is_of_the_thread() -> None:
    """Each thread writes its first unit into its scratch."""

    def body(f: Function) -> None:
        f.store("i64", f.add("%first", 1), "%scratch")

    table = Table([(kernel("test_scratch", body), np.zeros(1, "i8"), 4, 0)])
    table.run(1, 4)
    assert table.scratch[:5].view("i8")[:, 0].tolist() == [1, 2, 3, 4, 0]


def test_is_compiled_for_another_machine() -> None:
    target = named_target("aarch64")
    text = write_text([run_steps()], target)
    assert compile_object(text, target)[:4] == b"\x7fELF"
    assert "i64 98" in text  # futex
    assert "aarch64.set.fpcr" in text


@pytest.mark.parametrize("triple", ["arm64-apple-macosx", "x86_64-pc-windows-msvc", "x86_64-unknown-freebsd"])
def test_yields_where_there_is_no_futex(triple: str) -> None:
    target = dataclasses.replace(host_target(), triple=triple)
    text = write_text([run_steps()], target)
    assert "@syscall" not in text
    assert ("@SwitchToThread" if "windows" in triple else "@sched_yield") in text
