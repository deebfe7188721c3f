"""Elementwise ops as instructions on vectors, with the results of the reference engine.

A rule goes by the name that an op gives in `scalar["llvm"]`, so that an op of the user's own may name one too. No rule
uses a fast-math flag, and the instructions of an op do not depend on those around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fallline.engines.llvm.dtypes import HELD, type_of
from fallline.engines.llvm.emitter import Function, vector
from fallline.engines.llvm.transcendental import NAMES, fast_root, transcendental
from fallline.graph.op import OPS, Op

_UNNAMED = frozenset({"astype", "identity", "remainder", "stop_gradient"})  # ops that are rules by their own names


class Operands(NamedTuple):
    """What a rule works on.

    dtype, result  of the last argument and of the outcome
    kind, lanes    register type of the last argument
    """

    f: Function
    args: list[str]
    dtype: np.dtype
    result: np.dtype
    kind: str
    lanes: int

    @property
    def flags(self) -> str:
        return vector("i1", self.lanes)

    def value(self, instruction: str) -> str:
        """An instruction on the arguments, all of one type."""
        return self.f.value(f"{instruction} {self.kind} {', '.join(self.args)}")

    def binary(self, op: str, a: str, b: str) -> str:
        return self.f.binary(op, a, b, self.kind)

    def constant(self, x: float) -> str:
        return self.f.constant(x, self.kind)

    def compare(self, relation: str, a: str, b: str) -> str:
        """relation: with its prefix for the dtype, as "ogt" or "slt"."""
        return self.f.value(f"{'f' if self.dtype.kind == 'f' else 'i'}cmp {relation} {self.kind} {a}, {b}")

    def choose(self, condition: str, a: str, b: str) -> str:
        return self.f.choose(condition, a, b, self.kind, self.flags)


class Rule(NamedTuple):
    """How an op is written.   kinds: of the dtypes it takes, as NumPy letters them;  arity: how many arguments"""

    write: Callable[[Operands], str]
    kinds: str
    arity: int
    gives: str = ""  # the only dtype of its results, where it is not that of the arguments


def rule_of(op: Op) -> str:
    """The name of an op's rule; "" where it has none."""
    name = op.scalar.get("llvm", op.name if op.name in _UNNAMED else "")
    return name if name in RULES else ""


def supports(op_name: str, dtypes: Sequence[np.dtype], result: np.dtype) -> bool:
    """Whether `emit` takes the op, or rule, on these dtypes."""
    rule = RULES.get(_resolved(op_name))
    if rule is None or len(dtypes) != rule.arity or not {*dtypes, result} <= HELD:
        return False
    if rule.write is _select:
        return dtypes[0].kind == "b" and dtypes[1] == dtypes[2] == result
    if rule.write is _cast:
        return True
    return dtypes[-1].kind in rule.kinds and len(set(dtypes)) == 1 and result == (rule.gives or dtypes[-1])


def emit(
    op_name: str,
    f: Function,
    args: Sequence[str],
    dtypes: Sequence[np.dtype],
    result: np.dtype,
    lanes: int,
) -> str:
    """Writes an op, or the rule of that name, and returns the register of its result.

    args    registers or literals of the types `type_of(dtype, lanes)`
    dtypes  of the arguments; with the result's they say all that an op does beyond its name, such as astype
    """
    operands = Operands(f, list(args), dtypes[-1], result, type_of(dtypes[-1], lanes), lanes)
    return RULES[_resolved(op_name)].write(operands)


def _resolved(name: str) -> str:
    if name in RULES:
        return name
    return rule_of(OPS[name]) if name in OPS else ""


# Sums and products. Truth values add by "or", as in NumPy.


def _arithmetic(real: str, whole: str, truth: str = "") -> Callable[[Operands], str]:
    instructions = {"f": real, "b": truth}

    def write(o: Operands) -> str:
        return o.value(instructions.get(o.dtype.kind, whole))

    return write


def _negative(o: Operands) -> str:
    return o.value("fneg") if o.dtype.kind == "f" else o.binary("sub", o.constant(0), o.args[0])


