"""The chain rule for one input: every factor on the way from the goal back to it, path by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.explain.tracing.expression import excerpt, in_words
from fallline.explain.tracing.flow import HELD, is_by_entry, is_held, is_silent
from fallline.explain.tracing.held import held_note
from fallline.graph.op import as_value, new_input
from fallline.graph.program import Program

if TYPE_CHECKING:
    from fallline.explain.tracing.node import Node
    from fallline.explain.tracing.trace import Trace

MOST_PATHS = 8  # that are written out
Index = tuple[int, ...]


class Factor(NamedTuple):
    """One step of a path: what is written, the value of the partial (None where entries are mixed), the product."""

    text: str
    local: np.ndarray | None
    product: np.ndarray


def chain_table(trace: Trace, wrt: str) -> Listing:
    """d(goal)/d(wrt) as products along the paths through the named nodes, and their sum."""
    start, index = trace.slope_entry(wrt)
    names = {id(n.node): n.name for n in trace.named}
    links = {n.name: Link(trace, n, names) for n in trace.named}
    ways = {name: link.operands for name, link in links.items()}
    counts = _path_counts(start, ways)
    held = held_note(trace, [n for n in trace.named if counts.get(n.name)])
    open_ways = {name: link.open_operands for name, link in links.items()}
    if _path_counts(start, open_ways)[trace.goal.name]:  # then the paths on which a node is held fixed are left out
        ways, counts = open_ways, _path_counts(start, open_ways)
    paths = list(_paths(trace, start, links, ways, counts))
    columns: dict[str, list[Any]] = {"factor": [], "its value": [], "product so far": []}
    groups: list[str] = []
    for path in paths:
        heading = " ← ".join([*(link.node.name for link in path), start.name]) if len(paths) > 1 else ""
        for factor in _factors(path, start, index):
            for cells, cell in zip(columns.values(), factor, strict=True):
                cells.append(cell)
            groups.append(heading)
    total = counts[trace.goal.name]
    derivative = f"d{trace.goal.name}/d{wrt}"
    assert start.partial is not None  # as `slope_entry` has made sure
    value = start.partial[index] if index else start.partial
    if total > 1:
        for cells, cell in zip(columns.values(), (f"{derivative} = sum of the paths", None, value), strict=True):
            cells.append(cell)
        groups.append("sum")
    left = f"{total - len(paths)} more paths are left out, the sum counts them" if total > len(paths) else ""
    note = "; ".join(filter(None, (trace.note, f"{derivative} = {number_text(value)}", left, held)))
    title = f"chain rule: {derivative}"
    if len(paths) == 1 and len(paths[0]) > 1:
        ends = [*(link.node.name for link in paths[0][1:]), start.name]
        title += " = " + " · ".join(f"d{link.node.name}/d{end}" for link, end in zip(paths[0], ends, strict=True))
    return Listing(title, columns, groups, note)


class Link:
    """How one named node depends on the named nodes that it is computed from."""

    def __init__(self, trace: Trace, node: Node, names: dict[int, str]):
        self.trace, self.node = trace, node
        self._program, sources = excerpt(node.node, names)
        self._values = [trace.value_of(v) for v in sources]
        pairs = zip(self._program.inputs, sources, strict=True)
        self._inputs = {names[id(v)]: cut for cut, v in pairs if trace.is_active(v) and v is not node.node}

    @property
    def operands(self) -> list[str]:
        return list(self._inputs)

    @cached_property
    def open_operands(self) -> list[str]:
        """Those from which a way leads to the node that is not held fixed."""
        found, stack = set(), list(self._program.outputs)
        while stack:
            v = stack.pop()
            if id(v) not in found:
                found.add(id(v))
                stack += () if is_held(v) else v.args
        return [name for name, cut in self._inputs.items() if id(cut) in found]

    @cached_property
    def _pulled(self) -> Program:
        """(values of the operands, dJ/d(node)) -> what arrives at each operand through this node."""
        named = new_input(self.node.node.spec, f"d{self.trace.goal.name}/d{self.node.name}")
        found = pullback(self._program.outputs, [named], list(self._inputs.values()))
        return Program([*self._program.inputs, named], found)

    def pull(self, operand: str, g: np.ndarray) -> np.ndarray:
        """g · d(node)/d(operand)"""
        return self._pulled.run(*self._values, g)[self.operands.index(operand)]

    def factor(self, operand: str, g: np.ndarray) -> Factor:
        """The step from this node to an operand, after a product of g so far."""
        product = self.pull(operand, g)
        if operand not in self.open_operands:
            return Factor(f"d{self.node.name}/d{operand} = 0 ({HELD})", np.zeros_like(product), product)
        if not self._has_local(operand):
            goal = self.trace.goal.name
            text = in_words(self._pulled.outputs[self.operands.index(operand)], self._root)
            return Factor(f"d{goal}/d{operand} = {text}", None, product)
        ones = np.ones(g.shape, g.dtype)
        out = pullback(self._program.outputs, [as_value(ones)], [self._inputs[operand]])[0]
        return Factor(f"d{self.node.name}/d{operand} = {in_words(out, self._root)}", self.pull(operand, ones), product)

    @property
    def _root(self) -> Mapping[int, str]:
        return {id(self._program.outputs[0]): self.node.name}

    def _has_local(self, operand: str) -> bool:
        """Whether d(node)/d(operand) is one number for each entry of the operand."""
        leaf, out = self._inputs[operand], self._program.outputs[0]
        if out.size == 1:
            return True
        reached = {id(leaf)}
        for v in self._program.order:
            if any(id(a) in reached for a in v.args):
                reached.add(id(v))
                if v.size != leaf.size or not (is_by_entry(v) or is_silent(v)):
                    return False
        return True


Path = list[Link]
Ways = Mapping[str, Sequence[str]]  # the operands of each named node, in the order of the forward pass


def _path_counts(start: Node, ways: Ways) -> dict[str, int]:
    """The number of paths from each named node to the start."""
    counts = {start.name: 1}
    for name, operands in ways.items():  # in the order of the forward pass
        if name != start.name:
            counts[name] = sum(counts.get(o, 0) for o in operands)
    return counts


def _paths(
    trace: Trace, start: Node, links: Mapping[str, Link], ways: Ways, counts: Mapping[str, int]
) -> Iterator[Path]:
    """The first paths from the goal to the start, depth first."""
    stack: list[tuple[str, Path]] = [(trace.goal.name, [])]
    made = 0
    while stack and made < MOST_PATHS:
        name, path = stack.pop()
        if name == start.name:
            made += 1
            yield path
            continue
        for operand in reversed([o for o in ways[name] if counts.get(o)]):
            stack.append((operand, [*path, links[name]]))


def _factors(path: Path, start: Node, index: Index) -> Iterator[tuple[Any, ...]]:
    """The cells of the rows of one path; of the last factor only the entry that was asked for."""
    goal = (path[0].node if path else start).node
    g = np.ones(goal.shape, goal.dtype)
    ends = [*(link.node.name for link in path[1:]), start.name]
    for link, end in zip(path, ends, strict=True):
        text, local, g = link.factor(end, g)
        operand, trace = link.trace[end].node, link.trace
        numbers = [None if a is None else trace.shown(a, operand) for a in (local, g)]
        if index and link is path[-1]:
            numbers = [None if a is None else a[index] for a in numbers]
        yield (text, *numbers)
