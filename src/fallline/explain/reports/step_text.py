"""What a step's explanation says: the six headings of gradient descent with the numbers below them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fallline.core.facts import facts_of
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import leaves, records_in
from fallline.explain.reports.report import DIGITS, Facts, Section, array_text, layer_text, narrowing
from fallline.nn.dropout import Dropout
from fallline.optim.sgd import SGD

if TYPE_CHECKING:
    from fallline.explain.reports.step import OneStep, StepExplanation

HEADINGS = ("Forward", "Cost", "Gradients", "Update", "New cost", "Repeat")
MOST_ROWS = 16  # of the table of updates
MOST_RULES = 2  # W and b of one layer; of more arrays the rule is told once
LARGE_SHARE = 0.5  # of the predicted change: beyond it the step is no small one


def sections_of(told: StepExplanation) -> list[Section]:
    """Where the step starts, then the six headings."""
    one = told.steps[0]
    parts = (_forward(told, one), _cost(told, one), _gradients(one), _update(told, one), _new_cost(told, one))
    numbered = [f"{i}. {heading}" for i, heading in enumerate(HEADINGS, 1)]
    return [
        Section("Initialise", _initialise(told, one)),
        *(Section(heading, part) for heading, part in zip(numbered, (*parts, _repeat(told)), strict=True)),
    ]


def _initialise(told: StepExplanation, one: OneStep) -> list[Any]:
    rows = len(told.y)
    count = sum(w.size for w in one.before.values())
    origin = f"drawn at random, seed {told.seed}" if told.drawn else "as the network has them"
    about = Facts([
        ("network", layer_text(told.start.network)),
        ("batch", f"{rows} row{'s' * (rows != 1)}, {told.start.dtype.name}"),
        ("loss", f"{told.start.loss!r}: {_formula(told.start.loss)}"),
        *(("penalty", f"{p!r}: {_formula(p)}") for p in told.penalties),
        ("optimizer", f"{told.optimizer!r}: {_formula(told.optimizer)}"),
        ("parameters", f"{count:,} in {len(one.before)} array{'s' * (len(one.before) != 1)}, {origin}"),
    ])  # fmt: skip
    return [about, Facts((path, array_text(w)) for path, w in one.before.items())]


def _forward(told: StepExplanation, one: OneStep) -> list[Any]:
    found = leaves(told.x)
    inputs = [(f"input {path}".rstrip(), array_text(x)) for path, x in found.items()]
    layers = [
        (_named(one, i), f"{layer_text(each.layer)}, {array_text(each.value)}") for i, each in enumerate(one.layers)
    ]
    score = [] if _ends_with_score(one) else [("score", array_text(one.score))]
    facts = Facts([*inputs, *layers, *score, _prediction(told, one), ("target", array_text(told.y))])
    remarks = []
    if any(isinstance(part, Dropout) and part.rate for _, part in records_in(told.start.network)):
        remarks.append(f"Dropout is on, as in training: what it drops follows from seed {told.seed} and the step.")
    old, new = leaves(told.start.network, "buffer"), leaves(told.model.network, "buffer")
    if any(not np.array_equal(old[path], new[path]) for path in old):
        remarks.append("Normalisation uses the batch's own mean and spread, as in training.")
    return ["Each layer reads what the one before it gave.", *remarks, facts]


def _prediction(told: StepExplanation, one: OneStep) -> tuple[str, str]:
    model = told.start
    if model.classes and model.loss.probabilistic:
        linked = np.asarray(model.loss.predict(one.score))
        names = ", ".join(map(str, model.classes))
        label = f"P({model.classes[1]})" if linked.ndim == 1 else f"P({names})"
        return label, array_text(linked)
    if model.classes:
        return "decides for", ", ".join(map(str, model.predicted(one.score)[:12]))
    return "prediction", array_text(model.predicted(one.score))


def _cost(told: StepExplanation, one: OneStep) -> list[Any]:
    facts = Facts([("loss of each row", array_text(one.losses)), ("mean loss", _number(one.mean))])
    for penalty, value in zip(told.penalties, one.penalties, strict=True):
        facts.append((f"penalty {type(penalty).__name__}", _number(value)))
    whole = " + ".join(_number(v) for v in (one.mean, *one.penalties))
    facts.append(("cost J", _number(one.cost) if not one.penalties else f"{whole} = {_number(one.cost)}"))
    return [facts]


def _named(one: OneStep, i: int) -> str:
    """The name of a layer's output: its path, and that it is the score where it is."""
    path = one.layers[i].path
    if i < len(one.layers) - 1 or not _ends_with_score(one):
        return path or "output"
    return f"{path} = score" if path else "score"


