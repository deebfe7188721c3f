"""Memory: where the arrays of a fused program live. One block is planned once and used again at every run.

An array whose last reader has run gives its place to later ones. A donated output (a training step overwrites
the weights that it has read) is written over an input, where the order of reads allows it, and copied otherwise.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fallline.graph.value import Value
from fallline.passes.fuse import REDUCTIONS, Fusion, Group

LINE = 64  # bytes: one cache line
SKEW = 5 * LINE  # between arrays, so that those of 4096 bytes and its multiples do not fall into the same cache sets


@dataclass
class Places:
    """Where each array lives.

    offset  id of a root -> its offset in the block, in bytes;  nbytes  of the block
    alias   id of an output -> the input whose array it overwrites
    copies  (output position, input position) of donations that need a copy at the end
    """

    offset: dict[int, int] = field(default_factory=dict)
    alias: dict[int, Value] = field(default_factory=dict)
    copies: list[tuple[int, int]] = field(default_factory=list)
    nbytes: int = 0


class Read(NamedTuple):
    """The array of a root is read by a node, as one of its arguments."""

    root: Value
    node: Value
    argument: Value


def reads_of(group: Group, fusion: Fusion) -> Iterator[Read]:
    """What a group reads from memory; what its own loops pass on stays in registers."""
    inside = {id(n) for n in group.nodes if n.op.name not in REDUCTIONS}
    for node in group.nodes:
        for arg in node.args:
            root, direct = fusion.root_of(arg)
            if not (direct and id(root) in inside):
                yield Read(fusion.access[id(arg)].root, node, arg)


def written_by(group: Group, unfused: bool) -> list[Value]:
    """The arrays that a group writes; the product too where it is stored before its epilogue runs."""
    extra = [group.nodes[0]] if unfused and group.nodes[0] not in group.stored else []
    return [*group.stored, *extra]


def plan_places(fusion: Fusion, donate: Mapping[int, int], unfused: set[int]) -> Places:
    """The places of all arrays.

    donate   output position -> input position of equal spec
    unfused  ids of matmul groups whose product is stored before the epilogue reads it
    """
    return _Planner(fusion, donate, unfused).run()


class _Planner:
    """Goes through the groups in order: takes places for what each writes, and frees those of what it reads last."""

    def __init__(self, fusion: Fusion, donate: Mapping[int, int], unfused: set[int]):
        self.fusion, self.donate, self.unfused = fusion, donate, unfused
        self.places = Places()
        self.last: dict[int, int] = {}  # id of a root -> number of the last group that reads it
        self.reads: dict[int, dict[int, list[Read]]] = {}  # number of a group -> id of a root -> who reads it there
        self.free: list[tuple[int, int]] = []  # (size, offset) of places that nobody reads any more, sorted

    def run(self) -> Places:
        program = self.fusion.program
        for group in self.fusion.groups:
            read = self.reads[group.number] = {}
            for one in reads_of(group, self.fusion):
                read.setdefault(id(one.root), []).append(one)
                self.last[id(one.root)] = group.number
        pinned = {id(self.fusion.access[id(v)].root) for v in program.outputs}
        self._donate(pinned)
        for group in self.fusion.groups:
            for node in written_by(group, id(group) in self.unfused):
                if id(node) not in self.places.alias:
                    self.places.offset[id(node)] = self._take(in_lines(node.spec.nbytes))
            self._release(group, pinned)
        return self.places

    def _donate(self, pinned: set[int]) -> None:
        """Which outputs overwrite their inputs; the others are copied at the end.   pinned: ids of roots of outputs"""
        program, taken = self.fusion.program, set()
        for out, into in self.donate.items():
            node, target = program.outputs[out], program.inputs[into]
            if node is target:
                continue
            home = self.fusion.home.get(id(node))
            free = id(node) not in self.places.alias and id(target) not in taken and id(target) not in pinned
            if home is not None and free and self._in_time(node, target, home):
                self.places.alias[id(node)] = target
                taken.add(id(target))
            else:
                self.places.copies.append((out, into))

    def _in_time(self, node: Value, target: Value, home: Group) -> bool:
        """Whether nobody needs the input when the output is written over it."""
        last = self.last.get(id(target), -1)
        if last < home.number:
            return True
        if last > home.number or home.kind not in ("loop", "matmul") or node.op.name in REDUCTIONS:
            return False
        if node is home.product:
            return False
        readers = self.reads[home.number][id(target)]
        return all(r.node is not home.product and self.fusion.reading(r.node, r.argument).dense for r in readers)

    def _take(self, nbytes: int) -> int:
        """The offset of the smallest free place that is large enough, unless it is far too large; else a new one."""
        best = bisect_left(self.free, (nbytes, 0))
        if best < len(self.free) and self.free[best][0] <= 2 * nbytes + 4096:
            return self.free.pop(best)[1]
        offset = self.places.nbytes
        self.places.nbytes += nbytes + SKEW
        return offset

    def _release(self, group: Group, pinned: set[int]) -> None:
        """Frees the places of arrays that nobody reads after this group, or at all."""
        for root in [readers[0].root for readers in self.reads[group.number].values()]:
            offset = self.places.offset.get(id(root))
            if offset is not None and self.last[id(root)] == group.number and id(root) not in pinned:
                insort(self.free, (in_lines(root.spec.nbytes), offset))
        for node in written_by(group, id(group) in self.unfused):
            unread = id(node) not in self.last and id(node) not in pinned and id(node) in self.places.offset
            if unread:
                insort(self.free, (in_lines(node.spec.nbytes), self.places.offset[id(node)]))


def in_lines(nbytes: int) -> int:
    """Bytes of the cache lines, at least one, that so many bytes take."""
    return -(-max(nbytes, 1) // LINE) * LINE
