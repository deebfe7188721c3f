"""Checks of the network itself: what suits its loss, what its layers do on some rows, and what its gradients are."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.explain.diagnosis.finding import Case, Check, Finding
from fallline.explain.diagnosis.layers import LayerFacts, listing
from fallline.explain.reports.report import Facts, array_text, layer_text
from fallline.nn.layer import count_parameters
from fallline.train.pair import has_weights, through, tried
from fallline.train.response import Response

SATURATED = 0.8  # of a layer's outputs; units that have learned to say yes or no come to about half
DEAD = 0.5  # of a layer's units; random weights leave some of a deep ReLU network's units inactive
VANISHED = 1e-3  # of the largest gradient of a weight, root mean square over a layer
FEWEST_LAYERS = 3  # with weights, for a gradient to have a way to go
FEWEST_ROWS = 30  # a unit that is active on one row in five is then seen with certainty
DIGITS = 4


def poor_pairing(case: Case) -> Finding | None:
    """What fit refuses or warns of, with the numbers behind it.

    Hidden sigmoids are left to the gradients, which are measured here: a network that has them may train well.
    """
    name, remark = next(((n, r) for n, r in case.remarks.items() if n != "hidden sigmoid"), ("", None))
    if remark is None:
        return None
    return Finding(name, _capital(remark.verdict), (Facts(remark.facts),), f"{_capital(remark.cure)}.")


def _capital(text: str) -> str:
    """The text as a sentence begins; a path or a name keeps its spelling."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def saturated(case: Case) -> Finding | None:
    """Hidden units of a bounded function that sit at its ends, where its slope is next to nothing."""
    rows = [
        row for row in _hidden(case) if row.saturated is not None and row.saturated > SATURATED and _is_bounded(row)
    ]
    if not rows:
        return None
    worst = max(rows, key=lambda row: row.saturated or 0.0)
    verdict = (
        f"In {worst.path} {type(worst.layer).__name__} {worst.saturated:.0%} of the outputs have a slope below 0.01: "
        "the units sit at the ends of the function and hardly learn"
    )
    cure = (
        "Scale the inputs, start with smaller weights (init='glorot'), lower the learning rate, or put BatchNorm in "
        "front of the activation."
    )
    return Finding("saturation", verdict, (_table(case, rows),), cure)


def _hidden(case: Case) -> list[LayerFacts]:
    """The layers between the first and the last weights; a step function is a finding of its own."""
    weighted = [i for i, row in enumerate(case.layers) if has_weights(row.layer)]
    between = case.layers[weighted[0] + 1 : weighted[-1]] if weighted else []
    return [row for row in between if has_weights(row.layer) or not _is_step(row)]


def _is_step(row: LayerFacts) -> bool:
    found = tried(row.layer)
    return found is not None and found.is_step


def _is_bounded(row: LayerFacts) -> bool:
    return not has_weights(row.layer) and Response.of(partial(through, [row.layer]), row.units).is_bounded


def _table(case: Case, rows: list[LayerFacts]) -> Listing:
    return listing(rows, case.subject.rows, with_gradient=False)


def dead(case: Case) -> Finding | None:
    """Units that are inactive on every row: no gradient passes them, so they stay that way.

    Of a bounded function such units are saturated, which is another finding.
    """
    if case.subject.rows < FEWEST_ROWS:
        return None
    many = [row for row in _hidden(case) if row.dead is not None and row.dead > DEAD * row.units]
    rows = [row for row in many if not _is_bounded(row)]
    if not rows:
        return None
    worst = max(rows, key=lambda row: (row.dead or 0) / row.units)
    verdict = (
        f"In {worst.path} {type(worst.layer).__name__} {worst.dead} of {worst.units} units are dead: their slope is 0 "
        "on every row, so nothing that leads to them learns"
    )
    cure = "Lower the learning rate, start anew with init='he' and biases of 0, or take LeakyReLU or ELU."
    return Finding("dead units", verdict, (_table(case, rows),), cure)


def vanishing(case: Case) -> Finding | None:
    """Gradients that get lost on the way back: those of the first weights are far smaller than those of the last."""
    rows = [row for row in case.layers if row.gradient is not None and has_weights(row.layer)]
    sizes = [float(row.gradient or 0.0) / math.sqrt(row.weights) for row in rows]
    if len(rows) < FEWEST_LAYERS or not max(sizes) > 0 or not np.isfinite(sizes).all():
        return None
    if dead(case) or saturated(case) or "step function" in case.remarks:  # causes, which are told
        return None
    share = sizes[0] / max(sizes)
    if share >= VANISHED:
        return None
    verdict = (
        f"The gradient vanishes on its way back: that of a weight of {rows[0].path} is {number_text(share, 2)} of the "
        "largest, so the first layers hardly learn"
    )
    cure = (
        "Use ReLU or Tanh in the hidden layers; or keep the activation and put BatchNorm in front of each "
        "(init='glorot', norm='batch'), or Residual around the layers."
    )
    columns: dict[str, list[Any]] = {
        "layer": [f"{row.path} {layer_text(row.layer)}".strip() for row in rows],
        "gradient": [row.gradient for row in rows],
        "of one weight": sizes,
    }
    note = "gradient: norm of dJ/dw over the layer's weights; of one weight: their root mean square."
    table = Listing("Gradients, from the first layer to the last", columns, [""] * len(rows), note, digits=DIGITS)
    return Finding("vanishing gradients", verdict, (table,), cure)


def one_linear_layer(case: Case) -> Finding | None:
    """Several layers of weights with nothing between them that bends: together they are one linear layer."""
    found = case.collapsed
    if len(case.matrices) < 2 or found is None:
        return None
    before, after = count_parameters(case.subject.network), count_parameters(found)
    verdict = (
        f"The network equals one linear layer: its {len(case.matrices)} layers of weights have no activation between "
        "them"
    )
    b = np.zeros(found.units) if found.b is None else found.b
    facts = Facts([
        ("y = x W + b, W", array_text(found.W)),
        ("b", array_text(b)),
        ("parameters", f"{number_text(before)}, of the one layer {number_text(after)}"),
    ])  # fmt: skip
    cure = "Put an activation such as ReLU() between the layers, or train the one Dense alone: it can do the same."
    return Finding("equals one linear layer", verdict, (facts,), cure)


NETWORK = (
    Check("network and loss", ("loss",), poor_pairing),
    Check("equals one linear layer", (), one_linear_layer),
    Check("dead units", ("rows",), dead),
    Check("vanishing gradients", ("targets",), vanishing),
    Check("saturation", ("rows",), saturated),
)

__all__ = ["NETWORK"]
