"""fallline predict: a table's rows in their order, with the prediction and the probability of each class."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fallline.cli.flags import READING_OPTIONS, Data, ModelPath, read, reads_table
from fallline.cli.words import in_flags, one_line
from fallline.core.errors import ConfigError, ModelFileError
from fallline.data.columns import Columns
from fallline.data.table import Table, write_table
from fallline.train.model import Model, load

EXAMPLES = """
fallline predict runs/heart new.csv
fallline predict runs/heart new.csv -o predicted.csv
fallline predict runs/heart new.parquet -o predicted.parquet
"""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")

Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="a .csv, .tsv or .parquet file, also .csv.gz; "
                 "not given: CSV on standard output"),
]  # fmt: skip


Interval = Annotated[
    str | None,
    typer.Option("--interval", metavar="SHARE", help="also the ends of an interval that holds this share of the "
                 "targets, such as 0.9; of a model that --preset tabular trained on numbers"),
]  # fmt: skip


@reads_table
def predict(
    model: ModelPath,
    data: Data,
    *,
    output: Output = None,
    interval: Interval = None,
    **given: Any,
) -> None:
    written = None if output is None else Path(output)
    check_suffix(written)
    share = share_of(interval)
    if written is not None and written.exists() and Path(data).exists() and written.samefile(data):
        raise ConfigError(f"cannot write {written}: it is the table that is read; give another name")
    trained = load(model)
    columns = columns_of(trained, model)
    table = read(data, given, markers_of(trained))
    if share is not None and trained.intervals is None:
        raise ConfigError(f"--interval {interval}: {model} holds no intervals, train numbers with --preset tabular")
    new = predictions(trained, table, share)
    for note in (*table.notes, *columns.notes(table)):
        print(f"note: {one_line(in_flags(note, READING_OPTIONS))}", file=sys.stderr)
    if written is not None:
        write_table(table, written, new)
        print(f"{table.n_rows:,} rows written to {written}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_table(table, path, new)
        sys.stdout.flush()
        rest = memoryview(path.read_bytes())  # as it is: a cell may hold a line break of any kind
        while rest:  # an unbuffered stream may take a part only
            rest = rest[sys.stdout.buffer.write(rest) :]


def check_suffix(output: Path | None) -> None:
    """ConfigError for a kind of file that is not written; a name without suffix is CSV."""
    suffixes = [s.lower() for s in output.suffixes if s.lower() != ".gz"] if output is not None else []
    if suffixes and suffixes[-1] not in SUFFIXES:
        raise ConfigError(
            f"cannot write {output}: give a name that ends in {', '.join(SUFFIXES[:2])} or {SUFFIXES[-1]}"
        )


def columns_of(model: Model, path: str) -> Columns:
    """The model's columns; ModelFileError for one that was trained on arrays and reads no table."""
    if model.columns is None:
        raise ModelFileError(f"{path} was trained on arrays, not on a table: use fallline.load({path!r}).predict(X)")
    return model.columns


def markers_of(model: Model) -> list[str] | None:
    """The missing markers with which the training table was read."""
    reading = model.notes.get("reading")
    return reading.get("missing") or None if isinstance(reading, dict) else None


def predictions(model: Model, table: Table, share: float | None = None) -> dict[str, Any]:
    """ "prediction", and "p_<class>" for each class where the loss gives probabilities; several numbers are one each.

    share  of the rows that "low" and "high" are to hold, where it is given
    """
    scores = model.scores(table)
    found = _columns("prediction", model.predicted(scores), model)
    if model.classes and model.loss.probabilistic:
        probabilities = model.probabilities(scores)
        found |= {f"p_{label}": probabilities[:, i] for i, label in enumerate(model.classes)}
    if share is not None:
        ends = model.intervals_of(scores, 1 - share)
        found |= _columns("low", ends[:, 0], model) | _columns("high", ends[:, 1], model)
    return found


def _columns(name: str, values: Any, model: Model) -> dict[str, Any]:
    if values.ndim == 1:
        return {name: values}
    parts = model.classes or getattr(model.target, "names", ()) or np.atleast_1d(getattr(model.loss, "q", ()))
    return {f"{name}_{part}": values[:, i] for i, part in enumerate(parts)}


def share_of(text: str | None) -> float | None:
    """What --interval says; ConfigError for anything but a share between 0 and 1."""
    try:
        found = None if text is None else float(text)
    except ValueError:
        found = -1.0
    if found is not None and not 0 < found < 1:
        raise ConfigError(f"--interval {text}: give the share of the rows to be inside, between 0 and 1, such as 0.9")
    return found