def _absolute(o: Operands) -> str:
    if o.dtype.kind == "f":
        return o.f.unary("fabs", o.args[0], o.kind)
    return o.f.intrinsic("abs", o.kind, [(o.kind, o.args[0]), ("i1", "false")])


def _sign(o: Operands) -> str:
    """NaN stays NaN, and of both zeros the positive one comes out."""
    x = o.args[0]
    real = o.dtype.kind == "f"
    zero, above, below = o.constant(0), *(("ogt", "olt") if real else ("sgt", "slt"))
    rest = o.binary("fadd", x, zero) if real else zero
    negative = o.choose(o.compare(below, x, zero), o.constant(-1), rest)
    return o.choose(o.compare(above, x, zero), o.constant(1), negative)


def _floor(o: Operands) -> str:
    return o.f.unary("floor", o.args[0], o.kind)


def _root(o: Operands) -> str:
    return fast_root(o.f, o.args[0], o.kind)


def _remainder(o: Operands) -> str:
    """a - b floor(a / b): of the sign of b; 0 for whole numbers divided by 0."""
    a, b = o.args
    zero = o.constant(0)
    if o.dtype.kind == "f":
        rest = o.binary("frem", a, b)
        lies = o.f.value(f"xor {o.flags} {o.compare('olt', b, zero)}, {o.compare('olt', rest, zero)}")
        moved = o.choose(lies, o.binary("fadd", rest, b), rest)
        empty = o.f.intrinsic("copysign", o.kind, [(o.kind, zero), (o.kind, b)])
        return o.choose(o.compare("oeq", rest, zero), empty, moved)
    # The CPU traps at a division by 0 and at that of the least number by -1; by 1 the rest is 0 as it should be.
    fails = [o.compare("eq", b, o.constant(bad)) for bad in (0, -1)]
    rest = o.binary("srem", a, o.choose(o.f.value(f"or {o.flags} {fails[0]}, {fails[1]}"), o.constant(1), b))
    lies = o.compare("slt", o.binary("xor", rest, b), zero)
    lies = o.f.value(f"and {o.flags} {lies}, {o.compare('ne', rest, zero)}")
    return o.choose(lies, o.binary("add", rest, b), rest)


def _extreme(real: str, signed: str) -> Callable[[Operands], str]:
    """The greater or the smaller of two; NaN if one of them is."""

    def write(o: Operands) -> str:
        a, b = o.args
        if o.dtype.kind != "f":
            return o.f.intrinsic(signed, o.kind, [(o.kind, a), (o.kind, b)])
        # A comparison with NaN is false and gives b, so a NaN in b comes through. A literal is not NaN.
        if not a.startswith("%"):
            return o.choose(o.compare(real, a, b), a, b)
        if not b.startswith("%"):
            return o.choose(o.compare(real, b, a), b, a)
        return o.choose(o.compare("uno", a, a), a, o.choose(o.compare(real, a, b), a, b))

    return write


# Bits.


def _invert(o: Operands) -> str:
    return o.binary("xor", o.args[0], o.constant(1 if o.dtype.kind == "b" else -1))


def _left_shift(o: Operands) -> str:
    """Bits shifted out are lost, so by the width of the word or more 0 is left."""
    a, b = o.args
    fits = o.compare("ult", b, o.constant(8 * o.dtype.itemsize))
    return o.choose(fits, o.binary("shl", a, _shift(o, b)), o.constant(0))


def _right_shift(o: Operands) -> str:
    """As to the left; a negative number keeps its sign and becomes -1 in the end."""
    a, b = o.args
    if o.dtype.kind == "i":
        return o.binary("ashr", a, _shift(o, b))
    fits = o.compare("ult", b, o.constant(8 * o.dtype.itemsize))
    return o.choose(fits, o.binary("lshr", a, _shift(o, b)), o.constant(0))


def _shift(o: Operands, b: str) -> str:
    """A count of bits that a shift instruction may have."""
    last = o.constant(8 * o.dtype.itemsize - 1)
    return o.f.intrinsic("umin", o.kind, [(o.kind, b), (o.kind, last)])


# Comparisons and choices.


