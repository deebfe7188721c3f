"""The chain rule, factor by factor; expected values from the formulas of the factors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.listing import Listing
from fallline.explain.tracing.chain import MOST_PATHS
from tests.tolerance import assert_close


def loss(w, x, t):
    z = fl.dot(w, x)
    y = fl.sigmoid(z)
    L = (y - t) ** 2
    return L


W, X, T = np.array([1.0, 2.0]), np.array([0.5, -0.3]), 1.0
Y = 1 / (1 + math.exp(-(W @ X)))


def J(x):
    t = x**2
    u1 = fl.sin(t)
    u2 = 3 * t
    u = u1 + u2
    J = fl.cos(u)
    return J


def texts(listing: Listing) -> list[str]:
    return [str(cell) for cell in listing.columns["factor"]]


def test_the_three_factors_of_a_weight():
    table = fl.trace(loss, W, X, T).chain("w")
    assert table.title == "chain rule: dL/dw = dL/dy · dy/dz · dz/dw"
    assert texts(table) == ["dL/dy = 2 · (y − t)", "dy/dz = y · (1 − y)", "dz/dw = x"]
    factors = [2 * (Y - T), Y * (1 - Y), X]
    for found, wanted in zip(table.columns["its value"], factors, strict=True):
        assert_close(found, wanted)
    products = [factors[0], factors[0] * factors[1], factors[0] * factors[1] * X]
    for found, wanted in zip(table.columns["product so far"], products, strict=True):
        assert_close(found, wanted)


def test_one_entry_of_a_weight():
    table = fl.trace(loss, W, X, T).chain("w[1]")
    assert_close(table.columns["its value"][-1], X[1])
    assert_close(table.columns["product so far"][-1], 2 * (Y - T) * Y * (1 - Y) * X[1])


def test_each_path_is_a_group_and_the_sum_stands_at_the_end():
    table = fl.trace(J, 1.0).chain("x")
    groups = list(dict.fromkeys(table.groups))
    assert sorted(groups[:2]) == ["J ← u ← u1 ← t ← x", "J ← u ← u2 ← t ← x"]
    assert groups[2:] == ["sum"]
    last = dict(zip(table.groups, table.columns["product so far"], strict=True))
    minus_sin = -math.sin(math.sin(1) + 3)
    assert_close(last["J ← u ← u1 ← t ← x"], minus_sin * math.cos(1) * 2)
    assert_close(last["J ← u ← u2 ← t ← x"], minus_sin * 3 * 2)
    assert_close(last["sum"], fl.grad(J)(1.0))


def test_paths_beyond_the_first_are_counted_and_the_sum_is_whole():
    def doubled(x):
        a = x + x * x
        b = a + a * a
        c = b + fl.sin(b)
        d = c + fl.cos(c)
        return d

    def widened(x):
        a, b, c, d, e = (fl.sin(k * x) for k in range(1, 6))
        p, q, r = (a + b * c * d * e, a * b + c * d * e, a * b * c + d * e)
        return p * q * r

    assert len(fl.trace(doubled, 0.3).chain("x")) == 4  # the parts without a name are inside the factors
    table = fl.trace(widened, 0.3).chain("x")
    paths = [g for g in dict.fromkeys(table.groups) if g != "sum"]
    assert len(paths) == MOST_PATHS
    assert "7 more paths are left out, the sum counts them" in table.note  # three products of five sines
    assert_close(table.columns["product so far"][-1], fl.grad(widened)(0.3))


def test_layers_are_the_links_of_a_network():
    net = fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(fl.spec((5, 4), "float64"), 0)
    x, y = np.linspace(-1, 1, 20).reshape(5, 4), np.arange(5.0)
    traced = fl.trace(net, x, y, loss="mse")
    table = traced.chain("layers.0.W")
    assert table.title.endswith("dJ/dlayers.2 · dlayers.2/dlayers.1 · dlayers.1/dlayers.0 · dlayers.0/dlayers.0.W")
    assert texts(table)[1:] == [
        "dJ/dlayers.1 = dJ/dlayers.2 @ layers.2.Wᵀ",
        "dlayers.1/dlayers.0 = 1 − layers.1 · layers.1",
        "dJ/dlayers.0.W = xᵀ @ dJ/dlayers.0",
    ]
    scores = traced["layers.2"].value
    assert_close(table.columns["its value"][0], 2 * (scores - y[:, None]) / 5)
    assert table.columns["its value"][1] is None  # entries are mixed: the row shows the contribution
    assert_close(table.columns["product so far"][-1], traced["layers.0.W"].partial)


def test_a_residual_block_has_two_paths():
    net = fl.Sequential(fl.Residual(fl.Dense(4), fl.Tanh()), fl.Dense(1)).build(fl.spec((1, 4), "float64"), 0)
    table = fl.trace(net, np.ones((1, 4))).chain("x")
    assert len([g for g in dict.fromkeys(table.groups) if g != "sum"]) == 2


def test_without_names_every_node_is_a_link_and_a_long_formula_is_only_counted():
    short = fl.trace(lambda x: fl.cos(fl.sin(x)), 0.5).chain("x")
    assert texts(short) == ["dJ/dv1 = −sin(v1)", "dv1/dx = cos(x)"]

    def long(x):
        for _ in range(400):
            x = x + fl.sin(x) / 100
        return x

    table = fl.trace(long, 0.1).chain("x")
    assert "(a formula of " in texts(table)[0]
    assert_close(table.columns["product so far"][-1], fl.grad(long)(0.1))


def test_bad_questions_are_answered():
    traced = fl.trace(lambda x, n: x * fl.take(np.ones(3), n).sum(), 1.0, np.arange(3))
    with pytest.raises(ConfigError, match="has no derivative with respect to n"):
        traced.chain("n")
    with pytest.raises(ShapeError, match=r"x\[0\]: x has shape \(\)"):
        traced.chain("x[0]")
