"""fallline explain: one row of a table through a trained model, with what each input and each weight does to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import show
from fallline.cli.flags import READING_OPTIONS, Data, Json, ModelPath, parse, read, reads_table
from fallline.cli.predict import columns_of, markers_of
from fallline.cli.words import in_flags, one_line
from fallline.core.errors import ConfigError
from fallline.explain.reports.report import check_path
from fallline.explain.reports.row import explain_row
from fallline.train.model import load

EXAMPLES = """
fallline explain runs/heart heart.csv
fallline explain runs/heart heart.csv --row 12
fallline explain runs/heart heart.csv --row 12 --html row12.html
fallline explain runs/heart new.csv --json
"""
IN_A_PIPE = 80  # columns

Row = Annotated[
    str,
    typer.Option(metavar="K", help="which row of DATA; the first row below the column names is 0 (default 0)"),
]
Page = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="write a page with everything, also the drawing and all weights"),
]


@reads_table
def explain(
    model: ModelPath,
    data: Data,
    *,
    row: Row = "0",
    html: Page = None,
    json: Json = False,
    **given: Any,
) -> None:
    page = None if html is None else Path(html)
    if page is not None:
        check_path(page, (".html",))
        if page.exists() and Path(data).exists() and page.samefile(data):
            raise ConfigError(f"cannot write {page}: it is the table that is read; give another name")
    trained = load(model)
    columns = columns_of(trained, model)
    table = read(data, given, markers_of(trained))
    told = explain_row(trained, table, row=parse("row", row, "int"))
    for note in (*table.notes, *columns.notes(told.data)):
        print(f"note: {one_line(in_flags(note, READING_OPTIONS))}", file=sys.stderr)
    if page is not None:
        told.save(page)
    if json:
        show.emit_json(told.to_dict())
        return
    if page is None:
        show.emit(show.Line(line.text, line.heading) for line in told.lines(show.screen_width() or IN_A_PIPE))
    else:
        show.emit(show.wrap(f"{told.title}: written to {page}", show.screen_width()))
