"""log, log1p and power of vectors, without branches.

    log(x) = e log 2 + log(1 + f),   x = 2^e (1 + f),   3/4 <= 1 + f < 3/2

A subnormal number counts as 0 where the CPU has no instruction that takes it apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fallline.engines.llvm.emitter import vector
from fallline.engines.llvm.exponential import LOG_2, exp
from fallline.engines.llvm.floats import Floats

# log(1 + f) = f + f² q(f) in float32, with an error of 2^-27
_SERIES = (
    -0.5, 0.3333345353603363, -0.250000536441803, 0.19990606606006622, -0.16647768020629883, 0.1448206752538681,
    -0.13162223994731903, 0.10448277741670609, -0.04490908980369568,
)  # fmt: skip
# 2 artanh(s) = 2s + s³ q(s²) in float64, for |s| <= 1/5, with an error of 2^-62
_ARTANH = (
    0.666666666666666, 0.4000000000005724, 0.2857142855572239, 0.22222224306345645, 0.181816653722822,
    0.15391126295359892, 0.13173384044300168, 0.13844365772620332,
)  # fmt: skip
_SPLIT = 0.75  # the least 1 + f
_MANTISSA_OF_POSITIVE = 0b1011  # getmant: from 3/4 to 3/2, NaN for negative numbers
_TINY = {"float": 2.0**-126, "double": 2.0**-1022}


class Parts(NamedTuple):
    """x = 2^exponent · mantissa.   inverse: 2^-exponent, for positive numbers up to 2^(bias - 1)"""

    mantissa: str
    exponent: str
    inverse: str | None = None


def log(v: Floats, x: str) -> str:
    """The natural logarithm; -inf at 0, NaN below."""
    parts = _parts(v, x)
    return _at_ends(v, x, _log(v, v.sub(parts.mantissa, 1.0), parts.exponent))


def log1p(v: Floats, x: str) -> str:
    """log(1 + x): what 1 + x loses by rounding is added to f."""
    total = v.add(x, 1.0)
    lost = v.sub(x, v.sub(total, 1.0))
    parts = _parts(v, total)
    if parts.inverse is None:
        scaled = v.native("scalef", lost, v.negate(parts.exponent))
        # Zero and infinity lose nothing, but 2^-e does not tell: of bits less 1, theirs are beyond the others.
        counted = v.whole("sub", v.to_bits(total), 1)
        last = v.f.constant(v.bits_of(math.inf) - 1, v.bits)
        ordinary = v.f.value(f"icmp ult {v.bits} {counted}, {last}")
        scaled = v.choose(ordinary, scaled, 0.0)
    else:
        # What 1 is to a huge number, infinity included, has no bits left; the inverse of 2^e is none for the largest.
        scaled = v.choose(v.compare("olt", total, 2.0**64), v.mul(lost, parts.inverse), 0.0)
    return _at_ends(v, total, _log(v, v.add(v.sub(parts.mantissa, 1.0), scaled), parts.exponent))


def power(v: Floats, a: str, b: str) -> str:
    """a^b in float32, by exp(b log |a|) in float64; the special cases are those of C."""
    wide = Floats(v.f, vector("double", v.lanes))
    a64, b64 = (v.f.value(f"fpext {v.kind} {x} to {wide.kind}") for x in (v.magnitude(a), b))
    result64 = exp(wide, wide.mul(b64, log(wide, a64)))
    result = v.f.value(f"fptrunc {wide.kind} {result64} to {v.kind}")
    floor, half = v.f.unary("floor", b, v.kind), v.mul(b, 0.5)
    is_whole = v.compare("oeq", floor, b)
    is_odd = v.f.value(f"and {v.flags} {is_whole}, {v.compare('une', v.f.unary('floor', half, v.kind), half)}")
    result = v.choose(is_odd, v.with_sign(result, a), result)
    root = v.f.value(f"and {v.flags} {v.compare('olt', a, 0.0)}, {v.compare('une', floor, b)}")
    finite = v.compare("one", a, -math.inf)
    result = v.choose(v.f.value(f"and {v.flags} {root}, {finite}"), math.nan, result)
    # 1^b and a^0 are 1 even for NaN, and so is (-1)^±inf.
    endless = v.compare("oeq", v.magnitude(b), math.inf)
    unit = v.f.value(f"and {v.flags} {v.compare('oeq', a, -1.0)}, {endless}")
    for condition in (v.compare("oeq", b, 0.0), v.compare("oeq", a, 1.0), unit):
        result = v.choose(condition, 1.0, result)
    return result


def _log(v: Floats, f: str, e: str) -> str:
    """e log 2 + log(1 + f)"""
    high, low = LOG_2[v.element]
    if v.is_single:
        near = v.fma(v.mul(f, f), v.polynomial(f, _SERIES), f)
        return v.fma(e, high, v.fma(e, low, near))
    # log(1 + f) = 2 artanh(s), with 2s written as f - f²/2 + s f²/2, of which f is exact.
    s = v.div(f, v.add(f, 2.0))
    square = v.mul(s, s)
    half = v.mul(v.mul(f, f), 0.5)
    tail = v.mul(square, v.polynomial(square, _ARTANH))
    correction = v.fma(s, v.add(half, tail), v.mul(e, low))
    return v.fma(e, high, v.sub(f, v.sub(half, correction)))


def _parts(v: Floats, x: str) -> Parts:
    if v.has_avx512:
        mantissa = v.native("getmant", x, _MANTISSA_OF_POSITIVE)
        # A mantissa below 1 has the exponent -1 itself.
        return Parts(mantissa, v.sub(v.native("getexp", x), v.native("getexp", mantissa)))
    # The highest bit, added, makes the exponents positive.
    bits, offset = v.to_bits(x), v.sign >> v.mantissa
    counted = v.whole("lshr", v.whole("add", bits, v.sign - v.bits_of(_SPLIT)), v.mantissa)
    base = 2.0**v.mantissa
    exponent = v.sub(v.from_bits(v.whole("or", counted, v.bits_of(base))), base + offset)
    shifted = v.whole("shl", counted, v.mantissa)
    mantissa = v.whole("add", v.whole("sub", bits, shifted), v.sign)
    inverse = v.whole("sub", v.sign + (v.bias << v.mantissa), shifted)
    return Parts(v.from_bits(mantissa), exponent, v.from_bits(inverse))


def _at_ends(v: Floats, x: str, result: str) -> str:
    """The logarithm where x is not a positive normal number; AVX-512 has given it already."""
    if v.has_avx512:
        return result
    result = v.choose(v.compare("olt", x, math.inf), result, x)
    low = v.choose(v.compare("olt", x, 0.0), math.nan, -math.inf)
    return v.choose(v.compare("uge", x, _TINY[v.element]), result, low)


__all__ = ["log", "log1p", "power"]
