"""Fuse: the nodes of a program in groups, each of which an engine can say as one loop or one call.

    loop     elementwise nodes over the same entries, and the sums and maxima of their results
    matmul   a product of matrices, and the elementwise nodes that read it entry by entry (its epilogue)
    copy     entries moved into a part of an array (concatenate, unslice, what no view can give)
    call     any other op, by itself

Views (reshape, transpose, broadcast, slice, flip) are in no group: who reads one reads its root (passes/access.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.passes.access import Access, Shape, through, whole

REDUCTIONS = ("sum", "max")
ELEMENTWISE = ("where", "astype", "identity", "stop_gradient")  # beside all ops of that structure
MOST_NODES = 96  # in a group: more would not fit into registers and compile slowly


@dataclass(eq=False)
class Group:
    """Nodes that are computed together.

    kind     "loop", "matmul", "copy" or "call"
    nodes    in order; of a matmul group the product is the first
    size     entries of the space that is looped over
    cuts     sizes of the innermost parts into which the axes of all nodes cut that space (1, …, size)
    reduced  the parts (low, high) of the space that its reductions add up; empty where there are none but whole ones
    number   its position among the groups of the program
    stored   nodes whose arrays it must leave in memory; the others are read within the group only
    """

    kind: str
    nodes: list[Value]
    size: int = 0
    cuts: frozenset[int] = frozenset()
    reduced: frozenset[tuple[int, int]] = frozenset()
    number: int = 0
    stored: list[Value] = field(default_factory=list)

    @property
    def product(self) -> Value | None:
        return self.nodes[0] if self.kind == "matmul" else None


@cache
def cuts_of(shape: Shape) -> frozenset[int]:
    """The number of entries behind each axis, and of all of them: (2, 3) -> 1, 3, 6."""
    found, step = {1}, 1
    for d in reversed(shape):
        step *= d
        found.add(step)
    return frozenset(found)


@cache
def joined_cuts(a: frozenset[int], b: frozenset[int]) -> frozenset[int] | None:
    """Both sets of cuts together, or None where they do not fall into each other."""
    both = sorted(a | b)
    return frozenset(both) if all(y % x == 0 for x, y in pairwise(both)) else None


def parts_of(shape: Shape, axes: tuple[int, ...]) -> frozenset[tuple[int, int]]:
    """The parts of the space that some axes stand for, neighbours joined: (low, high) cuts."""
    parts: list[tuple[int, int]] = []
    step = 1
    for axis in reversed(range(len(shape))):
        low, step = step, step * shape[axis]
        if axis in axes and low != step:
            if parts and parts[-1][1] == low:
                parts[-1] = (parts[-1][0], step)
            else:
                parts.append((low, step))
    return frozenset(parts)


def is_elementwise(node: Value) -> bool:
    return node.op.structure == "elementwise" or node.op.name in ELEMENTWISE


def in_order(node: Value) -> bool:
    """Whether a computed node reads its argument entry by entry; a view other than a reshape does not."""
    return not node.op.view or node.op.name == "reshape"


class Fusion:
    """The groups of a program, and how each of their nodes is reached.

    native  whether an engine can compute a node in a loop or as a product; other nodes are calls, each by itself
    access  by id of a value, how it is read: from the array of its root
    home    by id of a computed node, its group
    groups  in the order in which they run
    """

    def __init__(self, program: Program, native: Callable[[Value], bool] = lambda node: True):
        self.program, self.native = program, native
        self.access: dict[int, Access] = {}
        self.home: dict[int, Group] = {}
        self.groups: list[Group] = []
        self._users: dict[int, list[Value]] = {}
        for node in program.order:
            for arg in node.args:
                self._users.setdefault(id(arg), []).append(node)
        self._copied_outputs = {id(v) for v in program.outputs if v.op.view}
        for node in program.order:
            self._place(node)
        self._sink()
        self.groups = [g for g in self.groups if g.nodes]
        for number, group in enumerate(self.groups):
            group.number = number
        self._find_stored()

    # Where a node goes.

    def _place(self, node: Value) -> None:
        name = node.op.name
        if name in ("input", "constant"):
            self.access[id(node)] = whole(node)
        elif node.op.view and id(node) not in self._copied_outputs and self._view(node):
            pass
        elif not self.native(node):
            self._open(Group("call", [node]))
        elif node.op.name == "reshape":  # a copy in the order of its argument, which no view can give
            self._join(node, node.args[0].shape)
        elif node.op.view or is_elementwise(node):
            self._join(node, node.shape)
        elif name in REDUCTIONS:
            self._join(node, node.args[0].shape)
        elif name == "matmul" and node.size and node.args[0].shape[-1]:
            two = len(node.shape) == 2
            self._open(Group("matmul", [node], node.size, cuts_of(node.shape) if two else frozenset()))
        elif name in ("concatenate", "unslice"):
            self._open(Group("copy", [node]))
        else:
            self._open(Group("call", [node]))

    def _view(self, node: Value) -> bool:
        """Whether a view node is reached through the array that its argument reads."""
        found = through(node, self.access[id(node.args[0])])
        if found is not None:
            self.access[id(node)] = found
        return found is not None

    def _open(self, group: Group) -> Group:
        group.number = len(self.groups)
        self.groups.append(group)
        for node in group.nodes:
            self._settle(node, group)
        return group

    def _settle(self, node: Value, group: Group) -> None:
        self.home[id(node)] = group
        self.access[id(node)] = whole(node)

    def _join(self, node: Value, shape: Shape) -> None:
        """Puts an elementwise node or a reduction into the first group that can take it, else into a new one."""
        cuts = cuts_of(shape)
        parts: frozenset[tuple[int, int]] = frozenset()
        if node.op.name in REDUCTIONS:
            parts = parts_of(shape, node.attrs["axis"])
            if parts == {(1, math.prod(shape))}:
                parts = frozenset()
        size = math.prod(shape)
        first = max((self._earliest(a, size, in_order(node)) for a in node.args), default=0)
        for group in self.groups[first:]:
            both = self._fits(group, node, size, cuts, parts)
            if both is not None:
                group.nodes.append(node)
                group.cuts = both
                group.reduced = group.reduced or parts
                self._settle(node, group)
                return
        self._open(Group("loop", [node], size, cuts, parts))

    def _fits(
        self, group: Group, node: Value, size: int, cuts: frozenset[int], parts: frozenset[tuple[int, int]]
    ) -> frozenset[int] | None:
        """The cuts of the group with the node in it; None where one loop cannot do both.

        The reductions of a loop are all over the same parts, or all whole ones; those of an epilogue are whole ones.
        """
        if group.kind not in ("loop", "matmul") or group.size != size or not group.cuts or not size:
            return None
        if len(group.nodes) >= MOST_NODES or (parts and group.kind == "matmul"):
            return None
        total = node.op.name in REDUCTIONS and not parts
        if (parts and group.reduced and group.reduced != parts) or (total and group.reduced):
            return None
        if parts and any(n.op.name in REDUCTIONS for n in group.nodes) and not group.reduced:
            return None
        return joined_cuts(group.cuts, cuts)

    def _earliest(self, arg: Value, size: int, ordered: bool) -> int:
        """The number of the first group in which an argument can be read, entry by entry or in any order."""
        root, direct = self.root_of(arg)
        direct = direct and ordered
        home = self.home.get(id(root))
        if home is None:
            return 0
        same = direct and root.size == size and root.op.name not in REDUCTIONS and home.kind in ("loop", "matmul")
        return home.number if same and home.cuts else home.number + 1

    def reading(self, node: Value, arg: Value) -> Access:
        """How a computed node reads an argument: a view that is copied reads the entries in its own order."""
        access = self.access[id(arg)]
        if in_order(node):
            return access
        moved = through(node, access)
        assert moved is not None, f"no access to {node.op.name}"
        return moved

    def root_of(self, value: Value) -> tuple[Value, bool]:
        """The computed node behind views, and whether only reshapes stand between (the same entries in order)."""
        direct = True
        while id(value) not in self.home and value.op.view:
            direct = direct and value.op.name == "reshape"
            value = value.args[0]
        return value, direct

    # Nodes that only one later group reads move there: what is not stored need not be loaded.

    def _sink(self) -> None:
        kept = {id(self.root_of(v)[0]) for v in self.program.outputs}
        for node in reversed(self.program.order):
            home = self.home.get(id(node))
            if home is None or home.kind != "loop" or id(node) in kept or not is_elementwise(node):
                continue
            users = self._readers(node)
            groups = {id(self.home[id(u)]): self.home[id(u)] for u, direct in users if direct and id(u) in self.home}
            if len(groups) != 1 or not all(direct for _, direct in users):
                continue
            target = next(iter(groups.values()))
            if target is home or not self._takes(target, node) or any(u is target.product for u, _ in users):
                continue
            home.nodes.remove(node)
            self._insert(target, node)

    def _readers(self, node: Value) -> list[tuple[Value, bool]]:
        """The computed nodes that read a node, each with whether only reshapes stand between."""
        found, stack = [], [(user, True) for user in self._users.get(id(node), [])]
        while stack:
            user, direct = stack.pop()
            if id(user) in self.home:
                found.append((user, direct and in_order(user)))
            else:
                direct = direct and user.op.name == "reshape"
                stack.extend((u, direct) for u in self._users.get(id(user), []))
        return found

    def _takes(self, group: Group, node: Value) -> bool:
        """Whether a later group can compute an elementwise node too."""
        if group.kind not in ("loop", "matmul") or group.size != node.size or len(group.nodes) >= MOST_NODES:
            return False
        return bool(group.cuts) and joined_cuts(group.cuts, cuts_of(node.shape)) is not None

    def _insert(self, group: Group, node: Value) -> None:
        """Puts a node where it stands in the order of the program, behind the product of a matmul group."""
        at = 1 if group.kind == "matmul" else 0
        while at < len(group.nodes) and group.nodes[at].number < node.number:
            at += 1
        group.nodes.insert(at, node)
        group.cuts = joined_cuts(group.cuts, cuts_of(node.shape)) or group.cuts
        self.home[id(node)] = group

    def _find_stored(self) -> None:
        """What each group must leave in memory: outputs of the program, and what is read elsewhere or out of order."""
        outputs = {id(self.root_of(v)[0]) for v in self.program.outputs}
        for group in self.groups:
            for node in group.nodes:
                read = [(self.home[id(u)], d and u is not group.product) for u, d in self._readers(node)]
                inside = group.kind in ("loop", "matmul") and node.op.name not in REDUCTIONS
                elsewhere = any(home is not group or not direct for home, direct in read)
                if id(node) in outputs or elsewhere or not inside or (group.kind == "matmul" and not group.cuts):
                    group.stored.append(node)


__all__ = ["REDUCTIONS", "Fusion", "Group", "cuts_of", "is_elementwise"]
