"""fallline inspect: what a table or a trained model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import describe, show
from fallline.cli.flags import Json, Target, read, reads_table
from fallline.cli.words import in_flags
from fallline.core.errors import DataError
from fallline.core.record import to_json
from fallline.data.cells import number_values
from fallline.data.kinds import ColumnKind, decide_kinds
from fallline.data.table import Table
from fallline.data.target import find_target, infer_target
from fallline.nn.layer import count_parameters
from fallline.train.model import Model, load

EXAMPLES = """
fallline inspect heart.csv
fallline inspect heart.csv --target AHD
fallline inspect runs/heart
fallline inspect iris --json
"""
NAMES = ("delimiter", "encoding", "missing", "loss")
TOLD = {"split", "rows", "epochs", "stopped", "best_epoch", "metrics", "baseline"}  # what a report of training needs
MOST_LEVELS = 4
HEADER = ("column", "taken for", "missing", "different", "values")

Source = Annotated[
    str,
    typer.Argument(metavar="MODEL|DATA", help="the folder of a run or a .safetensors file; or a CSV, TSV or Parquet "
                   "file, or a packaged set such as iris"),
]  # fmt: skip


@reads_table
def inspect(
    source: Source,
    *,
    target: Target = None,
    json: Json = False,
    **given: Any,
) -> None:
    if Path(source).is_dir() or Path(source).suffix == ".safetensors":
        model = load(source)
        show.emit_json(model_facts(model)) if json else show.emit(model_lines(model, source))
        return
    told = table_facts(read(source, given), target)
    show.emit_json(told) if json else show.emit(table_lines(told))


def table_facts(table: Table, target: str | None) -> dict[str, Any]:
    """The table as `--json` prints it: its columns, what would be the target, and what would stop a training."""
    name = find_target(table, target)
    notes = list(table.notes)
    kind: str | None = None
    reason = ""
    try:
        kind, reason = infer_target(table, name)
    except DataError as error:
        notes.append(f"{name!r} cannot be the target: {error}")
    try:
        kinds = {k.name: k for k in decide_kinds(table, target=name)}
    except DataError as error:
        kinds = {}
        notes.append(f"training would stop: {error}")
    kinds[name] = ColumnKind(name, "ignored", "target")
    columns = [column_facts(table, n, kinds.get(n)) for n in table.names]
    wanted = {"name": name, "kind": kind, "reason": in_flags(reason, NAMES)}
    return {
        "name": table.name,
        "rows": table.n_rows,
        "columns": columns,
        "target": wanted,
        "notes": [in_flags(note, NAMES) for note in notes],
    }


def column_facts(table: Table, name: str, kind: ColumnKind | None) -> dict[str, Any]:
    """What a column is taken for, its missing and different cells, its range or its most frequent levels."""
    cells = table.column(name)
    present = cells.drop_nulls()
    taken = "" if kind is None else "target" if kind.reason == "target" else kind.kind
    found: dict[str, Any] = {
        "name": name,
        "taken_for": taken,
        "used": kind is not None and kind.used,
        "missing": cells.null_count(),
        "different": present.n_unique(),
        "low": None,
        "high": None,
        "levels": None,
        "because": "" if kind is None or taken == "target" else kind.reason,
    }
    if cells.dtype.is_numeric() and len(present):
        values = number_values(present)
        found |= {"low": float(values.min()), "high": float(values.max())}
    elif cells.dtype.is_temporal() and len(present):
        found |= {"low": str(present.min()), "high": str(present.max())}
    elif len(present):
        counted = present.alias("level").value_counts().sort(["count", "level"], descending=[True, False])
        found["levels"] = {str(level): n for level, n in counted.head(MOST_LEVELS).iter_rows()}
    return found


def table_lines(told: dict[str, Any]) -> list[show.Line | str]:
    """The same facts for the eye."""
    width, target = show.screen_width(), told["target"]
    rows = [
        (describe.name_text(c["name"]), c["taken_for"], c["missing"] or "", c["different"], _values(c))
        for c in told["columns"]
    ]
    levels = next(c["different"] for c in told["columns"] if c["name"] == target["name"])
    kind = f"{describe.kind_text(target['kind'], levels)}: {target['reason']}" if target["kind"] else "not possible"
    return [
        *show.wrap(f"{told['name']}: {told['rows']:,} rows, {len(rows)} columns", width),
        "",
        *show.table(HEADER, rows, right=(2, 3), width=width),
        "",
        *show.facts([("target", f"{describe.name_text(target['name'])}, {kind}")], width),
        *(line for note in told["notes"] for line in show.wrap(f"note: {note}", width, show.INDENT)),
    ]


def _values(column: dict[str, Any]) -> str:
    text = ""
    if column["levels"] is not None:
        more = column["different"] - len(column["levels"])
        text = ", ".join(column["levels"]) + (f" and {more} more" if more else "")
    elif column["low"] is not None:
        low, high = (f"{v:g}" if isinstance(v, float) else v for v in (column["low"], column["high"]))
        text = f"{low} … {high}"
    left_out = column["because"] if not column["used"] else ""
    return f"left out: {left_out} ({text})" if left_out and text else left_out or text


def model_facts(model: Model) -> dict[str, Any]:
    """The model as `--json` prints it."""
    layers = [
        {"layer": layer, "output": output, "parameters": int(n.replace(",", "") or 0)}
        for layer, output, n in describe.network_rows(model)[:-1]
    ]
    columns = describe.column_rows(model.columns, most=None) if model.columns is not None else []
    return {
        "task": model.loss.task,
        "target": model.target.name,
        "classes": list(model.classes),
        "output": describe.unit_text(model),
        "loss": to_json(model.loss),
        "columns": [{"name": name, "taken_for": kind, "detail": detail} for name, kind, detail in columns],
        "layers": layers,
        "parameters": count_parameters(model.network),
        "notes": model.notes,
    }


def model_lines(model: Model, source: str) -> list[show.Line | str]:
    """The same facts for the eye, and how the training went."""
    width, most = show.screen_width(), describe.MOST_CLASSES
    classes = ", ".join(map(str, model.classes[:most])) + (" …" if len(model.classes) > most else "")
    facts = [
        ("target", f"{describe.name_text(model.target.name)}: {classes or 'numbers'}"),
        ("output", f"{describe.unit_text(model)} and {describe.loss_name(model.loss)}"),
    ]
    lines: list[show.Line | str] = [*show.wrap(f"model {source}", width), "", *show.facts(facts, width), ""]
    if model.columns is not None:
        rows = describe.column_rows(model.columns)
        lines += [*show.table(("column", "taken for", ""), rows, width=width), ""]
    titles = ("network", "output" if model.columns is not None else "shape", "parameters")
    lines += show.table(titles, describe.network_rows(model), right=(1, 2), width=width)
    return [*lines, *training_lines(model.notes, width)]


def training_lines(notes: dict[str, Any], width: int | None) -> list[show.Line | str]:
    """How the training of `fallline train` went, from the model's notes; nothing where they do not tell."""
    result = notes.get("result")
    if not isinstance(result, dict) or not result.keys() >= TOLD:
        return []
    text = (
        f"trained on {result['split']['train']:,} of {result['rows']:,} rows for {result['epochs']} epochs "
        f"({result['stopped']}); the weights are those of epoch {result['best_epoch']}"
    )
    metrics = {part: result["metrics"][part] for part in describe.PARTS}  # a model file keeps its notes by alphabet
    return ["", *show.wrap(text, width), "", *describe.metrics_table(metrics, result["baseline"], width)]
