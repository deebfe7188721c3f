"""Groups: the nodes of a trace as boxes, one inside another: layers, and the middle of what is too long to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fallline.core.cached import cached_property

if TYPE_CHECKING:
    from fallline.explain.tracing.trace import Node, Trace

MOST = 40  # boxes of one level; of more, the middle is a box of its own
ENDS = 8  # what is shown before and after such a middle
PARTS = 16  # boxes that such a middle opens into
LARGEST = 1e140  # the square of a larger number would be infinite


@dataclass
class Flow:
    """What flows back along an edge: size, and how much of it is negative. Flows along one line are added.

    squares, count   of all entries;  positive, negative   sums of the sizes of those of either sign
    """

    squares: float = 0.0
    count: int = 0
    positive: float = 0.0
    negative: float = 0.0

    def add(self, *contributions: Any) -> Flow:
        for contribution in contributions:
            entries = np.asarray(contribution, dtype=np.float64)
            if not np.isfinite(entries).all() or np.abs(entries).max(initial=0.0) > LARGEST:
                entries = np.clip(np.nan_to_num(entries), -LARGEST, LARGEST)
            total, size = float(entries.sum()), float(np.abs(entries).sum())
            self.squares += float(np.square(entries).sum())
            self.count += entries.size
            self.positive += (size + total) / 2
            self.negative += (size - total) / 2
        return self

    @property
    def size(self) -> float:
        """The root of the mean square."""
        return (self.squares / self.count) ** 0.5 if self.count else 0.0

    @property
    def negative_share(self) -> float:
        whole = self.positive + self.negative
        return self.negative / whole if whole else 0.0


class Wire(NamedTuple):
    """One reading of a node: numbers of the node that is read and of the one that reads."""

    source: int
    reader: int


@dataclass(frozen=True)
class Group:
    """Nodes that one box stands for.

    title  path of the layer, or how many nodes are left out;  members   nodes and groups, in the order they are run
    """

    title: str
    members: tuple[Node | Group, ...]
    is_layer: bool = True

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(n for m in self.members for n in (m.nodes if isinstance(m, Group) else (m,)))


@dataclass
class Level:
    """What stands side by side in the drawing, or in an open group.

    boxes   a node, a group, or None for a port: a place at the border where edges come in or leave
    lines   what flows back along each edge, by the numbers of its two boxes
    owner   the box of each node, by the node's number; nodes outside belong to the port they come through
    top, bottom  the ports, at the border above and below
    """

    boxes: list[Node | Group | None]
    lines: dict[tuple[int, int], Flow]
    owner: dict[int, int]
    top: dict[int, int] = field(default_factory=dict)  # box of the level around -> port
    bottom: dict[int, int] = field(default_factory=dict)


class Wiring:
    """The nodes of a trace by number, and who reads whom."""

    def __init__(self, trace: Trace):
        self.number = {n.name: i for i, n in enumerate(trace.nodes)}
        self.order: dict[Wire, int] = {}  # by reader, then as its operands stand in the formula
        self.contributions: dict[Wire, list[Any]] = {}
        self.wires: dict[int, list[Wire]] = {i: [] for i in range(len(trace))}  # of both ends
        for reader, node in enumerate(trace.nodes):
            for name in node.operands:
                wire = Wire(self.number[name], reader)
                self.order[wire] = len(self.order)
                for end in set(wire):
                    self.wires[end].append(wire)
            for edge in node.edges:
                self.contributions.setdefault(Wire(self.number[edge.operand], reader), []).append(edge.contribution)

    def level(self, members: Iterable[Node | Group], around: Level | None = None) -> Level:
        """The boxes of these members and the lines between them; `around` is the level whose group is opened."""
        boxes: list[Node | Group | None] = list(members)
        inside = {self.number[n.name]: i for i, m in enumerate(boxes) if m is not None for n in _nodes(m)}
        level = Level(boxes, {}, dict(inside))
        wires = sorted({w for i in inside for w in self.wires[i]}, key=self.order.__getitem__)
        leaving: dict[int, list[Wire]] = {}
        for wire in wires:
            if wire.source not in inside:
                level.owner[wire.source] = self._port(level, level.top, _outer(around, wire.source))
            if wire.reader in inside:
                self._join(level, level.owner[wire.source], inside[wire.reader], wire)
            else:
                leaving.setdefault(_outer(around, wire.reader), []).append(wire)
        ports: dict[frozenset[int], int] = {}
        for outer, through in leaving.items():  # one port for all who read the same boxes
            key = frozenset(inside[w.source] for w in through)
            level.bottom[outer] = ports[key] = ports[key] if key in ports else self._port(level, {}, outer)
            for wire in through:
                level.owner[wire.reader] = ports[key]
                self._join(level, inside[wire.source], ports[key], wire)
        return level

    def _port(self, level: Level, ports: dict[int, int], outer: int) -> int:
        if outer not in ports:
            ports[outer] = len(level.boxes)
            level.boxes.append(None)
        return ports[outer]

    def _join(self, level: Level, a: int, b: int, wire: Wire) -> None:
        if a != b:
            level.lines.setdefault((a, b), Flow()).add(*self.contributions.get(wire, []))


def _outer(around: Level | None, node: int) -> int:
    return around.owner[node] if around is not None else -1


def _nodes(member: Node | Group) -> Sequence[Node]:
    return member.nodes if isinstance(member, Group) else (member,)


def grouped(trace: Trace) -> list[Node | Group]:
    """The nodes in the order in which they are run, those of a layer in a group, the middle of long rows in one too.

    Neighbours in that order make a group, so that no line can lead out of a group and back into it: a layer that is
    called twice with something between makes two.
    """
    homes = _homes(trace)
    first: dict[str, str] = {}
    for node in trace.nodes:
        for name in node.operands:
            first.setdefault(name, node.name)
    before: dict[str, list[Node]] = {}  # inputs stand right before their first reader, so that they go with it
    start = []
    for node in trace.nodes:
        if node.node.op.name == "input":
            reader = first.get(node.name, "")
            if homes.get(reader, ()) == homes.get(node.name, ()):
                before.setdefault(reader, []).append(node)
            else:
                start.append(node)
    order = start + [
        n for node in trace.nodes if node.node.op.name != "input" for n in (*before.get(node.name, ()), node)
    ]
    unread = before.get("", [])
    return _folded(_nested([*unread, *order], homes, 0))


def _homes(trace: Trace) -> dict[str, tuple[str, ...]]:
    """The layers around each node, from the outside in; a parameter is at home where the first reader is, if the
    parameter's name begins with that layer's path."""
    home = {n.name: _layers(n.where) for n in trace.nodes}
    waiting = {n.name for n in trace.inputs}
    for node in trace.nodes:
        for name in waiting.intersection(node.operands):
            waiting.remove(name)
            if node.where and name.startswith(f"{node.where}."):
                home[name] = home[node.name]
    return home


def _layers(where: str) -> tuple[str, ...]:
    """ "layers.0.layers.1" is inside "layers.0"."""
    paths: list[str] = []
    for part in where.split(".") if where else ():
        whole = f"{paths[-1]}.{part}" if paths else part
        if part.isdigit() and paths:
            paths[-1] = whole
        else:
            paths.append(whole)
    return tuple(paths)


def _nested(nodes: Sequence[Node], homes: Mapping[str, tuple[str, ...]], depth: int) -> list[Node | Group]:
    """Neighbours of one layer become a group; a group of one is its member."""
    found: list[Node | Group] = []
    times: Counter[str] = Counter()
    for path, run in groupby(nodes, lambda n: (homes.get(n.name, ()) + (("",) * (depth + 1)))[depth]):
        inside = list(run)
        if not path:
            found += inside
            continue
        members = _nested(inside, homes, depth + 1)
        if len(members) == 1:
            found += members
            continue
        times[path] += 1
        title = path if times[path] == 1 else f"{path} ({times[path]})"
        found.append(Group(title, tuple(_folded(members))))
    return found


def _folded(members: list[Node | Group]) -> list[Node | Group]:
    """The members, or of too many the first and the last ones and a group of those between."""
    if len(members) <= MOST:
        return members
    middle = members[ENDS:-ENDS]
    return [*members[:ENDS], _run(middle, f"… {sum(len(_nodes(m)) for m in middle)} nodes …"), *members[-ENDS:]]


def _run(members: list[Node | Group], title: str) -> Group:
    """A group of neighbours; a long one opens into parts."""
    if len(members) > MOST:
        step = -(-len(members) // PARTS)
        parts = [members[i : i + step] for i in range(0, len(members), step)]
        members = [_run(part, f"{_nodes(part[0])[0].name} … {_nodes(part[-1])[-1].name}") for part in parts]
    return Group(title, tuple(members), is_layer=False)
