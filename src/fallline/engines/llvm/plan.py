"""Plan: a program's table of calls as plain numbers, which another process can run without seeing the program."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fallline.core.spec import Spec
from fallline.engines.llvm.entries import Address, Argument, FunctionOf, Key


class ArgumentList:
    """The arguments of all entries one after the other, as int64, and the positions that addresses have to be put into.

    values     the numbers; 0 where an address belongs
    within     (position, position of the argument whose address it is)
    functions  (position, name of the kernel whose address it is)
    arrays     array -> (position, bytes behind its start) for each argument that points into it
    """

    def __init__(self) -> None:
        self.values: list[int] = []
        self.within: list[tuple[int, int]] = []
        self.functions: list[tuple[int, str]] = []
        self.arrays: dict[Key, list[tuple[int, int]]] = defaultdict(list)

    def extend(self, arguments: Sequence[Argument]) -> int:
        """Adds the arguments of one entry; returns the position of the first."""
        nested = [(k, self.extend(given)) for k, given in enumerate(arguments) if isinstance(given, list)]
        start = len(self.values)
        for k, given in enumerate(arguments):
            if isinstance(given, (int, np.integer)):
                self.values.append(int(given))
                continue
            self.values.append(0)
            if isinstance(given, Address):
                self.arrays[given.array].append((start + k, given.offset))
            elif isinstance(given, FunctionOf):
                self.functions.append((start + k, given.kernel))
        self.within += [(start + k, at) for k, at in nested]
        return start


class Row(NamedTuple):
    """One call: the kernel ("" where NumPy computes), where its arguments start; see `Entry`."""

    kernel: str
    start: int
    units: int
    barrier: bool
    scratch: int


class Fault(NamedTuple):
    """A look-up by index, for the error of an index outside: the op, the axis and its length."""

    op: str
    axis: int
    rows: int


class Place(NamedTuple):
    """An array in memory: what it lies in, and how.   offset, strides  in bytes"""

    array: Key
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype


@dataclass
class Plan:
    """What a run of a program needs.

    rows       the calls in order;  arguments  of all of them
    nbytes     of the block that the program's own arrays share
    numbers    that kernels read as data, (dtype, number);  faults  one for each fault word
    constants  arrays, which arguments know as ("constant", position)
    inputs     what the program takes;  outputs  where they lie;  watched  the number that must stay finite
    """

    rows: list[Row]
    arguments: ArgumentList
    nbytes: int
    numbers: list[tuple[np.dtype, float]]
    faults: list[Fault]
    constants: list[np.ndarray]
    inputs: list[Spec]
    outputs: list[Place]
    watched: Place | None = None
    kernels: list[str] = field(default_factory=list)

    @property
    def is_native(self) -> bool:
        """Whether NumPy has no part in it."""
        return all(row.kernel for row in self.rows)

    def to_json(self) -> str:
        """Everything as text; see `from_json`."""
        given = self.arguments
        found = {
            "rows": self.rows,
            "values": given.values,
            "within": given.within,
            "functions": given.functions,
            "arrays": list(given.arrays.items()),
            "nbytes": self.nbytes,
            "numbers": [(dtype.str, np.asarray(number).item()) for dtype, number in self.numbers],
            "faults": self.faults,
            "constants": [(a.dtype.str, a.shape, base64.b64encode(a.tobytes()).decode()) for a in self.constants],
            "inputs": [(spec.shape, spec.dtype.str) for spec in self.inputs],
            "outputs": [_written(place) for place in self.outputs],
            "watched": self.watched and _written(self.watched),
            "kernels": self.kernels,
        }
        return json.dumps(found, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan that `to_json` wrote.   KeyError, TypeError, ValueError where it is none"""
        found = json.loads(text)
        arguments = ArgumentList()
        arguments.values, arguments.within, arguments.functions = found["values"], found["within"], found["functions"]
        arguments.arrays |= {tuple(key): places for key, places in found["arrays"]}
        return cls(
            [Row(*row) for row in found["rows"]],
            arguments,
            found["nbytes"],
            [(np.dtype(dtype), number) for dtype, number in found["numbers"]],
            [Fault(*fault) for fault in found["faults"]],
            [np.frombuffer(base64.b64decode(a), dtype).reshape(shape) for dtype, shape, a in found["constants"]],
            [Spec(tuple(shape), np.dtype(dtype)) for shape, dtype in found["inputs"]],
            [_read(place) for place in found["outputs"]],
            found["watched"] and _read(found["watched"]),
            found["kernels"],
        )


def _written(place: Place) -> list[Any]:
    return [*place[:4], place.dtype.str]


def _read(found: Sequence[Any]) -> Place:
    array, offset, shape, strides, dtype = found
    return Place(tuple(array), offset, tuple(shape), tuple(strides), np.dtype(dtype))


__all__ = ["ArgumentList", "Fault", "Place", "Plan", "Row"]
