"""Checks of the network itself: what suits its loss, what its layers do on some rows, and what its gradients are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import leaves
from fallline.explain.diagnosis.case import Case, is_bounded
from fallline.explain.diagnosis.finding import Finding
from fallline.explain.diagnosis.layers import LayerFacts, listing
from fallline.explain.diagnosis.shares import DOMINATES, FEWEST_INPUTS, input_shares
from fallline.explain.reports.report import Facts, array_text, layer_text
from fallline.nn.layer import count_parameters
from fallline.train.pair import has_weights

SATURATED = 0.8  # of a layer's outputs; units that have learned to say yes or no come to about half
DEAD = 0.5  # of a layer's units; random weights leave some of a deep ReLU network's units inactive
VANISHED = 1e-3  # of the largest gradient of a weight, root mean square over a layer
VANISHED_AND_FAILED = 3e-2  # the same, of a network that has not learned what a linear model tells
EXPLODED = 1e3  # times, backwards from the last layer to the first
GROWN = 100.0  # times, from the first hidden layer to the last, to that size at least
IDENTICAL = 0.5  # of the units are different ones, where they are copies
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
    return Finding(name, _capital(remark.verdict), "output and loss", (Facts(remark.facts),),
                   "the end of the network and the loss do not belong together", _capital(remark.cure))  # fmt: skip


def _capital(text: str) -> str:
    """The text as a sentence begins; a path or a name keeps its spelling."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def saturated(case: Case) -> Finding | None:
    """Hidden units of a bounded function that sit at its ends, where its slope is next to nothing."""
    rows = [row for row in case.hidden if row.saturated is not None and row.saturated > SATURATED and is_bounded(row)]
    if not rows:
        return None
    worst = max(rows, key=lambda row: row.saturated or 0.0)
    verdict = (
        f"In {worst.path} {type(worst.layer).__name__} {worst.saturated:.0%} of the outputs have a slope below 0.01: "
        "the units sit at the ends of the function and hardly learn"
    )
    cure = (
        "Scale the inputs, start with smaller weights (init='glorot'), lower the learning rate, or put BatchNorm in "
        "front of the activation"
    )
    cause = "weights, or inputs, that are too large: the sums in front of the function lie far from 0"
    return Finding("saturation", verdict, worst.path, (_table(case, rows),), cause, cure)


def _table(case: Case, rows: list[LayerFacts]) -> Listing:
    return listing(rows, case.subject.rows, with_gradient=False)


def dead(case: Case) -> Finding | None:
    """Units that are inactive on every row: no gradient passes them, so they stay that way.

    Of a bounded function such units are saturated, which is another finding.
    """
    if case.subject.rows < FEWEST_ROWS:
        return None
    many = [row for row in case.hidden if row.dead is not None and row.dead > DEAD * row.units]
    rows = [row for row in many if not is_bounded(row)]
    if not rows:
        return None
    worst = max(rows, key=lambda row: (row.dead or 0) / row.units)
    verdict = (
        f"In {worst.path} {type(worst.layer).__name__} {worst.dead} of {worst.units} units are dead: their slope is 0 "
        "on every row, so nothing that leads to them learns"
    )
    cure = "Lower the learning rate, start anew with init='he' and biases of 0, or take LeakyReLU or ELU"
    cause = "biases that are far below 0, from the start or from a step that was too long"
    return Finding("dead units", verdict, worst.path, (_table(case, rows),), cause, cure)


def vanishing(case: Case) -> Finding | None:
    """Gradients that get lost on the way back: those of the first weights are far smaller than those of the last."""
    rows, sizes = _gradients(case)
    if len(rows) < FEWEST_LAYERS or not max(sizes[:-1]) > 0 or not np.isfinite(sizes).all():
        return None
    share = sizes[0] / max(sizes[:-1])  # the last layer's is as large as the error, however small its weights begin
    if share >= (VANISHED_AND_FAILED if case.suffers else VANISHED):
        return None
    verdict = (
        f"The gradient vanishes on its way back: that of a weight of {rows[0].path} is {number_text(share, 2)} of the "
        "largest hidden one, so the first layers hardly learn"
    )
    cure = (
        "Use ReLU or Tanh in the hidden layers; or keep the activation and put BatchNorm in front of each "
        "(init='glorot', norm='batch'), or Residual around the layers"
    )
    cause = "each layer passes on only a part of the gradient, and there are many layers"
    return Finding("vanishing gradients", verdict, rows[0].path, (_gradient_table(rows, sizes),), cause, cure)


def _gradients(case: Case) -> tuple[list[LayerFacts], list[float]]:
    """The layers with weights, and the root mean square of each one's gradient."""
    rows = [row for row in case.layers if row.gradient is not None and has_weights(row.layer)]
    return rows, [float(row.gradient or 0.0) / math.sqrt(row.weights) for row in rows]


