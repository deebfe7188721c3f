"""The one table of tolerances, by dtype and kind; `assert_close` applies one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

TOL: dict[str, float] = {
    "exact": 0.0,
    # by dtype: a few hundred rounding units, room for sums in another order
    "f64": 1e-12,
    "f32": 1e-5,
    "bf16": 2e-2,
    # by kind
    "ulps": 4.0,  # units in the last place, of a function by a polynomial
    "run": 1e-10,  # float64 after thousands of operations: a deep chain, many layers, a whole training
    "adjoint": 1e-12,  # ⟨u, J t⟩ = ⟨Jᵀu, t⟩
    "central": 1e-7,  # central differences in float64, first derivative
    "second": 1e-6,  # numeric derivative of a first derivative that carries rounding errors
    "central32": 2e-2,  # central differences in float32
    "engines": 1e-9,  # float64 after some epochs of training, on two engines
    "gradient32": 1e-6,  # ‖g - g64‖ / ‖g64‖ of one training step in float32
    "tiles bf16": 6e-3,  # ‖c - c64‖ / ‖c64‖ of products of bfloat16 numbers
    "tiles bf16x3": 2e-5,  # the same, each factor as the sum of two such numbers
    "printed": 6e-11,  # expected values that are written with ten decimals
    "step": 1e-8,  # gradients of a whole training step against central differences
    "library": 1e-6,  # float64 against another library with its own iterations or constants
    "library32": 1e-4,  # the same in float32
    "fit": 1e-3,  # a solution that an iteration approaches
    "statistics": 2e-2,  # frequencies and moments of some ten thousand draws
    "p_value": 1e-4,  # a statistical test fails below this probability
}


def assert_close(actual: Any, expected: Any, kind: str = "f64") -> None:
    """|actual - expected| <= TOL[kind] · (1 + |expected|), shapes equal, NaN equal to NaN."""
    assert np.shape(actual) == np.shape(expected), f"shape {np.shape(actual)}, expected {np.shape(expected)}"
    np.testing.assert_allclose(actual, expected, rtol=TOL[kind], atol=TOL[kind], equal_nan=True)
