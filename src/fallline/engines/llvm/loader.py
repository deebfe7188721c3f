"""From kernels to addresses: text to object code, object code into memory, each kernel once in a process."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Protocol

from fallline.core.errors import CompileError
from fallline.core.settings import settings
from fallline.engines.llvm.emitter import Module
from fallline.engines.llvm.kernel import Kernel
from fallline.engines.llvm.objects import is_for, load_object, object_key, store_object
from fallline.engines.llvm.target import Target, host_target

# JITLink is what loads an object fastest, and an unknown symbol is an error with it; it is not there on Windows.
_HAS_JITLINK = os.name != "nt"


@dataclass
class Builds:
    """What was done since the process began.

    compiled, loaded                 objects made by LLVM, objects read from disk
    reused                           kernels asked for that were in memory already
    compile_seconds, load_seconds    time for text and code generation, and for bringing objects into memory
    """

    compiled: int = 0
    loaded: int = 0
    reused: int = 0
    compile_seconds: float = 0.0
    load_seconds: float = 0.0

    def snapshot(self) -> Builds:
        """The numbers of now, which no longer change."""
        return Builds(**{field.name: getattr(self, field.name) for field in fields(self)})


BUILDS = Builds()
_ADDRESSES: dict[Target, dict[str, int]] = {}
_OBJECTS: dict[Target, dict[str, tuple[str, list[str]]]] = {}  # by kernel: the object on disk, all kernels in it
_TEXTS: dict[tuple[Target, str], list[int]] = {}  # digests of the texts under one name
_COMPARED = 3  # texts of one name: writing all of them takes a tenth of the time of the tests
_LOCK = threading.RLock()


def addresses(kernels: Sequence[Kernel], target: Target) -> dict[str, int]:
    """The address of each kernel by its name; valid until the process ends.

    Kernels not in memory yet are read from disk or compiled: each shared one as an object of its own, the others of
    this call together as one. CompileError where LLVM refuses, or the target is not this machine.
    """
    if settings.verify:
        _check_names(kernels, target)
    known = _ADDRESSES.setdefault(target, {})
    wanted = {kernel.name: kernel for kernel in kernels}
    if any(name not in known for name in wanted):
        with _LOCK:
            missing = [kernel for name, kernel in sorted(wanted.items()) if name not in known]
            BUILDS.reused += len(wanted) - len(missing)
            bundle = [kernel for kernel in missing if not kernel.shared]
            for group in [[kernel] for kernel in missing if kernel.shared] + ([bundle] if bundle else []):
                known.update(_bring(group, target))
    else:
        BUILDS.reused += len(wanted)
    return {name: known[name] for name in wanted}


def objects_of(names: Sequence[str], target: Target) -> dict[str, list[str]] | None:
    """The objects on disk that kernels in memory came from, with the names in each; None where one is not on disk."""
    known = _OBJECTS.get(target, {})
    return dict(known[name] for name in names) if all(name in known for name in names) else None


def bring_objects(objects: Mapping[str, Sequence[str]], target: Target) -> bool:
    """Brings objects from disk into memory; False where one is not there any more."""
    known = _ADDRESSES.setdefault(target, {})
    with _LOCK:
        missing = {key: list(names) for key, names in objects.items() if not all(name in known for name in names)}
        found = _read(missing, target)
        if found is not None:
            BUILDS.reused += sum(len(names) for key, names in objects.items() if key not in missing)
            known.update(found)
    return found is not None


def addresses_of(names: Sequence[str], target: Target) -> dict[str, int]:
    """The addresses of kernels that are in memory."""
    known = _ADDRESSES[target]
    return {name: known[name] for name in names}


def write_text(kernels: Sequence[Kernel], target: Target) -> str:
    """The kernels as one module, in the order of their names."""
    module = Module(target)
    for kernel in sorted(kernels, key=lambda kernel: kernel.name):
        kernel.write(module)
    return module.text()


def _bring(kernels: Sequence[Kernel], target: Target) -> dict[str, int]:
    """The addresses of kernels of one object: from disk, else compiled and put there."""
    if target.triple != host_target().triple:
        raise CompileError(f"code for {target.triple} does not run here, on {host_target().triple}")
    names = [kernel.name for kernel in kernels]
    key = object_key(names, target)
    found = _read({key: names}, target) if key else None
    if found is not None:
        return found
    start = time.perf_counter()
    text = write_text(kernels, target)
    _check_symbols(text)
    code = compile_object(text, target)
    BUILDS.compile_seconds += time.perf_counter() - start
    found = _link([code], names)
    BUILDS.compiled += 1
    if key and store_object(key, code):
        _note(key, names, target)
    return found


def _read(objects: Mapping[str, list[str]], target: Target) -> dict[str, int] | None:
    """The addresses of kernels of objects on disk; None where one is not there, or not what it should be."""
    codes = [load_object(key) for key in objects]
    with contextlib.suppress(CompileError):
        there = [code for code in codes if code is not None and is_for(code, target)]
        if len(there) == len(codes):
            found = _link(there, [name for names in objects.values() for name in names]) if there else {}
            BUILDS.loaded += len(there)
            for key, names in objects.items():
                _note(key, names, target)
            return found
    return None


def _note(key: str, names: list[str], target: Target) -> None:
    _OBJECTS.setdefault(target, {}).update(dict.fromkeys(names, (key, names)))


def _link(codes: Sequence[bytes], names: Sequence[str]) -> dict[str, int]:
    start = time.perf_counter()
    try:
        found = _linker().link(codes, names)
    except RuntimeError as error:
        raise CompileError(f"LLVM cannot load {', '.join(names)}: {str(error).strip()}") from None
    BUILDS.load_seconds += time.perf_counter() - start
    return found


def compile_object(text: str, target: Target) -> bytes:
    """Object code of a module, for this machine or another one. CompileError where LLVM refuses the text."""
    import llvmlite.binding as llvm

    if target.triple == host_target().triple:
        _initialize()
    else:
        _initialize_all()
    context = llvm.create_context()  # of its own, so that its types and constants go when it is done
    try:
        with llvm.parse_assembly(text, context) as module:
            module.verify()
            with _machine(target) as machine:
                return machine.emit_object(module)
    except RuntimeError as error:
        raise CompileError(f"LLVM cannot compile for {target.name} ({target.triple}): {str(error).strip()}") from None
    finally:
        context.close()


def _machine(target: Target) -> Any:
    """LLVM's code generator.

    Position-independent, each object within 2 GB: constants are then read in one instruction. MCJIT, which puts
    sections anywhere, needs the large model.
    """
    import llvmlite.binding as llvm

    model = "large" if target.triple.endswith("-elf") else "small"
    kind = llvm.Target.from_triple(target.triple)
    return kind.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel=model, jit=True
    )


@cache
def _initialize() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _initialize_all() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


class Linker(Protocol):
    """What brings objects into memory."""

    def link(self, codes: Sequence[bytes], names: Sequence[str]) -> dict[str, int]:
        """The addresses of functions of some objects, valid until the process ends; RuntimeError where it fails."""


class OrcLinker:
    """Objects as libraries of one just-in-time compiler; symbols they lack are those of this process (libc, libm)."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        _initialize()
        self._jit = llvm.create_lljit_compiler(_machine(host_target()), use_jit_link=True, suppress_errors=True)
        self._count = 0

    def link(self, codes: Sequence[bytes], names: Sequence[str]) -> dict[str, int]:
        import llvmlite.binding as llvm

        self._count += 1
        builder = llvm.JITLibraryBuilder()
        for code in codes:  # together in half the time
            builder.add_object_img(code)
        builder.add_current_process()
        for name in names:
            builder.export_symbol(name)
        tracker = builder.link(self._jit, f"kernels{self._count}")
        found = {name: tracker[name] for name in names}
        tracker.detach()  # else the code would be unloaded with it
        return found


