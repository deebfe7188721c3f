"""Files: where something is written, with `~` for the home folder and every failure in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fallline.core.errors import ConfigError


def writable_path(path: str | Path, suffixes: Sequence[str]) -> Path:
    """The path, `~` expanded; ConfigError where its suffix is none of these, in small or large letters.

    suffixes  "" among them allows a name without one
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"a path is needed, given {path!r}: write the name of a file as text")
    try:
        found = Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"cannot write {path}: there is no home folder of that name") from None
    if found.suffix.lower() not in suffixes:
        *most, last = [suffix for suffix in suffixes if suffix]
        named = f"{', '.join(most)} or {last}" if most else last
        raise ConfigError(f"cannot write {path}: give a name that ends in {named}")
    return found


def write_file(path: str | Path, suffixes: Sequence[str], write: Callable[[Path], object]) -> Path:
    """Lets `write` write to the path and gives it back, `~` expanded; ConfigError in one line where that fails."""
    found = writable_path(path, suffixes)
    try:
        write(found)
    except OSError as error:
        raise ConfigError(f"cannot write {found}: {error.strerror or error}; choose another place") from None
    return found


__all__ = ["writable_path", "write_file"]
