"""Floats: arithmetic on vectors of float32 or float64, as the transcendental functions need it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fallline.engines.llvm.emitter import Function, parts, vector

Operand = str | float  # an SSA value, or a number for every lane

_EVERY_LANE = -1
_CURRENT_ROUNDING = 4
# (bits of the mantissa, bias of the exponent)
_LAYOUT = {"float": (23, 127), "double": (52, 1023)}


class Floats:
    """Writes instructions on vectors of one type into a function.

    kind, bits, flags  the types of the floats, of whole numbers of their size, and of truth values
    mantissa, bias     of the format: a float is 2^(exponent - bias) · 1.mantissa
    sign               the highest bit
    magic              adding it rounds to a whole number, which then lies in the lowest bits
    """

    def __init__(self, f: Function, kind: str):
        self.f, self.kind = f, kind
        self.lanes, self.element = parts(kind)
        self.mantissa, self.bias = _LAYOUT[self.element]
        self.is_single = self.element == "float"
        self.bits = vector("i32" if self.is_single else "i64", self.lanes)
        self.flags = vector("i1", self.lanes)
        self.sign = 1 << (31 if self.is_single else 63)
        self.magic = 1.5 * 2.0**self.mantissa
        self.has_avx512 = f.module.target.name == "avx512"

    def constant(self, x: Operand) -> str:
        return x if isinstance(x, str) else self.f.constant(x, self.kind)

    def add(self, a: Operand, b: Operand) -> str:
        return self._binary("fadd", a, b)

    def sub(self, a: Operand, b: Operand) -> str:
        return self._binary("fsub", a, b)

    def mul(self, a: Operand, b: Operand) -> str:
        return self._binary("fmul", a, b)

    def div(self, a: Operand, b: Operand) -> str:
        return self._binary("fdiv", a, b)

    def _binary(self, op: str, a: Operand, b: Operand) -> str:
        return self.f.binary(op, self.constant(a), self.constant(b), self.kind)

    def fma(self, a: Operand, b: Operand, c: Operand) -> str:
        """a·b + c"""
        return self.f.fma(self.constant(a), self.constant(b), self.constant(c), self.kind)

    def negate(self, x: str) -> str:
        return self.f.value(f"fneg {self.kind} {x}")

    def magnitude(self, x: str) -> str:
        return self.f.unary("fabs", x, self.kind)

    def with_sign(self, x: str, sign: str) -> str:
        """|x| with the sign of another number."""
        return self.f.intrinsic("copysign", self.kind, [(self.kind, x), (self.kind, sign)])

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """c0 + c1 x + c2 x² + …, by Horner's rule."""
        total: Operand = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            total = self.fma(total, x, c)
        return self.constant(total)

    def compare(self, relation: str, a: Operand, b: Operand) -> str:
        """Truth values.   relation: oeq olt ole ogt oge une uge uno …"""
        return self.f.value(f"fcmp {relation} {self.kind} {self.constant(a)}, {self.constant(b)}")

    def choose(self, condition: str, a: Operand, b: Operand) -> str:
        return self.f.choose(condition, self.constant(a), self.constant(b), self.kind, self.flags)

    def at_most(self, x: str, high: float) -> str:
        """min(x, high); NaN stays."""
        return self.choose(self.compare("ogt", x, high), high, x)

    def at_least(self, x: str, low: float) -> str:
        """max(x, low); NaN stays."""
        return self.choose(self.compare("olt", x, low), low, x)

    # The bits of a float as a whole number.

    def to_bits(self, x: str) -> str:
        return self.f.value(f"bitcast {self.kind} {x} to {self.bits}")

    def from_bits(self, b: str) -> str:
        return self.f.value(f"bitcast {self.bits} {b} to {self.kind}")

    def whole(self, op: str, a: str | int, b: str | int) -> str:
        """add, sub, and, or, xor, shl, lshr or ashr of whole numbers; a literal stands in every lane."""
        return self.f.binary(op, self._whole(a), self._whole(b), self.bits)

    def _whole(self, b: str | int) -> str:
        return b if isinstance(b, str) else self.f.constant(b & self.sign - 1 | -(b & self.sign), self.bits)

    def bits_of(self, x: float) -> int:
        """The bits of a number."""
        code = ("<f", "<I") if self.is_single else ("<d", "<Q")
        return int(struct.unpack(code[1], struct.pack(code[0], x))[0])

    # Instructions of AVX-512 that have no name in LLVM's general set.

    def native(self, name: str, x: str, *others: str | int) -> str:
        """An instruction by its name.

        rsqrt14(x)         an estimate of 1/√x
        getexp(x)          floor(log2 |x|)
        getmant(x, which)  the mantissa, in the interval of that number
        scalef(x, n)       x · 2^floor(n)
        """
        size = 4 if self.is_single else 8
        width = 512 if self.lanes * size >= 64 else 256 if self.lanes * size == 32 else 128
        count = width // (8 * size)
        results = []
        for start in range(0, self.lanes, count):
            operands = [o if isinstance(o, int) else self._part(o, start, count) for o in (x, *others)]
            results.append(self._native_register(name, operands, width, count))
        return self._joined(results, count)

    def _native_register(self, name: str, operands: list[str | int], width: int, count: int) -> str:
        kind = vector(self.element, count)
        full = f"x86.avx512.{'' if name.endswith('14') else 'mask.'}{name}.{'ps' if self.is_single else 'pd'}.{width}"
        arguments: list[tuple[str, str | int]] = [("i32" if isinstance(o, int) else kind, o) for o in operands]
        arguments += [(kind, "zeroinitializer"), ("i16" if count == 16 else "i8", _EVERY_LANE)]
        if width == 512 and not name.endswith("14"):
            arguments.append(("i32", _CURRENT_ROUNDING))
        return self.f.intrinsic(full, kind, arguments, overload="")

    def _part(self, x: str, start: int, count: int) -> str:
        """Lanes start … start + count as one register; those that x lacks are undefined."""
        if self.lanes == count:
            return x
        if self.lanes == 1:
            return self.f.value(f"insertelement {vector(self.element, count)} poison, {self.element} {x}, i64 0")
        picks = (f"i32 {k if k < self.lanes else 'poison'}" for k in range(start, start + count))
        return self._shuffled(x, "poison", self.kind, ", ".join(picks), count)

    def _joined(self, parts: list[str], count: int) -> str:
        """The first lanes of registers in a row."""
        if self.lanes == 1:
            return self.f.value(f"extractelement {vector(self.element, count)} {parts[0]}, i64 0")
        total, have = parts[0], count
        for part in parts[1:]:
            kind = vector(self.element, have)
            if have != count:  # both operands of a shuffle must have one type
                part = self._shuffled(part, "poison", vector(self.element, count), _first(count, have), have)
            total = self._shuffled(total, part, kind, _first(have + count, have + count), have + count)
            have += count
        if have == self.lanes:
            return total
        return self._shuffled(total, "poison", vector(self.element, have), _first(self.lanes, self.lanes), self.lanes)

    def _shuffled(self, a: str, b: str, kind: str, picks: str, lanes: int) -> str:
        return self.f.value(f"shufflevector {kind} {a}, {kind} {b}, <{lanes} x i32> <{picks}>")


def _first(present: int, lanes: int) -> str:
    """Lanes 0, 1, … of a shuffle; from `present` on undefined."""
    return ", ".join(f"i32 {k if k < present else 'poison'}" for k in range(lanes))


__all__ = ["Floats", "Operand"]
