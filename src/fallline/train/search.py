"""search: which choices give the best network, found by trying them on rows that none of them is trained on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError, FalllineError
from fallline.core.listing import Listing
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.core.views import VIEWS
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer
from fallline.train.fit import choose_target, fit
from fallline.train.metrics import CLASS_METRICS, NUMBER_METRICS, column_name, higher_is_better
from fallline.train.space import Range, chosen, ranges_of
from fallline.train.trainer import Fit
from fallline.train.trials import Budget, Notebook, Trial, digest_of, draw, rungs
from fallline.train.variants import (
    Choices,
    Outcome,
    Parts,
    as_pair,
    check_choices,
    choice_text,
    class_codes_of,
    fit_choices,
    run_variant,
)

EPOCHS = inspect.signature(fit).parameters["epochs"].default
DIGITS = 4


@dataclass(frozen=True, eq=False, repr=False)
class Search(Listing):
    """A printed table of the trials, the best first; `.plot()` draws them.

    outcomes  the trials in that order, those read from a folder without their fits
    best      the first of them, what was varied is in best.choices
    values    what each was made of: path of a range -> value;  ranges  path -> the range
    metric    that ranks them, on the validation rows
    fit       the network with the best choices, trained on all rows for as many epochs as were best in the trial
    """

    outcomes: tuple[Outcome, ...] = ()
    values: tuple[Choices, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    metric: str = "loss"
    fit: Any = None

    @property
    def best(self) -> Outcome:
        return self.outcomes[0]

    def scores(self) -> np.ndarray:
        """(trials,) the metric in the mean over the folds, NaN of a trial that failed."""
        return np.array([outcome.mean("validation", self.metric) for outcome in self.outcomes])

    def plot(self, path: str | Path | None = None) -> Any:
        """One line a trial through all ranges to its result, as a matplotlib figure; written where a path is given."""
        return VIEWS["search"](self, path)


def search(
    *given: Any,
    space: Mapping[str, Any] | None = None,
    trials: int | None = None,
    folds: int | None = None,
    validation: float = 0.2,
    by: str | None = None,
    halving: int | None = None,
    total_epochs: int | None = None,
    seconds: float | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    **choices: Any,
) -> Search:
    """Tries networks and ranks them by rows that they did not learn from; then trains the best on all rows.

        fl.search((X, y), hidden=[(3,), (3, 3)], activation=["relu", "tanh"], learning_rate=[0.001, 0.01], epochs=50)
        fl.search((X, y), optimizer=fl.Adam(fl.LogUniform(1e-4, 0.1)), l2=fl.LogUniform(1e-5, 0.1), halving=3, folds=5)
        fl.search(fl.Sequential(fl.Dense(fl.IntUniform(8, 128)), fl.ReLU(), fl.Dense(1)), (X, y), trials=30)

    given           (X, y), in front of it a network;  space  choices in a dict, which may stand behind (X, y) too
    choices         keywords of `mlp` and `fit`, and learning_rate. A list holds the values to try; a range (Choice,
                    IntUniform, FloatUniform, LogUniform) may stand for a value, or in any field of a record; anything
                    else holds for every trial
    trials          of a grid of lists at most so many, drawn at random by the seed; needed beyond 200. Of ranges of
                    numbers so many random values, 50 where nothing is said
    folds           k: each trial is trained k times, and judged on the k-th part that it did not see; without it once,
                    and judged on the share `validation` of the rows (of classes: with the same share of each). These
                    rows choose the best epoch too, so what they say of the best trial is a little too good
    by              "loss", or a metric ("accuracy", "auc", "rmse" …); where losses are searched "accuracy" or "rmse",
                    as values of different losses cannot be compared
    halving         η: successive halving. All trials are trained for few epochs, the best 1/η of them, from their
                    start, for η times as many, and so on until `epochs`: a schedule always sees its own end
    total_epochs, seconds  end the search when they are spent, after the trial that spends them
    folder          where finished trials are written, one file each; a search that was killed goes on from there, with
                    the same result
    raises          ConfigError; a trial that fails stands last, with its reason
    source          why to draw at random: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization";
                    halving: Jamieson & Talwalkar 2016 (arXiv:1502.07943)
    """
    data, choices = _subject(given, {**(space or {}), **choices})
    check_choices(choices)
    if "validation" in choices:
        raise ConfigError(
            f"space holds validation={choices['validation']!r}: which rows judge is the same for all trials, give the "
            "share as a keyword of search"
        )
    ranges = ranges_of(choices)
    if not ranges:
        raise ConfigError("space has nothing to search: give a list of values, as in hidden=[(3,), (3, 3)], or a range")
    choices = {"strict": False, "seed": seed, "epochs": EPOCHS} | choices
    loss = _first_loss(ranges, choices)
    metric, parts = _metric(data, ranges, loss, by), _parts(data, folds, validation, seed, loss)
    notebook = Notebook(folder, _about(parts, ranges, choices) if folder else {})
    run = _Running(choices, parts, metric, notebook, Budget(total_epochs, seconds))
    found = run.all(draw(ranges, trials, seed), halving)
    best = found[0][1]
    if best.failure:
        raise ConfigError(f"all {len(found)} trials failed, the first with: {run.first_failure}")
    return _listed(found, parts, metric, ranges, halving, _refit(data, best))


def _subject(given: Sequence[Any], choices: Choices) -> tuple[Any, Choices]:
    """(data, all choices) of  data  |  data, choices  |  network, data  |  network, data, choices."""
    rest = list(given)
    first: Choices = {}
    if rest and isinstance(rest[0], Layer):
        first = {"network": rest.pop(0)}
    more = dict(rest.pop()) if len(rest) == 2 and isinstance(rest[1], Mapping) else {}
    if len(rest) != 1:
        raise ConfigError("search takes (X, y), a network in front of it, a dict with choices behind it")
    return rest[0], {**first, **more, **choices}


def _about(parts: Sequence[Parts], ranges: Mapping[str, Range], choices: Choices) -> Choices:
    """What the trials in one folder have in common."""
    return {
        "rows": [digest_of(part) for part in parts], "ranges": sorted(ranges),
        "fixed": {n: v for n, v in choices.items() if n not in ranges and n not in ("epochs", "callbacks", "progress")},
    }  # fmt: skip


@dataclass
class _Running:
    """The trials of a search as they are trained, remembered and ranked."""

    choices: Choices
    parts: list[Parts]
    metric: str
    notebook: Notebook
    budget: Budget
    first_failure: str = ""

    def all(self, drawn: list[Choices], halving: int | None) -> list[tuple[Trial, Outcome]]:
        """Every trial with what came of it, the best first; those that got farther in a halving come before others."""
        if halving is not None and isinstance(self.choices["epochs"], (list, Range)):
            raise ConfigError("halving sets the epochs itself: give one number of epochs, that of the last round")
        done: dict[int, tuple[Trial, Outcome]] = {}
        alive = list(range(len(drawn)))
        epochs = self.choices["epochs"] if halving is not None else None
        for count, length in rungs(len(drawn), epochs or 1, halving):
            alive = alive[:count]
            tried: list[int] = []
            for i in alive:
                if done and self.budget.is_spent:
                    break
                done[i] = self._one(Trial(drawn[i], length if halving is not None else drawn[i].get("epochs", 0)))
                tried.append(i)
            if len(tried) < len(alive):
                break
            alive = sorted(alive, key=lambda i: _rank(done[i][1], self.metric))
        return sorted(
            done.values(), key=lambda each: (-each[0].epochs * (halving is not None), *_rank(each[1], self.metric))
        )

    def _one(self, trial: Trial) -> tuple[Trial, Outcome]:
        made = chosen(self.choices, trial.values) | ({"epochs": trial.epochs} if trial.epochs else {})
        outcome = self.notebook.recall(trial, made)
        if outcome is None:
            outcome = _trial(self.parts, made, self.metric)
            if any(fit.ended == "interrupted" for fit in outcome.fits):
                raise KeyboardInterrupt
            self.notebook.note(trial, outcome)
        self.budget.spent += sum(outcome.counts.epochs)
        self.first_failure = self.first_failure or outcome.failure
        return trial, outcome


def _metric(data: Any, ranges: Mapping[str, Range], loss: Loss | None, by: str | None) -> str:
    """The metric that ranks, in the spelling of `evaluate`."""
    target, _ = choose_target(as_pair(data)[1], loss)
    if by is None:
        return "loss" if "loss" not in ranges else "accuracy" if target.classes else "rmse"
    known = ("loss", *(CLASS_METRICS if target.classes else NUMBER_METRICS))
    if column_name(by) not in known:
        raise ConfigError(f"by={by!r}: {nearest(by, known)}")
    return column_name(by)


def _first_loss(ranges: Mapping[str, Range], choices: Choices) -> Loss | None:
    """The loss whose task the targets are for."""
    loss = ranges["loss"].at(0.0) if "loss" in ranges else choices.get("loss")
    return None if loss is None else as_record(loss, Loss)


def _parts(data: Any, folds: int | None, validation: float, seed: int, loss: Loss | None = None) -> list[Parts]:
    """One split, or one a fold."""
    if folds is None:
        if not validation:
            raise ConfigError(f"validation={validation!r} leaves no rows to judge by: give a share above 0, or folds=5")
        return [Parts.of(data, validation, 0.0, seed, loss)]
    x, y = as_pair(data)
    if isinstance(folds, bool) or not isinstance(folds, int) or not 2 <= folds <= len(y):
        raise DataError(f"folds={folds!r} of {len(y)} rows: give a whole number from 2 to the number of rows")
    order = np.random.default_rng(seed).permutation(len(y))
    codes = class_codes_of(y, loss)
    if codes is not None:  # classes are dealt out one after the other, so that every fold has its share of each
        order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % folds
    return [Parts((x[fold != k], y[fold != k]), (x[fold == k], y[fold == k])) for k in range(folds)]


def _trial(parts: list[Parts], choices: Choices, metric: str) -> Outcome:
    """One trial over all folds; the reason in place of numbers where it cannot be trained or judged."""
    try:
        runs = [run_variant(part, choices, [choices["seed"]]) for part in parts]
    except FalllineError as error:
        return Outcome(choices, failure=str(error))
    if metric not in runs[0].metrics["validation"]:
        return Outcome(choices, failure=f"{choices.get('loss')} has no {metric}")
    joined = {
        part: {name: np.concatenate([run.metrics[part][name] for run in runs]) for name in runs[0].metrics[part]}
        for part in ("train", "validation")
    }
    return Outcome(
        choices,
        tuple(fit for run in runs for fit in run.fits),
        joined,
        np.concatenate([run.seconds for run in runs]),
        np.concatenate([run.epoch_seconds for run in runs]),
        clocks=tuple(clock for run in runs for clock in run.clocks),
    )


def _rank(outcome: Outcome, metric: str) -> tuple[bool, float]:
    """Trials that failed come last, in the order in which they were tried."""
    value = outcome.mean("validation", metric)
    return bool(outcome.failure) or math.isnan(value), 0.0 if math.isnan(value) else value * _sign(metric)


def _sign(metric: str) -> int:
    return -1 if higher_is_better(metric) else 1


def _refit(data: Any, best: Outcome) -> Fit:
    """The best choices on all rows. No rows are left that could tell when to stop, so the trial's best epoch does."""
    epochs = round(float(np.mean(best.counts.best_epochs)))
    return fit_choices(data, best.choices, validation=None, early_stopping=None, epochs=max(1, epochs))


