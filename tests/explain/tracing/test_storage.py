"""What reverse mode keeps; expected bytes from the sizes of the arrays that the rules read."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl


def rows(report):
    return dict(zip(report.columns["node"], zip(*list(report.columns.values())[1:], strict=True), strict=True))


def test_a_sum_keeps_nothing_and_a_product_both_operands():
    def f(x, y):
        a = fl.sin(x)
        b = fl.sin(y)
        c = a + b
        d = a * c
        return fl.sum(d)

    report = fl.trace(f, np.ones(5), np.ones(5)).memory()
    found = rows(report)
    assert set(found) == {"a", "c", "x", "y"}  # not b, which only a sum reads, nor d
    assert found["a"] == ("5", 40, "dd/dc")
    assert found["c"] == ("5", 40, "dd/da")
    assert found["x"][2] == "da/dx"  # cos x
    assert report.reverse_bytes == 2 * 40
    assert report.forward_passes == 10


def test_the_activations_of_a_network_are_kept_and_its_weights_are_there_anyway():
    net = fl.Sequential(fl.Dense(30), fl.Tanh(), fl.Dense(1)).build(fl.spec((7, 4), "float64"), 0)
    report = fl.trace(net, np.ones((7, 4)), np.ones(7), loss="mse").memory()
    found = rows(report)
    assert found["layers.1"][1] == 7 * 30 * 8
    kept = [n for n, g in zip(report.columns["node"], report.groups, strict=True) if g.startswith("kept")]
    assert "layers.0" not in kept  # tanh' = 1 − tanh² reads the result
    assert "layers.2.W" in found
    assert "layers.2.W" not in kept
    assert report.forward_passes == 4 * 30 + 30 + 30 + 1 + 7 * 4


def chain(n):
    def f(x):
        for _ in range(n):
            x = fl.exp(x * 0.01)
        return x.sum()

    return f


@pytest.mark.parametrize("n", [5, 50])
def test_reverse_mode_keeps_more_the_longer_the_chain_and_forward_mode_does_not(n):
    report = fl.trace(chain(n), np.ones(100)).memory()
    assert report.reverse_bytes == n * 800  # every e^v
    assert report.forward_bytes == 4 * 800  # a value and its derivative, and the next ones
    assert "pass" in report.note


def test_the_report_fits_a_terminal_and_is_data():
    report = fl.trace(chain(3), np.ones(100)).memory()
    assert max(map(len, report.text(60).splitlines())) <= 60
    assert report.frame()["bytes"].sum() == report.reverse_bytes
