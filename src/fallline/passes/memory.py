"""Memory: which buffer each value of a program lives in, planned once so that running it allocates nothing.

A value whose last reader has run gives its buffer to a later one; an elementwise result may take the buffer
of an argument that dies with it; views take none. A *donated* output is written over an input (a training
step overwrites the weights that it read), where the order of reads allows it, and copied there otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fallline.graph.program import Program
from fallline.graph.value import Value


@dataclass
class Plan:
    """Where values live.

    place    id of a value that owns memory -> number of its buffer
    sizes    bytes of each buffer
    views    ids of the values that are views of their first argument
    copies   (output position, input position) of donations that need a copy at the end
    """

    place: dict[int, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    views: set[int] = field(default_factory=set)
    copies: list[tuple[int, int]] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(self.sizes)


def plan_memory(program: Program, donate: Mapping[int, int] | None = None) -> Plan:
    """The plan of a program.   donate: output position -> input position of equal spec"""
    return _Planner(program, donate or {}).run()


class _Planner:
    def __init__(self, program: Program, donate: Mapping[int, int]):
        self.program, self.donate, self.plan = program, donate, Plan()
        self.root: dict[int, Value] = {}  # id of a value -> the value whose memory it reads
        self.dense: set[int] = set()  # ids of values whose entries lie in order without gaps
        self.last: dict[int, int] = {}  # id of a root -> number of its last reader
        self.pinned: set[int] = set()  # ids of roots that keep their buffer to the end
        self.free: list[int] = []  # buffers that nobody reads any more

    def run(self) -> Plan:
        self._find_roots()
        self._find_last_readers()
        taken = self._donations()
        for at, node in enumerate(self.program.order):
            if node.op.name == "input":
                self.plan.place[id(node)] = self._new(node.spec.nbytes)
            elif self._owns(node):
                self.plan.place[id(node)] = (
                    self.plan.place[taken[id(node)]] if id(node) in taken else self._buffer(at, node)
                )
                self._release(at, node)
        return self.plan

    def _owns(self, node: Value) -> bool:
        return self.root[id(node)] is node and node.op.name != "constant"

    def _find_roots(self) -> None:
        for node in self.program.order:
            source = node.args[0] if node.op.view else None
            if source is not None and (node.op.name != "reshape" or id(source) in self.dense):
                self.root[id(node)] = self.root[id(source)]
                self.plan.views.add(id(node))
                if node.op.name == "reshape":
                    self.dense.add(id(node))
            else:
                self.root[id(node)] = node
                self.dense.add(id(node))

    def _find_last_readers(self) -> None:
        for at, node in enumerate(self.program.order):
            if id(node) not in self.plan.views:
                for arg in node.args:
                    self.last[id(self.root[id(arg)])] = at
        self.pinned = {id(self.root[id(v)]) for v in (*self.program.outputs, *self.program.inputs)}

    def _donations(self) -> dict[int, int]:
        """Id of an output node -> id of the input whose buffer it may overwrite; the others are copied."""
        position = {id(node): at for at, node in enumerate(self.program.order)}
        taken: dict[int, int] = {}
        for out, into in self.donate.items():
            node, target = self.program.outputs[out], self.program.inputs[into]
            if node is target:
                continue
            last = self.last.get(id(target), -1)
            written = position[id(node)]
            in_time = written > last or (written == last and self._may_overwrite(node, target))
            read_as_output = any(self.root[id(v)] is target for v in self.program.outputs)
            if (
                self._owns(node)
                and node.op.name != "input"
                and id(node) not in taken
                and in_time
                and not read_as_output
            ):
                taken[id(node)] = id(target)
            else:
                self.plan.copies.append((out, into))
        return taken

    def _may_overwrite(self, node: Value, root: Value) -> bool:
        """An elementwise node may write over an argument if it reads that memory entry by entry in order."""
        readers = [a for a in node.args if self.root[id(a)] is root]
        return node.op.inplace and all(id(a) in self.dense and a.spec.nbytes == node.spec.nbytes for a in readers)

    def _buffer(self, at: int, node: Value) -> int:
        for arg in node.args:
            root = self.root[id(arg)]
            dies = self.last[id(root)] == at and id(root) not in self.pinned and self._owns(root)
            if dies and root.spec.nbytes == node.spec.nbytes and self._may_overwrite(node, root):
                self.last[id(root)] = -1  # the buffer has a new owner and must not be freed with the old one
                return self.plan.place[id(root)]
        fitting = [b for b in self.free if self.plan.sizes[b] >= node.spec.nbytes]
        if not fitting:
            return self._new(node.spec.nbytes)
        best = min(fitting, key=lambda b: self.plan.sizes[b])
        self.free.remove(best)
        return best

    def _new(self, nbytes: int) -> int:
        self.plan.sizes.append(nbytes)
        return len(self.plan.sizes) - 1

    def _release(self, at: int, node: Value) -> None:
        for root in {id(self.root[id(a)]): self.root[id(a)] for a in node.args}.values():
            if self.last[id(root)] == at and id(root) not in self.pinned and self._owns(root):
                self.free.append(self.plan.place[id(root)])
