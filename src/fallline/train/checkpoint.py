"""Checkpoints: what a run needs to go on after it was killed, in the folder `checkpoints` of the run.

start.safetensors    how the run was called: from here it can begin anew
000007.safetensors   the last two checkpoints, by number
last.safetensors     in their place, once the run has come to its end in good order
"""

from __future__ import annotations

import platform
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fallline import __version__
from fallline.core.errors import ConfigError, ModelFileError
from fallline.core.files import remove_unfinished
from fallline.core.record import Record, record, setting
from fallline.core.warn import warn_user
from fallline.train.snapshot import digest, read_snapshot, write_snapshot

FOLDER = "checkpoints"
KEPT = 2
SHARE = 0.02  # of the time, at most, that goes into checkpoints, unless one is asked for after every call
_START, _LAST = "start.safetensors", "last.safetensors"


@record
class Checkpoint(Record):
    """Where a run keeps what it needs to go on after it was killed, and how often.

    path     the folder of the run
    seconds  from one checkpoint to the next; 0: one after every call of the engine
    """

    path: str
    seconds: float = setting(30.0, at_least=0)


class Checkpoints:
    """The checkpoints of one run, a new one or one that goes on.

    about     how the run was called, plain data and arrays;  marks  of its data and of what computes it
    parts     what has become of it, by the name of the part
    finished  whether it came to its end;  extended  whether it goes on from there under other limits
    notes     what reading them found out, a sentence each
    """

    def __init__(self, where: Checkpoint):
        self.run, self.seconds = Path(where.path).expanduser(), where.seconds
        self.folder = self.run / FOLDER
        self.about: dict[str, Any] = {}
        self.marks: dict[str, Any] = {}
        self.parts: dict[str, Any] = {}
        self.notes: list[str] = []
        self._damaged: list[Path] = []
        self.finished = self.extended = self._resumed = False
        self._id, self._number, self._cost, self._before = secrets.token_hex(16), 0, 0.0, 0.0
        self._start = self._written = time.monotonic()
        self._writing: threading.Thread | None = None
        self._failure = ""
        self._warned = False

    @classmethod
    def of(cls, path: str | Path) -> Checkpoints:
        """Those of a run that was begun; ModelFileError where there are none."""
        made = cls(Checkpoint(str(path)))
        if not made.folder.is_dir():
            raise ModelFileError(f"no run to go on with at {path}: there is no folder {FOLDER} in it")
        start = made._read(made.folder / _START)
        found = made._newest(None if start is None else start["id"])
        whole = start if found is None else found
        if whole is None:
            raise ModelFileError(f"no run to go on with at {path}: its checkpoints are damaged; start it anew")
        made._take(whole)
        made._tell_damage(found)
        return made

    def _newest(self, run: str | None) -> dict[str, Any] | None:
        """The newest checkpoint of that run which is whole."""
        for path in self._candidates():
            found = self._read(path)
            if found is not None and run in (None, found["id"]):
                return found
        return None

    def _candidates(self) -> list[Path]:
        """The files of checkpoints, the newest first."""
        last = self.folder / _LAST
        return [*([last] if last.exists() else []), *reversed(self._numbered())]

    def _numbered(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"), key=lambda path: int(path.stem))

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            return read_snapshot(path)
        except ModelFileError:
            self._damaged.append(path)
            return None

    def _take(self, found: dict[str, Any]) -> None:
        self._id, self.about, self.marks, self.parts = (found[name] for name in ("id", "about", "marks", "parts"))
        self.seconds, self._before = found["seconds"], found["elapsed"]
        self.finished, self.extended, self._resumed = found["finished"], found["extended"], True
        self._number = max((int(path.stem) for path in self._numbered()), default=0)

    def _tell_damage(self, found: dict[str, Any] | None) -> None:
        """One sentence about the damaged checkpoints."""
        damaged = [path.stem for path in self._damaged if path.name != _START]
        if damaged:
            names = f"checkpoint{'s' * (len(damaged) > 1)} {' and '.join(damaged)} of {self.run}"
            goes_on = "starts from the beginning" if found is None else "goes on from the one before"
            self.notes = [f"{names} {'are' if len(damaged) > 1 else 'is'} damaged: {goes_on}"]

    def begin(self, about: dict[str, Any], marks: dict[str, Any]) -> None:
        """The run begins, or goes on; ConfigError where it may not, or its folder cannot be written.

        about  how it was called;  marks  what must be the same when it goes on: "rows", "data", "engine"
        """
        marks = {**marks, "versions": _versions()}
        if self._resumed:
            self._check(marks)
            if self.is_over:
                remove_unfinished(self.folder, self._names())
                return
        elif self._candidates() and not (self.folder / _LAST).exists():
            raise ConfigError(
                f"{self.run} holds a run that was killed before its end: go on with it (resume), give another folder, "
                f"or delete {self.folder}"
            )
        self.about, self.marks, self.finished = about, marks, False
        self._start = self._written = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder, self._names())
            for path in self._damaged:
                path.unlink(missing_ok=True)
            if not self._resumed:
                self._begin_anew()
            elif self.folder / _START in self._damaged:
                write_snapshot(self.folder / _START, {**self._content(), "parts": {}})
        except OSError as error:
            raise ConfigError(f"cannot write checkpoints to {self.folder}: {error.strerror or error}") from None

    def _begin_anew(self) -> None:
        """Once the start is there, checkpoints of an earlier run, which have another id, count no more."""
        write_snapshot(self.folder / _START, self._content())
        for path in self._candidates():
            path.unlink()

    def _names(self) -> list[str]:
        """Of the files whose unfinished forerunners may lie about."""
        return [_START, _LAST, *(f"{n:06}.safetensors" for n in (self._number, self._number + 1))]

    def _check(self, marks: dict[str, Any]) -> None:
        then, now = self.marks, marks
        if then["data"] != now["data"]:
            raise ConfigError(
                f"these are not the data of {self.run} (rows then {then['rows']}, now {now['rows']}): "
                "give what it was trained on, or start a new run"
            )
        if then["engine"] != now["engine"]:
            raise ConfigError(
                f"{self.run} was computed by the engine {then['engine']!r}, which would now be {now['engine']!r} and "
                "gives other last digits: install or choose the first one, or start a new run"
            )
        changed = [f"{name} {v} (then {then['versions'][name]})" for name, v in now["versions"].items()
                   if v != then["versions"].get(name)]  # fmt: skip
        if changed:
            self.notes.append(f"now with {', '.join(changed)}: the last digits may differ from an uninterrupted run's")

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far, without those in which it was not running."""
        return self._before + time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: it came to its end, and nothing was changed since."""
        return self.finished and not self.extended

    def offer(self, part: str, take: Callable[[], Any]) -> None:
        """Writes a checkpoint if it is time to, with what `take` gives as that part."""
        now = time.monotonic()
        least = 0.0 if self.seconds == 0 else max(self.seconds, self._cost / SHARE)
        if now - self._written < least or (self._writing is not None and self._writing.is_alive()):
            return
        self._report()
        self._written = now
        self.parts[part] = take()
        self._cost = time.monotonic() - now
        content = self._content()
        if self.seconds == 0:
            self._write_or_fail(content)
            self._report()
        else:
            self._writing = threading.Thread(target=self._write_or_fail, args=(content,))
            self._writing.start()

    def finish(self) -> None:
        """The run has ended in good order; what it left stays, so that it can be extended, or go on after Ctrl-C."""
        if self.is_over:
            return
        self.wait()
        ends = [part["over"][0] for part in self.parts.values() if part.get("over")]
        self.finished, self.extended = "interrupted" not in ends, False
        try:
            write_snapshot(self.folder / _LAST, self._content())
            for path in self._numbered():
                path.unlink()
        except OSError as error:
            self._failure = error.strerror or str(error)
        self._report()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def discard(self) -> None:
        """Takes away the start of a new run that came to nothing."""
        self.wait()
        if not self._resumed and self.folder.is_dir() and not self._candidates():
            (self.folder / _START).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _content(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "about": self.about,
            "marks": self.marks,
            "parts": dict(self.parts),
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "finished": self.finished,
            "extended": self.extended,
        }

    def _write_or_fail(self, content: dict[str, Any]) -> None:
        start = time.thread_time()
        try:
            self._write(content)
        except OSError as error:
            self._failure = error.strerror or str(error)
        self._cost += time.thread_time() - start

    def _write(self, content: dict[str, Any]) -> None:
        self._number += 1
        write_snapshot(self.folder / f"{self._number:06}.safetensors", content)
        for path in (*self._numbered()[:-KEPT], self.folder / _LAST):  # the last one of a run that goes on
            path.unlink(missing_ok=True)

    def _report(self) -> None:
        """Tells once that checkpoints cannot be written: training is worth more than they are."""
        if self._failure and not self._warned:
            self._warned = True
            warn_user(f"cannot write checkpoints to {self.folder}: {self._failure}; training goes on", RuntimeWarning)


def _versions() -> dict[str, str]:
    return {"fallline": __version__, "numpy": np.__version__, "machine": platform.machine()}


def marks_of(engine: str, *examples: Any) -> dict[str, Any]:
    """Marks of the rows that a run trains on and is judged by, and of what computes it."""
    arrays = [None if part is None else (part.names, part.arrays) for part in examples]
    return {"rows": sum(len(part) for part in examples if part is not None), "data": digest(arrays), "engine": engine}


__all__ = ["Checkpoint", "Checkpoints", "marks_of"]
