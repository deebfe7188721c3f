"""fallline train: from a table to a run folder, with everything that was decided on the way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fallline.cli import describe, show
from fallline.cli.flags import Data, Delimiter, Encoding, Header, Json, Missing, Target, from_flags, read, with_flags
from fallline.cli.result import Folder, json_text, result_of
from fallline.cli.words import in_flags
from fallline.data.table import Table
from fallline.train.events import Ended, Event, Started
from fallline.train.progress import Progress
from fallline.train.tabular import Prepared, TableOptions, TableRun, prepare

EXAMPLES = """
fallline train breast-cancer
fallline train heart.csv --target AHD
fallline train prices.parquet --target -1 --hidden 128,64 --activation gelu
fallline train rings.csv --loss poisson --schedule "cosine(0.01)" --epochs 300
fallline train heart.csv --target AHD --json > result.json
"""
NAMES = ("delimiter", "header", "encoding", "missing", *describe.field_names(TableOptions))
LONG = 5.0  # seconds of training after which a word says that the baseline comes next


@with_flags(TableOptions)
def train(
    data: Data,
    *,
    target: Target = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="the run's folder; not given: runs/ and the table's name"),
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
    delimiter: Delimiter = None,
    header: Header = None,
    encoding: Encoding = None,
    missing: Missing = None,
    **fields: str | None,
) -> None: ...
