"""The modes side by side: they agree, and the report counts what each costs."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from tests.tolerance import TOL, assert_close


def norm(x):
    return fl.sum(fl.tanh(x) * x)


def curve(t):
    return fl.stack([fl.cos(t[0]), fl.sin(t[0]), t[0] * t[0]])


def test_many_inputs_and_one_result_suit_reverse_mode():
    x = np.linspace(-1, 1, 30)
    report = fl.compare_modes(norm, x)
    assert report
    assert report.passes == {"reverse": 1, "forward": 30, "numeric": 60}
    for found in (report.reverse, report.forward):
        assert_close(found, np.tanh(x) + x * (1 - np.tanh(x) ** 2))
    assert_close(report.numeric, report.reverse, "central")
    assert report.advice.startswith("reverse mode suits: it needs 1 pass where forward mode needs 30 passes")


def test_one_input_and_many_results_suit_forward_mode():
    report = fl.compare_modes(curve, np.array([0.4]))
    assert report
    assert report.passes == {"reverse": 3, "forward": 1, "numeric": 2}
    assert_close(report.forward, np.array([[-np.sin(0.4)], [np.cos(0.4)], [0.8]]))
    assert report.advice.startswith("forward mode suits: it needs 1 pass where reverse mode needs 3 passes")


def test_with_as_many_inputs_as_results_either_suits():
    report = fl.compare_modes(fl.sin, 1.0)
    assert report.passes == {"reverse": 1, "forward": 1, "numeric": 2}
    assert report.advice.startswith("either mode suits: both need 1 pass")


def test_models_and_other_arguments():
    net = fl.Sequential(fl.Dense(3), fl.Tanh(), fl.Dense(1)).build(fl.spec((1, 2), "float64"), 0)
    x = np.array([[0.3, -0.7]])
    report = fl.compare_modes(lambda m, v: fl.sum(m(v)), net, x)
    assert report.passes["forward"] == fl.count_parameters(net)
    assert report
    assert fl.compare_modes(lambda m, v: fl.sum(m(v)), net, x, wrt=1).passes["forward"] == 2


def test_several_arguments_at_once():
    W, x = np.array([[0.1, 0.4], [-0.3, 0.2]]), np.array([1.0, 2.0])
    report = fl.compare_modes(lambda W, x: fl.sum(fl.square(W @ x)), W, x, wrt=(0, 1))
    assert report
    assert report.passes == {"reverse": 1, "forward": 6, "numeric": 12}
    for found in (report.reverse, report.forward):
        assert_close(found[0], 2 * np.outer(W @ x, x))
        assert_close(found[1], 2 * W.T @ (W @ x))
    assert_close(report.numeric[1], report.reverse[1], "central")
    report = fl.compare_modes(lambda W, x: W @ x, W, x, wrt=(1, 0))
    assert report.passes == {"reverse": 2, "forward": 6, "numeric": 12}
    for found in (report.reverse, report.forward):
        assert_close(found[0], W)
        assert_close(found[1], np.einsum("ik,j->ikj", np.eye(2), x))
    assert fl.compare_modes(lambda W, x: W @ x, W, x, wrt=-1).forward.shape == (2, 2)


def test_of_two_precisions_the_coarser_one_counts():
    x = np.linspace(-1, 1, 5)
    report = fl.compare_modes(lambda a, b: norm(a) + norm(b).astype("float64"), x, x.astype("float32"), wrt=(0, 1))
    assert report
    assert report.tolerances == fl.compare_modes(norm, x.astype("float32")).tolerances


def test_the_text_is_aligned_and_short():
    lines = str(fl.compare_modes(norm, np.linspace(-1, 1, 30))).splitlines()
    assert lines[0] == "derivatives of norm: 30 input entries, 1 result entry"
    assert [line.split()[0] for line in lines[1:4]] == ["reverse", "forward", "numeric"]
    assert len({line.index(",") for line in lines[1:4]}) == 1
    assert len({line.index("differs") for line in lines[2:4]}) == 1


def test_a_kink_is_seen():
    report = fl.compare_modes(lambda x: fl.sum(fl.relu(x)), np.array([1.0, 0.0]))
    assert not report  # numerically the slope at the kink is 1/2
    assert report.numeric_error == pytest.approx(0.5, rel=TOL["fit"])


def test_single_precision_has_wider_tolerances():
    assert fl.compare_modes(norm, np.linspace(-1, 1, 5, dtype=np.float32))


def test_bad_questions_are_answered():
    with pytest.raises(ConfigError, match="wrt=1: the function was given 1 argument"):
        fl.compare_modes(fl.sin, 1.0, wrt=1)
    with pytest.raises(ConfigError, match="a position stands there twice"):
        fl.compare_modes(lambda a, b: a * b, 1.0, 2.0, wrt=(0, -2))
    with pytest.raises(ConfigError, match="no argument to differentiate by"):
        fl.compare_modes(fl.sin, 1.0, wrt=())
    with pytest.raises(ShapeError, match="one number or one array as the result, pair gives 2"):
        fl.compare_modes(pair, 1.0)
    with pytest.raises(ShapeError, match="argument 0 is no array"):
        fl.compare_modes(lambda p: p["a"] * np.ones(2), {"a": 1.0})


def pair(x):
    return x, x
