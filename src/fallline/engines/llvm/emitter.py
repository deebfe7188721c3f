"""LLVM IR as text: a module of functions, and a function that is written instruction by instruction.

A value is the name of an SSA register ("%12") or a literal. Whole numbers of Python are i64 literals, and
arithmetic on two of them is done at once, so that addresses known while generating cost nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fallline.engines.llvm.target import Target

SIZES = {
    "float": 4,
    "double": 8,
    "i64": 8,
    "i32": 4,
    "i16": 2,
    "bfloat": 2,
    "i8": 1,
    "i1": 1,
    "ptr": 8,
}  # bytes of an element
_SHORT = {"float": "f32", "double": "f64"}

Number = str | int  # an SSA value, or a whole number known while generating


def vector(element: str, lanes: int) -> str:
    """The type of `lanes` elements; of one lane the element itself."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def parts(kind: str) -> tuple[int, str]:
    """(lanes, element) of a type: the reverse of `vector`."""
    if not kind.startswith("<"):
        return 1, kind
    lanes, element = kind[1:-1].split(" x ")
    return int(lanes), element


def suffix(kind: str) -> str:
    """How a type is spelt in the name of an intrinsic: <16 x float> -> v16f32."""
    if kind == "ptr":
        return "p0"
    lanes, element = parts(kind)
    short = _SHORT.get(element, element)
    return f"v{lanes}{short}" if kind.startswith("<") else short


def given(parameters: Sequence[tuple[str, str]], values: Sequence[Number]) -> list[tuple[str, Number]]:
    """Values as the arguments of a function with those parameters."""
    return [(kind, value) for (kind, _), value in zip(parameters, values, strict=True)]


def literal(x: float, element: str) -> str:
    """A float as LLVM reads it without loss: the bits of the double that equals it (rounded to `element` first)."""
    if element == "float":
        try:
            x = struct.unpack("f", struct.pack("f", x))[0]
        except OverflowError:
            x = float("inf") if x > 0 else float("-inf")
    return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"


class Module:
    """Functions and what they declare, as one text."""

    def __init__(self, target: Target):
        self.target = target
        self.functions: dict[str, str] = {}
        self.globals: dict[str, str] = {}
        self._declarations: set[str] = set()

    def declare(self, text: str) -> None:
        """A declaration, once however often it is asked for."""
        self._declarations.add(text)

    def text(self) -> str:
        """The module."""
        wide = self.target.vector_bytes * 8
        attributes = f'attributes #0 = {{ nounwind "no-trapping-math"="true" "prefer-vector-width"="{wide}" '
        attributes += f'"min-legal-vector-width"="{wide}" }}\n'
        loops = '!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}\n'
        parts = [f'target triple = "{self.target.triple}"\n', *self.globals.values(), *sorted(self._declarations)]
        return "\n".join([*parts, *self.functions.values(), attributes, loops])


