"""fallline diagnose: what is wrong with a trained model or its training, by which numbers, and the cure."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import show
from fallline.cli.findings import in_words
from fallline.cli.flags import READING_OPTIONS, Json, read, reads_table
from fallline.cli.predict import columns_of, markers_of
from fallline.cli.words import in_flags, one_line
from fallline.core.errors import ConfigError, DataError
from fallline.explain.diagnosis.diagnose import findings_of
from fallline.explain.diagnosis.runs import subject_of_table
from fallline.explain.reports.report import check_path
from fallline.train.history import History
from fallline.train.model import load

EXAMPLES = """
fallline diagnose runs/heart
fallline diagnose runs/heart heart.csv
fallline diagnose runs/heart --html heart.html
fallline diagnose runs/heart --json
"""
IN_A_PIPE = 80  # columns

Run = Annotated[str, typer.Argument(metavar="RUN", help="the folder of a run, or a model file")]
MaybeData = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="the table that it was trained on, or another with its columns and target; not "
                   "given: the run's own, where it still lies"),
]  # fmt: skip
Page = Annotated[str | None, typer.Option("--html", metavar="FILE", help="write a page with everything")]


@reads_table
def diagnose(
    run: Run,
    data: MaybeData = None,
    *,
    html: Page = None,
    json: Json = False,
    **given: Any,
) -> None:
    page = None if html is None else check_path(html, (".html",))
    trained = load(run)
    columns, result = columns_of(trained, run), result_of_run(Path(run))
    table = read(data or _own_table(run, result), given, markers_of(trained))
    table.column(trained.target.name)  # without it there is nothing to compare with
    history = Path(run) / "history.csv"
    found = in_words(
        findings_of(subject_of_table(trained, table, History.from_csv(history) if history.is_file() else None, result))
    )
    for note in (*table.notes, *columns.notes(table)):
        print(f"note: {one_line(in_flags(note, READING_OPTIONS))}", file=sys.stderr)
    if page is not None:
        found.save(page)
    if json:
        show.emit_json({"target": trained.target.name, "rows": table.n_rows, **found.to_dict()})
    elif page is None:
        show.emit(show.Line(line.text, line.heading) for line in found.lines(show.screen_width() or IN_A_PIPE))
    else:
        show.emit(show.wrap(f"{found.title}: written to {page}", show.screen_width()))


def result_of_run(run: Path) -> dict[str, Any]:
    """What result.json holds; empty for a model file alone."""
    path = run / "result.json"
    if not path.is_file():
        return {}
    try:
        return json_text.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{path} is damaged: it holds no JSON; remove it, and give the table") from None


def _own_table(run: str, result: dict[str, Any]) -> str:
    """The table that the run was trained on; ConfigError where that is not known, or it lies there no more."""
    data = result.get("data", "")
    if not data:
        raise ConfigError(f"{run} does not say which table it was trained on: fallline diagnose {run} DATA")
    if Path(data).is_absolute() and not Path(data).exists():
        raise ConfigError(f"{data}, the table of this run, is not there any more: fallline diagnose {run} DATA")
    return data
