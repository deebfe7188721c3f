"""Demonstrations that print themselves: gradient descent in four steps, and what random search costs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.ops.composite import mean
from fallline.optim.random_search import RandomSearch
from fallline.optim.sgd import SGD
from fallline.train.descend import descend
from fallline.train.descent import Descent
from fallline.train.fit import fit

X = np.array([0.0, 1.0, 2.0, 3.0])
Y = 2 * X + 1
SHOWN = (0, 1, 2, 3, 5, 10, 20, 50, 100)  # repetitions that are printed
DIGITS = 5
GRADIENT = 3  # evaluations that a loss with its gradient takes, about


def gradient_descent(learning_rate: float = 0.1, seed: int = 0) -> None:
    """Prints the four steps of gradient descent with numbers, for y = w x + b and four points of y = 2 x + 1."""
    start = np.random.default_rng(seed).normal(size=2)
    way = descend(_loss, start, learning_rate=learning_rate, steps=max(SHOWN))
    print(_four_steps(way, learning_rate), _repetitions(way), sep="\n\n")


def _loss(p: Any) -> Any:
    """The mean squared error of w x + b,  p = (w, b)."""
    return mean((p[0] * X + p[1] - Y) ** 2)


def _four_steps(way: Descent, rate: float) -> Listing:
    """The first round, each number with what it is computed from."""
    (w, b), (new_w, new_b) = way.path[:2]
    dw, db = way.slopes[0]
    first, second = (float(value) for value in way.values[:2])
    told = [
        ("1. a random weight and bias, and the loss", "w", "random", w),
        ("1. a random weight and bias, and the loss", "b", "random", b),
        ("1. a random weight and bias, and the loss", "L", "mean of (w x + b − y)²", first),
        ("2. a step along the steepest descent", "dL/dw", "mean of 2 (w x + b − y) x", dw),
        ("2. a step along the steepest descent", "dL/db", "mean of 2 (w x + b − y)", db),
        ("2. a step along the steepest descent", "w", f"w − {rate:g} dL/dw", new_w),
        ("2. a step along the steepest descent", "b", f"b − {rate:g} dL/db", new_b),
        ("3. the new loss", "L", _compared(first, second), second),
    ]
    groups, names, formulas, values = (list(column) for column in zip(*told, strict=True))
    columns = {"": names, "computed as": formulas, "value": values}
    return Listing("Gradient descent: y = w x + b, and four points of y = 2 x + 1", columns, groups, "", DIGITS)


def _compared(before: float, after: float) -> str:
    word = "lower" if after < before else "higher: the learning rate is too high"
    return f"{number_text(abs(after - before), DIGITS)} {word}"


def _repetitions(way: Descent) -> Listing:
    """The same again and again: some of the steps."""
    shown = [i for i in SHOWN if i <= way.steps]
    columns = {
        "step": shown,
        "w": list(way.path[shown, 0]),
        "b": list(way.path[shown, 1]),
        "L": list(way.values[shown]),
        "dL/dw": list(way.slopes[shown, 0]),
        "dL/db": list(way.slopes[shown, 1]),
    }
    return Listing("4. steps 2 and 3 again and again", columns, [""] * len(shown), way.reason, DIGITS)


def random_search(inputs: Sequence[int] = (1, 10, 100), evaluations: int = 300, seed: int = 0) -> None:
    """Prints what an improvement costs by random search and by gradient descent; see `search_costs`."""
    print(search_costs(inputs, evaluations, seed))


def search_costs(inputs: Sequence[int] = (1, 10, 100), evaluations: int = 300, seed: int = 0) -> Listing:
    """Linear networks of more and more weights, trained both ways at the same cost, with the cost per improvement.

    evaluations  how often each may go through all rows; a gradient counts as three, which is about what it takes
    """
    rows: list[tuple[Any, ...]] = []
    whole: dict[str, Any] = {"batch_size": "full", "precision": "float64", "seed": seed}
    for n in inputs:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(200, n))
        data, steps = (x, x @ rng.normal(size=n) / np.sqrt(n) + 1), evaluations // GRADIENT
        tried = fit(Sequential(Dense(1)), data, optimizer=RandomSearch(trials=evaluations), epochs=1, **whole)
        down = fit(Sequential(Dense(1)), data, optimizer=SGD(0.1), epochs=steps, **whole)
        losses = [found.model.evaluate(*data)["loss"] for found in (tried, down)]
        better = int(tried.history[-1]["improvements"]), int((np.diff(down.history["train_loss"]) < 0).sum())
        halvings = np.log2(down.history["train_loss"][0] / np.array(losses))
        rows.append((n + 1, "random search", evaluations, better[0], losses[0], halvings[0]))
        rows.append((n + 1, "gradient descent", steps * GRADIENT, better[1], losses[1], halvings[1]))
    weights, methods, costs, improved, reached, halved = (list(column) for column in zip(*rows, strict=True))
    columns = {
        "method": methods,
        "cost": costs,
        "improvements": improved,
        "cost of one": [c / max(i, 1) for c, i in zip(costs, improved, strict=True)],
        "cost of a halving": [c / max(h, 1e-9) for c, h in zip(costs, halved, strict=True)],
        "loss": reached,
    }
    note = f"The cost is counted in losses of all rows; a loss with its gradient counts as {GRADIENT}."
    return Listing("The cost of an improvement", columns, [f"{n} weights" for n in weights], note, 3)