class McjitLinker:
    """Objects one by one in engines of their own, where JITLink is not there.

    A symbol that nothing defines would end the process here: `_check_symbols` has to be asked before.
    """

    def __init__(self) -> None:
        _initialize()
        self._kept: list[Any] = [self._engine()]

    def link(self, codes: Sequence[bytes], names: Sequence[str]) -> dict[str, int]:
        import llvmlite.binding as llvm

        engine = self._engine()
        images = [llvm.ObjectFileRef.from_data(code) for code in codes]
        for image in images:
            engine.add_object_file(image)
        engine.finalize_object()
        found = {name: engine.get_function_address(name) for name in names}
        self._kept += [engine, *images]
        if 0 in found.values():
            raise RuntimeError(f"{', '.join(name for name in names if not found[name])} is not in the object")
        return found

    @staticmethod
    def _engine() -> Any:
        import llvmlite.binding as llvm

        module = llvm.parse_assembly(f'target triple = "{host_target().triple}"')
        return llvm.create_mcjit_compiler(module, _machine(host_target()))


@cache
def _linker() -> Linker:
    try:
        return OrcLinker() if _HAS_JITLINK else McjitLinker()
    except RuntimeError as error:
        raise CompileError(f"LLVM cannot load code here: {str(error).strip()}; use engine='numpy'") from None


def _check_symbols(text: str) -> None:
    """CompileError where the text calls a function that this process does not have."""
    import llvmlite.binding as llvm

    _linker()  # LLVM looks through the process only once a linker was made
    declared = re.findall(r"^declare [^@]*@([\w.$]+)\(", text, re.MULTILINE)
    lacking = [name for name in declared if not name.startswith("llvm.") and llvm.address_of_symbol(name) is None]
    if lacking:
        raise CompileError(f"the code calls {', '.join(lacking)}, which this process does not have: use engine='numpy'")


def _check_names(kernels: Sequence[Kernel], target: Target) -> None:
    """CompileError where two kernels of one name differ: the second would get the code of the first."""
    for kernel in kernels:
        known = _TEXTS.setdefault((target, kernel.name), [])
        if not kernel.shared and len(known) < _COMPARED:
            known.append(hash(write_text([kernel], target)))
            if known[-1] != known[0]:
                raise CompileError(f"two kernels are named {kernel.name!r} but have different texts: name what differs")


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.RLock()


# A fork waits for the compiler, so that the child finds it whole and free.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _LOCK.acquire(), after_in_parent=lambda: _LOCK.release(), after_in_child=_renew_lock
    )

__all__ = [
    "BUILDS",
    "Builds",
    "addresses",
    "addresses_of",
    "bring_objects",
    "compile_object",
    "objects_of",
    "write_text",
]
