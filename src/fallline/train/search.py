"""search: which choices give the best network, found by trying them on rows that none of them is trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError, FalllineError
from fallline.core.listing import Listing
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.losses.loss import Loss
from fallline.train.fit import choose_target
from fallline.train.metrics import CLASS_METRICS, NUMBER_METRICS, column_name, higher_is_better
from fallline.train.trainer import Fit
from fallline.train.variants import (
    Choices,
    Outcome,
    Parts,
    as_pair,
    check_choices,
    choice_text,
    class_codes_of,
    fit_choices,
    product_of,
    run_variant,
)

MOST_TRIALS = 200  # of a grid that nobody limited
DIGITS = 4


@dataclass(frozen=True, eq=False, repr=False)
class Search(Listing):
    """A printed table of the trials, the best first.

    outcomes  the trials in that order;  best  the first of them, what was varied is in best.choices
    fit       the network with these choices, trained on all rows for as many epochs as were best in the trial
    """

    outcomes: tuple[Outcome, ...] = ()
    fit: Any = None

    @property
    def best(self) -> Outcome:
        return self.outcomes[0]


def search(
    data: tuple[Any, Any],
    space: Mapping[str, Any] | None = None,
    *,
    trials: int | None = None,
    folds: int | None = None,
    validation: float = 0.2,
    by: str | None = None,
    seed: int = 0,
    **choices: Any,
) -> Search:
    """Tries networks and ranks them by rows that they did not learn from; then trains the best on all rows.

        fl.search((X, y), hidden=[(3,), (3, 3)], activation=["relu", "tanh"], learning_rate=[0.001, 0.01], epochs=50)

    choices, space  keywords of `mlp` and `fit`, and learning_rate: a list holds the values to try, anything else holds
                    for every trial
    trials          of the grid at most so many, drawn at random by the seed; needed beyond 200
    folds           k: each trial is trained k times, and judged on the k-th part that it did not see; without it once,
                    and judged on the share `validation` of the rows (of classes: with the same share of each). These
                    rows choose the best epoch too, so what they say of the best trial is a little too good
    by              "loss", or a metric ("accuracy", "auc", "rmse" …); where losses are searched "accuracy" or "rmse",
                    as values of different losses cannot be compared
    raises          ConfigError; a trial that fails stands last, with its reason
    source          why to draw at random: Bergstra & Bengio 2012, "Random search for hyper-parameter optimization"
    """
    given = {**(space or {}), **choices}
    axes = {name: value for name, value in given.items() if isinstance(value, list)}
    fixed = {"strict": False, "seed": seed} | {name: value for name, value in given.items() if name not in axes}
    check_choices(given)
    if "validation" in given:
        raise ConfigError(
            f"space holds validation={given['validation']!r}: which rows judge is the same for all trials, give the "
            "share as a keyword of search"
        )
    empty = next((name for name, values in axes.items() if not values), None)
    if not axes or empty:
        raise ConfigError(
            f"{empty or 'space'} has nothing to search: give a list of values, as in hidden=[(3,), (3, 3)]"
        )
    metric = _metric(data, axes, fixed, by)
    parts = _parts(data, folds, validation, seed, axes, fixed)
    outcomes = [_trial(parts, fixed | chosen, metric) for chosen in _chosen(axes, trials, seed)]
    ranked = sorted(outcomes, key=lambda outcome: _rank(outcome, metric))
    if ranked[0].failure:
        raise ConfigError(f"all {len(ranked)} trials failed, the first with: {outcomes[0].failure}")
    return _listed(ranked, parts, metric, axes, _refit(data, ranked[0]))


def _chosen(axes: Mapping[str, list[Any]], trials: int | None, seed: int) -> list[Choices]:
    """The combinations to try: all of them, or a seeded draw without repetition, in the order of the grid."""
    size = math.prod(len(values) for values in axes.values())
    if trials is None and size > MOST_TRIALS:
        raise ConfigError(
            f"the grid has {size:,} trials, more than {MOST_TRIALS}: give trials=50 for a random part of it"
        )
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise ConfigError(f"trials={trials!r}: trials must be a whole number of at least 1")
    if trials is None or trials >= size:
        return product_of(axes)
    shape = tuple(len(values) for values in axes.values())
    drawn = np.sort(np.random.default_rng(seed).choice(size, trials, replace=False))
    places = zip(*np.unravel_index(drawn, shape), strict=True)
    return [{name: axes[name][i] for name, i in zip(axes, at, strict=True)} for at in places]


def _metric(data: Any, axes: Mapping[str, Any], fixed: Choices, by: str | None) -> str:
    """The metric that ranks, in the spelling of `evaluate`."""
    target, _ = choose_target(as_pair(data)[1], _first_loss(axes, fixed))
    if by is None:
        return "loss" if "loss" not in axes else "accuracy" if target.classes else "rmse"
    known = ("loss", *(CLASS_METRICS if target.classes else NUMBER_METRICS))
    if column_name(by) not in known:
        raise ConfigError(f"by={by!r}: {nearest(by, known)}")
    return column_name(by)


def _first_loss(axes: Mapping[str, Any], fixed: Choices) -> Loss | None:
    """The loss whose task the targets are for."""
    loss = fixed.get("loss", axes.get("loss", [None])[0])
    return None if loss is None else as_record(loss, Loss)


def _parts(
    data: Any, folds: int | None, validation: float, seed: int, axes: Mapping[str, Any], fixed: Choices
) -> list[Parts]:
    """One split, or one a fold."""
    loss = _first_loss(axes, fixed)
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
    )


def _rank(outcome: Outcome, metric: str) -> tuple[bool, float]:
    """Trials that failed come last, in the order in which they were tried."""
    value = outcome.mean("validation", metric)
    return bool(outcome.failure) or math.isnan(value), 0.0 if math.isnan(value) else value * _sign(metric)


def _sign(metric: str) -> int:
    return -1 if higher_is_better(metric) else 1


def _refit(data: Any, best: Outcome) -> Fit:
    """The best choices on all rows. No rows are left that could tell when to stop, so the trial's best epoch does."""
    epochs = round(float(np.mean([fit.best_epoch for fit in best.fits])))
    return fit_choices(data, best.choices, validation=None, early_stopping=None, epochs=max(1, epochs))


