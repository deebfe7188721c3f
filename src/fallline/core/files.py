"""Files: where something is written, with `~` for the home folder and every failure in one line."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

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


def write_whole(path: Path, parts: Iterable[Any]) -> None:
    """All of a file or nothing: a temporary file beside it, fsync, rename, fsync of the folder.

    parts  what it holds, piece after piece, as bytes or arrays of bytes
    """
    temporary = path.with_name(f"{_beginning(path)}{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _beginning(path: Path) -> str:
    """Of the names of the temporary files that become this one."""
    return f".{path.name}."


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power failure, where the system can open folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Takes away what a killed `write_whole` left of these files."""
    beginnings = tuple(_beginning(Path(name)) for name in names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(beginnings):
            path.unlink(missing_ok=True)


__all__ = ["remove_unfinished", "writable_path", "write_file", "write_whole"]
