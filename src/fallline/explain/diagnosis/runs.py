"""Runs: the subject of a table that was trained on, with its own split of the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fallline.core.errors import FalllineError
from fallline.core.record import from_json
from fallline.data.table import Table
from fallline.explain.diagnosis.subject import SAME_LOSS, Subject, of_parts, subject_of
from fallline.explain.diagnosis.yardsticks import sample
from fallline.losses.penalties import L2
from fallline.train.history import History
from fallline.train.model import Model, mean_loss, score_rows
from fallline.train.tabular import PRIOR, Prepared, TableOptions, TableRun, prepare
from fallline.train.trainer import Fit

FEW_ROWS = 300  # of those that train, and as many of those that judge: what a look at the end of each training takes


def subject_of_run(run: TableRun) -> Subject:
    """Some of the rows that trained and that judged; the rows of the test stay out."""
    split = run.prepared.split
    rows = (sample(part, FEW_ROWS) for part in (split.train, split.validation))
    made = of_parts(run.fit, run.prepared.table, run.prepared.examples, *rows)
    return replace(made, beside=(run.metrics["train"]["loss"], run.baseline_metrics["train"]["loss"]))


def subject_of_table(model: Model, table: Table, history: History | None, result: dict[str, Any]) -> Subject:
    """A model of `fallline train` with a table, the one that it was trained on or another, and its history.

    result  what the run kept: why it ended, its options. The split of the rows is known again where the table is the
            run's own, which the validation loss tells.
    """
    if history is None or "options" not in model.notes:
        return subject_of(model, table)
    options: TableOptions = from_json(model.notes["options"])
    fit = Fit(model, history, result.get("stopped", ""), int(model.notes["best_epoch"]), result.get("ended", "epochs"))
    fit.optimizer = options.made_optimizer()
    prepared = _prepared(model, table, options)
    if prepared is None or not _is_its_own(fit, prepared):
        return subject_of(fit, table)
    strength = PRIOR / len(prepared.split.train) if options.l2 is None else options.l2
    fit.penalties = (L2(strength),) if strength else ()
    return of_parts(fit, table, prepared.examples, prepared.split.train, prepared.split.validation)


def _prepared(model: Model, table: Table, options: TableOptions) -> Prepared | None:
    try:
        return prepare(table, model.target.name, options)
    except FalllineError:  # another table, which need not suit the options
        return None


def _is_its_own(fit: Fit, prepared: Prepared) -> bool:
    """Whether the rows that would judge have the validation loss of the run."""
    row = next((row for row in fit.history if row["epoch"] == fit.best_epoch), {})
    held = prepared.examples.take(prepared.split.validation)
    loss = mean_loss(fit.model, score_rows(fit.model.network, held.x, fit.model.engine), held.y, held.w)
    return bool(np.isclose(loss, row.get("validation_loss", np.nan), rtol=SAME_LOSS))


__all__ = ["subject_of_run", "subject_of_table"]
