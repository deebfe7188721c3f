"""Registries: names to things, with "did you mean". A registry knows the folders that fill it."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from fallline.core.errors import UnknownNameError

T = TypeVar("T")
_WORDS = re.compile(r"""class (\w+)|["']([\w -]+)["']""")


def plain_name(name: str) -> str:
    """The spelling under which names are compared: `DotProduct`, `dot_product` and `dot-product` are one."""
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


def nearest(name: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """The tail of an error message: the nearest names and aliases, or all the names when none is near."""
    names = list(known)
    by_plain = {plain_name(k): k for k in (*aliases, *names)}
    close = difflib.get_close_matches(plain_name(name), by_plain, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(by_plain[c]) for c in close) + "?"
    shown = sorted(name or "(nameless)" for name in names)
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
        self._loaded: set[str] = set()
        self._looked: set[tuple[str, str]] = set()  # (name, home) whose modules were looked through
        self._lock = threading.RLock()  # re-entrant: the homes look names up while they are imported

    def add(self, name: str, entry: T, aliases: Iterable[str] = ()) -> T:
        """Registers a thing; a class may be defined anew in its place, anything else must be removed first."""
        known = self._entries.get(name)
        if known is not None and not _redefined(known, entry):
            raise ValueError(f"{self.kind} {name!r} is registered twice: rename it, or remove({name!r}) first")
        for alias in (name, *aliases):
            owner = self._names.get(plain_name(alias), name)
            if owner != name:
                raise ValueError(f"{self.kind} {name!r}: {alias!r} already means {owner!r}; choose another name")
        self._entries[name] = entry
        self._names |= {plain_name(alias): name for alias in (name, *aliases)}
        return entry

    def remove(self, name: str) -> None:
        """Takes an entry out again (tests register throw-away entries)."""
        del self._entries[name]
        self._names = {k: v for k, v in self._names.items() if v != name}

    def load(self, home: str | None = None) -> None:
        """Imports every module of the home packages (or of one of them), once."""
        with self._lock:
            for package in self.homes if home is None else (home,):
                if package in self.homes and package not in self._loaded:
                    self._import_all(package)

    def _import_all(self, package: str) -> None:
        self._loaded.add(package)  # before its modules, which may look names up while they are imported
        try:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
        except BaseException:
            self._loaded.discard(package)  # so that the next look-up shows the error again
            raise

    def load_naming(self, name: str, home: str) -> None:
        """Imports the modules of a home whose source has the name, as a class or in quotes: the others can wait."""
        if home not in self.homes or home in self._loaded or (name, home) in self._looked:
            return
        with self._lock:
            self._looked.add((name, home))
            for module in pkgutil.iter_modules(importlib.import_module(home).__path__):
                found = f"{home}.{module.name}"
                if found not in sys.modules and _names(module, plain_name(name)):
                    importlib.import_module(found)

    def loaded(self, name: str) -> T | None:
        """The entry of that name or alias, in any spelling, if it has registered itself already."""
        known = self._names.get(plain_name(name))
        return None if known is None else self._entries[known]

    def _find(self, name: str) -> T | None:
        """The entry of that name; homes are gone through one by one until it is found, before any is loaded whole."""
        plain = plain_name(name)
        for look in (self.load_naming, lambda _, home: self.load(home)):
            for home in (None, *self.homes):
                if home is not None:
                    look(name, home)
                if plain in self._names:
                    return self._entries[self._names[plain]]
        return None

    def __getitem__(self, name: str) -> T:
        entry = self._entries.get(name)  # the quick path: an exact name, already loaded
        if entry is None:
            entry = self._find(name)
        if entry is None:
            raise UnknownNameError(f"no {self.kind} is called {name!r}: {nearest(name, self._entries)}")
        return entry

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)

    def known(self) -> dict[str, T]:
        """What has registered itself so far, without loading more."""
        return dict(sorted(self._entries.items()))

    def values(self) -> list[T]:
        return [self[name] for name in self]


def _names(module: pkgutil.ModuleInfo, plain: str) -> bool:
    """Whether the source of a module has that name, as a class or in quotes."""
    try:
        text = Path(getattr(module.module_finder, "path", ""), f"{module.name}.py").read_text(encoding="utf-8")
    except OSError:  # not a file
        return False
    if plain not in plain_name(text):
        return False
    return any(plain == plain_name(word) for pair in _WORDS.findall(text) for word in pair)


def _redefined(known: object, entry: object) -> bool:
    """The same thing, or the same class defined once more (a notebook cell run twice)."""
    if isinstance(known, type) and isinstance(entry, type):
        return (known.__module__, known.__qualname__) == (entry.__module__, entry.__qualname__)
    return known is entry
