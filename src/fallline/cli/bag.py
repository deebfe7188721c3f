"""fallline train --preset tabular: a bag of networks in place of one, judged on the same rows beside the baseline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import fallline as fl
from fallline.cli import describe, show
from fallline.cli.asked import Asked
from fallline.cli.result import RESULT, RunFolder, versions
from fallline.cli.show import json_text
from fallline.cli.words import flag_of
from fallline.core.errors import ConfigError
from fallline.core.files import write_whole
from fallline.core.record import fields_of, to_json
from fallline.data.target import ClassTarget, NumberTarget
from fallline.nn.layer import count_parameters
from fallline.train.model import Model
from fallline.train.model_file import FILE_NAME
from fallline.train.tabular import Prepared, TableOptions

PRESETS = ("plain", "tabular")
# Flags of TableOptions that a bag follows; the first ones change every network in it.
NETWORK = ("hidden", "activation", "dropout", "learning_rate", "batch_size", "epochs", "patience")
FOLLOWED = (*NETWORK, "time_limit", "loss", "test", "split", "seed", "engine", "threads")
FILES = (FILE_NAME, RESULT)


def check_flags(given: Mapping[str, Any], preset: str, budget: str | None, checkpoint: str | None) -> None:
    """ConfigError for a flag that the preset has no use for."""
    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset}: give {' or '.join(PRESETS)}")
    if preset == "plain":
        if budget is not None:
            raise ConfigError(f"--budget {budget} belongs to --preset tabular: a single network has none")
        return
    names = [field.name for field in fields_of(TableOptions) if field.name not in FOLLOWED]
    other = next((name for name in names if given.get(name) is not None), None)
    if other is None and checkpoint is not None:
        other = "checkpoint"
    if other is not None:
        raise ConfigError(f"{flag_of(other)} belongs to --preset plain: a bag of networks has no use for it")


def train_a_bag(
    asked: Asked, prepared: Prepared, folder: RunFolder, given: Mapping[str, Any], budget: str | None
) -> tuple[Model, dict[str, Any], Any]:
    """The model, the result as plain data, and the table of what was trained; the files are written.

    The rows that judge are those of the plain preset; all others train.
    """
    start, options, table, split = time.perf_counter(), prepared.options, prepared.table, prepared.split
    name, rows = prepared.model.target.name, np.sort(np.concatenate([split.train, split.validation]))
    kind = fl.TabularClassifier if prepared.model.classes else fl.TabularRegressor
    own = {n: getattr(options, n) for n in NETWORK if given.get(n) is not None}
    fixed = {"budget": budget or "default", "time_limit": options.time_limit, "random_state": options.seed}
    assert prepared.model.columns is not None  # a prepared table has its columns
    left = {k.name: "ignored" for k in prepared.model.columns.left_out if k.kind == "ignored"}
    made = kind(**own, **fixed, engine=options.engine, n_jobs=options.threads, loss=options.loss, kinds=left)
    features = table.ordered([n for n in table.names if n != name])
    way, _, column = options.split.partition(":")
    groups = table.column(column).to_numpy()[rows] if way == "group" else None
    made.fit(features.take(rows), _targets(prepared, rows), groups=groups)
    model = _named(made.model_, name)
    parts = {"train": rows, "test": split.test}
    metrics = {part: model.evaluate(table.take(each)) for part, each in parts.items() if len(each)}
    baseline = prepared.baseline_metrics()
    result = {
        "task": prepared.task, "target": name, "rows": table.n_rows, "preset": "tabular", "budget": fixed["budget"],
        "split": {part: len(each) for part, each in parts.items()}, "metrics": metrics,
        "baseline": {part: baseline[part] for part in metrics}, "seconds": time.perf_counter() - start,
        "engine": model.engine, "seed": options.seed, "kind": prepared.kind, "classes": list(model.classes),
        "loss": to_json(model.loss), "parameters": count_parameters(model.network),
        "members": {n: list(cells) for n, cells in made.members_.columns.items()} if hasattr(made, "members_") else {},
        "notes": [*table.notes, *made.notes_], "data": asked.about()["data"], "versions": versions(),
    }  # fmt: skip
    told = {n: fact for n, fact in result.items() if n not in ("seconds", "data", "members")}
    reading = {"missing": list(table.missing)}
    replace(model, notes={**model.notes, "reading": reading, "bag": told}).save(folder.path / FILE_NAME)
    write_whole(folder.path / RESULT, [(json_text(result) + "\n").encode()])
    return model, result, getattr(made, "members_", None)


def _targets(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """The targets of these rows as they stand in the table: labels or numbers."""
    target = prepared.model.target
    return np.asarray(target.decode(target.encode(prepared.table.take(rows))))


def _named(model: Model, name: str) -> Model:
    """The model with the target's name, by which a table holds it."""
    assert model.columns is not None
    assert isinstance(model.target, (ClassTarget, NumberTarget))
    return replace(model, target=model.target.replace(name=name), columns=model.columns.replace(target=name))


def report(result: Mapping[str, Any], members: Any) -> list[show.Line | str]:
    """What was trained, and the metrics beside the baseline's."""
    width = show.screen_width()
    listed = [] if members is None else [*str(members.text(width or 100)).splitlines(), ""]
    return [*listed, *describe.metrics_table(result["metrics"], result["baseline"], width)]


def closing(path: Path, replaced: bool) -> list[str]:
    """Where everything lies, and what to do next."""
    kept = f"{'replaced' if replaced else 'kept'} in {path}: {', '.join(FILES)}"
    return ["", *show.wrap(kept, show.screen_width(), show.INDENT), f"next: fallline predict {path} DATA"]
