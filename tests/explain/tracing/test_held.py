"""Nodes that are held fixed: the tables say so, and whether a derivative is missing because of it."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.ops.composite import log_softmax, logsumexp, sparsemax
from fallline.ops.structure import stop_gradient
from tests.tolerance import assert_close

NOTHING = "v2 is held fixed: no derivative goes through it, and none is missing, as J does not change with it"


def share(z):
    return fl.softmax(z)[0]


def test_the_forward_table_of_a_softmax_has_the_derivatives_of_its_own_formulas():
    traced = fl.trace(share, np.array([1.0, 2.0]))
    table = traced.table("forward", wrt="z[1]")
    rows = dict(zip([str(v) for v in table.columns["variable"]], table.columns["d/dz[1]"], strict=True))
    assert_close(rows["v1 = max(z)"].item(), 1.0)
    assert_close(rows["v2 = v1 (held fixed)"].item(), 0.0)
    assert_close(rows["v3 = z − v2"], np.array([0.0, 1.0]))  # with v2 fixed
    assert_close(rows["v4 = exp(v3)"], np.array([0.0, 1.0]))  # e^0 · 1
    assert_close(rows["v5 = Σ(v4)"].item(), 1.0)
    p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert_close(rows["J = v6[0]"].item(), -p[0] * p[1])
    partials = [str(p) for p in table.columns["partial"]]
    assert partials[2] == "d/dv1 = 0 (held fixed)"
    assert NOTHING in table.note


def test_the_reverse_table_shows_where_the_derivative_ends():
    traced = fl.trace(share, np.array([1.0, 2.0]))
    table = traced.table()
    row = [str(s) for s in table.columns["step"]].index("dJ/dv1 += dJ/dv2 · dv2/dv1")
    assert str(table.columns["partial"][row]) == "dv2/dv1 = 0 (held fixed)"
    assert table.columns["its value"][row].item() == 0.0
    assert table.columns["sum so far"][row].item() == 0.0
    assert not any("dv1/dz" in str(s) for s in table.columns["step"])  # nothing is left to flow on
    assert "∂v1 += ∂v2 · 0 (held fixed)" in table.text(60)
    assert NOTHING in table.note
    assert traced["v2"].partial_source == {"v1": "0 (held fixed)"}
    assert "v2 = v1 (held fixed)" in traced.draw().svg
    assert_close(traced["z"].partial, fl.grad(share)(np.array([1.0, 2.0])))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("f", [fl.softmax, log_softmax, logsumexp, sparsemax])
def test_a_shift_that_the_result_does_not_depend_on_is_told_from_one_that_it_does(f, dtype):
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(7, 40)).astype(dtype), rng.normal(size=(7, 40)).astype(dtype)
    weights = w[:, 0] if f is logsumexp else w
    note = fl.trace(lambda z: fl.sum(f(z) * weights), z).table().note
    assert "and none is missing, as J does not change with it" in note
    note = fl.trace(lambda z: fl.sum(f(z) * weights + stop_gradient(0.001 * z.max())), z).table().note
    assert "is held fixed: no derivative goes through it, although J changes with it" in note


def test_a_derivative_that_is_left_out_on_purpose_is_not_explained_away():
    def f(x):
        h = stop_gradient(x)
        J = h * x
        return J

    traced = fl.trace(f, 3.0)
    assert traced["x"].partial == 3.0  # not 2 x
    assert traced["h"].forward_source == "h = x (held fixed)"
    for table in (traced.table(), traced.table("forward"), traced.chain("x")):
        assert "h is held fixed: no derivative goes through it, although J changes with it" in table.note


def test_without_such_a_node_nothing_is_said():
    assert "held" not in str(fl.trace(lambda x: fl.sum(fl.exp(x)), np.ones(2)))


def test_the_chain_rule_leaves_out_the_paths_through_it():
    table = fl.trace(share, np.array([1.0, 2.0])).chain("z[1]")
    assert [g for g in dict.fromkeys(table.groups) if g != "sum"] == [
        "J ← v6 ← v5 ← v4 ← v3 ← z",
        "J ← v6 ← v4 ← v3 ← z",
    ]
    assert NOTHING in table.note
    p = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
    assert_close(table.columns["product so far"][-1], -p[0] * p[1])


def test_where_every_path_ends_the_chain_rule_shows_at_which_factor():
    def f(x):
        t = fl.sin(x)
        h = 2.0 * stop_gradient(t)
        J = fl.sin(h)
        return J

    table = fl.trace(f, 0.5).chain("x")
    assert [str(c) for c in table.columns["factor"]] == ["dJ/dh = cos(h)", "dh/dt = 0 (held fixed)", "dt/dx = cos(x)"]
    assert table.columns["product so far"][-1] == 0.0
