"""The result of a run as JSON, and the folder that keeps the model, the history, the curves and the result."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fallline import __version__
from fallline.cli.describe import PARTS, unit_text
from fallline.cli.show import json_text
from fallline.core.errors import ConfigError
from fallline.core.files import remove_unfinished, write_whole
from fallline.core.record import to_json
from fallline.explain.figures.curves import curves_svg
from fallline.nn.layer import count_parameters
from fallline.train.model_file import FILE_NAME
from fallline.train.tabular import TableRun

RESULT = "result.json"
CURVES = "curves.svg"
FILES = (FILE_NAME, "history.csv", CURVES, RESULT)
CLOCK = ("seconds", "data")  # what differs from run to run of the same command: how long it took, where its table lay


def result_of(run: TableRun, data: str = "", findings: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What `--json` prints and result.json holds; a part of no rows, and a metric without a value, are null.

    data  where the table lies;  findings  of the diagnosis, as plain data
    """
    prepared, fit = run.prepared, run.fit
    options = to_json(prepared.options)
    return {
        "task": prepared.task,
        "target": prepared.model.target.name,
        "rows": prepared.table.n_rows,
        "split": {part: len(getattr(prepared.split, part)) for part in PARTS},
        "metrics": {part: run.metrics.get(part) for part in PARTS},
        "baseline": {part: run.baseline_metrics.get(part) for part in PARTS},
        "seconds": run.seconds,
        "epochs": fit.history[-1]["epoch"],
        "best_epoch": fit.best_epoch,
        "stopped": fit.reason,
        "engine": fit.model.engine,
        "seed": prepared.options.seed,
        "kind": prepared.kind,
        "classes": list(fit.model.classes),
        "output": unit_text(fit.model),
        "loss": to_json(fit.model.loss),
        "parameters": count_parameters(fit.model.network),
        "options": {name: value for name, value in options.items() if name != "type"},
        "notes": list(prepared.table.notes),
        "findings": list(findings),
        "ended": fit.ended,
        "data": data,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    return {
        "fallline": __version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "polars": version("polars"),
    }


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept.

    made      whether `open` made the folder
    replaced  whether it held a model before
    """

    path: Path
    made: bool
    replaced: bool

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder, made where there is none; ConfigError where nothing can be written, before any training."""
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
            remove_unfinished(path, FILES)
        except OSError as error:
            reason = "it is a file" if path.is_file() else error.strerror
            raise ConfigError(f"cannot write to the folder {path}: {reason}; choose another one with --out") from None
        return cls(path, made, (path / FILE_NAME).exists())

    def discard(self) -> None:
        """Takes the folder away again if it was made for a run that came to nothing."""
        if self.made and self.path.exists() and not any(self.path.iterdir()):
            self.path.rmdir()

    def keep(self, run: TableRun, result: dict[str, Any]) -> None:
        """Writes the four files; the model's notes hold the result too, for `inspect`."""
        model = run.fit.model
        reading = {"missing": list(run.prepared.table.missing)}
        facts = {name: fact for name, fact in result.items() if name not in CLOCK}  # the same run, the same bytes
        notes = {**model.notes, "reading": reading, "result": json.loads(json_text(facts))}
        replace(model, notes=notes).save(self.path / FILE_NAME)
        run.history.to_csv(self.path / "history.csv")
        write_whole(self.path / RESULT, [(json_text(result) + "\n").encode()])
        write_whole(self.path / CURVES, [curves_svg(run.history).encode()])
