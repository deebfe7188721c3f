"""What an engine is, the choice of one, and the cache of compiled programs."""

from __future__ import annotations

import copy
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from fallline.core.errors import ConfigError, GraphError, UnknownNameError
from fallline.core.registry import Registry, nearest
from fallline.core.settings import settings
from fallline.core.warn import warn_user
from fallline.graph.op import Op
from fallline.graph.program import Program

T = TypeVar("T")
Arrays = list[np.ndarray]
Call = Callable[..., Arrays]
EXACT = "float32"  # the default precision: products in the arrays' own dtype, whichever it is
PRECISIONS = (EXACT, "float64", "bf16x3", "bf16")


class LoopResult(NamedTuple):
    """What a loop leaves.

    carry    the carried arrays after the last step that ran; see `Engine.loop` for how long they may be read
    records  each recorded output, one row per step that ran
    steps    how many steps ran: fewer than asked for when the watched record was not finite
    """

    carry: Sequence[np.ndarray]
    records: Arrays
    steps: int


Loop = Callable[[Sequence[np.ndarray], Sequence[np.ndarray], Sequence[np.ndarray], np.ndarray], LoopResult]


class Engine(ABC):
    """One way to run programs.

    name       under which users ask for it
    speed      engines with a higher number are preferred by "auto"
    RULES      op name -> how this engine says it, where neither `Op.scalar[name]` nor a general rule fits
    threads    how many threads a program gets; None: as many as its work is worth
    precision  of matrix products: "float32" (in the arrays' own dtype), or less: "bf16x3", "bf16"
    """

    name: ClassVar[str]
    speed: ClassVar[int]
    RULES: ClassVar[Mapping[str, Any]] = {}
    threads: int | None = None
    precision: str = EXACT

    @abstractmethod
    def is_available(self) -> bool:
        """Whether its packages are installed and work on this machine."""

    @property
    def remedy(self) -> str:
        """What to do where the engine is not available."""
        return f"pip install 'fallline[{self.name}]'"

    @property
    def missed(self) -> str:
        """What a user is told, once, where "auto" would mean this engine, were it available."""
        return ""

    @property
    def key(self) -> Hashable:
        """What a compiled program depends on, beside the program: part of every key of `COMPILED`."""
        return self.name, self.threads, self.precision

    def with_options(self, *, threads: int | None = None, precision: str = EXACT) -> Self:
        """The engine with these options, a copy if they are others; ConfigError, with the reason, where it cannot.

        precision  "float64" is another word for "float32": both leave products in the arrays' own dtype
        """
        threads = _whole(threads)
        if precision not in PRECISIONS:
            raise ConfigError(f"precision={precision!r}: {nearest(str(precision), PRECISIONS)}")
        chosen = EXACT if precision == "float64" else precision
        asked = {
            f"threads={threads}": "" if threads is None else self.threads_refused(),
            f"precision={precision!r}": "" if chosen == EXACT else self.precision_refused(chosen),
        }
        for given, reason in asked.items():
            if reason:
                raise ConfigError(f"{given}: {reason}")
        if (threads, chosen) == (self.threads, self.precision):
            return self
        made = copy.copy(self)
        made.threads, made.precision = threads, chosen
        return made

    def threads_refused(self) -> str:
        """Why the number of threads cannot be chosen; "" where it can."""
        return f"the engine {self.name!r} does not choose its threads: leave threads out, or take another engine"

    def precision_refused(self, precision: str) -> str:
        """Why products cannot have that precision, which is none of the arrays' own; "" where they can."""
        return f"the engine {self.name!r} has no products of {precision}: leave precision out, or take another engine"

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

        The carry of a result may be any Sequence, and may copy an array out of the engine's memory only when it is
        read. An array that was read never changes. Who hands the carry object itself to a loop of this engine gives it
        up: the loop may go on in its memory and copy nothing, so that what was not read before cannot be read later.
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


def _whole(threads: Any) -> int | None:
    """The number of threads, also from NumPy; ConfigError for anything but a whole number of at least 1, or None."""
    if threads is None:
        return None
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ConfigError(f"threads={threads!r}: threads must be a whole number of at least 1, or None")
    return int(threads)


_warned = {""}


def warn_once(message: str, kind: str | None = None) -> None:
    """A RuntimeWarning at the user's line, for the first message of this kind (without one: of these words)."""
    if (kind or message) not in _warned:
        _warned.add(kind or message)
        warn_user(message, RuntimeWarning)


def get_engine(name: str | Engine = "auto") -> Engine:
    """An engine by name; "auto" is the fastest one available here (or what FALLLINE_ENGINE says)."""
    if isinstance(name, Engine):
        return name
    if not isinstance(name, str):
        raise ConfigError(f"engine={name!r}: give a name, such as 'auto' or 'numpy', or an Engine")
    wanted = (settings.engine or "auto") if name == "auto" else name
    if wanted != "auto":
        engine = _named(wanted, "FALLLINE_ENGINE in the environment: " if name == "auto" else "")
        if not engine.is_available():
            raise ConfigError(f"engine {wanted!r} is not installed here: {engine.remedy}, or use engine='auto'")
        return engine
    for engine in sorted(ENGINES.values(), key=lambda e: -e.speed):
        if engine.is_available():
            return engine
        warn_once(engine.missed)
    raise ConfigError("no engine is available: install fallline anew")


def _named(name: str, where: str) -> Engine:
    """The engine of that name; UnknownNameError says where the name comes from."""
    try:
        return ENGINES[name]
    except UnknownNameError as error:
        raise UnknownNameError(f"{where}{error}, or auto" if "known: " in str(error) else f"{where}{error}") from None


class Renewed(Protocol):
    """What must be made whole in a child process, where the threads that were in the middle of using it are gone."""

    def renew(self) -> None: ...


_RENEWED: weakref.WeakSet[Renewed] = weakref.WeakSet()


def renew_after_fork(owner: Renewed) -> None:
    """Has `owner.renew()` called in every child process that a fork makes."""
    _RENEWED.add(owner)


def _renew() -> None:
    for owner in list(_RENEWED):
        owner.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class CompileCache:
    """Compiled programs by key, the least recently used leaving first; safe to use from several threads."""

    def __init__(self, capacity: int = 64):
        self.capacity = capacity
        self.builds = 0
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Leaves it free."""
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
