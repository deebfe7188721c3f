"""fallline evaluate: a trained model's metrics on a table whose targets are known."""

from __future__ import annotations

import sys
from typing import Any

from fallline.cli import describe, show
from fallline.cli.flags import READING_OPTIONS, Data, Json, ModelPath, read, reads_table
from fallline.cli.predict import columns_of, markers_of
from fallline.cli.words import in_flags, one_line
from fallline.train.model import load

EXAMPLES = """
fallline evaluate runs/heart later.csv
fallline evaluate runs/heart later.csv --json
"""


@reads_table
def evaluate(
    model: ModelPath,
    data: Data,
    *,
    json: Json = False,
    **given: Any,
) -> None:
    trained = load(model)
    columns = columns_of(trained, model)
    table = read(data, given, markers_of(trained))
    table.column(trained.target.name)  # without it there is nothing to measure, whatever else is wrong
    metrics = trained.evaluate(table)
    for note in (*table.notes, *columns.notes(table)):
        print(f"note: {one_line(in_flags(note, READING_OPTIONS))}", file=sys.stderr)
    if json:
        told = {"task": trained.loss.task, "target": trained.target.name, "rows": table.n_rows, "metrics": metrics}
        show.emit_json(told)
        return
    width = show.screen_width()
    about = f"{table.n_rows:,} rows, target {describe.name_text(trained.target.name)}"
    show.emit([*show.wrap(about, width), "", *describe.metrics_table({table.name: metrics}, {}, width)])
