"""A graph of ONNX as plain data, for which the package onnx is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.passes.rows import Size

# (node, dtype) without a kernel -> the dtype in which it is computed. erf of float64 is so right to 1e-7.
COMPUTED_AS = {
    ("Erf", "float64"): "float32",
    ("ReduceSum", "uint32"): "int64",
    ("ReduceMax", "uint32"): "int64",
    ("ReduceMax", "bool"): "int32",
    ("ArgMax", "uint32"): "int64",
    ("ArgMax", "bool"): "int32",
    ("TopK", "uint32"): "int64",
    ("TopK", "bool"): "int32",
    ("CumSum", "uint32"): "int64",
    ("Less", "bool"): "int32",
    ("LessOrEqual", "bool"): "int32",
    ("ScatterND", "bool"): "int32",
    ("ScatterElements", "bool"): "int32",
    ("MatMul", "bool"): "int32",
}


@dataclass(frozen=True)
class Node:
    """A node of a graph as plain data."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any]
    name: str
    domain: str = ""


@dataclass(frozen=True)
class Operand:
    """An argument of an op: its name in the graph, and what is known of it."""

    name: str
    shape: tuple[int | Size, ...]
    dtype: np.dtype


@dataclass(eq=False)
class Graph:
    """The nodes and arrays so far.

    reserved  names that are taken;  rows  the name of an int64 vector of one number, how many rows there are
    """

    reserved: set[str] = field(default_factory=set)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    scope: str = ""
    _known: dict[Any, str] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.rows = self.free("rows")

    def free(self, name: str) -> str:
        """The name, or one like it that is not taken; taken from now on."""
        while name in self.reserved:
            name += "_"
        self.reserved.add(name)
        return name

    def used(self, outputs: Iterable[str]) -> list[Node]:
        """The nodes that the outputs need, in order; arrays that nothing uses are dropped."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
                kept.append(node)
        self.arrays = {name: array for name, array in self.arrays.items() if name in needed}
        return kept[::-1]

    def node(self, kind: str, *inputs: str, n_outputs: int = 1, domain: str = "", **attrs: Any) -> str:
        """A new node; the name of its last output."""
        self._count += 1
        name = self.free(f"{self.scope or 'table'}/{kind}_{self._count}")
        outputs = tuple(name if k == n_outputs - 1 else f"{name}_{k}" for k in range(n_outputs))
        self.nodes.append(Node(kind, inputs, outputs, attrs, name, domain))
        return name

    def weight(self, path: str, array: np.ndarray) -> str:
        """An array under a name of its own."""
        name = self.free(path)
        self.arrays[name] = array
        return name

    def array(self, value: Any, dtype: Any = None) -> str:
        """A constant; equal ones are one."""
        found = np.asarray(value, dtype=dtype)
        key = (found.dtype.str, found.shape, found.tobytes())
        if key not in self._known:
            self._known[key] = self.free(f"constant_{len(self._known)}")
            self.arrays[self._known[key]] = found
        return self._known[key]

    def sizes(self, values: Sequence[int | Size]) -> str:
        """An int64 vector of sizes, computed from the number of rows where they depend on it."""
        if not any(isinstance(v, Size) for v in values):
            return self.array(values, np.int64)
        times = [v.times if isinstance(v, Size) else 0 for v in values]
        plus = [v.plus if isinstance(v, Size) else v for v in values]
        scaled = self.node("Mul", self.rows, self.array(times, np.int64))
        return self.node("Add", scaled, self.array(plus, np.int64)) if any(plus) else scaled

    def cast(self, name: str, given: Any, wanted: Any) -> str:
        return name if np.dtype(given) == np.dtype(wanted) else self.node("Cast", name, to=np.dtype(wanted))

    def computed(self, kind: str, x: Operand, *rest: str, result: str | None = None, **attrs: Any) -> str:
        """A node on x (and names of arrays), in the dtype that has a kernel.   result: its dtype, if not that of x"""
        inner = COMPUTED_AS.get((kind, str(x.dtype)), str(x.dtype))
        made = self.node(kind, self.cast(x.name, x.dtype, inner), *rest, **attrs)
        return made if result else self.cast(made, inner, x.dtype)

    def number(self, value: float, x: Operand) -> str:
        """A number in the dtype of x."""
        return self.array(value, x.dtype)


__all__ = ["COMPUTED_AS", "Graph", "Node", "Operand"]
