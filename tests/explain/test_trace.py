"""Trace: the tables of the board, with the right values."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError, UnknownNameError
from tests.tolerance import assert_close


def J(x):
    t = x**2
    u1 = fl.sin(t)
    u2 = 3 * t
    u = u1 + u2
    J = fl.cos(u)
    return J


def likelihood(W):
    ξ1 = -(W * 3.0)
    ξ2 = fl.exp(ξ1)
    ξ3 = 1 + ξ2
    p = 1 / ξ3
    ξ5 = fl.log(p)
    L = -1.0 * ξ5
    return L


def network() -> fl.Layer:
    return fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(fl.spec((1, 4), "float64"), 0)


def test_row_002_every_node_has_its_value_and_its_partial_and_is_visited_once():
    def double(a):
        b = a + a
        c = b + b
        return c

    traced = fl.trace(double, 1.0)
    assert [n.name for n in traced] == ["a", "b", "c"]
    assert_close(traced["a"].partial, 4.0)
    assert len(traced.table()) == 1 + 4  # dc/dc = 1, and two contributions to each of b and a


@pytest.mark.parametrize(
    "x, value, slope",
    [(1.0, -0.7649205628, 4.5607917907), (0.5, 0.5424849757, -3.3341464144), (2.0, 0.2451003682, 9.0991485448)],
)
def test_row_005_the_users_names_values_and_partials(x, value, slope):
    traced = fl.trace(J, x)
    assert [n.name for n in traced] == ["x", "t", "u1", "u2", "u", "J"]
    assert_close(traced.goal.value, value, "printed")
    assert_close(traced["x"].partial, slope, "printed")


def test_row_005_both_contributions_to_t_are_there():
    traced = fl.trace(J, 1.0)
    assert_close(traced["u"].partial, 0.6441246251, "printed")
    assert_close(traced["t"].partial, 2.2803958953, "printed")
    steps = [str(s) for s in traced.table().columns["step"]]
    assert steps == [
        "dJ/dJ = 1",
        "dJ/du += dJ/dJ · dJ/du",
        "dJ/du1 += dJ/du · du/du1",
        "dJ/du2 += dJ/du · du/du2",
        "dJ/dt += dJ/du2 · du2/dt",
        "dJ/dt += dJ/du1 · du1/dt",
        "dJ/dx += dJ/dt · dt/dx",
    ]


def test_row_012_modules_are_blocks():
    def blocks(table):
        return [g for i, g in enumerate(table.groups) if i == 0 or table.groups[i - 1] != g]

    traced = fl.trace(network(), np.ones((1, 4)))
    assert blocks(traced.table(by="module")) == ["layers.2", "layers.1", "layers.0"]
    assert "[layers.1]" in traced.table(by="module").text(100)


def test_row_013_both_functions_of_a_node():
    traced = fl.trace(J, 1.0)
    assert traced["t"].forward_source == "t = x^2"
    assert traced["t"].partial_source == {"x": "2 · x"}
    assert traced["u1"].partial_source == {"t": "cos(t)"}
    assert traced.goal.partial_source == {"u": "−sin(u)"}


def test_row_016_the_forward_table_with_the_right_values():
    traced = fl.trace(likelihood, 3.0)
    e = math.exp(-9)
    p = 1 / (1 + e)
    table = traced.table("forward")
    running = dict(zip([n.name for n in traced], table.columns["d/dW"], strict=True))
    assert_close(traced["ξ1"].value, -9.0)
    assert_close(traced["ξ2"].edges[0].local, e)
    assert_close(traced["ξ3"].edges[0].local, 1.0)
    assert_close(traced["p"].edges[0].local, -(p**2))
    assert_close(traced["ξ5"].edges[0].local, 1 + e)
    assert_close(traced["L"].edges[0].local, -1.0)
    wanted = {"ξ1": -3, "ξ2": -3 * e, "ξ3": -3 * e, "p": 3 * e * p**2, "ξ5": 3 * e * p, "L": -3 * e * p}
    for name, value in wanted.items():
        assert_close(running[name], float(value))


def test_row_017_and_018_both_modes_end_in_the_same_number():
    traced = fl.trace(likelihood, 3.0)
    assert_close(traced["W"].partial, -3 / (1 + math.exp(9)))
    assert_close(traced.tangents("W")["L"], -3 / (1 + math.exp(9)))
    product = np.prod([n.edges[0].local for n in traced.nodes[1:]])
    assert_close(product, traced["W"].partial)
    assert "dL/dW = −0.000370183728" in traced.table().text(100)
    assert "dL/dW = −0.000370183728" in traced.table("forward").text(100)


def test_a_models_parameters_and_layers_are_named_by_path():
    net, x = network(), np.linspace(-1, 1, 4)[None, :]
    traced = fl.trace(net, x)
    value, slopes = fl.value_and_grad(lambda m: m(x).sum())(net)
    assert_close(traced.goal.value.sum(), value)
    for path, slope in fl.leaves(slopes).items():
        assert_close(traced[path].partial, slope)
    assert_close(traced["layers.1"].value, np.tanh(traced["layers.0"].value))
    assert traced["layers.1"].where == "layers.1"


def test_an_op_that_mixes_entries_shows_its_whole_contribution():
    table = fl.trace(network(), np.ones((1, 4))).table()
    steps = [str(s) for s in table.columns["step"]]
    assert "dJ/dlayers.2.W += layers.1ᵀ @ dJ/dv2" in steps


def test_an_input_that_does_not_matter_has_no_partial():
    def f(x, n):
        return x * 2.0

    traced = fl.trace(f, 1.0, np.arange(3))
    assert traced["n"].partial is None


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_keeps_to_its_width(width):
    lines = fl.trace(network(), np.ones((1, 4))).table(by="module").text(width).splitlines()
    assert max(map(len, lines)) <= width


def test_html_is_escaped_and_whole():
    def f(x):
        return fl.where(x < 1.0, x, x * x)

    html = fl.trace(f, 0.5)._repr_html_()
    assert html.startswith("<table>")
    assert "x < 1" not in html


def test_a_long_chain_is_traced_and_printed_in_short():
    def chain(x):
        for _ in range(3000):
            x = x * 1.001
        return x

    text = fl.trace(chain, 1.0).table().text(80)
    assert "rows …" in text
    assert len(text.splitlines()) < 220


def test_bad_questions_are_answered():
    traced = fl.trace(J, 1.0)
    with pytest.raises((ConfigError, UnknownNameError), match="did you mean 'u1'"):
        traced["u11"]
    with pytest.raises(ConfigError, match="mode='revers'"):
        traced.table("revers")
    with pytest.raises(ShapeError, match="one number as its result"):
        fl.trace(lambda x: x * 2.0, np.ones(3))
    with pytest.raises(ShapeError, match="forward mode follows one number"):
        fl.trace(lambda x: x.sum(), np.ones(3)).table("forward", wrt="x")
