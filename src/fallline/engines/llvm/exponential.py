"""exp, expm1, tanh, sigmoid and erf of vectors, without branches.

    exp(x) = 2^n · exp(r),   n = round(x / log 2),   r = x - n log 2,   |r| <= log(2) / 2
    exp(r) = 1 + r + r² q(r)

The polynomials are minimax fits; the error of each, relative to what it stands for, is below the rounding.
"""

from __future__ import annotations

from typing import NamedTuple

from fallline.engines.llvm.floats import Floats

LOG2_E = 1.4426950408889634
# log 2 in two parts; the first has zeros at its end, so that its product with a whole number is exact. Both are
# positive, so that an infinite multiple of them is infinite.
LOG_2 = {
    "float": (0.693145751953125, 1.428606765330187e-06),
    "double": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
# q(r), with an error of 2^-26 and 2^-60 r²
_TAIL = {
    "float": (0.5, 0.16666541993618011, 0.04166627675294876, 0.008366777561604977, 0.0013946782564744353),
    "double": (
        0.5, 0.16666666666666677, 0.04166666666666665, 0.00833333333332102, 0.001388888888889029,
        0.00019841269887664503, 2.480158730458957e-05, 2.7557242585870364e-06, 2.7557296979700903e-07,
        2.510963503289141e-08, 2.0906424412854782e-09,
    ),
}  # fmt: skip


class Range(NamedTuple):
    """Arguments beyond which a function no longer changes.

    zero, overflow  of exp: below the one it is 0, above the other infinity
    minus_one       of expm1: below it is -1
    one             of tanh: above it is 1
    """

    zero: float
    overflow: float
    minus_one: float
    one: float


_RANGE = {"float": Range(-104.0, 89.0, -18.0, 9.1), "double": Range(-746.0, 710.0, -38.0, 19.1)}

# erf(x) = x + x p(x²) up to 1, and 1 - exp(-x g(x)) from there to 4, beyond which it is 1 in float32
_ERF_NEAR = (
    0.12837916612625122, -0.3761262595653534, 0.1128358542919159, -0.026853810995817184, 0.005188327748328447,
    -0.0008010192541405559, 7.853857823647559e-05,
)  # fmt: skip
_ERF_FAR = (
    1.1286771297454834, 0.6350365281105042, 0.10642413794994354, -0.02392130345106125, 0.00371685903519392,
    -0.00034090166445821524, 1.3021186532569118e-05,
)  # fmt: skip


class Reduced(NamedTuple):
    """x = n log 2 + r.   n a float, shifted the same whole number in its lowest bits"""

    n: str
    shifted: str
    r: str


def exp(v: Floats, x: str) -> str:
    """e^x"""
    limits = _RANGE[v.element]
    return _exp(v, v.at_least(v.at_most(x, limits.overflow), limits.zero))


def expm1(v: Floats, x: str) -> str:
    """e^x - 1"""
    limits = _RANGE[v.element]
    reduced = _reduce(v, v.at_least(v.at_most(x, limits.overflow), limits.minus_one))
    # Half of it, for 2^n may overflow where the result does not: 2^(n-1) expm1(r) + (2^(n-1) - 1/2).
    scale = _power_of_two(v, reduced.shifted, v.bias - 1)
    half = v.fma(scale, _expm1_near(v, reduced.r), v.sub(scale, 0.5))
    return v.add(half, half)


def tanh(v: Floats, x: str) -> str:
    """expm1(2x) / (expm1(2x) + 2)"""
    one = _RANGE[v.element].one
    x = v.at_least(v.at_most(x, one), -one)
    reduced = _reduce(v, v.add(x, x))
    scale = _power_of_two(v, reduced.shifted, v.bias)
    change = v.fma(scale, _expm1_near(v, reduced.r), v.sub(scale, 1.0))
    return v.div(change, v.add(change, 2.0))


def sigmoid(v: Floats, x: str) -> str:
    """1 / (1 + exp(-x)), with its relative precision on the far left too; exp overflows where it is 0."""
    return v.div(1.0, v.add(exp(v, v.negate(x)), 1.0))


def erf(v: Floats, x: str) -> str:
    """2/√π times the integral of exp(-t²) from 0 to x, in float32."""
    size = v.at_most(v.magnitude(x), 4.0)
    near = v.fma(size, v.polynomial(v.mul(size, size), _ERF_NEAR), size)
    reduced = _reduce(v, v.negate(v.mul(size, v.polynomial(size, _ERF_FAR))))
    tail = v.mul(_exp_near(v, reduced.r), _power_of_two(v, reduced.shifted, v.bias))
    far = v.sub(1.0, tail)
    return v.with_sign(v.choose(v.compare("olt", size, 1.0), near, far), x)


def _exp(v: Floats, x: str) -> str:
    """e^x for x within the range."""
    reduced = _reduce(v, x)
    near = _exp_near(v, reduced.r)
    if v.has_avx512:
        return v.native("scalef", near, reduced.n)
    # Two factors, as 2^n alone may lie outside the range of normal numbers.
    n = v.whole("sub", reduced.shifted, v.bits_of(v.magic))
    half = v.whole("ashr", n, 1)
    for part in (half, v.whole("sub", n, half)):
        near = v.mul(near, _power_of_two(v, part, v.bias))
    return near


def _reduce(v: Floats, x: str) -> Reduced:
    high, low = LOG_2[v.element]
    shifted = v.fma(x, LOG2_E, v.magic)
    n = v.sub(shifted, v.magic)
    r = v.fma(n, -low, v.fma(n, -high, x))
    return Reduced(n, v.to_bits(shifted), r)


def _exp_near(v: Floats, r: str) -> str:
    """e^r = 1 + r (1 + r q(r)), |r| <= log(2) / 2"""
    return v.polynomial(r, (1.0, 1.0, *_TAIL[v.element]))


def _expm1_near(v: Floats, r: str) -> str:
    """e^r - 1 = r + r² q(r), |r| <= log(2) / 2"""
    return v.fma(v.mul(r, r), v.polynomial(r, _TAIL[v.element]), r)


def _power_of_two(v: Floats, n: str, bias: int) -> str:
    """2^n from the lowest bits of n; what lies above them is shifted out."""
    return v.from_bits(v.whole("add", v.whole("shl", n, v.mantissa), bias << v.mantissa))


__all__ = ["erf", "exp", "expm1", "sigmoid", "tanh"]