def _comparison(real: str, signed: str, unsigned: str) -> Callable[[Operands], str]:
    def write(o: Operands) -> str:
        relation = {"f": real, "i": signed}.get(o.dtype.kind, unsigned)
        return o.compare(relation, *o.args)

    return write


def _isfinite(o: Operands) -> str:
    return o.compare("olt", o.f.unary("fabs", o.args[0], o.kind), o.constant(math.inf))


def _select(o: Operands) -> str:
    return o.choose(*o.args)


def _same(o: Operands) -> str:
    return o.args[0]


def _cast(o: Operands) -> str:
    """To another dtype: floats lose what lies behind the point, whole numbers their highest bits."""
    x, source, target = o.args[0], o.dtype, o.result
    kind = type_of(target, o.lanes)
    if source == target or kind == o.kind:  # int32 and uint32 have the same bits
        return x
    if target.kind == "b":
        return o.compare("une" if source.kind == "f" else "ne", x, o.constant(0))
    if source.kind == "f" and target.kind == "f":
        name = "fpext" if target.itemsize > source.itemsize else "fptrunc"
    elif source.kind == "f":
        return _to_whole(o, kind)
    elif target.kind == "f":
        name = "sitofp" if source.kind == "i" else "uitofp"
    elif target.itemsize < source.itemsize:
        name = "trunc"
    else:
        name = "sext" if source.kind == "i" else "zext"
    return o.f.value(f"{name} {o.kind} {x} to {kind}")


def _to_whole(o: Operands, kind: str) -> str:
    """A float without what lies behind the point. To uint32 it goes through int64, so that -1 wraps as in NumPy."""
    if o.result.kind != "u":
        return o.f.value(f"fptosi {o.kind} {o.args[0]} to {kind}")
    wide = vector("i64", o.lanes)
    return o.f.value(f"trunc {wide} {o.f.value(f'fptosi {o.kind} {o.args[0]} to {wide}')} to {kind}")


def _by_name(name: str) -> Callable[[Operands], str]:
    def write(o: Operands) -> str:
        return transcendental(name, o.f, o.args, o.kind)

    return write


RULES: dict[str, Rule] = {
    "abs": Rule(_absolute, "fi", 1),
    "add": Rule(_arithmetic("fadd", "add", "or"), "fiub", 2),
    "and": Rule(_arithmetic("", "and", "and"), "iub", 2),
    "astype": Rule(_cast, "fiub", 1),
    "div": Rule(_arithmetic("fdiv", ""), "f", 2),
    "eq": Rule(_comparison("oeq", "eq", "eq"), "fiub", 2, "bool"),
    "floor": Rule(_floor, "f", 1),
    "identity": Rule(_same, "fiub", 1),
    "isfinite": Rule(_isfinite, "f", 1, "bool"),
    "le": Rule(_comparison("ole", "sle", "ule"), "fiub", 2, "bool"),
    "lshr": Rule(_right_shift, "iu", 2),
    "lt": Rule(_comparison("olt", "slt", "ult"), "fiub", 2, "bool"),
    "max": Rule(_extreme("ogt", "smax"), "fi", 2),
    "min": Rule(_extreme("olt", "smin"), "fi", 2),
    "mul": Rule(_arithmetic("fmul", "mul", "and"), "fiub", 2),
    "neg": Rule(_negative, "fi", 1),
    "not": Rule(_invert, "iub", 1),
    "or": Rule(_arithmetic("", "or", "or"), "iub", 2),
    "remainder": Rule(_remainder, "fi", 2),
    "select": Rule(_select, "fiub", 3),
    "shl": Rule(_left_shift, "iu", 2),
    "sign": Rule(_sign, "fi", 1),
    "sqrt": Rule(_root, "f", 1),
    "stop_gradient": Rule(_same, "fiub", 1),
    "sub": Rule(_arithmetic("fsub", "sub"), "fiu", 2),
    "xor": Rule(_arithmetic("", "xor", "xor"), "iub", 2),
    **{name: Rule(_by_name(name), "f", 2 if name == "pow" else 1) for name in sorted(NAMES)},
}

__all__ = ["emit", "rule_of", "supports"]
