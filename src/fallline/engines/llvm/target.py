"""Target: the CPU that code is generated for, as far as the generators need to know it."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from fallline.core.errors import CompileError, ConfigError


@dataclass(frozen=True)
class Target:
    """One kind of CPU.

    name          of the tile family: "avx512", "avx2", "sse2", "neon" or "generic"
    triple        LLVM's name of the machine; cpu and features as LLVM spells them ("" and "+fma,+avx2,…")
    vector_bytes  width of the widest vector register that is fast
    registers     how many of those there are
    fma           whether a·b + c is one instruction; where it is not, it must be written as two
    masks         whether loads and stores under a mask are cheap
    amx           whether bf16 matrix tiles may be used
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool
    masks: bool
    amx: bool = False

    def lanes(self, itemsize: int) -> int:
        """Entries of one vector register for items of that many bytes."""
        return max(1, self.vector_bytes // itemsize)


class Family(NamedTuple):
    """What all CPUs of a tile family share.

    needs   features without which a CPU is not of the family
    allows  features that its code may use where the CPU has them; None: all that there are
    """

    vector_bytes: int
    registers: int
    fma: bool
    masks: bool
    needs: tuple[str, ...] = ()
    allows: tuple[str, ...] | None = None


# The baseline of x86-64 has no rounding instruction: `floor` would call the C library. So what a CPU below AVX has
# beyond SSE2 is used where it is there.
_BEFORE_AVX = ("cx16", "popcnt", "sahf", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2")
_AVX2 = (*_BEFORE_AVX, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")

# The best first.
X86 = {
    "avx512": Family(64, 32, True, True, ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma")),
    "avx2": Family(32, 16, True, True, ("avx2", "fma"), _AVX2),
    "sse2": Family(16, 16, False, False, (), _BEFORE_AVX),
    "generic": Family(16, 16, False, False, (), ()),
}
ARM = {
    "neon": Family(16, 32, True, False),
    "generic": Family(16, 16, False, False, (), ()),
}
OTHER = {"generic": Family(16, 16, False, False, (), ())}

# Machines for which object code can be made anywhere: (triple, family, features).
NAMED = {
    "aarch64": ("aarch64-unknown-linux-gnu", "neon", "+fp-armv8,+neon"),
    "x86-64": ("x86_64-unknown-linux-gnu", "sse2", ""),
    "x86-64-v3": ("x86_64-unknown-linux-gnu", "avx2", ",".join(f"+{feature}" for feature in _AVX2)),
}


@cache
def host_target(force: str | None = None) -> Target:
    """This machine.

    force    a family that this CPU has too: the code then uses nothing beyond it
    raises   ConfigError for a family that this CPU does not have; CompileError where there is no 64-bit machine
    """
    import llvmlite.binding as llvm

    if ctypes.sizeof(ctypes.c_void_p) != 8:
        raise CompileError("the native engine needs a 64-bit Python: use engine='numpy'")
    triple = llvm.get_process_triple()
    if os.name == "nt":
        triple += "-elf"  # LLVM loads no other kind of object on Windows
    try:
        features = dict(llvm.get_host_cpu_features())
    except RuntimeError:
        features = {}
    return choose_target(triple, features, force)


def choose_target(triple: str, features: Mapping[str, bool], force: str | None = None) -> Target:
    """The best target of a machine with those features (LLVM's name -> whether it is there)."""
    families = _families(triple)
    present = {feature for feature, there in features.items() if there}
    if force is not None and force not in families:
        raise ConfigError(f"there is no target {force!r} on {triple}: choose among {', '.join(families)}")
    for name, family in families.items():
        missing = [feature for feature in family.needs if feature not in present]
        if not missing and force in (None, name):
            return _target(name, family, triple, features)
        if force == name:
            raise ConfigError(f"this CPU has no {name}: it lacks {', '.join(missing)}; use another target")
    raise AssertionError("the last family needs nothing")


def named_target(name: str) -> Target:
    """A machine that need not be this one, to make its object code."""
    if name not in NAMED:
        raise ConfigError(f"there is no target named {name!r}: choose among {', '.join(NAMED)}")
    triple, family, features = NAMED[name]
    kind = _families(triple)[family]
    return Target(family, triple, "", features, kind.vector_bytes, kind.registers, kind.fma, kind.masks)


def _families(triple: str) -> dict[str, Family]:
    machine = triple.split("-")[0]
    if machine in ("x86_64", "amd64"):
        return X86
    return ARM if machine in ("aarch64", "arm64") else OTHER


def _target(name: str, family: Family, triple: str, features: Mapping[str, bool]) -> Target:
    """The features as text; those of no use to the family are left out, and LLVM then takes them for absent."""
    if family.allows is None:
        flags = [("+" if there else "-") + feature for feature, there in sorted(features.items())]
    else:
        flags = ["+" + feature for feature in family.allows if features.get(feature)]
    tiles = name == "avx512" and bool(features.get("amx-tile")) and bool(features.get("amx-bf16"))
    # The host's name can be wrong in a virtual machine, so a CPU is named only where the features prove it. What it
    # has beyond them is taken back by the flags with a minus.
    cpu = "sapphirerapids" if tiles else ""
    return Target(
        name, triple, cpu, ",".join(flags), family.vector_bytes, family.registers, family.fma, family.masks, tiles
    )


class Permission(NamedTuple):
    """Whether something may be used, and if not, why; true if it may."""

    granted: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.granted


# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux on x86-64.
_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA = 158, 0x1023, 18
_REFUSALS = {
    errno.EINVAL: "this Linux kernel does not know the matrix tiles of AMX (5.16 or later does)",
    errno.ENOSPC: "a signal stack of this process is too small for the matrix tiles of AMX",
    errno.EOPNOTSUPP: "this CPU, or the virtual machine, does not offer the matrix tiles of AMX",
    errno.EPERM: "this process may not use the matrix tiles of AMX",
}


@cache
def amx_allowed() -> Permission:
    """Asks Linux, once, that this process and its threads may use the matrix tiles of AMX."""
    target = host_target()
    if not target.amx:
        return Permission(False, f"this CPU ({target.name}) has no bf16 matrix tiles (AMX)")
    if not sys.platform.startswith("linux"):
        return Permission(False, "matrix tiles of AMX are used on Linux only")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA) == 0:
        return Permission(True)
    number = ctypes.get_errno()
    return Permission(False, _REFUSALS.get(number, f"Linux refuses the matrix tiles of AMX: {os.strerror(number)}"))


__all__ = ["Permission", "Target", "amx_allowed", "choose_target", "host_target", "named_target"]
