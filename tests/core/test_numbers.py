"""Numbers and arrays as short text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fallline.core.numbers import counted, number_forms, number_text


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "1"),
        (-0.5, "−0.5"),
        (-0.0, "0"),
        (np.float32(0.1), "0.1"),  # not 0.1000000015, which is rounding noise
        (2 / 3, "0.6666666667"),
        (7, "7"),
        (np.array([True]), "True"),
        (float("nan"), "nan"),
        (np.array([1.0, -2.0]), "(1, −2)"),
        (np.zeros((0, 3)), "[0×3] empty"),
        (np.full((2, 3), 0.25), "[2×3] all 0.25"),
        (np.arange(5) > 3, "[5] true in 20%"),
        (np.arange(6.0).reshape(2, 3), "[2×3] mean 2.5 ± 1.71, 0 … 5"),
    ],
)
def test_text(value, text):
    assert number_text(value) == text


def test_digits():
    assert number_text(np.pi, 3) == "3.14"
    assert number_text(np.float32(np.pi), 10) == "3.141593"


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=5), elements=st.floats(-1e9, 1e9)))
def test_every_form_is_shorter_than_the_one_before_or_as_long(array):
    forms = number_forms(array)
    assert [len(f) for f in forms] == sorted(map(len, forms), reverse=True)
    assert forms[0] == number_text(array)


def test_things_are_counted():
    assert [counted(n, "pass") for n in (1, 2, 1000)] == ["1 pass", "2 passes", "1,000 passes"]
    assert counted(2, "value") == "2 values"
