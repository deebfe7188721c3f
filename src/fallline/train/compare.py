"""compare: networks side by side on the same rows, at equal parameter count where their depth differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.listing import Listing
from fallline.train.variants import (
    DESIGN,
    Choices,
    Outcome,
    Parts,
    check_choices,
    choice_text,
    count_for,
    product_of,
    run_variant,
)

BASE_WIDTH = 64  # of a hidden layer where nothing else is said
DIGITS = 4
SHORT = {
    "parameters": "params",
    "train loss": "train",
    "validation loss": "valid.",
    "test loss": "test",
    "seconds": "s",
}


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Listing):
    """A printed table with one row a variant; `.best`, `.outcomes` (with every Fit) and `.frame()` hold the same."""

    outcomes: tuple[Outcome, ...] = ()
    judged_by: str = "test"

    @property
    def best(self) -> Outcome:
        """The variant with the least loss on the rows that choose: validation rows, without them test rows."""
        return best_of(self.outcomes, self.judged_by)


def compare(
    data: tuple[Any, Any],
    *,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    batch_sizes: Sequence[int | str] | None = None,
    optimizers: Sequence[Any] | None = None,
    activations: Sequence[Any] | None = None,
    networks: Mapping[str, Any] | None = None,
    params: str | int | None = "equal",
    seeds: int | Sequence[int] = 3,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    **choices: Any,
) -> Comparison:
    """Trains variants of a network on the same split and prints them side by side: losses, their gap, parameters, time.

    depths, widths  numbers of hidden layers, and of units in each;  networks  {name: recipe} of your own
    batch_sizes, optimizers, activations  as in `fit` and `mlp`; a list for any other keyword of theirs is compared
                    too (features=[None, "poly(3)"]), everything else holds for all variants
    params          with depths: "equal" gives each network the widths that make as many parameters as `hidden`
                    (one layer of 64 units) has, with the first value of every list; a number is that count; None keeps
                    the width
    seeds           starts of each variant (a number of them, or a list); the losses are their mean, ± their spread
    validation, test  shares of the rows, split by `seed`: the validation rows choose each network's best epoch and the
                    best variant, the test rows only judge
    source          depth at equal size: Goodfellow et al. 2016, "Deep learning", section 6.4.1
    """
    lists = {"batch_size": batch_sizes, "optimizer": optimizers, "activation": activations, "network": networks}
    axes = {name: _values(name, given) for name, given in lists.items() if given is not None}
    axes |= {name: _values(name, value) for name, value in choices.items() if isinstance(value, list)}
    fixed = {"strict": False} | {name: value for name, value in choices.items() if name not in axes}
    check_choices((*axes, *fixed))
    parts = Parts.of(data, validation, test, seed, fixed.get("loss"))
    shapes = _shapes(fixed, depths, widths, params)
    if shapes and "hidden" in axes:
        raise ConfigError("hidden=[…] names the layers already: give it, or depths and widths")
    if shapes:
        axes = {"hidden": shapes} | axes
    if not axes:
        raise ConfigError("nothing to compare: give depths, widths, batch_sizes, optimizers, activations or networks")
    variants = [fixed | given for given in product_of(axes)]
    if depths is not None and widths is None and params is not None:
        variants = _of_equal_size(parts.train, _base_of(fixed), variants, params)
    starts = list(range(seeds) if isinstance(seeds, (int, np.integer)) else seeds)
    if not starts:
        raise ConfigError(f"seeds={seeds!r}: give a number of starts of at least 1, or a list of seeds")
    outcomes = [run_variant(parts, choices, starts) for choices in variants]
    return _listed(outcomes, parts, axes, networks or {}, len(starts))


def _values(name: str, given: Any) -> list[Any]:
    if name == "network" and not isinstance(given, Mapping):
        raise ConfigError(f"networks={given!r}: give names with their recipes, {{'small': mlp((8,)), …}}")
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: {given!r} is one value: give a list of those to compare")
    values = list(given.values()) if isinstance(given, Mapping) else list(given)
    if not values:
        raise ConfigError(f"{name}=[] leaves nothing to compare: give at least one value")
    return values


def _shapes(fixed: Choices, depths: Any, widths: Any, params: Any) -> list[tuple[int, ...]]:
    """The hidden layers to compare, their widths not yet made equal; none without depths and widths."""
    if params not in (None, "equal") and (isinstance(params, bool) or not isinstance(params, int)):
        raise ConfigError(f'params={params!r}: give "equal", a number of parameters, or None')
    base = _base_of(fixed)
    for name, given, least in (("depths", depths, 0), ("widths", widths, 1)):
        for value in () if given is None else _values(name, given):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ConfigError(f"{name} holds {value!r}: give whole numbers of at least {least}")
    if depths is None:
        return [(width,) * max(1, len(base)) for width in widths or ()]
    if widths is not None:
        return [(width,) * depth for depth in depths for width in widths]
    return [(base[:1] or (BASE_WIDTH,)) * depth for depth in depths]


def _base_of(fixed: Choices) -> tuple[int, ...]:
    """The hidden layers that all variants are given, before depths and widths change them."""
    base = fixed.get("hidden", (BASE_WIDTH,))
    return (base,) if isinstance(base, int) else tuple(base)


def _of_equal_size(data: Any, base: tuple[int, ...], variants: list[Choices], params: Any) -> list[Choices]:
    """The variants with widths of their own: all have as many parameters as the first would have with layers `base`."""
    budget = count_for(data, variants[0] | {"hidden": base}) if params == "equal" else params
    solved: dict[Any, tuple[int, ...]] = {}  # what training alone is told leaves the widths as they are
    made = []
    for choices in variants:
        depth = len(choices["hidden"])
        key = depth, *(id(choices[name]) for name in (*DESIGN, "loss") if name in choices and name != "hidden")
        if key not in solved:
            solved[key] = equal_widths(data, choices, depth, budget)
        made.append(choices | {"hidden": solved[key]})
    return made


def equal_widths(data: Any, choices: Choices, depth: int, budget: int) -> tuple[int, ...]:
    """Widths of that many hidden layers, equal to within one unit, with as nearly `budget` parameters as there are."""

    def count(total: int) -> int:
        return count_for(data, choices | {"hidden": spread(total)})

    def spread(total: int) -> tuple[int, ...]:
        return tuple(total // depth + (i < total % depth) for i in range(depth))

    if depth == 0:
        return ()
    low, high = depth, 2 * depth
    while count(high) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    return spread(min((low, high), key=lambda total: abs(count(total) - budget)))


def _listed(
    outcomes: list[Outcome], parts: Parts, axes: dict[str, list[Any]], networks: Mapping[str, Any], n_seeds: int
) -> Comparison:
    judged_by = next(part for part in ("validation", "test", "train") if part in parts.present)
    judge = "test" if "test" in parts.present else judged_by
    best = best_of(outcomes, judged_by)
    columns = {"best": ["*" if outcome is best else "" for outcome in outcomes]}
    columns |= _choice_columns(outcomes, axes, networks) | _number_columns(outcomes, judge, n_seeds)
    title = f"{len(outcomes)} variants, {parts}, {n_seeds} start{'s' * (n_seeds != 1)} each"
    groups, note = [""] * len(outcomes), _note(columns, judged_by, judge)
    narrow = Listing(title, {SHORT.get(name, name): cells for name, cells in columns.items()}, groups, note, DIGITS - 1)
    return Comparison(title, columns, groups, note, DIGITS, narrow, outcomes=tuple(outcomes), judged_by=judged_by)


def _choice_columns(outcomes: list[Outcome], axes: Mapping[str, Any], networks: Mapping[str, Any]) -> Choices:
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


def best_of(outcomes: Sequence[Outcome], part: str) -> Outcome:
    """The variant with the least loss on that part; one without a number only where all are."""
    losses = [outcome.mean(part) for outcome in outcomes]
    return outcomes[int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))]
