"""Worker: a process of its own for each contestant, told line by line what to do. It waits silently between its turns.

Separate processes, because the threads of one library that spin after a product would slow whoever comes next, and a
crash of one ends the others.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TextIO

from benchmarks import machine, pinned
from benchmarks.contestants import Trainer, Unsuited, named
from benchmarks.workloads import Workload

WARM_CALLS, WARM_SECONDS = 10, 3.0
CALLS_AT_MOST = 1000  # timed calls in a turn


class WorkerError(Exception):
    """What went wrong in the worker, in one line."""


class Worker:
    """The process of one contestant on some cores, seen from outside."""

    def __init__(self, contestant: str, threads: int, engine: str):
        self.name, self.threads = contestant, threads
        self.process = subprocess.Popen(
            pinned.command("worker", contestant, str(threads), engine),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=pinned.environment(threads),
            cwd=pinned.ROOT,
        )

    def ask(self, do: str, **given: Any) -> Any:
        """The answer to a request; WorkerError with the reason."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the process of {self.name} ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def prepare(self, workload: Workload) -> float:
        """Makes a workload ready and trains some calls; the seconds that took."""
        return self.ask("prepare", workload=asdict(workload))

    def turn(self, name: str, seconds: float) -> float:
        """Seconds a step: the median of the calls in one turn of about that many seconds."""
        return self.ask("turn", name=name, seconds=seconds)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Served:
    """The same inside the process: what each request does."""

    def __init__(self, contestant: str, threads: int, engine: str):
        self.contestant, self.threads, self.engine = named(contestant), threads, engine
        self.trainers: dict[str, Trainer] = {}

    def prepare(self, workload: dict[str, Any]) -> float:
        start = time.perf_counter()
        asked = Workload.of(workload)
        trainer = self.contestant.trainer(asked, self.threads, self.engine)
        for _ in range(WARM_CALLS):  # the first one compiles, some more find out how many threads are best
            self._call(trainer)
            if time.perf_counter() - start > WARM_SECONDS:
                break
        self.trainers[asked.name] = trainer
        return time.perf_counter() - start

    def forget(self) -> None:
        self.trainers.clear()

    def turn(self, name: str, seconds: float) -> float:
        trainer = self.trainers[name]
        warm = self._call(trainer)  # clocks and caches come back after the wait
        taken = [warm] if warm > seconds else []
        while sum(taken) < seconds and len(taken) < CALLS_AT_MOST:
            taken.append(self._call(trainer))
        return statistics.median(taken) / trainer.steps

    def _call(self, trainer: Trainer) -> float:
        trainer.reset()
        start = time.perf_counter()
        trainer.run()
        return time.perf_counter() - start

    def gradient_error(self, workload: dict[str, Any]) -> float:
        return self._of_module("gradient_error", workload)

    def losses(self, workload: dict[str, Any], count: int) -> list[float]:
        return self._of_module("losses", workload, count)

    def _of_module(self, function: str, workload: dict[str, Any], *more: Any) -> Any:
        module = importlib.import_module(f"benchmarks.contestants.{self.contestant.home}")
        return getattr(module, function)(Workload.of(workload), self.contestant, self.threads, self.engine, *more)

    def peak(self) -> float:
        """FLOP/s of multiply-adds on this worker's cores."""
        return machine.flops_per_second(self.threads)

    def bandwidth(self) -> float:
        """Bytes/s of a large copy on this worker's cores."""
        return machine.bytes_per_second(self.threads)

    def peak_source(self) -> str:
        return machine.peak_source()

    def version(self) -> str:
        return machine.version(self.contestant.package)


def serve(contestant: str, threads: int, engine: str) -> None:
    pinned.pin(threads)
    requests, answers = sys.stdin, _own_stdout()
    served = Served(contestant, threads, engine)
    for line in requests:
        request = json.loads(line)
        do: Callable[..., Any] = getattr(served, request.pop("do"))
        try:
            answer = {"result": do(**request)}
        except Unsuited as reason:
            answer = {"error": str(reason)}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _own_stdout() -> TextIO:
    """Standard output for the answers alone; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
