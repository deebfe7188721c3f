"""compare: networks side by side on the same rows, at equal parameter count where their depth differs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, NonFiniteError
from fallline.core.registry import nearest
from fallline.nn.layer import Layer
from fallline.train.comparison import Comparison, race, side_by_side
from fallline.train.descend import descend
from fallline.train.fit import fit
from fallline.train.model import Model
from fallline.train.variants import (
    DESIGN,
    Choices,
    Outcome,
    Parts,
    check_choices,
    count_for,
    product_of,
    run_variant,
)
from fallline.train.way import CLOCKS

SHARE, STARTS = 0.2, 3  # of the rows that validate, and that test; of each variant
EPOCHS = inspect.signature(fit).parameters["epochs"].default
DESCENDING = tuple(
    n for n in inspect.signature(descend).parameters if n not in ("f", "start", "restarts", "low", "high")
)
BASE_WIDTH = 64  # of a hidden layer where nothing else is said
MOST_KEPT = 50_000_000  # weights of all ways together, 400 MB: beyond that they are not kept unless asked for


def compare(
    *given: Any,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    batch_sizes: Sequence[int | str] | None = None,
    optimizers: Sequence[Any] | None = None,
    activations: Sequence[Any] | None = None,
    networks: Mapping[str, Any] | None = None,
    params: str | int | None = "equal",
    seeds: int | Sequence[int] | None = None,
    validation: float | None = None,
    test: float | None = None,
    over: str = "passes",
    seed: int = 0,
    **choices: Any,
) -> Comparison:
    """Trains variants side by side, on the same rows, from the same starting weights, with the same batches.

        fl.compare((X, y), depths=[1, 3])                                     what do they learn?
        fl.compare(network, (X, y), optimizers=["sgd(0.1)", "adam"])          how fast does each get down?
        fl.compare(f, start, optimizers=["sgd(0.1)", "newton"], steps=50)     the same for a function of your own

    Without a network in front the table has the losses of the parts of the rows, their gap, parameters, time. With it,
    or with a function, it has the loss at some places of a clock, and how many evaluations it took. `.plot()` draws
    all ways on one surface of the loss, `.plot(over="passes")` the loss over the clock.

    depths, widths  numbers of hidden layers, and of units in each;  networks  {name: recipe} of your own
    batch_sizes, optimizers, activations  as in `fit` and `mlp`; a list for any other keyword of theirs is compared
                    too (features=[None, "poly(3)"]), everything else holds for all variants
    params          with depths: "equal" gives each network the widths that make as many parameters as `hidden`
                    (one layer of 64 units) has, with the first value of every list; a number is that count; None keeps
                    the width
    seeds           starts of each variant (a number of them, or a list): the losses are their mean, ± their spread;
                    None is 3, with a network in front 1
    validation, test  shares of the rows, split by `seed`: the validation rows choose each network's best epoch and the
                    best variant, the test rows only judge; None is 0.2, with a network in front 0
    over            the clock of the table: "passes" through all rows (each evaluation of the loss, with its gradient or
                    without), "steps" or "seconds"
    source          depth at equal size: Goodfellow et al. 2016, "Deep learning", section 6.4.1
    """
    network, data = _subject(given)
    lists = {"batch_size": batch_sizes, "optimizer": optimizers, "activation": activations, "network": networks}
    axes = {name: _values(name, values) for name, values in lists.items() if values is not None}
    axes |= {name: _values(name, value) for name, value in choices.items() if isinstance(value, list)}
    fixed = {name: value for name, value in choices.items() if name not in axes}
    if over not in CLOCKS:
        raise ConfigError(f"over={over!r}: {nearest(str(over), CLOCKS)}")
    if network is not None and not isinstance(network, Layer):
        return _functions(network, data, axes, fixed | {"seed": seed}, over)
    fixed = {"strict": False} | ({} if network is None else {"network": network}) | fixed
    check_choices((*axes, *fixed))
    few = network is not None
    share = 0.0 if few else SHARE
    shares = share if validation is None else validation, share if test is None else test
    parts = Parts.of(data, *shares, seed, fixed.get("loss"))
    variants, axes = _variants(parts, axes, fixed, depths, widths, params)
    starts = _starts(seeds, 1 if few else STARTS, seed if few else 0)
    variants = _keeping_paths(parts, axes, variants, len(starts))
    outcomes = [_outcome(parts, variant, starts) for variant in variants]
    if all(outcome.failure for outcome in outcomes):
        raise NonFiniteError(outcomes[0].failure)
    if few:
        return race(outcomes, parts, axes, len(starts), over)
    return side_by_side(outcomes, parts, axes, networks or {}, len(starts))


def _subject(given: Sequence[Any]) -> tuple[Any, Any]:
    """(what is trained, None for mlp's networks; data or the start)."""
    if len(given) == 1:
        return None, given[0]
    if len(given) != 2:
        raise ConfigError(
            f"compare takes (X, y), or a network and (X, y), or a function and a start; given {len(given)}"
        )
    first = getattr(given[0], "model", given[0])  # of a Fit
    first = first.network if isinstance(first, Model) else first
    if not callable(first):
        raise ConfigError("X and y belong together: write fl.compare((X, y), …), or fl.compare(network, (X, y), …)")
    return first, given[1]


def _starts(seeds: Any, n: int, first: int) -> list[int]:
    """The seeds of the starts: `n` from the first on where nothing is said."""
    if seeds is None:
        return list(range(first, first + n))
    starts = list(range(first, first + seeds) if isinstance(seeds, (int, np.integer)) else seeds)
    if not starts:
        raise ConfigError(f"seeds={seeds!r}: give a number of starts of at least 1, or a list of seeds")
    return starts


def _variants(
    parts: Parts, axes: dict[str, list[Any]], fixed: Choices, depths: Any, widths: Any, params: Any
) -> tuple[list[Choices], dict[str, list[Any]]]:
    """Every combination, and what they differ in, the shapes among it."""
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
    return variants, axes


def _keeping_paths(parts: Parts, axes: Mapping[str, Any], variants: list[Choices], n_starts: int) -> list[Choices]:
    """The variants with their ways kept, where all change the same weights and these are not too many."""
    if "network" in axes or not set(axes).isdisjoint(DESIGN):
        return variants
    size = count_for(parts.train, variants[0]) * n_starts
    points = sum(1 + int(variant.get("epochs", EPOCHS)) for variant in variants)
    return [{"keep_path": True} | variant for variant in variants] if size * points <= MOST_KEPT else variants


def _outcome(parts: Parts, choices: Choices, starts: Sequence[int]) -> Outcome:
    """One variant; the reason in place of numbers where its loss was lost in the first epoch."""
    try:
        return run_variant(parts, choices, starts)
    except NonFiniteError as error:
        return Outcome(choices, failure=str(error))


def _functions(f: Callable[..., Any], start: Any, axes: dict[str, list[Any]], fixed: Choices, over: str) -> Comparison:
    """The ways of several methods down a function."""
    for name in (*axes, *fixed):
        if name not in DESCENDING:
            raise ConfigError(f"no choice of a way down a function is called {name!r}: {nearest(name, DESCENDING)}")
    if not axes:
        raise ConfigError("nothing to compare: give optimizers=[…] or a list of another choice, learning_rate=[…]")
    outcomes = []
    for given in product_of(axes):
        begun = time.perf_counter()
        way = descend(f, start, **fixed | given)
        outcomes.append(Outcome(given, seconds=np.array([time.perf_counter() - begun]), descent=way))
    return race(outcomes, None, axes, 1, over)


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


__all__ = ["compare", "equal_widths"]
