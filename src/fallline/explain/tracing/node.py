"""Node and Edge: one quantity of a trace, and how the derivative flows from it to what it is computed from."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fallline.core.cached import cached_property
from fallline.explain.tracing.expression import call_words, in_words
from fallline.explain.tracing.flow import HELD, back_to_source, is_by_entry, is_held
from fallline.graph.op import as_value, new_input
from fallline.graph.value import Value


@dataclass(frozen=True, eq=False)
class Edge:
    """How the derivative flows from a node to one of its operands.

    text          the partial d(node)/d(operand) as a formula; for an op that mixes entries (a product of matrices,
                  a sum) the whole contribution dJ/d(node) · d(node)/d(operand)
    local         the partial's value, None for an op that mixes entries
    contribution  dJ/d(node) · d(node)/d(operand), which is added to dJ/d(operand)

    Of a node that is held fixed (stop_gradient) they are "0 (held fixed)", 0 and 0.
    """

    operand: str
    local: np.ndarray | None
    contribution: np.ndarray
    words: Callable[[], str] = field(repr=False)

    @cached_property
    def text(self) -> str:
        return self.words()


@dataclass(frozen=True, eq=False)
class Node:
    """One intermediate quantity.

    name     the user's own variable name where the function gave one, the parameter's path, else v1, v2 …
    formula  one op, in terms of the names of its operands
    value    its value
    partial  derivative of the goal with respect to it; None where it has none: whole numbers, data, running statistics
    operands names of the nodes that it is computed from
    where    path of the layer that made it, "loss" or "link", "" outside a model
    edges    one for each operand through which the derivative flows
    """

    name: str
    value: np.ndarray
    partial: np.ndarray | None
    where: str
    node: Value = field(repr=False)
    operands: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = field(default=(), repr=False)
    names: dict[int, str] = field(default_factory=dict, repr=False)

    @cached_property
    def formula(self) -> str:
        return call_words(self.node, self.names)

    @property
    def is_input(self) -> bool:
        return self.node.op.name == "input"

    @property
    def forward_source(self) -> str:
        """The function that gives the value, as text: "u = sin(t)"."""
        return self.name if self.is_input else f"{self.name} = {self.formula}"

    @property
    def partial_source(self) -> dict[str, str]:
        """For each operand the function that gives the partial derivative, as text: {"t": "cos(t)"}."""
        return {e.operand: e.text for e in self.edges}


def rule_words(node: Value, position: int, names: dict[int, str], goal: str) -> str:
    """The rule by which the derivative flows to one argument of a node, as a formula; see `Edge.text`."""
    if is_held(node):
        return f"0 ({HELD})"
    by_entry = is_by_entry(node)
    named = new_input(node.spec, f"d{goal}/d{names[id(node)]}")
    cotangent = as_value(np.ones(node.shape, node.dtype)) if by_entry else named
    assert node.op.vjp is not None
    part = as_value(node.op.vjp(cotangent, node, *node.args, **node.attrs)[position])
    if not by_entry:
        part = as_value(back_to_source(node.args[position], part, names)[1])
    return in_words(part, ChainMap({id(named): named.attrs["name"]}, names))
