"""Which functions are vectors of polynomials and which come from the C library; roots by estimates."""

from __future__ import annotations

import math
from collections.abc import Callable

from fallline.engines.llvm import exponential, logarithmic, trigonometric
from fallline.engines.llvm.emitter import Function
from fallline.engines.llvm.floats import Floats
from fallline.engines.llvm.libm import libm

# The vector forms: of both float dtypes, and of float32 only. All else calls the C library lane by lane.
_EITHER: dict[str, Callable[..., str]] = {
    "exp": exponential.exp,
    "expm1": exponential.expm1,
    "log": logarithmic.log,
    "log1p": logarithmic.log1p,
    "sigmoid": exponential.sigmoid,
    "tanh": exponential.tanh,
}
_SINGLE: dict[str, Callable[..., str]] = {
    "atan": trigonometric.arctan,
    "cos": trigonometric.cos,
    "erf": exponential.erf,
    "pow": logarithmic.power,
    "sin": trigonometric.sin,
    "tan": trigonometric.tan,
}


def transcendental(name: str, f: Function, args: list[str], kind: str) -> str:
    """A function by the name that it has in C (or "sigmoid") of floats."""
    v = Floats(f, kind)
    rule = _EITHER.get(name) or (_SINGLE.get(name) if v.is_single else None)
    return rule(v, *args) if rule else libm(f, name, kind, args)


def fast_root(f: Function, x: str, kind: str) -> str:
    """√x: of float32 by an estimate where there is one, which leaves the divider to quotients.

    Exact for x from 2^-100 on; below that the last bit may be wrong. With a quotient after it, as in Adam, a loop takes
    0.6 of the time that the instruction for roots takes.
    """
    v = Floats(f, kind)
    if not (v.has_avx512 and v.is_single):
        return f.unary("sqrt", x, kind)
    estimate = v.native("rsqrt14", x)
    root, half = v.mul(x, estimate), v.mul(estimate, 0.5)
    error = v.fma(v.negate(half), root, 0.5)
    root, half = v.fma(error, root, root), v.fma(error, half, half)
    # The remainder makes roots exact that have no more bits than fit.
    root = v.fma(v.fma(v.negate(root), root, x), half, root)
    # The estimate of 0 is infinite and that of infinity 0: their products are NaN, and both are their own roots.
    for end in (0.0, math.inf):
        root = v.choose(v.compare("oeq", x, end), x, root)
    return root


NAMES = frozenset({*_EITHER, *_SINGLE})

__all__ = ["NAMES", "fast_root", "transcendental"]
