"""fallline train: from a table to a run folder, with everything that was decided on the way."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import describe, show
from fallline.cli.curves import PAINTER
from fallline.cli.flags import Data, Json, Target, from_flags, read, reads_table, with_flags
from fallline.cli.result import FILES, RunFolder, result_of
from fallline.cli.words import in_flags
from fallline.core.record import fields_of
from fallline.train.events import Consumer, Ended, EpochEnded, Event
from fallline.train.metrics import metric_label
from fallline.train.progress import Progress
from fallline.train.tabular import Prepared, TableOptions, TableRun, prepare

EXAMPLES = """
fallline train breast-cancer
fallline train heart.csv --target AHD
fallline train prices.parquet --hidden 128,64 --activation gelu --seed 1
fallline train rings.csv --loss poisson --schedule "cosine(0.01)"
fallline train heart.csv --target AHD --json > result.json
"""
NAMES = ("delimiter", "encoding", "missing", *(f.name for f in fields_of(TableOptions)))
WHY = {
    "binary": "for two classes",
    "classes": "for more than two classes",
    "numbers": "for numbers",
    "counts": "for numbers",
}
LONG = 5.0  # seconds of training after which a word says that the baseline comes next

Out = Annotated[
    str | None, typer.Option("--out", "-o", metavar="DIR", help="where to keep the run (default runs/NAME of DATA)")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")]


@with_flags(TableOptions)
@reads_table
def train(
    data: Data,
    *,
    target: Target = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    options = from_flags(TableOptions, given)
    prepared = prepare(read(data, given), target, options)
    folder = RunFolder.open(Path("runs") / prepared.table.name if out is None else Path(out))
    say = (lambda lines: None) if quiet or json else show.emit
    try:
        say(opening(prepared, target))
        run = _train(prepared, quiet)
    except BaseException:
        folder.discard()
        raise
    result = result_of(run)
    say(["", *describe.metrics_table(run.metrics, run.baseline_metrics, show.screen_width()), *verdict(run)])
    folder.keep(run, result, PAINTER.picture)
    say(closing(folder))
    if json:
        show.emit_json(result)


def _train(prepared: Prepared, quiet: bool) -> TableRun:
    sys.stdout.flush()  # what was said comes before the progress, which goes to standard error
    with Progress(quiet=quiet) as progress:
        return prepared.train([progress, _draw_at_the_end(), *([] if quiet else [_announce_baseline()])])


def _draw_at_the_end() -> Consumer:
    """A consumer that has the curves drawn while the baseline trains."""
    rows = []

    def look(event: Event) -> None:
        if isinstance(event, EpochEnded):
            rows.append(event.row)
        elif isinstance(event, Ended):
            PAINTER.draw(rows)

    return look


def _announce_baseline() -> Consumer:
    """A consumer that says what goes on after a long training, when the baseline takes its time as well."""
    start = time.monotonic()

    def look(event: Event) -> None:
        if isinstance(event, Ended) and time.monotonic() - start > LONG:
            print("next: the linear baseline, on the same rows", file=sys.stderr, flush=True)

    return look


def opening(prepared: Prepared, target: str | None) -> list[show.Line | str]:
    """What was decided before training: columns, target, output unit and loss, split, network."""
    table, model, width = prepared.table, prepared.model, show.screen_width()
    assert model.columns is not None
    chosen = "" if target is not None else ", the set's own target" if table.target else ", the last column"
    reason = in_flags(prepared.reason, NAMES)
    why = "asked for" if prepared.options.loss else WHY[prepared.kind]
    split = prepared.split
    facts = [
        ("target", f"{describe.name_text(model.target.name)}{chosen}: {describe.target_text(table, model.target)}"),
        ("kind", f"{describe.kind_text(prepared.kind, len(model.classes))}: {reason}"),
        ("output", f"{describe.unit_text(model)} and {describe.loss_name(model.loss)}, {why}"),
        ("rows", f"{len(split.train):,} train, {len(split.validation):,} decide when to stop (validation), "
                 f"{len(split.test):,} judge the result (test)"),
    ]  # fmt: skip
    return [
        *show.wrap(f"{table.name}: {table.n_rows:,} rows, {len(table.names)} columns", width),
        *(line for note in table.notes for line in show.wrap(f"note: {in_flags(note, NAMES)}", width, show.INDENT)),
        "",
        *show.table(("column", "taken for", ""), describe.column_rows(model.columns), width=width),
        "",
        *show.facts(facts, width),
        "",
        *show.table(("network", "output", "parameters"), describe.network_rows(model), right=(1, 2), width=width),
        "",
    ]


def verdict(run: TableRun) -> list[str]:
    """A word where the linear baseline does no worse, which is what a table this small may call for."""
    part = describe.judging_part(run.metrics)
    ours, theirs = run.metrics[part], run.baseline_metrics[part]
    name = "log_loss" if "log_loss" in ours else "accuracy" if "accuracy" in ours else "rmse"
    better = ours[name] > theirs[name] if name == "accuracy" else ours[name] < theirs[name]
    if better or not run.prepared.options.hidden:
        return []
    text = f"By {metric_label(name)} the linear baseline does no worse here: --hidden none trains it"
    return ["", *show.wrap(text, show.screen_width())]


def closing(folder: RunFolder) -> list[str]:
    """Where everything lies, and what to do next."""
    kept = f"{'replaced' if folder.replaced else 'kept'} in {folder.path}: {', '.join(FILES)}"
    following = f"next: fallline predict {shlex.quote(str(folder.path))} DATA"
    return ["", *(line for text in (kept, following) for line in show.wrap(text, show.screen_width(), show.INDENT))]
