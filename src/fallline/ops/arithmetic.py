"""Sums, products, powers, and the bit operations that random numbers are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.spec import Spec, as_dtype
from fallline.graph.op import OPS, as_operand, elementwise, linear
from fallline.graph.sample import cases, integers, mirrored, reals
from fallline.ops.compare import equal, where

add = elementwise(
    "add", np.add, (lambda y, a, b: 1.0, lambda y, a, b: 1.0),
    scalar={"llvm": "add", "xla": "add"}, sample=reals(-2, 2, -2, 2, special={(1.0, 2.0): 3.0, (np.inf, 1.0): np.inf}),
)  # fmt: skip
subtract = elementwise(
    "subtract", np.subtract, (lambda y, a, b: 1.0, lambda y, a, b: -1.0), takes="fiu",
    scalar={"llvm": "sub", "xla": "subtract"}, sample=reals(-2, 2, -2, 2, special={(1.0, 2.0): -1.0}),
)  # fmt: skip
multiply = elementwise(
    "multiply",
    np.multiply,
    (lambda y, a, b: b, lambda y, a, b: a),
    scalar={"llvm": "mul", "xla": "multiply"},
    sample=reals(-2, 2, -2, 2, special={(3.0, -2.0): -6.0, (0.0, np.inf): np.nan}),
)
divide = elementwise(
    "divide",
    np.divide,
    (lambda y, a, b: 1.0 / b, lambda y, a, b: -y / b),
    takes="f",
    scalar={"llvm": "div", "xla": "true_divide"},
    sample=reals(-2, 2, 0.5, 2, special={(1.0, 0.0): np.inf, (0.0, 0.0): np.nan}),
)
negative = elementwise(
    "negative", np.negative, (lambda y, x: -1.0,), takes="fi",
    scalar={"llvm": "neg", "xla": "negative"}, sample=reals(-2, 2, special={3.0: -3.0}),
)  # fmt: skip


def _power_by_base(y: Any, a: Any, b: Any) -> Any:
    """b a^(b-1); 0 for b = 0, also at a = 0, where the formula gives 0 · inf."""
    return b * power(a, where(equal(b, 0.0), 1.0, b - 1.0))


def _power_by_exponent(y: Any, a: Any, b: Any) -> Any:
    """a^b log a; 0 at a = 0, where a^b stays 0 for every b > 0."""
    return y * OPS["log"](where(equal(a, 0.0), 1.0, a))


power = elementwise(
    "power",
    np.power,
    (_power_by_base, _power_by_exponent),
    takes="f",
    scalar={"llvm": "pow", "xla": "power"},
    sample=reals(0.2, 2, -2, 3, special={(0.0, 2.0): 0.0, (-2.0, 3.0): -8.0, (0.0, 0.0): 1.0}),
)
absolute = elementwise(
    "absolute", np.absolute, (lambda y, x: sign(x),), takes="fi",
    scalar={"llvm": "abs", "xla": "abs"}, sample=mirrored(reals(0.1, 2, special={-3.0: 3.0, 0.0: 0.0})),
)  # fmt: skip
sign = elementwise(
    "sign", np.sign, (None,), takes="fi",
    scalar={"llvm": "sign", "xla": "sign"}, sample=mirrored(reals(0.1, 2, special={-3.0: -1.0, 0.0: 0.0, 5.0: 1.0})),
)  # fmt: skip
floor = elementwise(
    "floor", np.floor, (None,), takes="f",
    scalar={"llvm": "floor", "xla": "floor"}, sample=mirrored(reals(0.1, 0.9, special={1.5: 1.0, -0.5: -1.0})),
)  # fmt: skip


def _share(y: Any, a: Any, b: Any) -> Any:
    """1 where a is the one taken, 1/2 at a tie."""
    return where(equal(a, b), 0.5, equal(y, a).astype(a.dtype))


maximum = elementwise(
    "maximum",
    np.maximum,
    (_share, lambda y, a, b: _share(y, b, a)),
    takes="fi",
    scalar={"llvm": "max", "xla": "maximum"},
    sample=mirrored(reals(-2, 0, 0.5, 2, special={(1.0, 2.0): 2.0, (np.nan, 1.0): np.nan})),
)
minimum = elementwise(
    "minimum",
    np.minimum,
    (_share, lambda y, a, b: _share(y, b, a)),
    takes="fi",
    scalar={"llvm": "min", "xla": "minimum"},
    sample=mirrored(reals(-2, 0, 0.5, 2, special={(1.0, 2.0): 1.0, (np.nan, 1.0): np.nan})),
)
remainder = elementwise(
    "remainder", np.remainder, (lambda y, a, b: 1.0, lambda y, a, b: -floor(a / b)), takes="fi",
    scalar={"xla": "remainder"}, sample=mirrored(reals(0.1, 0.9, 1, 2, special={(5.5, 2.0): 1.5, (-1.0, 3.0): 2.0})),
)  # fmt: skip

bitwise_and = elementwise(
    "bitwise_and", np.bitwise_and, takes="iub", scalar={"llvm": "and", "xla": "bitwise_and"},
    sample=integers(2, 0, 2**32, "uint32", special={(12, 10): 8}),
)  # fmt: skip
bitwise_or = elementwise(
    "bitwise_or", np.bitwise_or, takes="iub", scalar={"llvm": "or", "xla": "bitwise_or"},
    sample=integers(2, 0, 2**32, "uint32", special={(12, 10): 14}),
)  # fmt: skip
bitwise_xor = elementwise(
    "bitwise_xor", np.bitwise_xor, takes="iub", scalar={"llvm": "xor", "xla": "bitwise_xor"},
    sample=integers(2, 0, 2**32, "uint32", special={(12, 10): 6}),
)  # fmt: skip
invert = elementwise(
    "invert", np.invert, takes="iub", scalar={"llvm": "not", "xla": "bitwise_not"},
    sample=integers(1, 0, 2**32, "uint32", special={0: 2**32 - 1}),
)  # fmt: skip
left_shift = elementwise(
    "left_shift", np.left_shift, takes="iu", scalar={"llvm": "shl", "xla": "left_shift"},
    sample=integers(2, 0, 31, "uint32", special={(3, 4): 48}),
)  # fmt: skip
right_shift = elementwise(
    "right_shift", np.right_shift, takes="iu", scalar={"llvm": "lshr", "xla": "right_shift"},
    sample=integers(2, 0, 31, "uint32", special={(48, 4): 3}),
)  # fmt: skip


def _cast_forward(x: Any, out: Any = None, *, dtype: np.dtype) -> Any:
    if out is None:
        return np.asarray(x).astype(dtype)
    np.copyto(out, x, casting="unsafe")
    return out


def _cast_front(apply: Any, x: Any, dtype: Any) -> Any:
    target = as_dtype(dtype)
    x = as_operand(x)
    return x if x.dtype == target else apply(x, dtype=target)


def _cast_infer(x: Spec, *, dtype: np.dtype) -> Spec:
    return x.with_dtype(dtype)


def _cast_back(g: Any, x: Any, *, dtype: np.dtype) -> Any:
    """A cast between floats carries the gradient; to or from an integer it is a step function."""
    return astype(g, x.dtype) if x.dtype.kind == "f" and dtype.kind == "f" else None


astype = linear(
    "astype", _cast_infer, _cast_forward, _cast_back, front=_cast_front,
    sample=cases(lambda rng: ((rng.normal(size=(3, 4)),), {"dtype": np.dtype("float32")}), smooth=False),
)  # fmt: skip

__all__ = [
    "absolute", "add", "astype", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "floor", "invert",
    "left_shift", "maximum", "minimum", "multiply", "negative", "power", "remainder", "right_shift", "sign",
    "subtract",
]  # fmt: skip