def _ends_with_score(one: OneStep) -> bool:
    """Whether the last layer's output is the score, but for its shape."""
    return bool(one.layers) and np.array_equal(one.layers[-1].value.ravel(), one.score.ravel(), equal_nan=True)


def _gradients(one: OneStep) -> list[Any]:
    """From J back: at each layer dJ/d(its output), and below it the gradients of the layer's parameters."""
    facts, left = Facts([("dJ/dscore", array_text(one.score_partial))]), dict(one.gradients)
    for i, layer in reversed(list(enumerate(one.layers))):
        if i < len(one.layers) - 1 or not _ends_with_score(one):
            facts.append((f"dJ/d{layer.path or 'output'}", array_text(layer.partial)))
        own = [path for path in left if not layer.path or path.startswith(f"{layer.path}.")]
        facts += [(_gradient_name(path), array_text(left.pop(path))) for path in own]
    facts += [(_gradient_name(path), array_text(g)) for path, g in left.items()]
    facts.append(("|gradient|", f"{_number(one.norm)}, the length of all parameters' gradients together"))
    words = "The chain rule runs from J back: layer by layer dJ/d(output), and from it dJ/d(parameter)."
    return [words, facts, "Every product of it: step.trace.table()"]


def _update(told: StepExplanation, one: OneStep) -> list[Any]:
    rate = _number(one.rate)
    if isinstance(told.optimizer, SGD):
        rules, n = [f"{w} = {w} - learning_rate * d{w}" for w in one.before], len(one.before)
        told_once = f"W = W - learning_rate * dW for each of the {n} arrays, learning_rate = {rate}"
        words = [f"{',  '.join(rules)}   with learning_rate = {rate}" if 0 < n <= MOST_RULES else told_once]
    else:
        rule = _formula(told.optimizer).partition(": ")[0]
        words = [rule, f"lr = {rate}, g = dJ/dw, step number t = {one.number}"]
    table = updates(one)
    return [*words, *([_literal(one)] if isinstance(told.optimizer, SGD) and one.before else []), table]


def _literal(one: OneStep) -> str:
    """The update of the entry that changes most, with its numbers."""
    path, at = max(_entries(one.changes), key=lambda e: abs(float(one.changes[e[0]][e[1]])))
    old, g, new = (float(arrays[path][at]) for arrays in (one.before, one.gradients, one.after))
    return f"{_entry_name(path, at)} = {_number(old)} - {_number(one.rate)} * {_bracketed(g)} = {_number(new)}"


