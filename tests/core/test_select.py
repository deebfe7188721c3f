"""Selecting leaves: the weights, by pattern, by predicate."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.core.select import select

LEAVES = {"layers.0.W": np.zeros((2, 3)), "layers.0.b": np.zeros(3), "layers.1.gain": np.zeros(3)}


@pytest.mark.parametrize(
    "where, expected",
    [
        (None, {"layers.0.W"}),
        ("*", set(LEAVES)),
        ("*.b", {"layers.0.b"}),
        ("layers.0.*", {"layers.0.W", "layers.0.b"}),
        (("*.b", "*.gain"), {"layers.0.b", "layers.1.gain"}),
        ((), set()),
        (lambda path, leaf: leaf.shape == (3,), {"layers.0.b", "layers.1.gain"}),
    ],
)
def test_what_is_meant(where, expected):
    assert select(where, LEAVES, "test") == expected


def test_a_model_of_a_single_layer():
    assert select("*.W", {"W": np.zeros((1, 1)), "b": np.zeros(1)}, "test") == {"W"}


def test_a_slip_of_the_pen_is_refused():
    with pytest.raises(ConfigError, match=r"Freeze\(\): no parameter fits where='layer.0.W'"):
        select("layer.0.W", LEAVES, "Freeze()")
    assert select("*.W", {}, "Freeze()") == set()