def _gradient_table(rows: list[LayerFacts], sizes: list[float]) -> Listing:
    columns: dict[str, list[Any]] = {
        "layer": [f"{row.path} {layer_text(row.layer)}".strip() for row in rows],
        "spread": [row.spread for row in rows],
        "gradient": [row.gradient for row in rows],
        "of one weight": sizes,
    }
    note = "spread: of the layer's outputs; gradient: norm of dJ/dw over its weights; of one weight: root mean square."
    return Listing("Gradients, from the first layer to the last", columns, [""] * len(rows), note, digits=DIGITS)


def exploding(case: Case) -> Finding | None:
    """Numbers that grow from layer to layer, forwards or backwards."""
    rows, sizes = _gradients(case)
    if not rows:
        rows = [row for row in case.layers if has_weights(row.layer)]
        sizes = [math.nan] * len(rows)
    if len(rows) < FEWEST_LAYERS:
        return None
    first, last = rows[0].spread, rows[-2].spread  # the last layer gives what the target asks for
    growth = last / first if first > 0 else math.inf
    grown = growth > GROWN and last > GROWN and (case.suffers or not case.subject.is_trained or _began_far(case))
    back = sizes[0] / min(sizes) if min(sizes) > 0 else 0.0
    if not grown and not back > EXPLODED:
        return None
    verdict = f"Numbers explode from layer to layer: the outputs' spread grows by a factor of {number_text(growth, 2)}"
    if not grown:
        verdict = f"The gradient explodes on its way back: the first layer's is {number_text(back, 2)} of the smallest"
    cause = "weights that start too large: each layer multiplies what it is given"
    cure = "Start with weights that suit the activation (init='he' for ReLU, 'glorot' for Tanh), or put in BatchNorm"
    return Finding("exploding gradients", verdict, rows[-1].path, (_gradient_table(rows, sizes),), cause, cure)


def _began_far(case: Case) -> bool:
    """Whether the untrained network's loss was a thousand times what it came to, or a hundred, of classes, where one
    that says nothing of them begins with less than five.
    """
    history, loss = case.subject.history, case.subject.loss
    if history is None or loss is None or "history" not in case.has:
        return False
    losses = history["train_loss"]
    return bool(losses[0] > EXPLODED * abs(losses[-1]) or (loss.task == "classification" and losses[0] > GROWN))


def identical(case: Case) -> Finding | None:
    """Hidden units that are copies of each other: they get the same gradient and stay the same for ever."""
    found = leaves(case.subject.network, "param")
    for path in case.matrices[:-1]:
        W = found[path]
        b = found.get(path.removesuffix("W") + "b") if path.endswith("W") else None
        if W.ndim != 2 or W.shape[1] < 2:
            continue
        units = W if b is None or b.shape != W.shape[1:] else np.vstack([W, b])
        rounded = np.round(units / max(float(np.abs(units).max()), 1e-30), 6) + 0.0  # no -0.0
        different = len({column.tobytes() for column in rounded.T})  # np.unique imports numpy.ma
        if different > max(1, IDENTICAL * W.shape[1]):
            continue
        place = path.rpartition(".")[0] or "the network"
        return Finding(
            "identical units",
            f"Of the {W.shape[1]} units of {place} only {different} differ: the others are copies",
            place,
            (Facts([("units", str(W.shape[1])), ("different ones", str(different))]),),
            "the weights all started with the same number, so all units get the same gradient",
            "Start with random weights: leave out init='zeros' or 'constant' (init='he', 'glorot')",
        )
    return None


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
    cause = "a linear function of a linear function is linear"
    cure = "Put an activation such as ReLU() between the layers, or train the one Dense alone: it can do the same"
    return Finding("equals one linear layer", verdict, "network", (facts,), cause, cure)


def dominating(case: Case) -> Finding | None:
    """One input that holds more than nine tenths of the norm of the first weights."""
    shares = input_shares(case.subject) if case.subject.is_trained else {}
    if len(shares) < FEWEST_INPUTS:
        return None
    name, share = max(shares.items(), key=lambda pair: pair[1])
    if not share > DOMINATES:
        return None
    second = sorted(shares.values())[-2]
    facts = Facts([(f"{name}", f"{share:.1%} of the norm of the weights"), ("the next input", f"{second:.1%}")])
    return Finding(
        "one input dominates",
        f"{name} holds {share:.1%} of the norm of the first weights: the network goes by one input",
        name,
        (facts,),
        "the other inputs tell little beside it, or they were not given a chance",
        "Penalise the weights, so that large ones must be worth it; look whether the input is a leak",
        {"l2": _stronger(case)},
    )


def _stronger(case: Case) -> str:
    penalties = () if case.subject.fit is None else case.subject.fit.penalties
    return f"{10 * sum(getattr(p, 'strength', 0.0) for p in penalties) or 0.01:g}"


__all__ = ["dead", "dominating", "exploding", "identical", "one_linear_layer", "poor_pairing", "saturated", "vanishing"]
