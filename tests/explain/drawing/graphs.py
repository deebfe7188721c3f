"""Graphs that the tests of drawings share."""

from __future__ import annotations

import numpy as np

import fallline as fl
from fallline.explain.tracing.trace import Trace


def diamond(x):
    a = fl.sin(x)
    b = fl.cos(x)
    c = a * b
    return c


def chain(x):
    for _ in range(8):
        x = fl.sin(x)
    return x


def one_hidden_layer(α1, α2, β, x):
    z1 = 1 / (1 + fl.exp(-(α1 * x).sum()))
    z2 = 1 / (1 + fl.exp(-(α2 * x).sum()))
    b = β[0] * z1 + β[1] * z2
    y = 1 / (1 + fl.exp(-b))
    J = fl.log(y)
    return J


def long_chain(n: int) -> Trace:
    def f(x):
        for _ in range(n):
            x = fl.sin(x)
        return x

    return fl.trace(f, 1.0)


def network(*layers: fl.Layer) -> Trace:
    filled = fl.Sequential(*layers).build(fl.spec((1, 4), "float64"), 0)
    return fl.trace(filled, np.array([[0.5, -1.0, 0.2, 1.0]]))


def residual_blocks() -> Trace:
    return network(fl.Residual(fl.Dense(4), fl.Tanh(), fl.Dense(4)), fl.Residual(fl.Dense(4), fl.ReLU()), fl.Dense(1))


def fitted() -> Trace:
    x = np.random.default_rng(0).normal(size=(40, 3))
    layers = (fl.Dense(6), fl.ReLU(), fl.Dense(4), fl.Tanh(), fl.Dense(1))
    model = fl.fit(fl.Sequential(*layers), (x, x[:, 0] > x[:, 1]), loss="bce", epochs=2).model
    return fl.trace(model, x[:8], (x[:, 0] > x[:, 1])[:8])


GRAPHS = {
    "chain": lambda: fl.trace(chain, 1.0),
    "diamond": lambda: fl.trace(diamond, 1.0),
    "residual": lambda: network(fl.Residual(fl.Dense(4), fl.ReLU()), fl.Dense(1)),
    "two layers": lambda: network(fl.Dense(3), fl.Tanh(), fl.Dense(1)),
    "one hidden layer": lambda: fl.trace(
        one_hidden_layer, np.array([0.1, 0.4]), np.array([-0.3, 0.2]), np.array([0.7, -0.5]), np.array([1.0, 2.0])
    ),
    "blocks": residual_blocks,
    "fitted": fitted,
    "long": lambda: long_chain(400),
}
