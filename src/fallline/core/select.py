"""Which leaves of a tree a rule is meant for: by path pattern, by predicate, or the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from fallline.core.errors import ConfigError

# None: the weights, which are the arrays with two axes or more (biases and norm gains have one).
# Text: a path pattern, "*.W" or "layers.0.*"; a tuple of them means any. Otherwise a predicate (path, leaf) -> bool.
Where = str | tuple[str, ...] | Callable[[str, Any], bool] | None


def select(where: Where, leaves: Mapping[str, Any], asked_by: str) -> set[str]:
    """The paths that `where` means; ConfigError when a pattern fits no path, which is a slip of the pen.

    leaves  path -> array, Value or Spec
    """
    if where is None:
        return {path for path, leaf in leaves.items() if len(leaf.shape) >= 2}
    if callable(where):
        return {path for path, leaf in leaves.items() if where(path, leaf)}
    patterns = (where,) if isinstance(where, str) else where
    for pattern in patterns:
        if leaves and not any(_fits(pattern, path) for path in leaves):
            shown = ", ".join(list(leaves)[:6]) + (" …" if len(leaves) > 6 else "")
            raise ConfigError(f"{asked_by}: no parameter fits where={pattern!r}: they are {shown}")
    return {path for path in leaves if any(_fits(pattern, path) for pattern in patterns)}


def _fits(pattern: str, path: str) -> bool:
    """ "*.W" also means the "W" of a model that is a single layer."""
    return fnmatchcase(path, pattern) or fnmatchcase(f".{path}", pattern)


__all__ = ["Where", "select"]
