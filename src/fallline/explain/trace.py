"""Trace: a function run once, with every node's formula, value and partial derivative kept."""

from __future__ import annotations

import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.reverse import depends_on, pullback
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.listing import Listing
from fallline.core.registry import nearest
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.explain.draw import Drawing, draw
from fallline.explain.expression import SILENT, call_words, in_words
from fallline.explain.tables import forward_table, reverse_table
from fallline.graph.op import as_value, new_input
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.nn.layer import Layer
from fallline.nn.run import Run


@dataclass(frozen=True, eq=False)
class Node:
    """One intermediate quantity.

    name     the user's own variable name where the function gave one, the parameter's path, else v1, v2 …
    formula  one op, in terms of the names of its operands
    value    its value
    partial  derivative of the goal with respect to it; None where the goal does not depend on it
    operands names of the nodes that it is computed from
    where    path of the layer that made it, "" outside a model
    edges    one for each operand through which the derivative flows
    """

    name: str
    formula: str
    value: np.ndarray
    partial: np.ndarray | None
    where: str
    node: Value = field(repr=False)
    operands: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = field(default=(), repr=False)

    @property
    def forward_source(self) -> str:
        """The function that gives the value, as text: "u = sin(t)"."""
        return self.name if self.node.op.name == "input" else f"{self.name} = {self.formula}"

    @property
    def partial_source(self) -> dict[str, str]:
        """For each operand the function that gives the partial derivative, as text: {"t": "cos(t)"}."""
        return {e.operand: e.text for e in self.edges}


@dataclass(frozen=True, eq=False)
class Edge:
    """How the derivative flows from a node to one of its operands.

    text          the partial d(node)/d(operand) as a formula; for an op that mixes entries (a product of matrices,
                  a sum) the whole contribution dJ/d(node) · d(node)/d(operand)
    local         the partial's value, None for an op that mixes entries
    contribution  dJ/d(node) · d(node)/d(operand), which is added to dJ/d(operand)
    """

    operand: str
    local: np.ndarray | None
    contribution: np.ndarray
    words: Callable[[], str] = field(repr=False)

    @cached_property
    def text(self) -> str:
        return self.words()


