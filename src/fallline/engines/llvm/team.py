"""Threads for native calls: workers that sleep between calls, and how many of them a program is worth."""

from __future__ import annotations

import math
import operator
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, starmap
from pathlib import Path
from statistics import median
from typing import Any

Native = Callable[..., Any]


class Team:
    """Daemon threads that make one native call together.

    The calling thread does the first part itself. A team that is busy with another call, that runs in a worker, or
    whose threads cannot be started leaves the whole work to the calling thread.
    """

    def __init__(self) -> None:
        self._reset()
        _teams.add(self)

    def _reset(self) -> None:
        self._busy = threading.Lock()
        self._workers: list[_Worker] = []

    def run(self, threads: int, function: Native, arguments: Callable[[int, int], tuple]) -> Any:
        """function(*arguments(thread, n)) on n threads at once; what it returned for thread 0.

        n is `threads`, at most `crowd`, or 1 where that is all there is; so `function` must leave the same
        result for every n. It must be a C function that releases the interpreter lock, and wait for nothing but the
        other threads of the call. An interrupt (Ctrl-C) is raised only after all threads have returned, or before any
        has begun.
        """
        if threads > len(self._workers) + 1:
            threads = min(threads, crowd(cores()))
        if threads > 1 and not self._busy.locked():
            with self._busy:
                if self._grow(threads - 1):
                    return self._together(function, [arguments(i, threads) for i in range(threads)])
        return function(*arguments(0, 1))

    def _grow(self, wanted: int) -> bool:
        """Whether there are that many workers now."""
        try:
            while len(self._workers) < wanted:
                self._workers.append(_Worker())
        except RuntimeError:  # no more threads: a limit of the system, or the interpreter is ending
            return False
        return True

    def _together(self, function: Native, arguments: Sequence[tuple]) -> Any:
        job = _Job(function, len(arguments) - 1)
        workers = self._workers[: job.n_workers]
        for worker, given in zip(workers, arguments[1:], strict=True):
            worker.job, worker.arguments = job, given
        # Waking the workers and the call of thread 0 are one C-level step: the interpreter handles signals only before
        # or after it, so either every thread takes part or none does.
        results: list[Any] = []
        work: Iterator[Any] = chain(
            map(operator.call, [worker.wake for worker in workers]), starmap(function, [arguments[0]])
        )
        try:
            results.extend(work)
        finally:
            if results:
                job.wait()
        return results[-1]


class _Job:
    """One native call in several threads, as the workers see it."""

    def __init__(self, function: Native, n_workers: int):
        self.function, self.n_workers = function, n_workers
        self._arrivals = count(1)
        self._inside = True
        self._end = threading.Lock()
        self._end.acquire()
        self._errors: list[BaseException] = []

    def do(self, arguments: tuple) -> None:
        """A worker's part."""
        try:
            self.function(*arguments)
        except BaseException as error:
            self._errors.append(error)
        if next(self._arrivals) == self.n_workers:
            self._inside = False
            self._end.release()

    def wait(self) -> None:
        """Returns when no worker is inside any more, whatever arrives in between; then raises that."""
        while self._inside:
            try:
                self._end.acquire()
            except BaseException as error:
                self._errors.append(error)
        if self._errors:
            raise self._errors[0]