def _listed(ranked: list[Outcome], parts: list[Parts], metric: str, axes: Mapping[str, Any], fit: Fit) -> Search:
    columns: dict[str, list[Any]] = {"rank": [i + 1 for i in range(len(ranked))]}
    columns |= {name: [choice_text(o.choices[name]) for o in ranked] for name in axes}
    columns["parameters"] = [o.parameters for o in ranked]
    for part in ("train", "validation"):
        columns[f"{part} {metric}"] = [None if o.failure else o.mean(part, metric) for o in ranked]
    if len(parts) > 1:
        columns["±"] = [None if o.failure else float(o.metrics["validation"][metric].std(ddof=1)) for o in ranked]
    columns["seconds"] = [None if o.failure else float(o.seconds.sum()) for o in ranked]
    rows = f"{len(parts)} folds of {len(parts[0].train[1]) + len(parts[0].validation[1])} rows"  # type: ignore[index]
    title = f"{len(ranked)} trials, {rows if len(parts) > 1 else parts[0]}"
    note = ".best is rank 1, .best.choices what it was made of, .fit the network trained on all rows."
    note, groups = " ".join([f"Ranked by validation {metric}.", note, *_failures(ranked)]), [""] * len(ranked)
    short = {"parameters": "params", f"train {metric}": "train", f"validation {metric}": "valid.", "seconds": "s"}
    narrow = Listing(title, {short.get(name, name): cells for name, cells in columns.items()}, groups, note, DIGITS - 1)
    return Search(title, columns, groups, note, DIGITS, narrow, outcomes=tuple(ranked), fit=fit)


def _failures(ranked: list[Outcome]) -> list[str]:
    """Each reason once, with the ranks that it holds for."""
    ranks: dict[str, list[str]] = {}
    for i, outcome in enumerate(ranked):
        if outcome.failure:
            ranks.setdefault(outcome.failure, []).append(str(i + 1))
    return [f"Not trained, rank {', '.join(held)}: {reason}." for reason, held in ranks.items()]