class Trace:
    """A program with the value of every node and the partial derivative of the goal with respect to it.

    nodes  in the order of the forward pass: inputs, then everything that is computed; constants stand in the formulas
    goal   the node of the result
    """

    def __init__(self, program: Program, arrays: Sequence[np.ndarray], names: dict[int, str]):
        self.program = program
        self._arrays = list(arrays)
        out = _one_number(program)
        kept = [v for v in program.order if v is out or v.op.name not in ("constant", *SILENT)]
        active = depends_on(program.order, [v for v in program.inputs if v.spec.is_float])
        wrt = [v for v in kept if id(v) in active]
        self._names = _all_names(kept, {id(out): "J", **names})
        partials = dict(zip(map(id, wrt), pullback([out], [np.ones(out.shape, out.dtype)], wrt), strict=True))
        flows = [flow for v in wrt for flow in self._flows(v, partials, self._names[id(out)])]
        wanted = [*kept, *partials.values(), *(f.local for f in flows), *(f.contribution for f in flows)]
        values = iter(Program(program.inputs, wanted).run(*arrays))
        computed = {id(v): next(values) for v in kept}
        derived = {key: next(values) for key in partials}
        local = [next(values) for _ in flows]
        edges: dict[int, list[Edge]] = {}
        for flow, number, contribution in zip(flows, local, values, strict=True):
            edge = Edge(flow.operand, number if flow.by_entry else None, contribution, flow.words)
            edges.setdefault(id(flow.owner), []).append(edge)
        self.nodes = [
            Node(
                self._names[key],
                call_words(v, self._names),
                computed[key],
                derived.get(key),
                v.scope,
                v,
                self._operands(v),
                tuple(edges.get(key, ())),
            )
            for v, key in ((v, id(v)) for v in kept)
        ]
        self._goal = self._names[id(out)]

    def _operands(self, node: Value) -> tuple[str, ...]:
        """The named nodes that a node is computed from."""
        found = []
        for arg in node.args:
            while arg.op.name in SILENT and id(arg) not in self._names:
                arg = arg.args[0]
            if id(arg) in self._names:
                found.append(self._names[id(arg)])
        return tuple(dict.fromkeys(found))

    def _flows(self, node: Value, partials: dict[int, Value], goal: str) -> Iterator[_Flow]:
        """For each operand: the partial in words, as a Value, and the contribution as a Value."""
        rule, by_entry = node.op.vjp, node.op.structure == "elementwise" or node.op.name == "where"
        if rule is None:
            return
        one = as_value(np.ones(node.shape, node.dtype))
        named = new_input(node.spec, f"d{goal}/d{self._names[id(node)]}")
        rules = [rule(g, node, *node.args, **node.attrs) for g in (one, named, partials[id(node)])]
        words = ChainMap({id(named): named.attrs["name"]}, self._names)
        for arg, unit, whole, contribution in zip(node.args, *rules, strict=True):
            source = arg
            while contribution is not None and source.op.name in SILENT and id(source) not in self._names:
                contribution = source.op.vjp(contribution, source, *source.args, **source.attrs)[0]
                source = source.args[0]
            if contribution is not None and id(source) in partials:
                text = partial(in_words, as_value(unit if by_entry else whole), words)
                yield _Flow(node, words[id(source)], text, as_value(unit), as_value(contribution), by_entry)

    @property
    def goal(self) -> Node:
        return self[self._goal]

    @property
    def inputs(self) -> list[Node]:
        return [n for n in self.nodes if n.node.op.name == "input"]

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        """The node of that name."""
        if name not in self._by_name:
            raise ConfigError(f"no node is called {name!r}: {nearest(name, self._by_name)}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {n.name: n for n in self.nodes}

    def tangents(self, wrt: str) -> dict[str, np.ndarray]:
        """The derivative of every node with respect to one input of size 1 (forward mode): dv/d(wrt) by name."""
        start = self[wrt]
        if start.node.size != 1:
            raise ShapeError(
                f"forward mode follows one number, {wrt} has shape {start.node.shape}: trace a single entry"
            )
        targets = [n.node for n in self.nodes]
        moved = pushforward(targets, [start.node], [np.ones(start.node.shape, start.node.dtype)])
        values = Program(self.program.inputs, moved).run(*self._arrays)
        return {n.name: v for n, v in zip(self.nodes, values, strict=True)}

    def table(self, mode: str = "reverse", *, wrt: str | None = None, by: str | None = None) -> Listing:
        """The computation as on the board.

        mode  "reverse": dJ/du += dJ/dv · dv/du in the order in which it runs;
              "forward": each node's value, its partials, and the running derivative with respect to `wrt`
        wrt   forward mode: name of an input of size 1 (default: the only one, or the first)
        by    "module" groups the nodes by layer
        """
        if mode not in ("reverse", "forward"):
            raise ConfigError(f"mode={mode!r}: {nearest(mode, ('reverse', 'forward'))}")
        if by not in (None, "module"):
            raise ConfigError(f"by={by!r}: pass by='module', or leave it out")
        if mode == "reverse":
            return reverse_table(self, by_module=by == "module")
        chosen = wrt or next((n.name for n in self.inputs if n.node.size == 1), self.inputs[0].name)
        return forward_table(self, chosen, by_module=by == "module")

    def draw(self, path: str | Path | None = None, *, by: str | None = None) -> Drawing:
        """The graph with values and partial derivatives in the nodes, as SVG and as a page; saved when given a path.

        by  "module": one box for each layer; so is every graph of more than 300 nodes
        """
        drawing = draw(self, by)
        if path is not None:
            drawing.save(path)
        return drawing

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def trace(f: Callable[..., Any] | Layer, *inputs: Any) -> Trace:
    """Runs f once on the inputs and keeps every node; the result must be one number.

    f       a function of ops, or a filled layer: its parameters are then inputs too, named by their path
    inputs  numbers and arrays (or trees of them); Python numbers become float64
    """
    given = tuple(map_leaves(lambda _, leaf: _as_array(leaf), x) for x in inputs)
    if isinstance(f, Layer):
        model, params = f, leaves(f)
        names = [*[""], *(["x"] if len(inputs) == 1 else [f"x{i}" for i in range(len(inputs))])]
        made: dict[int, str] = {}
        program = Program.of(lambda found, *xs: _call(model, found, xs, made), params, *given, names=names)
        arrays = [*params.values(), *(leaf for x in given for leaf in leaves(x).values())]
        return Trace(program, arrays, made)
    with _Locals(f) as seen:
        program = Program.of(f, *given, names=_argument_names(f, len(given)))
    arrays = [leaf for x in given for leaf in leaves(x).values()]
    return Trace(program, arrays, seen.names)


def _call(model: Layer, found: dict[str, Value], xs: Sequence[Any], names: dict[int, str]) -> Any:
    """The model's output; the output of each layer inside is noted under the layer's path."""
    filled = with_leaves(model, found)
    run = Run.of(filled, record=True)
    result = filled(xs[0] if len(xs) == 1 else xs, run)
    for path, _, made in run.calls or []:
        if isinstance(made, Value) and path:
            names.setdefault(id(made), path)
    if isinstance(result, Value):
        names[id(result)] = "J"
    return result


def _as_array(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, dtype=np.float64) if isinstance(leaf, (int, float)) else np.asarray(leaf)


def _argument_names(f: Callable[..., Any], n: int) -> list[str]:
    try:
        found = [p.name for p in inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        found = []
    return [found[i] if i < len(found) else f"x{i}" for i in range(n)]


def _all_names(kept: Sequence[Value], given: dict[int, str]) -> dict[int, str]:
    """Every node's name: inputs keep theirs, then the user's variables, then v1, v2 … past names that are taken."""
    names = {id(v): v.attrs["name"] or f"input {i + 1}" for i, v in enumerate(kept) if v.op.name == "input"}
    used = set(names.values())
    for node in kept:
        wanted = given.get(id(node))
        if wanted and id(node) not in names and wanted not in used:
            names[id(node)] = wanted
            used.add(wanted)
    count = 0
    for node in kept:
        while id(node) not in names:
            count += 1
            if f"v{count}" not in used:
                names[id(node)] = f"v{count}"
    return names


class _Flow(NamedTuple):
    """An edge before it is computed."""

    owner: Value
    operand: str
    words: Callable[[], str]
    local: Value
    contribution: Value
    by_entry: bool


def _one_number(program: Program) -> Value:
    out = program.outputs[0]
    if len(program.outputs) != 1 or out.size != 1 or not out.spec.is_float:
        shown = ", ".join(str(v.spec) for v in program.outputs)
        raise ShapeError(
            f"trace needs a function with one number as its result, given {shown}: sum it, or pick one entry"
        )
    return out


class _Locals:
    """While active, notes the local variables that hold Values when a function of the user's returns."""

    def __init__(self, f: Callable[..., Any]):
        self.names: dict[int, str] = {}
        self._file = getattr(getattr(f, "__code__", None), "co_filename", None)
        self._before: Any = None

    def __enter__(self) -> _Locals:
        self._before = sys.getprofile()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_filename == self._file:
            for name, value in frame.f_locals.items():
                if isinstance(value, Value):
                    self.names.setdefault(id(value), name)