def updates(one: OneStep) -> Listing:
    """Parameter by parameter: old value, gradient, change, new value, and what the optimizer remembers of it."""
    total = sum(w.size for w in one.before.values())
    each = total if total <= MOST_ROWS else max(1, MOST_ROWS // len(one.before))
    shown: list[tuple[str, tuple[int, ...]]] = []
    for path, change in one.changes.items():
        listed = _entries({path: change})
        if len(listed) > each:
            listed = sorted(listed, key=lambda e: -abs(float(change[e[1]])))[:each]
        shown += listed
    columns: dict[str, list[Any]] = {"parameter": [_entry_name(path, at) for path, at in shown]}
    parts = {"old value": one.before, "gradient": one.gradients, "change": one.changes, "new value": one.after}
    for name, arrays in parts.items():
        columns[name] = [arrays[path][at] for path, at in shown]
    for slot in dict.fromkeys(name.partition(":")[0] for name in one.slots):
        kept = [(one.slots.get(f"{slot}:{path}"), one.before[path], at) for path, at in shown]
        columns[slot] = [s[at] if s is not None and s.shape == w.shape else None for s, w, at in kept]
    note = f"{len(shown)} of {total:,} parameters: of each array those that change most." if len(shown) < total else ""
    listing = Listing("", columns, [""] * len(shown), note, digits=DIGITS)
    return narrowing(listing, "parameter", "new value", "old value", "gradient", *columns)


def _new_cost(told: StepExplanation, one: OneStep) -> list[Any]:
    share = f" ({100 * abs(one.change / one.cost):.3g} %)" if one.cost and math.isfinite(one.change) else ""
    verb = "fell" if one.change < 0 else "rose" if one.change > 0 else "changed"
    first = "Σ gradient · change"
    if isinstance(told.optimizer, SGD):
        first = "-learning_rate · |gradient|²"
    facts = Facts([
        ("J before", _number(one.cost)),
        ("J after", _number(one.new_cost)),
        (f"it {verb} by", f"{_number(abs(one.change))}{share}"),
        ("predicted", f"{_number(one.predicted)} = {first}, the first-order prediction"),
    ])  # fmt: skip
    return ["The same rows once more, with the new parameters.", facts, *_remark(told, one)]


def _remark(told: StepExplanation, one: OneStep) -> list[str]:
    """How far the prediction of first order holds, and for gradient descent which rates would still go down."""
    if not (math.isfinite(one.new_cost) and math.isfinite(one.cost)):
        return ["The cost is not finite: the step was too long, or the batch or the weights hold a value that is not."]
    if not one.predicted and one.norm:
        return ["Nothing moved: the learning rate is 0, or so small that the weights' digits do not show it."]
    if not one.predicted:
        return ["The gradient is 0: a minimum, a maximum or a flat place, which gradient descent does not leave."]
    beyond = one.change - one.predicted
    if abs(beyond) <= LARGE_SHARE * abs(one.predicted):
        return []
    words = f"The step is too long for the prediction to hold: curvature adds {_number(beyond)}."
    if isinstance(told.optimizer, SGD) and beyond > 0:  # J(rate) = J - rate g² + rate²/2 · c g², so it falls below 2/c
        limit = one.rate * abs(one.predicted) / beyond
        words += f" Were the cost a parabola along this line, rates below {limit:.2g} would lower it."
    return [words]


def _repeat(told: StepExplanation) -> list[Any]:
    last = told.steps[-1].number
    words = (
        f"Step {last + 1} starts from the new parameters: forward, cost, gradients, update; and so on, until n steps "
        "are done, the gradient is 0, or the loss of rows that are not trained on no longer falls. "
        "fl.fit repeats it batch by batch."
    )
    more = f"To go on: fl.explain_step(step.model, batch), or steps={max(10, 2 * last)}."
    return [*([costs(told)] if last > 1 else []), words, more]


def costs(told: StepExplanation) -> Listing:
    """Step by step: the cost, the length of the gradient, the predicted and the real change, the new cost."""
    steps = told.steps
    columns: dict[str, list[Any]] = {
        "step": [s.number for s in steps],
        "cost": [s.cost for s in steps],
        "new cost": [s.new_cost for s in steps],
        "change": [s.change for s in steps],
        "predicted": [s.predicted for s in steps],
        "|gradient|": [s.norm for s in steps],
        "learning_rate": [s.rate for s in steps],
    }
    return narrowing(Listing("", columns, [""] * len(steps), digits=DIGITS), *columns)


def _entries(arrays: dict[str, np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    return [(path, at) for path, array in arrays.items() for at in np.ndindex(array.shape)]


def _entry_name(path: str, at: tuple[int, ...]) -> str:
    return f"{path}[{', '.join(map(str, at))}]" if at else path


def _gradient_name(path: str) -> str:
    """dW for the W of a network of one layer; dJ/dlayers.0.W inside a larger one."""
    return f"dJ/d{path}" if "." in path else f"d{path} = dJ/d{path}"


def _formula(thing: Any) -> str:
    return facts_of(type(thing)).get("formula", "").partition(". ")[0].rstrip(".")


def _number(value: float) -> str:
    return number_text(value, DIGITS)


def _bracketed(value: float) -> str:
    return f"({_number(value)})" if value < 0 else _number(value)


__all__ = ["HEADINGS", "costs", "sections_of", "updates"]
