"""Names of nodes: the user's own, of values that are still there, and of every argument."""

from __future__ import annotations

import pytest

import fallline as fl
from tests.tolerance import assert_close


def penalty(w):
    big = fl.exp(w) * 2.0
    for _ in range(3):
        big = big + fl.sin(w)
    return big


def test_a_value_that_was_dropped_gives_its_name_to_no_other():
    def g(x):
        for _ in range(8):
            penalty(x)
        y = fl.tanh(x * 2.0)
        return y * fl.exp(-y) + fl.cos(x) * 2.0

    names = [n.name for n in fl.trace(g, 0.7)]
    assert names == ["x", "v1", "y", "v2", "v3", "v4", "v5", "v6", "J"]


@fl.record
class Wasteful(fl.Layer):
    """tanh x, computed after other things that nobody reads."""

    def __call__(self, x, run=fl.EVAL):
        for _ in range(8):
            penalty(x)
        return fl.tanh(x) * 2.0 + fl.cos(x) * fl.exp(-x)


@pytest.mark.parametrize("loss", [None, "mse"])
def test_nor_inside_a_layer(loss):
    net = fl.Sequential(fl.Dense(1), Wasteful()).build(fl.spec((1, 2), "float64"), 0)
    x = [[0.3, -0.2]]
    traced = fl.trace(net, x) if loss is None else fl.trace(net, x, [1.0], loss=loss)
    assert not [n.name for n in traced if n.name.endswith("big")]
    assert traced.goal.name == "J"


def test_arguments_that_a_star_takes_are_numbered():
    def g(a, *rest, b=2.0):
        return a * rest[0] + rest[1] * b

    traced = fl.trace(g, 1.0, 20.0, 30.0)
    assert {n.name: float(n.value) for n in traced.inputs} == {"a": 1.0, "rest[0]": 20.0, "rest[1]": 30.0}
    assert_close(traced["rest[1]"].partial, 2.0)
    assert_close(traced.table("forward", wrt="rest[0]").columns["d/drest[0]"][-1], 1.0)
    assert traced.chain("rest[0]").title == "chain rule: dJ/drest[0] = dJ/dv1 · dv1/drest[0]"


def test_trees_and_ops_have_names_too():
    def g(first, *others):
        return fl.sum(first["w"]) + others[0]["w"]

    assert [n.name for n in fl.trace(g, {"w": 1.0}, {"w": 2.0}).inputs] == ["first.w", "others[0].w"]
    assert [n.name for n in fl.trace(fl.sin, 1.0).inputs] == ["x"]


def test_a_call_that_does_not_fit_says_so_itself():
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        fl.trace(lambda x: x, 1.0, 2.0)
