"""Threads: each part is done once, whoever interrupts, forks or is busy; how many threads are chosen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from fallline.engines.llvm.emitter import Function
from fallline.engines.llvm.team import (
    ALONE_SECONDS,
    RECHECK_SECONDS,
    Team,
    ThreadChoice,
    cores,
    crowd,
    thread_counts,
)
from tests.engines.llvm.tables import Table, kernel


def work(f: Function) -> None:
    """args: 0 rounds of a unit, 8 + u: result of unit u."""

    def unit(u: str) -> None:
        def turn(i: str, x: str) -> list[str]:
            return [f.binary("add", f.binary("mul", x, "6364136223846793005", "i64"), "1442695040888963407", "i64")]

        [x] = f.loop(f.load("i64", "%args"), turn, carried=[("i64", u)])
        f.store("i64", x, "%args", f.add(u, 8))

    f.loop("%last", unit, start="%first")


def working(rounds: int, entries: int = 4, units: int = 8) -> tuple[Table, np.ndarray]:
    """A table of entries with a barrier before each, and the array of the results."""
    args = np.zeros(8 + units, "i8")
    args[0] = rounds
    return Table([(kernel("test_work", work), args, units, 1)] * entries), args


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_each_thread_gets_its_part(threads: int) -> None:
    team, seen = Team(), []

    def call(thread: int, n: int) -> int:
        seen.append((thread, n, threading.get_ident()))
        return 10 * thread + 5

    for _ in range(20):
        seen.clear()
        assert team.run(threads, call, lambda thread, n: (thread, n)) == 5
        assert sorted(seen)[0][2] == threading.get_ident()
        assert sorted((thread, n) for thread, n, _ in seen) == [(thread, threads) for thread in range(threads)]
        assert len({who for _, _, who in seen}) == threads


def test_a_crowd_is_not_let_in() -> None:
    """So many threads would only wait for each other, and their stacks would leave no memory."""
    team, seen = Team(), []
    team.run(10**6, lambda thread, n: seen.append((thread, n)), lambda thread, n: (thread, n))
    most = crowd(cores())
    assert sorted(seen) == [(thread, most) for thread in range(most)]
    assert most >= 16


def test_workers_sleep_between_calls() -> None:
    table, _ = working(10)
    table.run(10, 2)
    time.sleep(0.05)  # a worker may spin a little after its last barrier
    begin = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - begin < 0.1


def test_several_python_threads_share_a_team() -> None:
    """None waits forever, each gets its own results."""
    team, results = Team(), []

    def use() -> None:
        table, args = working(50)
        for _ in range(50):
            args[8:] = 0
            table.run(20, 2, team)
            results.append(args[8:].copy())

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(30)
    assert not any(user.is_alive() for user in users)
    assert len(results) == 200
    assert all((r == results[0]).all() for r in results)


def test_a_call_inside_a_call_runs_alone() -> None:
    team, seen = Team(), []

    def call(thread: int, n: int) -> None:
        if n == 2:
            team.run(2, call, lambda thread, n: (thread, n))
        seen.append(n)

    team.run(2, call, lambda thread, n: (thread, n))
    assert sorted(seen) == [1, 1, 2, 2]


def test_without_threads_one_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert Team().run(3, lambda thread, n: (thread, n), lambda thread, n: (thread, n)) == (0, 1)


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_is_raised_and_the_team_goes_on(bad: int) -> None:
    team = Team()

    def call(thread: int, n: int) -> int:
        if thread == bad:
            raise ValueError(f"thread {thread}")
        return thread

    for _ in range(3):
        with pytest.raises(ValueError, match=f"thread {bad}"):
            team.run(2, call, lambda thread, n: (thread, n))
        assert team.run(2, lambda thread: thread, lambda thread, n: (thread,)) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_gets_threads_of_its_own() -> None:
    table, args = working(100)
    table.run(10, 2)
    expected = args[8:].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what is tested
        child = os.fork()
    if not child:
        try:
            signal.alarm(20)
            args[8:] = 0
            table.run(10, 2)
            os._exit(0 if (args[8:] == expected).all() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert table.run(10, 2) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to a thread here")
def test_an_interrupt_leaves_the_team_whole() -> None:
    """At many moments of a call, also before it has begun and after it has ended."""
    team = Team()
    table, _ = working(300)
    given, main = table.arguments(40), threading.main_thread().ident
    assert main is not None
    team.run(2, table.call, given)
    begin = time.perf_counter()
    team.run(2, table.call, given)
    length = time.perf_counter() - begin
    interrupted, before = 0, signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
    for k in range(60):
        timer = threading.Timer(1.5 * length * k / 60, signal.pthread_kill, (main, signal.SIGINT))
        try:
            timer.start()
            for _ in range(3):
                team.run(2, table.call, given)
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            interrupted += 1
            timer.join()
        assert not team._busy.locked()
        assert team.run(2, table.call, given) == 40
    signal.signal(signal.SIGINT, before)
    assert interrupted == 60


def test_a_process_ends_with_sleeping_workers() -> None:
    code = (
        "from fallline.engines.llvm.team import Team\n"
        "import time\n"
        "assert Team().run(3, time.sleep, lambda thread, n: (0.001,)) is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("busy", [0, 1, 2])
def test_does_not_collapse_beside_busy_processes(busy: int) -> None:
    """Steps of about 200 µs on one thread, ten barriers each, in turn with one and two threads."""
    table, _ = working(1300, entries=20)
    times: dict[int, list[float]] = {1: [], 2: []}
    with busy_processes(busy):
        for _ in range(9):
            for threads, seconds in times.items():
                begin = time.perf_counter()
                table.run(100, threads)
                seconds.append(time.perf_counter() - begin)
    assert median(times[2]) < 3 * median(times[1])


def test_cores(tmp_path: Path) -> None:
    none = tmp_path / "none"
    free = cores(none, none)
    assert free == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    groups = tmp_path / "groups"
    (groups / "a" / "b").mkdir(parents=True)
    membership = tmp_path / "cgroup"
    membership.write_text("0::/a/b\n")
    (groups / "cpu.max").write_text("max 100000\n")
    (groups / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert cores(groups, membership) == free
    (groups / "a" / "cpu.max").write_text("50000 100000\n")
    assert cores(groups, membership) == 1
    (groups / "a" / "cpu.max").write_text("9900000 100000\n")
    assert cores(groups, membership) == min(free, 99)


def test_cores_of_version_1(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("4:memory:/x\n3:cpu,cpuacct:/x\n")
    folder = tmp_path / "cpu" / "x"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    free = cores(tmp_path, membership)
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    assert cores(tmp_path, membership) == 1
    assert free == cores(tmp_path / "none", tmp_path / "none")


def test_thread_counts() -> None:
    assert [thread_counts(n) for n in (1, 2, 4, 8, 64)] == [[1], [1, 2], [1, 4], [1, 2, 8], [1, 4, 16, 64]]


class Machine:
    """A clock that calls move on, and how long a step takes on so many threads."""

    def __init__(self, candidates: list[int], seconds: dict[int, float]):
        self.now, self.seconds = 0.0, seconds
        self.choice = ThreadChoice(candidates, clock=lambda: self.now)

    def calls(self, count: int, steps: int = 100, estimate: float | None = None) -> list[int]:
        """Runs that often; the threads of each call."""
        ran: list[int] = []
        for _ in range(count):
            ran.append(self.choice.next(estimate))
            self.now += steps * self.seconds[ran[-1]]
            self.choice.tell(ran[-1], self.seconds[ran[-1]])
        return ran


def test_the_faster_number_is_kept() -> None:
    assert set(Machine([1, 2], {1: 1e-3, 2: 6e-4}).calls(20)[8:]) == {2}
    assert set(Machine([1, 2], {1: 1e-3, 2: 1.2e-3}).calls(18)[8:]) == {1}
    assert set(Machine([1, 2], {1: 1e-3, 2: 0.97e-3}).calls(18)[8:]) == {1}
    assert set(Machine([1, 4, 16], {1: 1e-3, 4: 4e-4, 16: 6e-4}).calls(25)[12:]) == {4}


def test_short_steps_are_not_tried() -> None:
    machine = Machine([1, 2], {1: ALONE_SECONDS / 2, 2: 0.0})
    assert set(machine.calls(100, steps=10**6)) == {1}


def test_one_candidate_is_taken() -> None:
    assert set(Machine([3], {3: 1e-3}).calls(20)) == {3}


def test_a_busy_machine_is_noticed_and_its_end_too() -> None:
    machine = Machine([1, 2], {1: 1e-3, 2: 6e-4})
    machine.calls(20)
    machine.seconds = {1: 1e-3, 2: 5e-3}
    machine.calls(20, steps=20)
    assert machine.calls(1) == [1]
    machine.seconds = {1: 1e-3, 2: 6e-4}
    begin = machine.now
    while machine.calls(1) == [1]:
        assert machine.now < begin + 3 * RECHECK_SECONDS
    machine.calls(10)
    assert set(machine.calls(10)) == {2}


def test_rechecks_cost_little() -> None:
    """The share of time in calls with the slower number, of calls of 0.01 s and of 1 s."""
    for steps in (10, 1000):
        machine = Machine([1, 2], {1: 1e-3, 2: 2e-3})
        machine.calls(10, steps)
        ran = machine.calls(2000, steps)
        assert 1 <= ran.count(2) <= 2000 * 0.03


def test_the_work_is_estimated_before_it_is_measured() -> None:
    assert Machine([1, 2], {1: 1e-3, 2: 6e-4}).calls(2, estimate=1e-3) == [1, 2]
    assert Machine([1, 2], {1: 1e-3, 2: 6e-4}).calls(1, estimate=1e-6) == [1]
