"""Functions of the C library, lane by lane: what has no vector form here."""

from __future__ import annotations

from fallline.engines.llvm.emitter import Function, parts


def libm(f: Function, name: str, kind: str, args: list[str]) -> str:
    """A function of the C library on each lane, through one function of the module for this type."""
    lanes, element = parts(kind)
    callee = name + "f" if element == "float" else name
    f.module.declare(f"declare {element} @{callee}({', '.join([element] * len(args))})")
    if lanes == 1:
        return f.call(callee, [(element, a) for a in args], element)
    whole = f"{callee}_of_{lanes}"
    if whole not in f.module.functions:
        parameters = [(kind, f"%x{k}") for k in range(len(args))]
        inner = Function(f.module, whole, parameters, kind, exported=False)
        total = "poison"
        for lane in range(lanes):
            given = [(element, inner.value(f"extractelement {kind} {x}, i64 {lane}")) for _, x in parameters]
            one = inner.call(callee, given, element)
            total = inner.value(f"insertelement {kind} {total}, {element} {one}, i64 {lane}")
        inner.finish(total)
    return f.call(whole, [(kind, a) for a in args], kind)
