"""Program: inputs, outputs and every node between them. The interpreter here is what a program means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import GraphError, ShapeError
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.op import as_value, new_input
from fallline.graph.show import program_text
from fallline.graph.value import Value


def reachable(outputs: Iterable[Value]) -> list[Value]:
    """Every node that the outputs need, arguments first, in the order in which they were made."""
    found: set[Value] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.args)
    return sorted(found, key=attrgetter("number"))


class Program:
    """A function on arrays, written as a graph.

    inputs   nodes of the op "input"
    outputs  any nodes; one may stand several times
    result   a tree with the outputs at its leaves, where the traced function returned one
    """

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value], result: Any = None):
        self.inputs, self.outputs, self.result = tuple(inputs), tuple(outputs), result

    @classmethod
    def of(cls, f: Callable[..., Any], *args: Any, names: Sequence[str] = ()) -> Program:
        """Calls f once on fresh input nodes shaped like `args` (arrays, Specs, trees of them); keeps what it built."""
        inputs: list[Value] = []

        def enter(prefix: str, path: str, leaf: Any) -> Value:
            inputs.append(new_input(Spec.of(leaf), f"{prefix}.{path}" if path and prefix else path or prefix))
            return inputs[-1]

        prefixes = [names[i] if i < len(names) else "" for i in range(len(args))]
        given = [map_leaves(partial(enter, k), a) for k, a in zip(prefixes, args, strict=True)]
        try:
            result = map_leaves(lambda _, leaf: as_value(leaf), f(*given))
        except TypeError as error:
            if "does not support ufuncs" not in str(error):
                raise
            raise GraphError(
                "a function of NumPy met a Value while a program was built: use Fallline's, fl.sin instead of np.sin"
            ) from error
        return cls(inputs, list(leaves(result).values()), result)

    @cached_property
    def order(self) -> list[Value]:
        """All nodes, arguments first; inputs that nothing uses come along."""
        return reachable([*self.inputs, *self.outputs])

    @cached_property
    def calls(self) -> list[Value]:
        """The nodes that compute something: neither inputs nor constants."""
        return [v for v in self.order if v.op.name not in ("input", "constant")]

    def run(self, *arrays: Any) -> list[np.ndarray]:
        """The reference interpreter: every node once, in order. The results may be written to by their receiver."""
        values = self.bind(arrays)
        with np.errstate(all="ignore"):
            for node in self.order:
                if id(node) not in values:
                    values[id(node)] = np.asarray(node.op.forward(*(values[id(a)] for a in node.args), **node.attrs))
        return [_own(values[id(v)], v) for v in self.outputs]

    def bind(self, arrays: Sequence[Any]) -> dict[int, np.ndarray]:
        """The given arrays by the id of their input node; ShapeError where one does not fit."""
        if len(arrays) != len(self.inputs):
            raise ShapeError(f"the program takes {len(self.inputs)} arrays, {len(arrays)} were given")
        bound = {}
        for node, array in zip(self.inputs, arrays, strict=True):
            found = np.asarray(array)
            if (found.shape, found.dtype) != (node.spec.shape, node.spec.dtype):
                name = node.attrs["name"] or "an input"
                raise ShapeError(f"{name} must be {node.spec}, given {found.dtype}[{','.join(map(str, found.shape))}]")
            bound[id(node)] = found
        return bound

    def __call__(self, *args: Any) -> Any:
        """Runs on trees of arrays like those it was traced with, and returns a tree like the function did."""
        flat = [leaf for a in args for leaf in leaves(a).values()]
        if len(flat) == len(self.inputs):
            flat = [_fitted(a, v) for a, v in zip(flat, self.inputs, strict=True)]
        return self.restore(self.run(*flat))

    def restore(self, outputs: Sequence[Any]) -> Any:
        """The flat outputs as the tree that the traced function returned."""
        found = iter(outputs)
        return map_leaves(lambda *_: next(found), self.result)

    def __str__(self) -> str:
        return program_text(self.inputs, self.outputs, self.order)


def _own(array: np.ndarray, node: Value) -> np.ndarray:
    """The array, or a copy of it where it is an input, a constant or a view of something."""
    shared = node.op.name in ("input", "constant") or array.base is not None
    return array.copy() if shared else array


def _fitted(array: Any, node: Value) -> np.ndarray:
    """The array in the input's dtype: integers become floats, floats another width, but never an integer."""
    found = np.asarray(array)
    return found.astype(node.dtype) if np.can_cast(found.dtype, node.dtype, "same_kind") else found


__all__ = ["Program", "reachable"]
