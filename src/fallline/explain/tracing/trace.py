"""Trace: a function run once, with every node's formula, value and partial derivative kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fallline.autodiff.reverse import depends_on
from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.listing import Listing
from fallline.core.registry import nearest
from fallline.explain.drawing.draw import Drawing, draw
from fallline.explain.tracing.capture import capture
from fallline.explain.tracing.chain import chain_table
from fallline.explain.tracing.flow import Part, flow_back, flow_forward, source_of, values_of
from fallline.explain.tracing.naming import all_names, is_shown, pass_names_on
from fallline.explain.tracing.node import Edge, Node, rule_words
from fallline.explain.tracing.opening import open_table
from fallline.explain.tracing.storage import MemoryReport, memory_report
from fallline.explain.tracing.tables import forward_table, reverse_table
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer
from fallline.train.model import Model

MOST_UNNAMED = 60  # nodes of a graph whose chain rule is written with v1, v2 …
_ENTRY = re.compile(r"(.+)\[([-\d,\s]+)\]")  # "W[0, 1]"


class Trace:
    """A program with the value of every node and the partial derivative of the goal with respect to it.

    nodes    in the order of the forward pass: inputs, then everything that is computed; constants stand in the formulas
    goal     the node of the result
    program  what was run
    note     what the result stands for, in a sentence, where it is not plain
    labels   names along the last axis of an input: {"x": ("Age", "Sex")}
    blocks   what a block of nodes computes, by where they are: {"loss": "SquaredError: (s - t)²"}
    """

    def __init__(
        self,
        program: Program,
        arrays: Sequence[np.ndarray],
        names: dict[int, str],
        fixed: frozenset[int] = frozenset(),
        note: str = "",
        labels: dict[str, tuple[str, ...]] | None = None,
        blocks: dict[str, str] | None = None,
    ):
        self.program, self.note, self.labels, self.blocks = program, note, labels or {}, blocks or {}
        names = dict(names)
        goal, self._shapes = pass_names_on(program, _one_number(program), names)
        kept = [v for v in program.order if v is goal or is_shown(v, names)]
        active = depends_on(program.order, [v for v in program.inputs if v.spec.is_float and id(v) not in fixed])
        self._active = active
        self._values = values_of(program, arrays)
        partials, parts = flow_back(kept, goal, active, self._values)
        self._names = all_names(kept, goal, names)
        self._given = {key for key, name in names.items() if self._names.get(key) == name}
        self._goal = self._names[id(goal)]
        self.nodes = [self._node(v, partials, found) for v, found in zip(kept, parts, strict=True)]

    def _node(self, node: Value, partials: dict[int, np.ndarray], parts: Sequence[Part]) -> Node:
        names, kept = self._names, self._names.keys()
        operands = (names.get(id(source_of(a, kept))) for a in node.args)
        edges = tuple(
            Edge(
                names[id(part.source)],
                None if part.local is None else self.shown(part.local, node),
                self.shown(part.contribution, part.source),
                partial(rule_words, node, part.position, names, self._goal),
            )
            for part in parts
        )
        derivative = partials.get(id(node))
        return Node(
            names[id(node)],
            self.shown(self._values[id(node)], node),
            None if derivative is None else self.shown(derivative, node),
            node.scope,
            node,
            tuple(dict.fromkeys(name for name in operands if name is not None)),
            edges,
            names,
        )

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

    @cached_property
    def named(self) -> list[Node]:
        """The nodes that have names of their own: inputs, the user's variables, the outputs of layers, the goal.

        Of a small graph where nothing but inputs and goal has one, all nodes.
        """
        found = [n for n in self.nodes if n.is_input or n.name == self._goal or id(n.node) in self._given]
        plain = all(n.is_input or n.name == self._goal for n in found)
        return self.nodes if plain and len(self.nodes) <= MOST_UNNAMED else found

    @property
    def kept(self) -> Collection[int]:
        """The ids of the program's nodes that are shown; the others repeat their numbers or are constants."""
        return self._names.keys()

    def name_of(self, node: Value) -> str:
        """The name of a node of the program that is shown."""
        return self._names[id(node)]

    def value_of(self, node: Value) -> np.ndarray:
        """The value of any node of the program."""
        return self._values[id(node)]

    def shown(self, array: np.ndarray, node: Value) -> np.ndarray:
        """A value or derivative of a node in the shape that the user's variable has."""
        return array.reshape(self._shapes.get(id(node), node.shape))

    def is_forward(self, node: Value) -> bool:
        """Whether the node is part of the program, and not of a derivative."""
        return id(node) in self._values

    def is_active(self, node: Value) -> bool:
        """Whether a change of the inputs reaches the node through floats."""
        return id(node) in self._active

    def chain(self, wrt: str) -> Listing:
        """The chain rule for one input, such as "layers.0.W" or "x[0, 2]": dL/dw = dL/dy · dy/dz · dz/dw.

        A row for each factor between the nodes that have names (`named`), with its formula, its value, and the product
        so far. Where several paths lead to the input each is a group, and the sum of the products stands at the end.
        For ops that mix entries a row shows the whole contribution dJ/dy · dy/dz.
        """
        return chain_table(self, wrt)

    def open(self, name: str, labels: Sequence[str] | None = None, *, sort: str | None = None) -> Listing:
        """The entries of one node: index, value and partial derivative of each.

        labels  names along the last axis; of a fitted model's inputs, and of the weights that read them, they are known
        sort    "value" or "partial": the largest of either first, whatever its sign
        """
        return open_table(self, name, labels, sort)

    def memory(self) -> MemoryReport:
        """Which values reverse mode must keep (those that the partials really read), their shapes and bytes, and how
        much that is against forward mode, which keeps only the running ones.
        """
        return memory_report(self)

    def tangents(self, wrt: str) -> dict[str, np.ndarray]:
        """The derivative of every node with respect to one number (forward mode): dv/d(wrt) by name.

        wrt  a node of size 1, or one entry of another: "W[0, 1]"; ConfigError for whole numbers and fixed data, which
             no derivative is taken by
        """
        start, index = self.slope_entry(wrt)
        if not index and start.node.size != 1:
            first = ", ".join("0" * start.value.ndim)
            raise ShapeError(
                f"forward mode follows one number, {wrt} has shape {start.value.shape}: give one entry, "
                f"such as wrt='{wrt}[{first}]'"
            )
        tangent = np.zeros(start.value.shape, start.node.dtype)
        tangent[index or (0,) * tangent.ndim] = 1
        moved = flow_forward(self.program.order, start.node, tangent.reshape(start.node.shape), self._values)
        return {
            n.name: self.shown(moved[id(n.node)], n.node) if id(n.node) in moved else np.zeros(n.value.shape)
            for n in self.nodes
        }

    def entry(self, name: str) -> tuple[Node, tuple[int, ...]]:
        """The node that a name such as "W" or "W[0, 1]" speaks of, and the entry's index; () for the whole."""
        match = None if name in self._by_name else _ENTRY.fullmatch(name)
        if match is None:
            return self[name], ()
        node = self[match[1]]
        try:
            index = tuple(int(i) for i in match[2].split(",") if i.strip())
            node.value[index].item()
        except (IndexError, ValueError):
            raise ShapeError(f"{name}: {match[1]} has shape {node.value.shape}, give one index for each axis") from None
        return node, index

    def slope_entry(self, name: str) -> tuple[Node, tuple[int, ...]]:
        """`entry`, where the goal has a derivative with respect to it; ConfigError for whole numbers and data."""
        node, index = self.entry(name)
        if node.partial is None:
            no = f"{self.goal.name} has no derivative with respect to {name}, which"
            if not node.node.spec.is_float:
                raise ConfigError(f"{no} holds {node.node.dtype}: choose an input that holds floats")
            raise ConfigError(f"{no} is fixed (data, or made of data alone): choose one of the other inputs")
        return node, index

    def table(self, mode: str = "reverse", *, wrt: str | None = None, by: str | None = None) -> Listing:
        """The computation as on the board.

        mode  "reverse": dJ/du += dJ/dv · dv/du in the order in which it runs;
              "forward": each node's value, its partials, and the running derivative with respect to `wrt`
        wrt   forward mode: one number, "w" or "W[0, 1]" (default: the first input of size 1, or the first entry)
        by    "module" groups the nodes by layer
        """
        if mode not in ("reverse", "forward"):
            raise ConfigError(f"mode={mode!r}: {nearest(mode, ('reverse', 'forward'))}")
        if by not in (None, "module"):
            raise ConfigError(f"by={by!r}: pass by='module', or leave it out")
        if mode == "reverse":
            return reverse_table(self, by_module=by == "module")
        return forward_table(self, wrt or self._first_number(), by_module=by == "module")

    def _first_number(self) -> str:
        """The first input of size 1, or the first entry of the first input that has a derivative."""
        able = [n for n in self.inputs if n.partial is not None and n.value.size]
        if not able:
            raise ConfigError("no input has a derivative: forward mode needs one that holds floats")
        first = able[0]
        index = ", ".join("0" * first.value.ndim)
        return next((n.name for n in able if n.value.size == 1), f"{first.name}[{index}]")

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

    def __repr__(self) -> str:  # what a prompt shows
        return str(self)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def trace(f: Callable[..., Any] | Layer | Model, *inputs: Any, loss: str | Loss | None = None) -> Trace:
    """Runs f once on the inputs and keeps every node; the result must be one number.

        trace(f, x, …)                    a function of ops
        trace(layer, x)                   a filled layer: its parameters are inputs too, named by their path
        trace(layer, x, y, loss="bce")    J, the mean loss of the rows x with the targets y
        trace(model, X)                   a fitted model: the prediction for one row (of classes, the probability of
                                          the predicted one; of numbers, on the scale that it was trained on)
        trace(model, X, y)                J, the mean loss of rows, without penalties

    inputs  numbers and arrays (or trees of them), Python numbers become float64; a model reads what `predict` reads
    loss    a loss or its name; its nodes have where == "loss", those of the link from score to prediction "link"

    Layers and models run in evaluation mode: dropout drops nothing, batch norm uses its running statistics.
    """
    return Trace(*capture(f, inputs, loss))


def _one_number(program: Program) -> Value:
    outs = program.outputs
    if len(outs) != 1 or outs[0].size != 1 or not outs[0].spec.is_float:
        shown = ", ".join(str(v.spec) for v in outs) or "nothing"
        raise ShapeError(
            f"trace needs a function with one number as its result, given {shown}: sum it, or pick one entry"
        )
    return outs[0]
