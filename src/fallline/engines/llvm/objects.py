"""Object files on disk: compiled code kept between processes, each entry checked before it is used.

An entry is  magic (8 bytes) · length of the code (8) · sha256 of key and code (32) · code.
It is written beside its place and renamed into it, so that processes that write at once never see half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fallline.core.errors import CompileError
from fallline.core.settings import settings
from fallline.engines.llvm.target import Target

MAGIC = b"fallobj1"
_HEADER = struct.Struct("<8sQ32s")
LIMIT = 128 << 20  # bytes of all entries; beyond it the longest unused half goes
_STALE = 3600.0  # seconds after which a file that was never renamed belongs to a process that died
_IMPORTED = time.time()

_ELF_MACHINES = {0x3E: "x86-64", 0xB7: "AArch64", 0xF3: "RISC-V", 0x15: "PowerPC64", 0x16: "s390x"}
_MACHO_MACHINES = {0x01000007: "x86-64", 0x0100000C: "AArch64"}
_COFF_MACHINES = {0x8664: "x86-64", 0xAA64: "AArch64"}

# How the first part of a triple is called in the headers of objects.
_MACHINES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "AArch64", "arm64": "AArch64", "riscv64": "RISC-V",
             "powerpc64le": "PowerPC64", "ppc64le": "PowerPC64", "s390x": "s390x"}  # fmt: skip


def verify_object(data: bytes) -> str:
    """The kind and the machine of object code, as "ELF AArch64"; CompileError where it is none.

    source  the first fields of the headers of ELF, Mach-O and COFF
    """
    if len(data) >= 20:
        if data[:4] == b"\x7fELF":
            (machine,) = struct.unpack_from("<H" if data[5] == 1 else ">H", data, 18)
            return f"ELF {_ELF_MACHINES.get(machine, hex(machine))}"
        first, second = struct.unpack_from("<II", data)
        if first == 0xFEEDFACF:
            return f"Mach-O {_MACHO_MACHINES.get(second, hex(second))}"
        if (first & 0xFFFF) in _COFF_MACHINES:
            return f"COFF {_COFF_MACHINES[first & 0xFFFF]}"
    raise CompileError(f"{len(data)} bytes that begin with {data[:4]!r} are no object code of ELF, Mach-O or COFF")


def is_for(data: bytes, target: Target) -> bool:
    """Whether object code is for the machine of a target."""
    machine = target.triple.split("-")[0]
    return verify_object(data).split()[-1] == _MACHINES.get(machine, machine)


def object_key(names: Sequence[str], target: Target) -> str | None:
    """The key of the object that holds those kernels; None where the source cannot be read.

    A name says what a kernel does, and the source how it is written: so no text has to be generated to find it.
    """
    source = _source_digest()
    if source is None:
        return None
    import llvmlite
    import llvmlite.binding as llvm

    versions = (llvmlite.__version__, llvm.llvm_version_info)
    return hashlib.sha256(repr((MAGIC, source, versions, target, sorted(names))).encode()).hexdigest()


@cache
def _source_digest() -> str | None:
    """sha256 of the files that write kernels; None if one is newer than what this process has imported."""
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(__file__).parent.glob("*.py")):
            if path.stat().st_mtime > _IMPORTED:
                return None
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    except OSError:
        return None
    return digest.hexdigest()


def cache_folder() -> Path | None:
    """Where objects are kept, made if needed; None if there is no such place or another user could write to it."""
    if settings.cache == "off":
        return None
    try:
        folder = _root() / "objects"
        if not folder.is_absolute():
            return None
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        facts = folder.stat()
    except (OSError, RuntimeError, ValueError):
        return None
    # What is read here is run: only this user and root may have put it there.
    if os.name == "posix" and (facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o002):
        return None
    return folder


def _root() -> Path:
    if settings.cache:
        return Path(settings.cache).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("fallline", appauthor=False))


def load_object(key: str) -> bytes | None:
    """The code kept under a key; None if there is none, or what is there is not what was written."""
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / key
    try:
        entry = path.read_bytes()
    except OSError:
        return None
    code = entry[_HEADER.size :]
    if entry[: _HEADER.size] != _header(key, code):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # for the order in which entries leave
    return code


def _header(key: str, code: bytes) -> bytes:
    return _HEADER.pack(MAGIC, len(code), hashlib.sha256(key.encode() + code).digest())


def store_object(key: str, code: bytes) -> bool:
    """Keeps code under a key; False where nothing can be written."""
    folder = cache_folder()
    if folder is None:
        return False
    place = None
    try:
        handle, place = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(_header(key, code) + code)
        os.replace(place, folder / key)
    except OSError:
        if place is not None:
            with contextlib.suppress(OSError):
                os.unlink(place)
        return False
    prune(folder, LIMIT)
    return True


def prune(folder: Path, limit: int) -> None:
    """Removes what dead processes left half written, and beyond `limit` bytes the entries that were longest unused."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                facts = entry.stat()
                if entry.name.endswith(".part"):
                    if time.time() - facts.st_mtime > _STALE:
                        os.unlink(entry.path)
                else:
                    found.append((facts.st_mtime, facts.st_size, entry.path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        if total <= limit // 2:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            total -= size


__all__ = ["cache_folder", "is_for", "load_object", "object_key", "prune", "store_object", "verify_object"]
