"""Set-ups of training: broken ones, each with the finding that must stand first, and sound ones that are accused of
nothing. Made of scikit-learn's packaged tables, the packaged simulated patients, and synthetic rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn import datasets

import fallline as fl

Given = tuple[Any, tuple[Any, Any]]  # a fit and its rows
BROKEN: dict[str, Callable[[], Given]] = {}
SOUND: dict[str, Callable[[], Given]] = {}
SLOW: set[str] = set()


def broken(name: str, *, slow: bool = False) -> Callable[[Callable[[], Given]], Callable[[], Given]]:
    """Decorator: the set-up whose first finding must be `name`."""

    def add(make: Callable[[], Given]) -> Callable[[], Given]:
        BROKEN[name] = make
        SLOW.update({name} if slow else ())
        return make

    return add


def sound(name: str, *, slow: bool = False) -> Callable[[Callable[[], Given]], Callable[[], Given]]:
    """Decorator: the set-up that must be accused of nothing."""

    def add(make: Callable[[], Given]) -> Callable[[], Given]:
        SOUND[name] = make
        SLOW.update({name} if slow else ())
        return make

    return add


def fitted(network: Any, X: np.ndarray, y: np.ndarray, **settings: Any) -> Given:
    return fl.fit(network, (X, y), strict=False, **settings), (X, y)


@cache
def raw(name: str) -> tuple[np.ndarray, np.ndarray]:
    found = getattr(datasets, f"load_{name}")()
    return found.data.astype(float), found.target


def scaled(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = raw(name)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    return (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9), y


def normal(n: int, d: int, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng


def rare() -> tuple[np.ndarray, np.ndarray]:
    """One row in twenty is of class 1, and two inputs tell which, with much noise."""
    X, rng = normal(1000, 6, 3)
    score = X[:, 0] + X[:, 1] + rng.normal(size=1000)
    return X, (score > np.quantile(score, 0.95)).astype(int)


def rings() -> tuple[np.ndarray, np.ndarray]:
    return datasets.make_circles(400, noise=0.08, factor=0.4, random_state=0)


# Broken: what is given.


@broken("inputs not scaled")
def _raw_inputs():
    X, y = raw("wine")
    return fitted(fl.mlp((16,), 3), X, y, optimizer="sgd(0.01)", epochs=40)


@broken("targets not scaled", slow=True)
def _raw_targets():
    X, y = scaled("diabetes")
    return fitted(fl.mlp((16,)), X, 152 + 77 * y, epochs=30)


@broken("value for missing")
def _sentinel():
    X, y = (part.copy() for part in raw("wine"))
    X[::9, 4] = -999
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return fitted(fl.mlp((16,), 3), X, y, epochs=40, learning_rate=0.01)


@broken("leaking column")
def _leak():
    X, y = scaled("breast_cancer")
    X = np.c_[X, 3 * y + np.random.default_rng(1).normal(0, 0.05, len(y))]
    return fitted(fl.mlp((16,)), X, y, epochs=40, validation=0.2, early_stopping=10, learning_rate=0.01)


@broken("duplicated column", slow=True)
def _duplicate():
    X, y = scaled("wine")
    X = np.c_[X, 2.54 * X[:, 3] + 1]
    return fitted(fl.mlp((16,), 3), X, y, epochs=60, validation=0.2, early_stopping=10, learning_rate=0.01)


@broken("copied rows", slow=True)
def _copies():
    X, y = scaled("diabetes")
    return fitted(fl.mlp((32,)), np.r_[X, X], np.r_[y, y], epochs=40, validation=0.2, learning_rate=0.003)


@broken("nothing to learn")
def _shuffled():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16,)), X, np.random.default_rng(0).permutation(y), epochs=20, validation=0.2)


# Broken: how the network begins, and what it ends with.


@broken("squared error of a probability", slow=True)
def _squared():
    X, y = scaled("breast_cancer")
    return fitted(fl.Sequential(fl.Dense(8), fl.ReLU(), fl.Dense(1), fl.Sigmoid()), X, y * 1.0, loss="mse", epochs=20)


@broken("classes trained as numbers")
def _classes_as_numbers():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((8,)), X, y * 1.0, loss="mse", epochs=20, learning_rate=0.01)


@broken("identical units", slow=True)
def _zeros():
    X, y = scaled("wine")
    return fitted(fl.mlp((16,), 3, init="zeros", activation="tanh"), X, y, epochs=20, learning_rate=0.01)


@broken("exploding gradients", slow=True)
def _exploding():
    X, y = scaled("diabetes")
    return fitted(fl.mlp((50,) * 6, init="normal(1)"), X, y, epochs=10)


@broken("dead units")
def _dead():
    X, y = scaled("breast_cancer")
    network = fl.mlp((16,)).build(fl.spec(X[:2].shape, "float32"), 0)
    return fitted(fl.with_leaves(network, {"layers.0.b": np.full(16, -20, "float32")}), X, y, epochs=10)


@broken("saturation")
def _saturated():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16, 16), activation="tanh", init="normal(10)"), X, y, epochs=20)


@broken("vanishing gradients", slow=True)
def _vanishing():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((20,) * 8, activation="sigmoid"), X, y, epochs=20)


@broken("equals one linear layer", slow=True)
def _linear():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16, 16), activation="linear"), X, y, epochs=40, validation=0.2)


# Broken: how it is trained.


@broken("learning rate too high")
def _too_high():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16,)), X, y, optimizer="sgd(50)", batch_size="full", epochs=7)


@broken("learning rate too low")
def _too_low():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16,)), X, y, learning_rate=1e-5, epochs=20, validation=0.2)


@broken("stopped too early", slow=True)
def _too_early():
    X, y = scaled("digits")
    return fitted(fl.mlp((16,), 10), X, y, epochs=3)


# Broken: what comes of it.


@broken("overfit", slow=True)
def _by_heart():
    X, rng = normal(40, 10, 0)
    return fitted(fl.mlp((1000,)), X, rng.integers(0, 2, 40), validation=0.5, epochs=40)


@broken("underfit")
def _line_for_rings():
    X, y = rings()
    return fitted(fl.mlp(()), X, y, epochs=40, validation=0.2, learning_rate=0.05)


@broken("regularised too strongly", slow=True)
def _too_strong():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16,)), X, y, epochs=30, l2=10.0, learning_rate=0.01)


@broken("class imbalance ignored")
def _imbalance():
    X, y = rare()
    return fitted(fl.mlp((8,)), X, y, epochs=40, validation=0.2, early_stopping=10, l2=0.01, learning_rate=0.01)


@broken("one input dominates")
def _dominated():
    X, rng = normal(300, 8, 5)
    y = 10 * X[:, 0] + 0.5 * X[:, 1] + 2 * rng.normal(size=300)
    return fitted(fl.mlp(()), X, y / 10, epochs=60, learning_rate=0.02, validation=0.2)


@broken("no gain over a linear model", slow=True)
def _no_gain():
    X, rng = normal(400, 20, 6)
    y = 0.3 * X @ rng.normal(size=20) + rng.normal(size=400)
    return fitted(fl.mlp((200,)), X, y, epochs=8, learning_rate=0.01, validation=0.3)


# Sound.


@sound("two classes, stopped in time", slow=True)
def _cancer():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((32,), dropout=0.1), X, y, validation=0.2, early_stopping=10, epochs=60, learning_rate=0.003)


@sound("logistic regression")
def _logistic():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp(()), X, y, epochs=40, learning_rate=0.01, validation=0.2)


@sound("three classes")
def _wine():
    X, y = scaled("wine")
    return fitted(fl.mlp((32,), 3), X, y, validation=0.2, epochs=50, learning_rate=0.003)


@sound("three kinds of iris", slow=True)
def _iris():
    X, y = scaled("iris")
    return fitted(fl.mlp((16,), 3), X, y, validation=0.2, epochs=150, early_stopping=15, learning_rate=0.01)


@sound("ten classes", slow=True)
def _digits():
    X, y = raw("digits")
    return fitted(fl.mlp((32,), 10), X / 16, y, validation=0.2, epochs=30, learning_rate=0.003)


@sound("regression")
def _diabetes():
    X, y = scaled("diabetes")
    return fitted(fl.mlp((16,)), X, y, validation=0.2, epochs=100, early_stopping=10, l2=0.01)


@sound("regression in the target's unit", slow=True)
def _diabetes_in_its_unit():
    X, y = scaled("diabetes")
    return fitted(fl.mlp((32,)), X, 152 + 77 * y, validation=0.2, epochs=100, early_stopping=10, learning_rate=0.03)


@sound("linear regression in closed form")
def _exact():
    return fitted(fl.mlp(()), *scaled("diabetes"), solver="exact")


@sound("Newton's method", slow=True)
def _newton():
    return fitted(fl.mlp(()), *scaled("breast_cancer"), solver="newton", l2=0.01, epochs=20)


@sound("rings")
def _rings():
    return fitted(fl.mlp((16,)), *rings(), epochs=60, validation=0.2, learning_rate=0.02, early_stopping=20)


@sound("moons into tanh", slow=True)
def _moons():
    X, y = datasets.make_moons(400, noise=0.2, random_state=0)
    network = fl.mlp((16, 16), activation="tanh")
    return fitted(network, X, y, epochs=80, validation=0.2, learning_rate=0.02, early_stopping=20)


@sound("stochastic gradient descent with momentum")
def _momentum():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((16,)), X, y, epochs=40, optimizer="momentum(0.02)", validation=0.2)


@sound("five layers of tanh", slow=True)
def _deep():
    X, y = scaled("wine")
    network = fl.mlp((20,) * 5, 3, activation="tanh")
    return fitted(network, X, y, epochs=60, validation=0.2, early_stopping=10, learning_rate=0.003)


@sound("sigmoids behind batch norm", slow=True)
def _sigmoids():
    X, y = scaled("breast_cancer")
    network = fl.mlp((20,) * 3, activation="sigmoid", norm="batch")
    return fitted(network, X, y, epochs=40, validation=0.2, early_stopping=10, learning_rate=0.003)


@sound("counts", slow=True)
def _counts():
    X, rng = normal(400, 5, 2)
    y = rng.poisson(np.exp(0.5 * X[:, 0] - 0.3 * X[:, 1] + 0.2))
    return fitted(fl.mlp((8,)), X, y, loss="poisson", epochs=40, validation=0.2, early_stopping=10, learning_rate=0.01)


@sound("hinge", slow=True)
def _hinge():
    X, y = scaled("breast_cancer")
    return fitted(fl.mlp((8,)), X, np.where(y > 0, 1, -1), loss="hinge", epochs=60, learning_rate=0.003)


@sound("a rare class, weighed")
def _weighed():
    settings = {"epochs": 40, "validation": 0.2, "early_stopping": 10, "learning_rate": 0.01}
    return fitted(fl.mlp((8,)), *rare(), class_weight="balanced", **settings)


@sound("gradient descent")
def _descent():
    X, _ = normal(200, 5, 0)
    y = X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 1
    return fitted(fl.mlp(()), X, y, optimizer=fl.SGD(0.1), batch_size="full", epochs=30)