class Function:
    """One function while it is written.

    parameters  (type, "%name") pairs
    exported    whether it can be looked up by name; others are internal to the module
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[tuple[str, str]],
        returns: str = "void",
        exported: bool = True,
    ):
        self.module, self.name, self.parameters = module, name, parameters
        self.returns, self.exported = returns, exported
        self.lines: list[str] = []
        self.block = "entry"
        self._count = 0

    def finish(self, result: Number | None = None) -> None:
        """Returns from the function and puts it into its module."""
        self.do("ret void" if result is None else f"ret {self.returns} {result}")
        given = ", ".join(f"{kind} {name}" for kind, name in self.parameters)
        linkage = "" if self.exported else "internal "
        body = "\n".join(self.lines)
        self.module.functions[self.name] = (
            f"define {linkage}{self.returns} @{self.name}({given}) #0 {{\nentry:\n{body}\n}}\n"
        )

    # The lowest level: one instruction, one block.

    def value(self, text: str) -> str:
        """The result of an instruction."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append("  " + text)

    def label(self, hint: str = "b") -> str:
        """A fresh name for a block."""
        self._count += 1
        return f"{hint}{self._count}"

    def start(self, label: str) -> None:
        """Begins a block; the one before must have ended in a branch."""
        self.lines.append(label + ":")
        self.block = label

    # Whole numbers (i64) and addresses.

    def add(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0:
            return b
        return a if b == 0 else self.value(f"add i64 {a}, {b}")

    def sub(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.value(f"sub i64 {a}, {b}")

    def mul(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        for one, other in ((a, b), (b, a)):
            if one == 0:
                return 0
            if one == 1:
                return other
        return self.value(f"mul i64 {a}, {b}")

    def div(self, a: Number, b: Number) -> Number:
        """a // b of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if b == 1 else self.value(f"udiv i64 {a}, {b}")

    def rem(self, a: Number, b: Number) -> Number:
        """a % b of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        return 0 if b == 1 else self.value(f"urem i64 {a}, {b}")

    def min(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a if a < b else b
        return self.choose(self.compare("slt", a, b), a, b)

    def max(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a if a > b else b
        return self.choose(self.compare("sgt", a, b), a, b)

    def compare(self, relation: str, a: Number, b: Number, kind: str = "i64") -> str:
        """An i1.   relation: eq ne slt sle sgt sge ult ule ugt uge"""
        return self.value(f"icmp {relation} {kind} {a}, {b}")

    def choose(self, condition: str, a: Number, b: Number, kind: str = "i64", condition_kind: str = "i1") -> str:
        """a where the condition holds, else b."""
        return self.value(f"select {condition_kind} {condition}, {kind} {a}, {kind} {b}")

    def at(self, pointer: str, index: Number, element: str) -> str:
        """The address of an entry; `element` is the type of what is counted."""
        return pointer if index == 0 else self.value(f"getelementptr {element}, ptr {pointer}, i64 {index}")

    # Memory.

    def load(self, kind: str, pointer: str, index: Number = 0, align: int | None = None) -> str:
        """A number, a pointer or a vector; the index counts elements of a vector, not vectors."""
        element = parts(kind)[1]
        return self.value(f"load {kind}, ptr {self.at(pointer, index, element)}, align {align or SIZES[element]}")

    def store(self, kind: str, value: Number, pointer: str, index: Number = 0, align: int | None = None) -> None:
        """As `load` counts."""
        element = parts(kind)[1]
        self.do(f"store {kind} {value}, ptr {self.at(pointer, index, element)}, align {align or SIZES[element]}")

    def load_masked(self, kind: str, pointer: str, mask: str, otherwise: str = "zeroinitializer") -> str:
        """The lanes under the mask (<n x i1>); the others are `otherwise` and touch no memory."""
        return self.intrinsic(
            "masked.load", kind,
            [("ptr", pointer), ("i32", self._align(kind)), (self._bits(kind), mask), (kind, otherwise)],
            overload=f"{suffix(kind)}.p0",
        )  # fmt: skip

    def store_masked(self, kind: str, value: str, pointer: str, mask: str) -> None:
        self.intrinsic(
            "masked.store", "void",
            [(kind, value), ("ptr", pointer), ("i32", self._align(kind)), (self._bits(kind), mask)],
            overload=f"{suffix(kind)}.p0",
        )  # fmt: skip

    def _align(self, kind: str) -> str:
        return str(SIZES[parts(kind)[1]])

    def _bits(self, kind: str) -> str:
        return vector("i1", parts(kind)[0])

    def prefetch(self, pointer: str, write: bool = False, locality: int = 3) -> None:
        """Asks for a cache line.   locality 3: into L1, 2: into L2"""
        self.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.do(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(write)}, i32 {locality}, i32 1)")

    # Calls.

    def intrinsic(
        self,
        name: str,
        returns: str,
        arguments: Sequence[tuple[str, Number]],
        flags: str = "",
        overload: str | None = None,
    ) -> str:
        """A call of @llvm.<name>.<overload>; the overload is the type of the result unless given."""
        full = f"llvm.{name}.{suffix(returns) if overload is None else overload}".rstrip(".")
        self.module.declare(f"declare {returns} @{full}({', '.join(kind for kind, _ in arguments)})")
        return self.call(full, arguments, returns, flags)

    def call(self, name: str, arguments: Sequence[tuple[str, Number]], returns: str = "void", flags: str = "") -> str:
        """A call of a function by name, or of the address in an SSA value ("%f")."""
        callee = name if name.startswith("%") else f"@{name}"
        given = ", ".join(f"{kind} {value}" for kind, value in arguments)
        text = f"call {flags + ' ' if flags else ''}{returns} {callee}({given})"
        if returns == "void":
            self.do(text)
            return ""
        return self.value(text)

    # Vectors and floats. `kind` is the type of the operands, a vector or a single number.

    def splat(self, x: str, element: str, lanes: int) -> str:
        """One number in every lane."""
        if lanes == 1:
            return x
        kind = vector(element, lanes)
        first = self.value(f"insertelement {kind} poison, {element} {x}, i64 0")
        return self.value(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def constant(self, x: float | int, kind: str) -> str:
        """A literal of a type, the same in every lane."""
        lanes, element = parts(kind)
        one = literal(float(x), element) if element in _SHORT else str(int(x))
        return one if lanes == 1 else "<" + ", ".join([f"{element} {one}"] * lanes) + ">"

    def binary(self, op: str, a: str, b: str, kind: str, flags: str = "") -> str:
        """fadd, fsub, fmul, fdiv, add, sub, mul, and, or, xor, shl, lshr …"""
        return self.value(f"{op} {flags + ' ' if flags else ''}{kind} {a}, {b}")

    def fma(self, a: str, b: str, c: str, kind: str) -> str:
        """a·b + c: one instruction where there is one, else two."""
        if self.module.target.fma:
            return self.intrinsic("fma", kind, [(kind, a), (kind, b), (kind, c)])
        return self.binary("fadd", self.binary("fmul", a, b, kind), c, kind)

    def unary(self, name: str, a: str, kind: str, flags: str = "") -> str:
        """An intrinsic of one argument: sqrt, fabs, rint, floor …"""
        return self.intrinsic(name, kind, [(kind, a)], flags)

    # Control flow.

    def loop(
        self,
        stop: Number,
        body: Callable[..., Sequence[str] | None],
        *,
        start: Number = 0,
        step: Number = 1,
        carried: Sequence[tuple[str, str]] = (),
    ) -> list[str]:
        """for i in range(start, stop, step): carried = body(i, *carried).   The range may be empty.

        carried  (type, first value) pairs;  returns their values after the last round
        """
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
            if start >= stop:
                return [value for _, value in carried]
            if start + step >= stop:
                return list(body(start, *(value for _, value in carried)) or [])
        before, inside, after = self.block, self.label("l"), self.label("x")
        enters = self.compare("slt", start, stop)
        self.do(f"br i1 {enters}, label %{inside}, label %{after}")
        self.start(inside)
        place = len(self.lines)
        index = self.label("%i")
        names = [self.label("%c") for _ in carried]
        self.lines.extend([""] * (1 + len(names)))
        results = list(body(index, *names) or [])
        following = self.add(index, step)
        again = self.compare("slt", following, stop)
        end = self.block
        self.do(f"br i1 {again}, label %{inside}, label %{after}, !llvm.loop !0")
        self.lines[place] = f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{end} ]"
        for k, (name, (kind, first)) in enumerate(zip(names, carried, strict=True)):
            self.lines[place + 1 + k] = f"  {name} = phi {kind} [ {first}, %{before} ], [ {results[k]}, %{end} ]"
        self.start(after)
        return [
            self.value(f"phi {kind} [ {first}, %{before} ], [ {result}, %{end} ]")
            for (kind, first), result in zip(carried, results, strict=True)
        ]

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """What is written inside runs only if the i1 is true."""
        inside, after = self.label("t"), self.label("f")
        self.do(f"br i1 {condition}, label %{inside}, label %{after}")
        self.start(inside)
        yield
        self.do(f"br label %{after}")
        self.start(after)

    def either(
        self, condition: str, yes: Callable[[], Sequence[str]], no: Callable[[], Sequence[str]], kinds: Sequence[str]
    ) -> list[str]:
        """The values of one of two branches."""
        a, b, after = self.label("t"), self.label("e"), self.label("f")
        self.do(f"br i1 {condition}, label %{a}, label %{b}")
        self.start(a)
        first, from_a = list(yes()), self.block
        self.do(f"br label %{after}")
        self.start(b)
        second, from_b = list(no()), self.block
        self.do(f"br label %{after}")
        self.start(after)
        rows = zip(kinds, first, second, strict=True)
        return [self.value(f"phi {kind} [ {x}, %{from_a} ], [ {y}, %{from_b} ]") for kind, x, y in rows]

    def mask_below(self, count: Number, lanes: int) -> str:
        """<lanes x i1>: true in the first `count` lanes (all of them when count >= lanes).   count >= 0"""
        if isinstance(count, int):
            return "<" + ", ".join(f"i1 {int(i < count)}" for i in range(lanes)) + ">"
        kind = vector("i32", lanes)
        steps = "<" + ", ".join(f"i32 {i}" for i in range(lanes)) + ">"
        few = self.value(f"trunc i64 {self.min(count, lanes)} to i32")
        return self.value(f"icmp slt {kind} {steps}, {self.splat(few, 'i32', lanes)}")
