"""exactness: runs that are killed at random moments and resumed must leave the bytes of one that nobody killed."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pinned
from benchmarks.first_fit import RUN, SCRIPTS, TARGET, python, write_arrays, write_csv
from benchmarks.report import Report, duration
from fallline.cli.result import CLOCK, FILES, RESULT

KILLS, QUICK_KILLS = 50, 2
EPOCHS, QUICK_EPOCHS = 60, 20
POLL = 0.001  # seconds
TOLD = 5  # kills after which a word says how it goes
DAMAGES = ("cut", "flipped")  # what every third kill does to the newest checkpoint besides
TRAIN, FIT = "fallline train", "fl.fit: dropout, EMA, one-cycle"  # the two runs
SHORT = {"train": TRAIN, "fit": FIT}


@dataclass
class Run:
    """One command, the files that it leaves when nobody kills it, and what became of those that were killed.

    again    the command that goes on with it
    seconds  from the start of training to the end of the process
    """

    name: str
    command: list[str]
    again: list[str]
    folder: Path
    environment: dict[str, str]
    threads: int
    expected: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def uninterrupted(self) -> None:
        """Once, so that there is something to compare with."""
        process = self._begin()
        start = time.perf_counter()
        self._end(process)
        self.seconds = time.perf_counter() - start
        self.expected = outputs(self.folder / RUN)

    def killed(self, share: float, damage: str, rng: np.random.Generator) -> bool:
        """One run that is killed after this share of its time, and resumed; False where it had ended by then."""
        process, after = self._begin(), share * self.seconds
        time.sleep(after)
        if process.poll() is not None:
            self._end(process)
            self.seconds = after  # the machine has become faster
            return False
        process.kill()
        process.communicate()
        harmed = damage if damage and self._harm(damage, rng) else ""
        resumed = subprocess.Popen(self.again, **self._given())
        told = self._end(resumed)
        self.notes["damaged and told"] += "damaged" in told
        self.notes["damaged"] += bool(harmed)
        same = outputs(self.folder / RUN) == self.expected
        self.ends["identical" if same else "different"] += 1
        return True

    def _harm(self, damage: str, rng: np.random.Generator) -> bool:
        """Cuts the newest checkpoint, or flips a bit of it; whether there was one."""
        found = sorted((self.folder / RUN / "checkpoints").glob("[0-9]*.safetensors"))
        if not found:
            return False
        content = bytearray(found[-1].read_bytes())
        at = int(rng.integers(len(content)))
        if damage == "cut":
            del content[at:]
        else:
            content[at] ^= 1 << int(rng.integers(8))
        found[-1].write_bytes(content)
        return True

    def _begin(self) -> subprocess.Popen[str]:
        """A new run, as soon as it has noted how it was called."""
        shutil.rmtree(self.folder / RUN, ignore_errors=True)
        process = subprocess.Popen(self.command, **self._given())
        while not (self.folder / RUN / "checkpoints" / "start.safetensors").exists():
            if process.poll() is not None:
                self._end(process)
            time.sleep(POLL)
        return process

    def _end(self, process: subprocess.Popen[str]) -> str:
        _, told = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name}: {told.strip().splitlines()[-1]}")
        return told

    def _given(self) -> dict[str, Any]:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return {"cwd": self.folder, "env": self.environment, **streams}


def outputs(run: Path) -> dict[str, bytes]:
    """The bytes of the files that a run leaves; of the result without what a clock measured."""
    found = {name: (run / name).read_bytes() for name in FILES if (run / name).exists()}
    if RESULT in found:
        result = json.loads(found[RESULT])
        found[RESULT] = json.dumps({name: value for name, value in result.items() if name not in CLOCK}).encode()
    return found


def main(asked: argparse.Namespace) -> None:
    if (asked.csv is None) != (asked.target is None):
        raise SystemExit("--csv and --target belong together: give both or neither")
    report = Report(asked.json)
    report.open({})
    kills = asked.kills or (QUICK_KILLS if asked.quick else KILLS)
    entries = []
    for threads in asked.threads:
        for name in [SHORT[word] for word in asked.runs or SHORT]:
            with tempfile.TemporaryDirectory() as made, pinned.inherited(threads):
                run = _run(asked, name, threads, Path(made))
                run.uninterrupted()
                _kill(run, kills, asked.seed, report)
                entries.append(_entry(run, kills))
    _show(report, entries)
    report.write(entries)
    if any(entry["identical"] < kills for entry in entries):
        raise SystemExit("not every resumed run ended with the bytes of the uninterrupted one")


def _run(asked: argparse.Namespace, name: str, threads: int, folder: Path) -> Run:
    engine = {} if asked.engine == "auto" else {"FALLLINE_ENGINE": asked.engine}
    environment = pinned.environment(threads, **engine)
    epochs = str(QUICK_EPOCHS if asked.quick else EPOCHS)
    if name == FIT:
        write_arrays(folder / "heart.npz")
        command = python(str(SCRIPTS / "kept_fit.py"), "heart.npz", epochs)
        return Run(name, command, command, folder, environment, threads)
    if asked.csv:
        shutil.copyfile(asked.csv, folder / "heart.csv")
    else:
        write_csv(folder / "heart.csv")
    always = ["-m", "fallline", "train", "--checkpoint", "0"]
    options = ["--target", asked.target or TARGET, "--out", RUN, "--epochs", epochs, "--patience", epochs]
    again = python(*always, "--resume", RUN)
    return Run(name, python(*always, "heart.csv", *options), again, folder, environment, threads)


def _kill(run: Run, kills: int, seed: int, report: Report) -> None:
    rng = np.random.default_rng(seed)
    for k in range(kills):
        damage = DAMAGES[k // 3 % 2] if k % 3 == 2 else ""
        while not run.killed(rng.uniform(), damage, rng):
            pass
        if (k + 1) % TOLD == 0:
            report.say(f"{run.name}: {run.ends['identical']} of {k + 1} identical so far")


def _entry(run: Run, kills: int) -> dict[str, Any]:
    return {
        RUN: run.name,
        "threads": run.threads,
        "kills": kills,
        "identical": run.ends["identical"],
        "damaged": run.notes["damaged"],
        "damaged_and_told": run.notes["damaged and told"],
        "seconds": run.seconds,
    }


def _show(report: Report, entries: list[dict[str, Any]]) -> None:
    cells = [
        [e[RUN], str(e["threads"]), duration(e["seconds"]), str(e["kills"]),
         f"{e['damaged_and_told']} of {e['damaged']}", f"{e['identical']} of {e['kills']}"]
        for e in entries
    ]  # fmt: skip
    columns = [RUN, "threads", "uninterrupted", "kills", "damage told", "identical"]
    report.table("killed and resumed", columns, cells)
    report.say("")
    report.say(
        "identical: model.safetensors, history.csv, curves.svg, and result.json but for its seconds, byte for byte;"
    )
    report.say("after every third kill the newest checkpoint was cut or one of its bits flipped besides.")
