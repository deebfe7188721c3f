"""sin, cos, tan and arctan of float32 vectors.

    x = n π/2 + r,   n = round(2x / π),   |r| <= π/4
    sin(r) = r + r³ s(r²),   cos(r) = 1 - r²/2 + r⁴ c(r²)

For the entries of which n no longer fits the C library is called.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fallline.engines.llvm.emitter import vector
from fallline.engines.llvm.floats import Floats
from fallline.engines.llvm.libm import libm

_SINE = (-0.16666655242443085, 0.008332154713571072, -0.000195140833966434)  # error 2^-28
_COSINE = (0.04166664555668831, -0.0013887337408959866, 2.4434844817733392e-05)  # error 2^-33
# arctan(x) = x + x³ a(x²) up to 1, with an error of 2^-28
_ARCTAN = (
    -0.33333298563957214, 0.19998548924922943, -0.14264240860939026, 0.10952181369066238, -0.08403436839580536,
    0.05795735865831375, -0.031177613884210587, 0.010914481244981289, -0.001793593866750598,
)  # fmt: skip
_LARGEST = 70000.0  # up to here n has 16 bits, so that r is exact where products are not rounded
# π/2 in three float32 numbers, and in two float64 of which the first has zeros at its end
_HALF_PI = (1.5707963705062866, -4.371139000186241e-08, -1.7151245100058819e-15)
_HALF_PI_WIDE = (1.57079632673412561417, 6.07710050650619224932e-11)


class Angle(NamedTuple):
    """x = n π/2 + r.   quarter: a whole number with the lowest bits of n"""

    quarter: str
    r: str


def sin(v: Floats, x: str) -> str:
    """The sine of radians."""
    return _guarded(v, x, "sin", _wave(v, _reduce(v, x)))


def cos(v: Floats, x: str) -> str:
    """The cosine of radians: the sine a quarter later."""
    angle = _reduce(v, x)
    return _guarded(v, x, "cos", _wave(v, Angle(v.whole("add", angle.quarter, 1), angle.r)))


def tan(v: Floats, x: str) -> str:
    """The tangent of radians: sin(r) / cos(r), or -cos(r) / sin(r) in every other quarter."""
    angle = _reduce(v, x)
    sine, cosine = _sine(v, angle.r), _cosine(v, angle.r)
    odd = _bit(v, angle.quarter, 1)
    return _guarded(v, x, "tan", v.div(v.choose(odd, v.negate(cosine), sine), v.choose(odd, sine, cosine)))


def arctan(v: Floats, x: str) -> str:
    """The angle whose tangent is x; beyond 1 it is π/2 - arctan(1/x)."""
    size = v.magnitude(x)
    beyond = v.compare("ogt", size, 1.0)
    z = v.choose(beyond, v.div(-1.0, size), size)
    square = v.mul(z, z)
    angle = v.fma(v.mul(z, square), v.polynomial(square, _ARCTAN), z)
    return v.with_sign(v.add(angle, v.choose(beyond, math.pi / 2, 0.0)), x)


def _guarded(v: Floats, x: str, name: str, near: str) -> str:
    """What is near, but from the C library in the lanes that are too large for it; infinities and NaN are not."""
    size = v.magnitude(x)
    huge = v.f.value(f"and {v.flags} {v.compare('ogt', size, _LARGEST)}, {v.compare('olt', size, math.inf)}")
    some = huge
    if v.lanes > 1:
        some = v.f.intrinsic("vector.reduce.or", "i1", [(v.flags, huge)], overload=f"v{v.lanes}i1")
    # Only those lanes, so that no result depends on which numbers share a register.
    return v.f.either(some, lambda: [v.choose(huge, libm(v.f, name, v.kind, [x]), near)], lambda: [near], [v.kind])[0]


def _reduce(v: Floats, x: str) -> Angle:
    if v.f.module.target.fma:
        shifted = v.fma(x, 2 / math.pi, v.magic)
        n = v.sub(shifted, v.magic)
        for part in _HALF_PI:
            x = v.fma(n, -part, x)
        return Angle(v.to_bits(shifted), x)
    wide = Floats(v.f, vector("double", v.lanes))
    x64 = v.f.value(f"fpext {v.kind} {x} to {wide.kind}")
    shifted = wide.add(wide.mul(x64, 2 / math.pi), wide.magic)
    n = wide.sub(shifted, wide.magic)
    for part in _HALF_PI_WIDE:
        x64 = wide.sub(x64, wide.mul(n, part))
    quarter = v.f.value(f"trunc {wide.bits} {wide.to_bits(shifted)} to {v.bits}")
    return Angle(quarter, v.f.value(f"fptrunc {wide.kind} {x64} to {v.kind}"))


def _wave(v: Floats, angle: Angle) -> str:
    """sin(r), cos(r), -sin(r), -cos(r), by the quarter."""
    value = v.choose(_bit(v, angle.quarter, 1), _cosine(v, angle.r), _sine(v, angle.r))
    turned = v.whole("and", v.whole("shl", angle.quarter, 30), v.sign)
    return v.from_bits(v.whole("xor", v.to_bits(value), turned))


def _bit(v: Floats, word: str, bit: int) -> str:
    return v.f.value(f"icmp ne {v.bits} {v.whole('and', word, bit)}, {v.f.constant(0, v.bits)}")


def _sine(v: Floats, r: str) -> str:
    square = v.mul(r, r)
    return v.fma(v.mul(square, r), v.polynomial(square, _SINE), r)


def _cosine(v: Floats, r: str) -> str:
    square = v.mul(r, r)
    return v.polynomial(square, (1.0, -0.5, *_COSINE))


__all__ = ["arctan", "cos", "sin", "tan"]
