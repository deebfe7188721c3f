"""Asked: what `fallline train` was asked to do, as its checkpoints hold it, so that it can go on without being told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fallline.cli.flags import READING_OPTIONS, from_flags, read
from fallline.cli.words import flag_of
from fallline.core.errors import ConfigError, ModelFileError
from fallline.core.record import fields_of, from_json, to_json
from fallline.data.table import Table
from fallline.train.checkpoint import Checkpoint, Checkpoints, marks_of
from fallline.train.tabular import Prepared, TableOptions, prepare

KIND = "table"
SECONDS = 30.0  # from one checkpoint to the next
LIMITS = ("epochs", "patience", "time_limit", "step_limit", "target_loss")  # what may change when a run goes on
NONE = ("none", "off")


@dataclass(frozen=True)
class Asked:
    """A call of `fallline train`.

    data     the table: a file or a packaged set;  reading  the flags with which it is read
    target   the column to predict as it was given;  options  all else
    """

    data: str
    reading: Mapping[str, Any]
    target: str | None
    options: TableOptions

    @classmethod
    def given(cls, data: str, target: str | None, given: Mapping[str, Any]) -> Asked:
        """What the flags say."""
        return cls(data, {name: given[name] for name in READING_OPTIONS}, target, from_flags(TableOptions, given))

    @classmethod
    def kept(cls, checkpoints: Checkpoints, data: str | None, given: Mapping[str, Any]) -> Asked:
        """What the checkpoints say, with the table in another place, and other limits, where they are given."""
        about, run = checkpoints.about, checkpoints.run
        if about["kind"] != KIND:
            raise ModelFileError(f"{run} was trained from Python: go on with fl.resume({str(run)!r}, data)")
        asked = {name: value for name, value in given.items() if value is not None}
        other = next((name for name in asked if name not in LIMITS), None)
        if other is not None:
            allowed = ", ".join(map(flag_of, LIMITS))
            raise ConfigError(
                f"{flag_of(other)}: a run goes on as it began; what may change is {allowed}, --checkpoint"
            )
        known = {field.name for field in fields_of(TableOptions)}
        before = from_json({name: value for name, value in about["options"].items() if name in (*known, "type")})
        limits = from_flags(TableOptions, asked)
        options = before.replace(**{name: getattr(limits, name) for name in asked})
        made = cls(about["data"], about["reading"], about["target"], options)
        if data is None and Path(made.data).is_absolute() and not Path(made.data).exists():
            raise ConfigError(
                f"{made.data} is not there any more: fallline train --resume {run} TABLE says where it is"
            )
        return made if data is None else replace(made, data=str(_absolute(data)))

    def prepared(self) -> Prepared:
        """The table made ready."""
        return prepare(self.table(), self.target, self.options)

    def table(self) -> Table:
        return read(self.data, self.reading)

    def about(self) -> dict[str, Any]:
        """As plain data, for the checkpoints."""
        return {
            "kind": KIND,
            "data": str(_absolute(self.data)),
            "reading": dict(self.reading),
            "target": self.target,
            "options": to_json(self.options),
        }


def _absolute(data: str) -> Path | str:
    """The place of the file, wherever the run goes on; a packaged set is its name."""
    path = Path(data).expanduser()
    return path.absolute() if path.exists() else data


def checkpoints_at(path: Path, asked: str | None) -> Checkpoints | None:
    """Those of a new run, as often as --checkpoint says; None where there are to be none."""
    if asked is not None and asked.strip().lower() in NONE:
        return None
    return Checkpoints(Checkpoint(str(path), SECONDS if asked is None else seconds(asked)))


def seconds(asked: str) -> float:
    """What --checkpoint says."""
    try:
        found = float(asked)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ConfigError(f"--checkpoint {asked}: give seconds, 0 for after every call of the engine, or none")
    return found


def begin(checkpoints: Checkpoints, asked: Asked, prepared: Prepared) -> None:
    """The run begins, or goes on."""
    rows = replace(prepared.examples, names=prepared.table.names)
    checkpoints.begin(asked.about(), marks_of(prepared.model.engine, rows))


__all__ = ["LIMITS", "NONE", "Asked", "begin", "checkpoints_at", "seconds"]
