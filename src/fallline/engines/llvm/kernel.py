"""Kernel: one native function that entries of a program's table call, known by its name and written on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fallline.engines.llvm.emitter import Function, Module

# Every function that the driver calls has these parameters: its arguments, the range of units to do, memory of
# this thread alone, and the number of the step within the call.
ENTRY = (("ptr", "%args"), ("i64", "%first"), ("i64", "%last"), ("ptr", "%scratch"), ("i64", "%step"))

# What a matrix product calls for each finished block: rows r0..r1 and columns c0..c1 of the product; entry (r, c) lies
# at tile[r · ld + c], with r and c counted from the start of the product; unit is the block's number.
BLOCK = (
    ("ptr", "%args"), ("i64", "%r0"), ("i64", "%r1"), ("i64", "%c0"), ("i64", "%c1"), ("ptr", "%tile"), ("i64", "%ld"),
    ("i64", "%unit"),
)  # fmt: skip


class Kernel(NamedTuple):
    """A native function.

    name    unique for what it does: two kernels of one name have the same text
    write   puts the function of that name, and what it calls, into a module
    shared  whether it is large and serves many programs, so that it is compiled and kept on its own
    """

    name: str
    write: Callable[[Module], None]
    shared: bool = False


def entry(module: Module, name: str) -> Function:
    """A function for the driver's table, to be filled and finished."""
    return Function(module, name, ENTRY)
