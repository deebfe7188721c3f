"""Exponentials, logarithms, roots, trigonometric and error functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.graph.op import elementwise
from fallline.graph.sample import reals

exp = elementwise(
    "exp", np.exp, (lambda y, x: y,), takes="f",
    scalar={"llvm": "exp", "xla": "exp"}, sample=reals(-2, 2, special={0.0: 1.0, -1000.0: 0.0, 1000.0: np.inf}),
)  # fmt: skip
expm1 = elementwise(
    "expm1", np.expm1, (lambda y, x: y + 1.0,), takes="f",
    scalar={"llvm": "expm1", "xla": "expm1"}, sample=reals(-2, 2, special={0.0: 0.0, 1e-20: 1e-20, -1000.0: -1.0}),
)  # fmt: skip
log = elementwise(
    "log", np.log, (lambda y, x: 1.0 / x,), takes="f",
    scalar={"llvm": "log", "xla": "log"}, sample=reals(0.2, 4, special={1.0: 0.0, 0.0: -np.inf, -1.0: np.nan}),
)  # fmt: skip
log1p = elementwise(
    "log1p", np.log1p, (lambda y, x: 1.0 / (1.0 + x),), takes="f",
    scalar={"llvm": "log1p", "xla": "log1p"}, sample=reals(-0.5, 4, special={0.0: 0.0, 1e-20: 1e-20}),
)  # fmt: skip
sqrt = elementwise(
    "sqrt", np.sqrt, (lambda y, x: 0.5 / y,), takes="f",
    scalar={"llvm": "sqrt", "xla": "sqrt"}, sample=reals(0.2, 4, special={0.0: 0.0, 9.0: 3.0, -1.0: np.nan}),
)  # fmt: skip
sin = elementwise(
    "sin", np.sin, (lambda y, x: cos(x),), takes="f",
    scalar={"llvm": "sin", "xla": "sin"}, sample=reals(-4, 4, special={0.0: 0.0, math.pi / 2: 1.0}),
)  # fmt: skip
cos = elementwise(
    "cos", np.cos, (lambda y, x: -sin(x),), takes="f",
    scalar={"llvm": "cos", "xla": "cos"}, sample=reals(-4, 4, special={0.0: 1.0, math.pi: -1.0}),
)  # fmt: skip
tan = elementwise(
    "tan", np.tan, (lambda y, x: 1.0 + y * y,), takes="f",
    scalar={"llvm": "tan", "xla": "tan"}, sample=reals(-1, 1, special={0.0: 0.0}),
)  # fmt: skip
arctan = elementwise(
    "arctan",
    np.arctan,
    (lambda y, x: 1.0 / (1.0 + x * x),),
    takes="f",
    scalar={"llvm": "atan", "xla": "arctan"},
    sample=reals(-4, 4, special={0.0: 0.0, 1.0: math.pi / 4, np.inf: math.pi / 2}),
)
tanh = elementwise(
    "tanh", np.tanh, (lambda y, x: 1.0 - y * y,), takes="f",
    scalar={"llvm": "tanh", "xla": "tanh"}, sample=reals(-4, 4, special={0.0: 0.0, 1000.0: 1.0, -1000.0: -1.0}),
)  # fmt: skip


def _sigmoid(x: Any, out: Any = None) -> Any:
    """1 / (1 + exp(-x)): exp overflows to infinity for very negative x, whose reciprocal is the right 0."""
    out = np.empty_like(x) if out is None else out
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, 1, out)
    return np.reciprocal(out, out)


def _erf(x: Any, out: Any = None) -> Any:
    from scipy.special import erf as scipy_erf  # NumPy has none, and importing SciPy costs a third of a second

    return scipy_erf(x, out=out)


sigmoid = elementwise(
    "sigmoid", _sigmoid, (lambda y, x: y * (1.0 - y),), takes="f",
    scalar={"llvm": "sigmoid", "xla": "sigmoid"}, sample=reals(-4, 4, special={0.0: 0.5, 1000.0: 1.0, -1000.0: 0.0}),
)  # fmt: skip
erf = elementwise(
    "erf", _erf, (lambda y, x: 2.0 / math.sqrt(math.pi) * exp(-x * x),), takes="f",
    scalar={"llvm": "erf", "xla": "erf"}, sample=reals(-2, 2, special={0.0: 0.0, 10.0: 1.0, -10.0: -1.0}),
)  # fmt: skip

__all__ = ["arctan", "cos", "erf", "exp", "expm1", "log", "log1p", "sigmoid", "sin", "sqrt", "tan", "tanh"]
