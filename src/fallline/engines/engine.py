"""What an engine is, the choice of one, and the cache of compiled programs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from fallline.core.errors import ConfigError, GraphError
from fallline.core.registry import Registry
from fallline.core.settings import settings
from fallline.graph.op import Op
from fallline.graph.program import Program

T = TypeVar("T")
Arrays = list[np.ndarray]
Call = Callable[..., Arrays]


class LoopResult(NamedTuple):
    """What a loop leaves.

    carry    the carried arrays after the last step that ran
    records  each recorded output, one row per step that ran
    steps    how many steps ran: fewer than asked for when the watched record was not finite
    """

    carry: Arrays
    records: Arrays
    steps: int


Loop = Callable[[Sequence[np.ndarray], Sequence[np.ndarray], Sequence[np.ndarray], np.ndarray], LoopResult]


class Engine(ABC):
    """One way to run programs.

    name   under which users ask for it
    speed  engines with a higher number are preferred by "auto"
    RULES  op name -> how this engine says it, where neither `Op.scalar[name]` nor a general rule fits
    """

    name: ClassVar[str]
    speed: ClassVar[int]
    RULES: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def is_available(self) -> bool:
        """Whether its packages are installed and work on this machine."""

    @abstractmethod
    def compile(self, program: Program) -> Call:
        """A function from the program's input arrays to its output arrays."""

    @abstractmethod
    def loop(self, program: Program, *, carry: int, scan: int, watch: int | None = None) -> Loop:
        """The program run for many batches in one call.

        The program's inputs are `carry` carried arrays, `scan` arrays that differ from step to step, and the batch;
        its outputs are the new carried arrays and then the records.

            run(carry, scanned, data, indices):  for each step s the batch is data[k][indices[s]], the scanned
            inputs are scanned[j][s]; indices (steps, batch) int64

        watch  position of a record: the loop ends after the first step in which it is not finite
        """

    def rule(self, op: Op) -> Any:
        """How this engine says an op: its own rule, else the scalar function that the op names for it."""
        found = self.RULES.get(op.name, op.scalar.get(self.name))
        if found is None:
            raise GraphError(
                f"engine {self.name!r} has no rule for the op {op.name!r}: add one to its RULES, or use engine='numpy'"
            )
        return found


ENGINES: Registry[Engine] = Registry("engine", homes=("fallline.engines",))


def get_engine(name: str | Engine = "auto") -> Engine:
    """An engine by name; "auto" is the fastest one available here (or what FALLLINE_ENGINE says)."""
    if isinstance(name, Engine):
        return name
    wanted = settings.engine if name == "auto" else name
    if wanted != "auto":
        engine = ENGINES[wanted]
        if not engine.is_available():
            raise ConfigError(
                f"engine {wanted!r} is not installed here: pip install 'fallline[{wanted}]', or use engine='auto'"
            )
        return engine
    return max((e for e in ENGINES.values() if e.is_available()), key=lambda e: e.speed)


class CompileCache:
    """Compiled programs by key, the least recently used leaving first; safe to use from several threads."""

    def __init__(self, capacity: int = 64):
        self.capacity = capacity
        self.builds = 0
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The entry of that key, built at the first use."""
        with self._lock:
            if key not in self._entries:
                self.builds += 1
                self._entries[key] = build()
                if len(self._entries) > self.capacity:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key]


COMPILED = CompileCache()
