"""Trace: functions, layers and fitted models, every node with its value and partial, as tables and as data."""

from __future__ import annotations

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


def network() -> fl.Layer:
    return fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(fl.spec((1, 4), "float64"), 0)


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


@pytest.mark.parametrize("entry", ["layers.0.W[2, 1]", "layers.2.b[0]", "x[0, 3]", "layers.1[0, 2]"])
def test_forward_mode_follows_one_entry_of_an_array(entry):
    traced = fl.trace(network(), np.linspace(-1, 1, 4)[None, :])
    node, index = traced.entry(entry)
    table = traced.table("forward", wrt=entry)
    assert_close(table.columns[f"d/d{entry}"][-1].item(), node.partial[index])
    assert table.title.endswith(entry)


def test_forward_mode_begins_with_a_single_number_or_the_first_entry():
    assert "d/dlayers.2.b" in fl.trace(network(), np.ones((1, 4))).table("forward").columns
    assert "d/dW[0, 0]" in fl.trace(lambda n, W: fl.sum(W * W), np.arange(3), np.ones((2, 2))).table("forward").columns


def test_whole_numbers_and_data_have_no_derivative_in_either_mode():
    traced = fl.trace(lambda x, n: x * fl.take(np.ones(3), n).sum(), 1.0, np.arange(3))
    for ask in (traced.tangents, traced.chain, lambda wrt: traced.table("forward", wrt=wrt)):
        with pytest.raises(
            ConfigError, match=r"no derivative with respect to n\[0\], which holds int64: choose an input"
        ):
            ask("n[0]")
    net = fl.Sequential(fl.Dense(1), fl.BatchNorm()).build(fl.spec((2, 4), "float64"), 0)
    traced = fl.trace(net, np.eye(2, 4), np.ones(2), loss="mse")
    assert traced.tangents("x[0, 0]")
    for data in ("y[0]", "layers.1.mean[0]"):
        for ask in (traced.tangents, traced.chain, lambda wrt: traced.table("forward", wrt=wrt)):
            with pytest.raises(ConfigError, match=r"which is fixed \(data, or made of data alone\)"):
                ask(data)


def test_an_entry_that_is_not_there_is_refused():
    traced = fl.trace(network(), np.ones((1, 4)))
    for entry in ("layers.0.W[4, 0]", "layers.0.W[0]"):
        with pytest.raises(ShapeError, match=r"layers\.0\.W has shape \(4, 3\), give one index for each axis"):
            traced.table("forward", wrt=entry)


def test_a_variable_keeps_the_shape_that_it_has_in_the_function():
    def f(W, x):
        a = W @ x
        r = fl.reshape(a, (3, 1))
        s = fl.sum(r * r)
        return s

    W, x = np.arange(6.0).reshape(3, 2), np.array([1.0, -1.0])
    traced = fl.trace(f, W, x)
    assert traced["a"].forward_source == "a = W @ x"
    assert_close(traced["a"].value, W @ x)
    assert_close(traced["a"].partial, 2 * W @ x)
    assert traced["r"].value.shape == (3, 1)
    assert_close(traced.tangents("W[1, 0]")["a"], np.array([0.0, 1.0, 0.0]))


def test_a_variable_that_changes_its_value_names_the_input_and_the_result_is_the_goal():
    def f(x):
        for _ in range(3):
            x = fl.sin(x)
        return x

    assert [n.name for n in fl.trace(f, 1.0)] == ["x", "v1", "v2", "J"]


def test_the_callers_name_counts_more_than_that_of_an_inner_function():
    def inner(z):
        return fl.tanh(z)

    def f(w):
        score = w * 2.0
        y = inner(score)
        return y

    assert [n.name for n in fl.trace(f, 1.0)] == ["w", "score", "y"]


def test_short_words_stand_where_the_full_ones_do_not_fit():
    table = fl.trace(network(), np.ones((1, 4))).table()
    assert "dJ/dlayers.2.b += dJ/dJ · dJ/dlayers.2.b" in table.text(200)
    narrow = table.text(80)
    assert "∂u stands for dJ/du" in narrow
    assert "∂layers.2.W += layers.1ᵀ @ ∂v2" in narrow
    assert "∂layers.0 += ∂layers.1 · (1 − la…" in narrow  # the longest formula is cut


def test_tables_are_data():
    frame = fl.trace(J, 1.0).table().frame()
    assert frame["step"].to_list()[1] == "dJ/du += dJ/dJ · dJ/du"
    assert frame["sum so far"].dtype.is_float()
    assert_close(frame["sum so far"][-1], 4.5607917907, "printed")
    assert frame["its value"].null_count() == 1  # dJ/dJ = 1 has no partial
    grouped = fl.trace(network(), np.ones((1, 4))).table(by="module").frame()
    assert grouped["group"].to_list()[0] == "layers.2"
    assert isinstance(list(grouped["sum so far"])[-1], list)


def test_a_function_without_a_result_is_refused():
    with pytest.raises(ShapeError, match="given nothing"):
        fl.trace(lambda x: None, 1.0)
