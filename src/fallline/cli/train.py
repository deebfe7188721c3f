"""fallline train: from a table to a run folder, with everything that was decided on the way."""

from __future__ import annotations

import math
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import bag, describe, show
from fallline.cli.asked import LIMITS, NONE, Asked, begin, checkpoints_at, seconds
from fallline.cli.findings import one_line_of, told_briefly
from fallline.cli.flags import Data, Json, Target, reads_table, with_flags
from fallline.cli.result import FILES, RESULT, RunFolder, result_of
from fallline.cli.words import in_flags
from fallline.core.errors import ConfigError
from fallline.core.record import fields_of
from fallline.explain.diagnosis.diagnose import findings_of
from fallline.explain.diagnosis.runs import subject_of_run
from fallline.train.checkpoint import Checkpoints
from fallline.train.events import Consumer, Ended, Event
from fallline.train.metrics import metric_label
from fallline.train.progress import Progress
from fallline.train.tabular import Prepared, TableOptions, TableRun

EXAMPLES = """
fallline train breast-cancer
fallline train heart.csv --target AHD
fallline train prices.parquet --hidden 128,64 --activation gelu --seed 1
fallline train rings.csv --loss poisson --schedule "cosine(0.01)"
fallline train heart.csv --target AHD --json > result.json
fallline train heart.csv --target AHD --preset tabular
fallline train --resume runs/heart
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


Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="go on with a run that was killed or interrupted, from its folder "
                 "alone; it ends with what it would have ended with"),
]  # fmt: skip
Every = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="SECONDS", help="how often to keep what --resume needs: every so many seconds "
                 "(default 30), 0 after every call of the engine, or none"),
]  # fmt: skip
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="plain: one network, with its history (default); tabular: a bag of "
                 "networks and a linear model, which takes longer and is most often more accurate"),
]  # fmt: skip
Level = Annotated[
    str | None, typer.Option("--budget", metavar="NAME", help="of --preset tabular: fast, default or best")
]
MaybeData = Annotated[str | None, *Data.__metadata__]


@with_flags(TableOptions)
@reads_table
def train(
    data: MaybeData = None,
    *,
    target: Target = None,
    out: Out = None,
    resume: Resume = None,
    checkpoint: Every = None,
    preset: Preset = None,
    budget: Level = None,
    json: Json = False,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    say = (lambda lines: None) if quiet or json else show.emit
    bag.check_flags(given, preset or "plain", budget, checkpoint)
    if resume is not None:
        kept = _found(resume, checkpoint)
        asked = Asked.kept(kept, data, {**given, "target": target, "out": out})
        kept.extended = any(given.get(name) is not None for name in LIMITS)
        if kept.is_over:
            _already_over(kept, say, json)
        else:
            _run(asked, asked.prepared(), RunFolder.open(kept.run), kept, say, json, quiet)
        return
    if data is None:
        raise ConfigError(
            "missing argument DATA: a table such as heart.csv, or --resume RUN (see fallline train --help)"
        )
    asked = Asked.given(data, target, given)
    prepared = asked.prepared()
    path = Path("runs") / prepared.table.name if out is None else Path(out)
    if preset == "tabular":
        _run_bag(asked, prepared, RunFolder.open(path), given, budget, say, json)
        return
    _run(asked, prepared, RunFolder.open(path), checkpoints_at(path, checkpoint), say, json, quiet)


def _run(
    asked: Asked, prepared: Prepared, folder: RunFolder, kept: Checkpoints | None, say: Any, json: bool, quiet: bool
) -> None:
    """Trains, and keeps what comes of it in the folder."""
    try:
        if kept is not None:
            begin(kept, asked, prepared)
            _tell(kept.notes, quiet)
        say(opening(prepared, asked.target) if kept is None or not kept.parts else going_on(kept, prepared))
        run = _train(prepared, kept, quiet)
    except BaseException:
        if kept is not None:
            kept.discard()
        folder.discard()
        raise
    found = findings_of(subject_of_run(run), brief=True)
    result = result_of(run, asked.about()["data"], [finding.to_dict() for finding in found])
    say(["", *describe.metrics_table(run.metrics, run.baseline_metrics, show.screen_width())])
    say(told_briefly([*map(one_line_of, found), *verdict(run)], show.screen_width()))
    folder.keep(run, result)
    if kept is not None:
        kept.finish()
    say(closing(folder, diagnosed=bool(found), goes_on=kept is not None and not kept.finished))
    if json:
        show.emit_json(result)


def _run_bag(
    asked: Asked, prepared: Prepared, folder: RunFolder, given: dict[str, Any], budget: str | None, say: Any, json: bool
) -> None:
    """Trains a bag of networks, and keeps what comes of it in the folder."""
    try:
        say(opening(prepared, asked.target, network=False))
        _, result, members = bag.train_a_bag(asked, prepared, folder, given, budget)
    except BaseException:
        folder.discard()
        raise
    say([*bag.report(result, members), *bag.closing(folder.path, folder.replaced)])
    if json:
        show.emit_json(result)


def _found(run: str, every: str | None) -> Checkpoints:
    """The checkpoints of a run, as often as --checkpoint says, where it does."""
    kept = Checkpoints.of(run)
    if every is not None:
        kept.seconds = math.inf if every.strip().lower() in NONE else seconds(every)
    return kept


def _already_over(kept: Checkpoints, say: Any, json: bool) -> None:
    """The one line for a run that has nothing left to do, or its result as before."""
    reason = kept.parts["network"]["over"][1]
    say(show.wrap(f"{kept.run} has come to its end ({reason}): nothing is left to do. A later end, such as --epochs "
                  "400, goes on from there", show.screen_width(), show.INDENT))  # fmt: skip
    if json:
        print((kept.run / RESULT).read_text(encoding="utf-8"), end="")


def _tell(notes: list[str], quiet: bool) -> None:
    """What reading the checkpoints found out."""
    for note in () if quiet else notes:
        print(f"note: {note}", file=sys.stderr)


def going_on(kept: Checkpoints, prepared: Prepared) -> list[str]:
    """Where a run goes on."""
    part = kept.parts["network"]
    epoch, over = part["history"][-1]["epoch"], part["over"] and part["over"][0] != "interrupted" and not kept.extended
    after = "with the linear baseline" if over else f"after epoch {epoch} of {prepared.options.epochs}"
    return [f"{kept.run} goes on {after}", ""]


def _train(prepared: Prepared, kept: Checkpoints | None, quiet: bool) -> TableRun:
    sys.stdout.flush()  # what was said comes before the progress, which goes to standard error
    with Progress(quiet=quiet) as progress:
        consumers: list[Consumer] = [progress, *([] if quiet else [_announce_baseline()])]
        return prepared.train(consumers, kept)


def _announce_baseline() -> Consumer:
    """A consumer that says what goes on after a long training, when the baseline takes its time as well."""
    start = time.monotonic()

    def look(event: Event) -> None:
        if isinstance(event, Ended) and time.monotonic() - start > LONG:
            print("next: the linear baseline, on the same rows", file=sys.stderr, flush=True)

    return look


def opening(prepared: Prepared, target: str | None, *, network: bool = True) -> list[show.Line | str]:
    """What was decided before training: columns, target, output unit and loss, split, network (where it is one)."""
    table, model, width = prepared.table, prepared.model, show.screen_width()
    assert model.columns is not None
    chosen = "" if target is not None else ", the set's own target" if table.target else ", the last column"
    reason = in_flags(prepared.reason, NAMES)
    why = "asked for" if prepared.options.loss else WHY[prepared.kind]
    split = prepared.split
    parts = f"{len(split.train):,} train, {len(split.validation):,} decide when to stop (validation)"
    if not network:
        parts = f"{len(split.train) + len(split.validation):,} train, each judged by members that never saw it"
    head = ("network", "output", "parameters")
    drawn: list[show.Line | str] = []
    if network:
        drawn = [*show.table(head, describe.network_rows(model), right=(1, 2), width=width), ""]
    facts = [
        ("target", f"{describe.name_text(model.target.name)}{chosen}: {describe.target_text(table, model.target)}"),
        ("kind", f"{describe.kind_text(prepared.kind, len(model.classes))}: {reason}"),
        ("output", f"{describe.unit_text(model)} and {describe.loss_name(model.loss)}, {why}"),
        ("rows", f"{parts}, {len(split.test):,} judge the result (test)"),
    ]
    return [
        *show.wrap(f"{table.name}: {table.n_rows:,} rows, {len(table.names)} columns", width),
        *(line for note in table.notes for line in show.wrap(f"note: {in_flags(note, NAMES)}", width, show.INDENT)),
        "",
        *show.table(("column", "taken for", ""), describe.column_rows(model.columns), width=width),
        "",
        *show.facts(facts, width),
        "",
        *drawn,
    ]


def verdict(run: TableRun) -> list[str]:
    """A word where the linear baseline does no worse, which is what a table this small may call for."""
    part = describe.judging_part(run.metrics)
    ours, theirs = run.metrics[part], run.baseline_metrics[part]
    name = "log_loss" if "log_loss" in ours else "accuracy" if "accuracy" in ours else "rmse"
    better = ours[name] > theirs[name] if name == "accuracy" else ours[name] < theirs[name]
    if better or not run.prepared.options.hidden:
        return []
    return [f"By {metric_label(name)} the linear baseline does no worse here: --hidden none trains it"]


def closing(folder: RunFolder, *, diagnosed: bool = False, goes_on: bool = False) -> list[str]:
    """Where everything lies, and what to do next.

    diagnosed  whether something was found;  goes_on  whether the run was interrupted and can go on
    """
    place = shlex.quote(str(folder.path))
    kept = f"{'replaced' if folder.replaced else 'kept'} in {folder.path}: {', '.join(FILES)}"
    following = f"next: fallline diagnose {place}" if diagnosed else f"next: fallline predict {place} DATA"
    if goes_on:
        following = f"next: fallline train --resume {place}"
    return ["", *(line for text in (kept, following) for line in show.wrap(text, show.screen_width(), show.INDENT))]
