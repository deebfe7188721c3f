"""Runs: paths of layers, sites, updates."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError
from fallline.nn.activations import ReLU
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.run import EVAL, Run
from fallline.ops.random import new_key


def test_paths_are_those_of_the_tree():
    net = Sequential(Dense(units=2), Sequential(ReLU()))
    run = Run.of(net)
    assert run.path_of(net) == ""
    assert run.path_of(net.layers[0]) == "layers.0"
    assert run.path_of(net.layers[1].layers[0]) == "layers.1.layers.0"
    assert run.path_of(ReLU()) == ""
    assert EVAL.path_of(net.layers[0]) == ""


def test_updates_carry_the_path():
    net = Sequential(Dense(units=2))
    run = Run.of(net, training=True)
    run.update(net.layers[0], "mean", 1.0)
    run.update(net, "mean", 2.0)
    assert run.updates == {"layers.0.mean": 1.0, "mean": 2.0}


def test_sites_differ_and_the_draws_with_them():
    run, again = Run(training=True, key=new_key(1)), Run(training=True, key=new_key(1))
    assert [Run().site() for _ in range(2)] == [0, 0]
    first, second = run.uniform((20,)), run.uniform((20,))
    assert (first != second).any()
    np.testing.assert_array_equal(first, again.uniform((20,)))
    assert [run.site(), run.site()] == [2, 3]
    with pytest.raises(ConfigError, match="needs a key"):
        Run(training=True).uniform((2,))
