"""Registries: names to things, with "did you mean". A registry knows the folders that fill it."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from fallline.core.errors import UnknownNameError

T = TypeVar("T")


def plain_name(name: str) -> str:
    """The spelling under which names are compared: `BinaryCrossEntropy`, `binary_cross_entropy` and `binary-cross-entropy` are one."""
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of an error message: the nearest known names, or all of them when none is near."""
    by_plain = {plain_name(k): k for k in known}
    close = difflib.get_close_matches(plain_name(name), by_plain, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(by_plain[c]) for c in close) + "?"
    shown = sorted(by_plain.values())
    return "known: " + ", ".join(shown[:20]) + (f" … ({len(shown)} in all)" if len(shown) > 20 else "")


class Registry(Generic[T]):
    """Names to things of one kind.

    homes  the packages whose modules register themselves here; they are imported on the first
           look-up that needs them, so a new file in such a folder is found without being listed
    """

    def __init__(self, kind: str, homes: tuple[str, ...] = ()):
        self.kind, self.homes = kind, homes
        self._entries: dict[str, T] = {}
        self._names: dict[str, str] = {}  # plain name or alias -> name
        self._loaded = False

    def add(self, name: str, entry: T, aliases: Iterable[str] = ()) -> T:
        known = self._entries.get(name)
        if known is not None and _origin(known) != _origin(entry):
            raise ValueError(f"{self.kind} {name!r} is registered twice: {_origin(known)} and {_origin(entry)}")
        self._entries[name] = entry
        for alias in (name, *aliases):
            self._names[plain_name(alias)] = name
        return entry

    def remove(self, name: str) -> None:
        """Takes an entry out again (tests register throw-away entries)."""
        del self._entries[name]
        self._names = {k: v for k, v in self._names.items() if v != name}

    def load(self) -> None:
        """Imports every module of the home packages, once."""
        if self._loaded:
            return
        self._loaded = True
        for home in self.homes:
            package = importlib.import_module(home)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{home}.{module.name}")

    def __getitem__(self, name: str) -> T:
        entry = self._entries.get(name)  # the quick path: an exact name, already loaded
        if entry is not None:
            return entry
        self.load()
        found = self._names.get(plain_name(name))
        if found is None:
            raise UnknownNameError(f"no {self.kind} is called {name!r}: {nearest(name, self._entries)}")
        return self._entries[found]

    def __contains__(self, name: str) -> bool:
        self.load()
        return plain_name(name) in self._names

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)

    def values(self) -> list[T]:
        return [self[name] for name in self]


def _origin(entry: object) -> str:
    return f"{getattr(entry, '__module__', type(entry).__module__)}.{getattr(entry, '__qualname__', type(entry).__name__)}"