def _listed(
    found: list[tuple[Trial, Outcome]], parts: list[Parts], metric: str, ranges: Mapping[str, Range],
    halving: int | None, fit: Fit,
) -> Search:  # fmt: skip
    ranked, values = [outcome for _, outcome in found], tuple(trial.values for trial, _ in found)
    columns: dict[str, list[Any]] = {"rank": [i + 1 for i in range(len(ranked))]}
    columns |= {path: [_cell(each[path]) for each in values] for path in ranges}
    if halving is not None:
        columns["epochs"] = [trial.epochs for trial, _ in found]
    columns["parameters"] = [o.parameters for o in ranked]
    for part in ("train", "validation"):
        columns[f"{part} {metric}"] = [None if o.failure else o.mean(part, metric) for o in ranked]
    if len(parts) > 1:
        columns["±"] = [None if o.failure else float(o.metrics["validation"][metric].std(ddof=1)) for o in ranked]
    columns["seconds"] = [None if o.failure else float(o.seconds.sum()) for o in ranked]
    rows = f"{len(parts)} folds of {sum(len(y) for _, y in parts[0].present.values())} rows"
    title = f"{len(ranked)} trials, {rows if len(parts) > 1 else parts[0]}"
    note = ".best is rank 1, .best.choices what it was made of, .fit the network trained on all rows."
    note, groups = " ".join([f"Ranked by validation {metric}.", note, *_failures(ranked)]), [""] * len(ranked)
    short = {path: path.rpartition(".")[2] for path in ranges}
    short = {path: last for path, last in short.items() if list(short.values()).count(last) == 1}
    short |= {"parameters": "params", f"train {metric}": "train", f"validation {metric}": "valid.", "seconds": "s"}
    narrow = Listing(title, {short.get(name, name): cells for name, cells in columns.items()}, groups, note, DIGITS - 1)
    return Search(
        title, columns, groups, note, DIGITS, narrow,
        outcomes=tuple(ranked), values=values, ranges=ranges, metric=metric, fit=fit,
    )  # fmt: skip


def _cell(value: Any) -> Any:
    """A number as it is, with its few digits; anything else as text."""
    return value if isinstance(value, float) else choice_text(value)


def _failures(ranked: list[Outcome]) -> list[str]:
    """Each reason once, with the ranks that it holds for."""
    ranks: dict[str, list[str]] = {}
    for i, outcome in enumerate(ranked):
        if outcome.failure:
            ranks.setdefault(outcome.failure, []).append(str(i + 1))
    return [f"Not trained, rank {', '.join(held)}: {reason}." for reason, held in ranks.items()]
