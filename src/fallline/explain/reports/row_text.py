"""What a row's explanation says: its sections for the terminal, and the bars, tables and drawing of the page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.tree import leaves
from fallline.data.encoders import NumberColumn
from fallline.explain.reports.report import DIGITS, Facts, Fragment, Section, array_text, layer_text, narrowing

if TYPE_CHECKING:
    from fallline.explain.reports.row import RowExplanation

MOST_INPUTS = 30  # shown in a terminal; the page has all up to its own limit
MOST_ON_PAGE = 400
MOST_SWITCHES, MOST_SWITCHES_ON_PAGE, MOST_CLASSES = 8, 25, 10
MOST_REVERSE = 40  # rows of the reverse table
MOST_OPENED = 60  # entries of an array of weights on the page
DIGITS_SHOWN = 4
AT_THE_RIGHT = ("cell x", "network reads z")  # columns of numbers and words, which stand under each other
LONGEST = 24  # characters of a cell
BAR = 24  # characters of the longest bar of a probability


def sections_of(told: RowExplanation) -> list[Section]:
    """Prediction, inputs, other categories, layers, weights, reverse mode and, on the page, the drawing."""
    goal = told.goal
    switches = Section(f"Another category: {goal.symbol} computed anew", _switches(told))
    return [
        Section("Prediction", _prediction(told)),
        Section(f"Inputs: what moves {goal.symbol} most comes first", _inputs(told)),
        *([switches] if len(told.switches) else []),
        Section("Layers: the values for this row", _layers(told)),
        Section(f"Weights: what moves {goal.symbol}", _weights(told)),
        Section(f"Backwards: the chain rule from {goal.symbol} to the inputs", _reverse(told)),
        Section("The network as a graph", [Fragment(lambda: told.drawing.body)]),
    ]


def _prediction(told: RowExplanation) -> list[Any]:
    ranked = sorted(told.probabilities.items(), key=lambda item: -item[1])[:MOST_CLASSES]
    shown = ranked if len(told.probabilities) > MOST_CLASSES else list(told.probabilities.items())
    chances = Facts((f"P({label})", f"{p:.4f}  {'█' * round(BAR * p)}") for label, p in shown)
    facts, name = Facts(), told.model.target.name or "prediction"
    if not shown:
        facts.append((name, str(told.prediction) if told.model.classes else _number(told.goal.value)))
    facts.append(("score", f"{array_text(told.scores[0])}, before the link of {type(told.model.loss).__name__}"))
    facts.append((told.goal.symbol, f"from here on {told.goal.words}"))
    if told.loss is not None:
        actual = _number(told.actual) if isinstance(told.actual, float) else str(told.actual)
        facts.append(("target", f"{actual}, so the loss is J = {_number(told.loss)}{_scaled(told)}"))
    return [Fragment(lambda: _chances(shown) + facts.html(), Facts([*chances, *facts]))]


def _scaled(told: RowExplanation) -> str:
    """How targets are scaled before the loss compares them."""
    mean, scale = (getattr(told.model.target, name, default) for name, default in (("mean", 0.0), ("scale", 1.0)))
    return "" if (mean, scale) == (0.0, 1.0) else f" between numbers scaled as (y − {mean:.5g}) / {scale:.5g}"


def _chances(shown: Sequence[tuple[Any, float]]) -> str:
    """The probability of each class with a bar."""
    rows = "".join(
        f'<dt>P({html.escape(str(label))})</dt><dd class="chance"><span>{p:.4f}</span>'
        f'<i style="width:{p:.2%}"></i></dd>'
        for label, p in shown
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _inputs(told: RowExplanation) -> list[Any]:
    return [_words(told), Fragment(lambda: _input_table(told), inputs_listing(told))]


def _words(told: RowExplanation) -> str:
    """What the columns of the table of inputs mean."""
    s, loss = told.goal.symbol, " dJ is that of the loss." if told.loss is not None else ""
    if told.model.columns is None:
        return f"d{s}/dx says how fast {s} grows with the input.{loss}"
    vector = ", of a vector the length of its gradient" if told.model.columns.cardinalities else ""
    marks = {c.features[1] for c in told.model.columns.fitted if isinstance(c, NumberColumn) and c.indicator}
    marked = marks & {i.name for i in told.inputs}
    missing = " A missing number is read as its fill and, in a row of its own, as a 1 that says so." if marked else ""
    return (
        f"d{s}/dx says how fast {s} grows per unit of the cell; a category has no such slope, nor has a missing cell. "
        f"d{s}/dz is the same per unit of what the network reads: of a number about one standard deviation{vector}."
        f"{missing}{loss}"
    )


def inputs_listing(told: RowExplanation, most: int = MOST_INPUTS) -> Listing:
    """The inputs as a table, with the partials of the prediction and, where the target is known, of the loss."""
    s, shown = told.goal.symbol, told.inputs[:most]
    if told.model.columns is None:
        columns: dict[str, list[Any]] = {
            "input": [_short(i.name) for i in shown],
            "value": [i.z for i in shown],
            f"d{s}/dx": [i.partial for i in shown],
        }
        if told.loss is not None:
            columns["dJ/dx"] = [i.loss_partial for i in shown]
    else:
        columns = {
            "column": [_short(i.name) or "(nameless)" for i in shown],
            "cell x": [_short(i.cell) for i in shown],
            "network reads z": [i.reads for i in shown],
            f"d{s}/dz": [i.partial for i in shown],
            f"d{s}/dx": [i.per_unit for i in shown],
        }
        if told.loss is not None:
            columns |= {"dJ/dz": [i.loss_partial for i in shown], "dJ/dx": [i.loss_per_unit for i in shown]}
    left = len(told.inputs) - len(shown)
    note = f"{left:,} more inputs move {s} less" if left else ""
    order = ("column", f"d{s}/dz", "input", f"d{s}/dx", "cell x", "value", "network reads z", "dJ/dz", "dJ/dx")
    listing = Listing("", columns, [""] * len(shown), note, digits=DIGITS_SHOWN)
    return narrowing(listing, *(name for name in order if name in columns))


def _switches(told: RowExplanation) -> list[Any]:
    on_page, shown = (_noted(told.switches, most) for most in (MOST_SWITCHES_ON_PAGE, MOST_SWITCHES))
    shown = narrowing(shown, "instead", "change", "column", told.goal.symbol, "now")
    return [Fragment(lambda: _signed_table(on_page, "change"), shown)]


def _noted(listing: Listing, most: int) -> Listing:
    """The first rows, and a note of how many there are besides."""
    left, narrow = len(listing) - most, listing.narrow
    note = f"{left:,} more rows" if left > 0 else listing.note
    columns = {
        n: [_short(c) if isinstance(c, str) else c for c in cells[:most]] for n, cells in listing.columns.items()
    }
    further = None if narrow is None else _noted(narrow, most)
    return replace(listing, columns=columns, groups=listing.groups[:most], note=note, narrow=further)


def _layers(told: RowExplanation) -> list[Any]:
    s, facts, rows = told.goal.symbol, Facts(), []
    for path, layer, node in told.layers:
        value, text = node.value[0], layer_text(layer)
        facts.append((path, f"{text}, {array_text(value)}"))
        rows.append((path, text, value, None if node.partial is None else told.gradient(path)[0]))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("layer", "kind", "values", f"d{s}/dvalues"))}
    table = Listing("", columns, [""] * len(rows), digits=DIGITS)
    return [Fragment(table._repr_html_, facts)] if rows else []


def _weights(told: RowExplanation) -> list[Any]:
    s = told.goal.symbol
    words = f"|w| is the length of the array, |d{s}/dw| that of its partials; the page lists the entries of each."
    order = ("array", f"|d{s}/dw|", "shape", "largest at", f"d{s}/dw", "|w|", "w there", "|dJ/dw|")
    return [words, narrowing(told.weights, *order), Fragment(lambda: _opened(told))]


def _opened(told: RowExplanation) -> str:
    """Each array of weights, which opens to its largest entries."""
    return "".join(
        f"<details><summary>{html.escape(path)}</summary>{told.open(path, MOST_OPENED)._repr_html_()}</details>"
        for path in leaves(told.model.network, "param")
    )


def _reverse(told: RowExplanation) -> list[Any]:
    return [Fragment(told.reverse._repr_html_, _noted(told.reverse, MOST_REVERSE))]


def _input_table(told: RowExplanation) -> str:
    listing = inputs_listing(told, MOST_ON_PAGE)
    name = next(n for n in listing.columns if n.startswith(f"d{told.goal.symbol}/d"))
    return _signed_table(listing, name)


def _signed_table(shown: Listing, name: str) -> str:
    """The listing as HTML with a bar for each number of one column, to the right where it is positive."""
    values = [float(v) for v in shown.columns[name]]
    largest = max(map(abs, values), default=0.0) or 1.0
    sides = {n: ' class="number"' if n in AT_THE_RIGHT else "" for n in shown.columns}
    head = "".join(f"<th{sides[n]}>{html.escape(n)}</th>{'<th></th>' * (n == name)}" for n in shown.columns)
    body = []
    for i, value in enumerate(values):
        cells = []
        for column, found in shown.columns.items():
            cells.append(f"<td{sides[column]}>{html.escape(_cell_text(found[i]))}</td>")
            if column == name:
                cells.append(f"<td>{_bar(value / largest)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    note = f"<p>{html.escape(shown.note)}</p>" if shown.note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{note}"


def _bar(share: float) -> str:
    """A bar of a length from -1 to 1, from the middle."""
    side, kind = ("left", "up") if share > 0 else ("right", "down")
    return f'<div class="bar"><i class="{kind}" style="{side}:50%;width:{50 * abs(share):.1f}%"></i></div>'


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    return number_text(value, DIGITS_SHOWN) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return number_text(value, DIGITS)


__all__ = ["inputs_listing", "sections_of"]
