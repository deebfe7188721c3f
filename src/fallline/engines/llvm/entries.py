"""Entry: one call of a kernel in a program's table, and what it is called with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fallline.graph.value import Value
from fallline.passes.fuse import Group

Key = tuple[Any, ...]  # what an array is known by


class Address(NamedTuple):
    """A place in an array, of which the address is put in when the program is bound, or at each call.

        ("block", offset)                       in the block that the program's own arrays share, in bytes
        ("input", k), ("constant", id of node)  an input, a constant
        ("numbers",), ("faults",)               numbers that kernels read as data, fault words (see `Table`)
        ("table", k), ("indices",)              of a loop: a table that batches are taken from, the row numbers
        ("scan", k), ("record", k)              of a loop: a scanned input, a record
        ("height", k), ("steps",)               of a loop, numbers instead of addresses: rows of the table, steps

    offset  bytes behind its start
    """

    array: Key
    offset: int = 0


class FunctionOf(NamedTuple):
    """The address of a kernel's code."""

    kernel: str


# A list stands for the address of the arguments in it: those of a function that the kernel calls.
Argument = int | Address | FunctionOf | list["Argument"]


@dataclass(eq=False)
class Entry:
    """One call of a kernel.

    kernel   its name; "" where NumPy computes `node`, which has no kernel
    units    parts into which its work is cut, for threads to share
    scratch  bytes of memory that each thread needs of its own
    reads, writes  the arrays, for the barriers
    group    what it belongs to; None for what surrounds a step
    barrier  whether threads wait for each other before it
    """

    kernel: str
    arguments: list[Argument]
    units: int = 1
    scratch: int = 0
    reads: set[Key] = field(default_factory=set)
    writes: set[Key] = field(default_factory=set)
    group: Group | None = None
    node: Value | None = None
    barrier: bool = False


__all__ = ["Address", "Argument", "Entry", "FunctionOf", "Key"]
