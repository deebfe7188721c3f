"""Warnings name the line outside the package that led to them, and come once for each cause."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import fallline as fl
from fallline.core.warn import warn_user
from fallline.train.pairing import PairingWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
TWO = (X[:, 0] > 0).astype(int)


def suspect():
    """A network of which two things are said: of its hidden units and of its output."""
    return fl.Sequential(fl.Dense(4), fl.Sigmoid(), fl.Dense(1), fl.Sigmoid())


def explode(**options):
    return fl.fit(fl.Sequential(fl.Dense(1)), (1e3 * X, X[:, 0]), optimizer=fl.SGD(0.5), batch_size="full", **options)


PAIRING = {
    "fit": (2, lambda: fl.fit(suspect(), (X, TWO * 1.0), loss="mse", epochs=1)),
    "restarts": (2, lambda: fl.fit(suspect(), (X, TWO * 1.0), loss="mse", epochs=1, restarts=3)),
    "preset": (1, lambda: fl.preset("mlp").fit((X, TWO), activation="sigmoid", epochs=1)),
    "compare": (1, lambda: fl.compare((X, TWO), activation="sigmoid", widths=[4], seeds=1, epochs=1, strict=True)),
    "explain_step": (2, lambda: fl.explain_step(suspect(), (X[:4], TWO[:4] * 1.0), loss="mse")),
}
FAILING = {
    "fit": lambda: explode(epochs=100),
    "preset": lambda: fl.preset("linear_regression").fit((1e3 * X, X[:, 0]), optimizer=fl.SGD(0.5), epochs=100),
}


@pytest.mark.parametrize("name", PAIRING)
def test_what_is_said_of_a_pairing_names_the_line_of_the_user_once(name):
    count, call = PAIRING[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [(c.category, c.filename) for c in caught] == [(PairingWarning, __file__)] * count
    assert {c.lineno for c in caught} == {call.__code__.co_firstlineno}


@pytest.mark.parametrize("name", FAILING)
def test_training_that_does_not_stay_finite_names_the_line_of_the_user(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FAILING[name]()
    assert [(c.category, c.filename) for c in caught] == [(RuntimeWarning, __file__)]


def test_rows_that_stay_wrong_name_the_line_of_the_user():
    with pytest.warns(UserWarning, match="still wrong") as caught:
        fl.preset("perceptron").fit((X, RNG.permutation(TWO)), epochs=1)
    assert [c.filename for c in caught] == [__file__]


def test_the_first_start_is_built_once():
    built = []

    class Counted(fl.Dense):
        def build(self, x, rng):
            built.append(1)
            return super().build(x, rng)

    fl.fit(fl.Sequential(Counted(1)), (X, TWO), epochs=1, restarts=3)
    assert len(built) == 3


def test_outside_the_package_the_caller_itself_is_named():
    with pytest.warns(UserWarning, match="mind") as caught:
        warn_user("mind")
    line = inspect.currentframe().f_lineno - 1
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)
