"""Comparison: what came of variants, side by side: as a table, as curves, as ways on one surface of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.views import VIEWS
from fallline.train.variants import Choices, Outcome, Parts, choice_text
from fallline.train.way import Way, marks_of, ways_of

DIGITS = 4
OTHER = 1e-3  # relative difference of two losses that rounding does not make
KEPT = " kept loss: of the train rows, with the weights that the method predicts with."
SHORT = {
    "parameters": "params",
    "train loss": "train",
    "validation loss": "valid.",
    "test loss": "test",
    "seconds": "s",
    "best loss": "least",
    "kept loss": "kept",
    "functions": "f",
    "gradients": "grads",
}


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Listing):
    """A printed table with one row a variant; `.frame()` holds the same, `.plot()` draws it.

    outcomes   with every Fit;  labels  what each of them is called
    judged_by  the part of the rows whose loss chooses the best: "validation", "test" or "train"
    parts      the rows; None where a function was compared
    """

    outcomes: tuple[Outcome, ...] = ()
    judged_by: str = "test"
    labels: tuple[str, ...] = ()
    parts: Parts | None = None

    @property
    def best(self) -> Outcome:
        """The variant with the least loss on the rows that choose: validation rows, without them test rows."""
        return self.outcomes[self.columns["best"].index("*")]

    @cached_property
    def ways(self) -> dict[str, tuple[Way, ...]]:
        """How each variant went down, by its label, one way a seed; those that failed at once have none."""
        rows = None if self.parts is None else self.parts.train
        found = {label: ways_of(outcome, rows) for label, outcome in zip(self.labels, self.outcomes, strict=True)}
        return {label: ways for label, ways in found.items() if ways}

    def plot(self, path: str | Path | None = None, over: str | None = None) -> Any:
        """The ways on one surface of the loss, or the loss over a clock, as a matplotlib figure.

        path  where to write the picture
        over  "passes" (through all rows), "steps" or "seconds": curves of the loss; None is the surface, where all
              variants change the same weights, and else the curves over passes
        """
        return VIEWS["comparison"](self, path, over)


def labels_of(outcomes: Sequence[Outcome], axes: Mapping[str, Any], networks: Mapping[str, Any]) -> tuple[str, ...]:
    """What each variant is called: its choices, and its number where that is not enough."""
    columns = [cells for name, cells in _choice_columns(outcomes, axes, networks).items() if name != "depth"]
    texts = [", ".join(map(str, cells)) for cells in zip(*columns, strict=True)]
    return tuple(f"{text} ({i + 1})" if texts.count(text) > 1 else text for i, text in enumerate(texts))


def side_by_side(
    outcomes: list[Outcome], parts: Parts, axes: dict[str, list[Any]], networks: Mapping[str, Any], n_seeds: int
) -> Comparison:
    """What variants have learned: the losses of the parts, and their gap."""
    judged_by = next(part for part in ("validation", "test", "train") if part in parts.present)
    judge = "test" if "test" in parts.present else judged_by
    columns = _best_column([outcome.mean(judged_by) for outcome in outcomes])
    columns |= _choice_columns(outcomes, axes, networks) | _number_columns(outcomes, judge, n_seeds)
    title = f"{len(outcomes)} variants, {parts}, {n_seeds} start{'s' * (n_seeds != 1)} each"
    found, labels = _listing(title, columns, _note(columns, judged_by, judge)), labels_of(outcomes, axes, networks)
    return Comparison(**vars(found), outcomes=tuple(outcomes), judged_by=judged_by, labels=labels, parts=parts)


def race(
    outcomes: list[Outcome], parts: Parts | None, axes: dict[str, list[Any]], n_seeds: int, over: str
) -> Comparison:
    """How variants went down from one and the same start: the loss at some places of a clock, and what it took."""
    shell = Comparison("", {}, [], outcomes=tuple(outcomes), labels=labels_of(outcomes, axes, {}), parts=parts)
    ways = [shell.ways.get(label, ()) for label in shell.labels]
    chosen_by = next((part for part in ("validation", "test") if parts and part in parts.present), "train")
    least = [_mean([way.best for way in each]) for each in ways]
    columns = _best_column(least if chosen_by == "train" else [outcome.mean(chosen_by) for outcome in outcomes])
    columns |= _choice_columns(outcomes, axes, {}) | _way_columns(ways, over, n_seeds)
    kept = ("kept",) if parts and _keep_others(outcomes, ways) else ()
    for part in (*kept, *(name for name in ("validation", "test") if parts and name in parts.present)):
        losses = [outcome.mean(part.replace("kept", "train")) for outcome in outcomes]
        columns[f"{part} loss"] = [None if np.isnan(loss) else loss for loss in losses]
    columns["seconds"] = [float(outcome.seconds.mean()) if len(outcome.seconds) else None for outcome in outcomes]
    start = "start" if n_seeds == 1 else f"{n_seeds} starts"
    batches = f" with the same batches, {parts}" if parts else ""
    first = next(each[0] for each in ways if each).losses[0]
    note = f"The loss is {number_text(float(first), DIGITS)} at the start, after n means after n {over}. * least "
    note += f"{chosen_by} loss. {_cost_text(parts, n_seeds)}{KEPT if kept else ''}{_failures(outcomes)}"
    found = _listing(f"{len(outcomes)} ways down from the same {start}{batches}", columns, note.rstrip())
    return replace(shell, **vars(found), judged_by=chosen_by)


def _keep_others(outcomes: Sequence[Outcome], ways: Sequence[Sequence[Way]]) -> bool:
    """Whether a method predicts with other weights than those that it trained last."""
    for outcome, each in zip(outcomes, ways, strict=True):
        for i, way in enumerate(each):
            loss, at = outcome.metrics["train"]["loss"][i], outcome.fits[i].best_epoch
            plain = way.path is not None and not outcome.fits[i].penalties and at < len(way.losses)
            if plain and abs(loss - way.losses[at]) > OTHER * (1 + abs(loss)):
                return True
    return False


def _listing(title: str, columns: dict[str, list[Any]], note: str) -> Listing:
    groups = [""] * len(columns["best"])
    short = {SHORT.get(name, name.removeprefix("after ")): cells for name, cells in columns.items()}
    narrow = Listing(title, short, groups, note, DIGITS - 1)
    return Listing(title, columns, groups, note, DIGITS, narrow)


def _best_column(losses: Sequence[float | None]) -> dict[str, list[Any]]:
    best = best_of(losses)
    return {"best": ["*" if i == best else "" for i in range(len(losses))]}


def _way_columns(ways: Sequence[Sequence[Way]], over: str, n_seeds: int) -> dict[str, list[Any]]:
    """The loss at round places of the clock, the least one, and what it took to get to the end."""

    def cells(cell: Callable[[Way], float | None]) -> list[Any]:
        return [_mean([cell(way) for way in each]) if each else None for each in ways]

    def counts(cell: Callable[[Way], float | None]) -> list[Any]:
        return [None if found is None else round(found) for found in cells(cell)]

    def at(mark: float) -> list[Any]:
        return cells(lambda way: way.at(mark, over))

    marks = marks_of([way for each in ways for way in each], over)
    columns = {f"after {mark:g}": at(mark) for mark in marks}
    columns["best loss"] = cells(lambda way: way.best)
    if n_seeds > 1:
        columns["±"] = [float(np.std([way.best for way in each], ddof=1)) if each else None for each in ways]
    columns["steps"] = counts(lambda way: way.steps[-1])
    columns["functions"] = counts(lambda way: way.functions[-1])
    columns["gradients"] = counts(lambda way: way.gradients[-1])
    return columns


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _cost_text(parts: Parts | None, n_seeds: int) -> str:
    """What the columns functions and gradients count."""
    counted = "functions: evaluations of the loss alone, gradients: with its gradient, and products with its Hessian"
    if parts is not None:
        counted += "; both of all rows, so an epoch of batches is one gradient"
    return counted + (". ±: standard deviation of the best loss over the starts." if n_seeds > 1 else ".")


def _failures(outcomes: Sequence[Outcome]) -> str:
    """What lost its loss, and where."""
    told = []
    for i, outcome in enumerate(outcomes):
        ended = next((fit.reason for fit in outcome.fits if fit.ended == "failed"), "")
        told += [f" Row {i + 1} has no result: {outcome.failure}."] if outcome.failure else []
        told += [f" Row {i + 1} ended early: {ended}."] if ended else []
    return "".join(told)


def best_of(losses: Sequence[float | None]) -> int:
    """The place of the least loss; one without a number only where all are."""
    known = [np.inf if loss is None or np.isnan(loss) else loss for loss in losses]
    return int(np.argmin(known))


def _choice_columns(outcomes: Sequence[Outcome], axes: Mapping[str, Any], networks: Mapping[str, Any]) -> Choices:
    """What the variants differ in."""
    names = {id(network): name for name, network in networks.items()}
    columns: dict[str, list[Any]] = {}
    for axis in axes:
        if axis == "hidden":
            columns["depth"] = [len(o.choices["hidden"]) for o in outcomes]
        told = [o.choices[axis] for o in outcomes]
        columns[axis] = [names.get(id(value)) or choice_text(value) for value in told]
    return columns


def _number_columns(outcomes: list[Outcome], judge: str, n_seeds: int) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"parameters": [o.parameters for o in outcomes]}
    for part in dict.fromkeys(("train", judge)):
        columns[f"{part} loss"] = [o.mean(part) for o in outcomes]
    if n_seeds > 1:
        columns["±"] = [float(o.metrics[judge]["loss"].std(ddof=1)) for o in outcomes]
    if judge != "train":
        columns["gap"] = [o.mean(judge) - o.mean("train") for o in outcomes]
    columns["seconds"] = [float(o.seconds.mean()) for o in outcomes]
    columns["ms/epoch"] = [1000.0 * float(o.epoch_seconds.mean()) for o in outcomes]
    return columns


def _note(columns: Mapping[str, list[Any]], judged_by: str, judge: str) -> str:
    told = [f"* least {judged_by} loss."]
    if "gap" in columns:
        told.append(f"gap: {judge} loss - train loss.")
    if "±" in columns:
        told.append(f"±: standard deviation of the {judge} loss over the starts.")
    depths = columns.get("depth", [])
    counts = np.array([n for depth, n in zip(depths, columns["parameters"], strict=False) if depth], float)
    if len(set(depths)) > 1 and len(counts):
        told.append(f"With hidden layers the parameter counts differ by {np.ptp(counts) / counts.max():.1%} at most.")
    return " ".join(told)


__all__ = ["Comparison", "best_of", "labels_of", "race", "side_by_side"]
