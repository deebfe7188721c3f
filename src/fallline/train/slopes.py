"""Slopes of predictions with respect to the inputs, in the inputs' own units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.record import key_of
from fallline.core.tree import leaves, with_leaves
from fallline.data.columns import Columns
from fallline.data.encoders import NumberColumn
from fallline.data.table import Table
from fallline.engines.engine import COMPILED, Call, Engine, get_engine
from fallline.graph.op import as_value
from fallline.graph.program import Program
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL
from fallline.train.examples import n_rows, take_rows
from fallline.train.judging import CHUNK
from fallline.train.step import row_scores


def prediction_slopes(network: Layer, loss: Loss, x: Any, engine: str) -> np.ndarray:
    """d link(score) / d x of each row for its first array of inputs.   -> (n, d), or (n, d, k) of k predictions"""
    found, running, parts = list(leaves(network).values()), get_engine(engine), []
    for start in range(0, n_rows(x), CHUNK):
        part = take_rows(x, np.s_[start : start + CHUNK])
        made = _compiled(network, loss, part, running)(*found, *leaves(part).values())
        parts.append(made[0] if len(made) == 1 else np.stack(made, axis=-1))
    return np.concatenate(parts).astype(np.float64)


def _compiled(network: Layer, loss: Loss, x: Any, engine: Engine) -> Call:
    def slopes(weights: dict[str, Any], rows: Any) -> list[Any]:
        linked = as_value(loss.predict(row_scores(with_leaves(network, weights), rows, EVAL)))
        first = rows[0] if isinstance(rows, tuple) else rows
        each = [linked] if linked.ndim == 1 else [linked[:, k] for k in range(linked.shape[1])]
        return [pullback([out.sum()], [np.ones((), out.dtype)], [first])[0] for out in each]

    specs = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves(x).values())
    key = ("slopes", key_of(network), key_of(loss), specs, engine.key)
    return COMPILED.get(key, lambda: engine.compile(Program.of(slopes, leaves(network), x)))


def in_own_units(found: np.ndarray, columns: Columns, table: Table, names: Sequence[str]) -> np.ndarray:
    """Slopes per unit of each column in `names`, from those per unit of what the network reads.

    found  (n, d) or (n, d, k);  returns  (n, len(names)), or (…, k): NaN for categories, columns that are left out and
    missing cells, 0 where a number is held at the edge of the training range; of a date per day, all its parts together
    """
    made = np.full((len(found), len(names), *found.shape[2:]), np.nan)
    place, at = {name: i for i, name in enumerate(names)}, 0
    for column in columns.fitted:
        width = len(column.features)
        if isinstance(column, NumberColumn) and column.name in place:
            part = found[:, at : at + width]
            made[:, place[column.name]] = np.einsum("nf,nf...->n...", column.slopes(table), part)
        at += width
    return made