class _Worker:
    """A thread that sleeps until it is woken for a job."""

    def __init__(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        self.wake = gate.release
        self.job: _Job | None = None
        self.arguments: tuple = ()
        threading.Thread(target=self._serve, args=(gate,), name="fallline-worker", daemon=True).start()

    def _serve(self, gate: threading.Lock) -> None:
        while True:
            gate.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            job.do(self.arguments)
            del job


_teams: weakref.WeakSet[Team] = weakref.WeakSet()
TEAM = Team()  # the one that programs share


def _after_fork() -> None:
    """Threads do not survive a fork, and a lock may have been held by one of them."""
    for team in list(_teams):
        team._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def cores(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs that this process may use: those that it is bound to, at most its share by a control group's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([usable, *(math.ceil(quota) for quota in _quotas(root, membership))]))


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """CPUs' worth of time that each control group above this process allows."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/"]:
        _, _, path = line.partition(":")
        controllers, _, path = path.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            quota = _quota(place)
            if quota is not None:
                yield quota
            if place == base:
                break


def _quota(folder: Path) -> float | None:
    """Version 2 keeps "quota period" in one file, version 1 two numbers in two; "max" or -1 is no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        share = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def crowd(limit: int) -> int:
    """The most threads for that many cores: more only wait for each other, and thousands leave no memory for code."""
    return max(16, 4 * limit)


def thread_counts(limit: int) -> list[int]:
    """The numbers of threads worth trying on that many cores: all, a quarter of them … and one, in ascending order."""
    counts = [limit]
    while counts[-1] > 1:
        counts.append(max(1, counts[-1] // 4))
    return counts[::-1]


# Shorter steps are not tried on more threads. A barrier of two costs 0.1 to 0.25 µs: a step of 9 µs with 10 barriers
# takes 6, one of 3 µs loses, and so does one of 6 µs with 25.
ALONE_SECONDS = 1e-5
# More threads must be at least so much faster than one.
GAIN = 0.05
ROUNDS = 3  # measured calls of each number of threads before one is chosen; of long calls one tells as much
LONG_SECONDS = 0.05
# The others are tried again after that long, or after so many times what the try costs.
RECHECK_SECONDS, RECHECK_CALLS = 2.0, 30
# A choice that has become so much slower is doubtful at once, but not within that time after it was made.
WORSE, DOUBT_SECONDS = 1.3, 0.25


class ThreadChoice:
    """How many threads a program runs fastest on: each number is tried, the fastest kept, the others probed at times.

        threads = choice.next()
        …run the program…
        choice.tell(threads, seconds_per_step)

    candidates  numbers of threads, ascending (`thread_counts`); of a single one nothing is measured
    """

    def __init__(self, candidates: Sequence[int], clock: Callable[[], float] = time.perf_counter):
        self._candidates = list(candidates)
        self._clock = clock
        self._times: dict[int, deque[float]] = {n: deque(maxlen=ROUNDS) for n in candidates}
        self._trial: deque[int] = deque()  # what to run next, instead of the choice
        self._probe = False  # whether the trial is one call of each of the others only
        self._choice = self._candidates[0]
        self._seconds = math.inf  # a step of the choice, when it was made
        self._lasted = 0.0  # the last call, in seconds
        self._begun = self._made = self._due = -math.inf

    def next(self, estimate: float | None = None) -> int:
        """The threads for the next call.   estimate: seconds per step on one thread, where nothing is measured yet"""
        self._begun = self._clock()
        first = self._candidates[0]
        if len(self._candidates) == 1:
            return first
        alone = min(self._times[first], default=estimate)
        if alone is None or alone < ALONE_SECONDS:
            return first
        if not self._trial and self._begun >= self._due:
            self._start_trial(probe=self._made > -math.inf)
        return self._trial[0] if self._trial else self._choice

    def tell(self, threads: int, seconds_per_step: float) -> None:
        """What a call took. A number of threads that was not asked for is heard too, and changes no plan."""
        if threads not in self._times or len(self._candidates) == 1:
            return
        self._times[threads].append(seconds_per_step)
        now = self._clock()
        self._lasted = now - self._begun
        if self._trial:
            if self._trial[0] == threads:
                self._trial.popleft()
                if not self._trial:
                    self._end_trial(now)
        elif threads == self._choice and now > self._made + DOUBT_SECONDS and self._is_worse():
            self._start_trial(probe=False)

    def _is_worse(self) -> bool:
        return median(self._times[self._choice]) > WORSE * self._seconds

    def _start_trial(self, probe: bool) -> None:
        """A probe, or every number in turn several times over."""
        self._probe = probe
        self._trial.clear()
        if probe:
            self._trial.extend(n for n in self._candidates if n != self._choice)
        else:
            self._trial.extend(self._candidates * (1 if self._lasted >= LONG_SECONDS else ROUNDS))

    def _end_trial(self, now: float) -> None:
        """A full trial makes a choice; a probe that speaks against the choice leads to a full trial."""
        if self._probe and self._fastest(latest=True) != self._choice:
            self._start_trial(probe=False)
            return
        if not self._probe:
            self._choice, self._made = self._fastest(), now
            self._seconds = median(self._times[self._choice])
        cost = (now - self._begun) * (len(self._candidates) - 1)
        self._due = now + max(RECHECK_SECONDS, RECHECK_CALLS * cost)

    def _fastest(self, latest: bool = False) -> int:
        """By the median of the last calls, or by the latest call of those that are not the choice."""

        def seconds(n: int) -> float:
            own = self._times[n][-1] if latest and n != self._choice else median(self._times[n])
            return own if n == self._candidates[0] else own / (1 - GAIN)

        return min(self._candidates, key=seconds)
