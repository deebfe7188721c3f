"""Targets: what a CPU's features make of it, and that code for a lower target stays within it."""

from __future__ import annotations

import re

import pytest

from fallline.core.errors import CompileError, ConfigError
from fallline.engines.llvm.emitter import Function, Module, vector
from fallline.engines.llvm.loader import _machine, compile_object
from fallline.engines.llvm.objects import verify_object
from fallline.engines.llvm.target import NAMED, Target, amx_allowed, choose_target, host_target, named_target

LINUX = "x86_64-unknown-linux-gnu"
V3 = dict.fromkeys(("sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "avx2", "fma", "bmi", "f16c"), True)
V4 = V3 | dict.fromkeys(("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"), True) | {"amx-tile": False}
TILES = V4 | {"amx-tile": True, "amx-bf16": True}


def multiply_add(target: Target) -> str:
    """y[i] = x[i]·x[i] + y[i] over one vector, its floor, and a load under a mask where masks are cheap."""
    module = Module(target)
    kind = vector("float", target.lanes(4))
    f = Function(module, "f", [("ptr", "%x"), ("ptr", "%y"), ("i64", "%n")])
    x = f.load(kind, "%x")
    y = f.unary("floor", f.fma(x, x, f.load(kind, "%y"), kind), kind)
    if target.masks:
        mask = f.mask_below("%n", target.lanes(4))
        y = f.binary("fadd", y, f.load_masked(kind, "%x", mask), kind)
    f.store(kind, y, "%y")
    f.finish()
    return module.text()


def assembly(target: Target) -> str:
    import llvmlite.binding as llvm

    compile_object(multiply_add(target), target)  # makes LLVM ready for the target
    return str(_machine(target).emit_assembly(llvm.parse_assembly(multiply_add(target))))


@pytest.mark.parametrize(
    "features, name, amx",
    [(TILES, "avx512", True), (V4, "avx512", False), (V3, "avx2", False), (V3 | {"fma": False}, "sse2", False),
     (V4 | {"avx512bw": False}, "avx2", False), ({}, "sse2", False)],
)  # fmt: skip
def test_features_choose_the_family(features: dict[str, bool], name: str, amx: bool) -> None:
    target = choose_target(LINUX, features)
    assert (target.name, target.amx) == (name, amx)
    assert (target.cpu == "sapphirerapids") == amx


@pytest.mark.parametrize("triple, name", [("aarch64-unknown-linux-gnu", "neon"), ("arm64-apple-darwin24.1.0", "neon"),
                                          ("riscv64-unknown-linux-gnu", "generic")])  # fmt: skip
def test_other_machines(triple: str, name: str) -> None:
    assert choose_target(triple, {}).name == name


def test_a_forced_family_names_no_feature_beyond_it() -> None:
    for name, beyond in (("avx2", "avx512|amx"), ("sse2", "avx|fma|amx"), ("generic", ".")):
        target = choose_target(LINUX, TILES, name)
        assert target.name == name
        assert not target.amx
        assert not re.search(beyond, target.cpu + target.features)


def test_a_family_that_the_cpu_lacks_is_refused_with_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"no avx512: it lacks avx512f"):
        choose_target(LINUX, V3, "avx512")
    with pytest.raises(ConfigError, match=r"no target 'neon' on x86_64.*choose among avx512"):
        choose_target(LINUX, V3, "neon")
    with pytest.raises(ConfigError, match=r"no target named 'vax'"):
        named_target("vax")


def test_code_uses_the_registers_of_its_family_and_no_wider_ones() -> None:
    cases = {
        ("avx512", LINUX): (V4, r"zmm", r"callq"),
        ("avx2", LINUX): (TILES, r"ymm.*", r"zmm|%k\d|callq"),
        ("sse2", LINUX): (TILES, r"xmm", r"ymm|zmm|vfmadd|\tv[a-z]+p[sd]\b|callq"),
        ("generic", LINUX): ({}, r"xmm", r"ymm|zmm|vfmadd|roundps"),
        ("neon", "aarch64-unknown-linux-gnu"): ({"neon": True}, r"fmla", r"\bbl\b"),
    }
    for (name, triple), (features, inside, outside) in cases.items():
        text = assembly(choose_target(triple, features, name))
        assert re.search(inside, text), name
        assert not re.search(outside, text), name


def test_object_code_of_another_machine_is_emitted() -> None:
    for name, machine in (("aarch64", "ELF AArch64"), ("x86-64", "ELF x86-64"), ("x86-64-v3", "ELF x86-64")):
        target = named_target(name)
        assert verify_object(compile_object(multiply_add(target), target)) == machine
    assert set(NAMED) == {"aarch64", "x86-64", "x86-64-v3"}


def test_headers_of_objects() -> None:
    assert verify_object(b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01" + bytes(24)) == "Mach-O AArch64"
    assert verify_object(b"\x64\x86" + bytes(30)) == "COFF x86-64"
    for data in (b"", b"\x7fELF", b"not an object at all, just text"):
        with pytest.raises(CompileError, match="no object code"):
            verify_object(data)


def test_this_machine() -> None:
    target = host_target()
    assert target is host_target()
    assert target.vector_bytes == target.lanes(1) == 8 * target.lanes(8)
    assert host_target("generic").features == ""


def test_permission_for_matrix_tiles_says_why_not() -> None:
    permission = amx_allowed()
    assert bool(permission) == permission.granted
    assert permission.granted == (permission.reason == "")
    if not host_target().amx:
        assert "no bf16 matrix tiles" in permission.reason


@pytest.mark.parametrize(
    "number, words", [(22, "does not know"), (28, "signal stack"), (95, "does not offer"), (5, "refuses")]
)
def test_refused_matrix_tiles(number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    class Refusing:
        def __init__(self, *_: object, **__: object):
            pass

        def syscall(self, *_: int) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr("fallline.engines.llvm.target.host_target", lambda: choose_target(LINUX, TILES))
    monkeypatch.setattr("fallline.engines.llvm.target.sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", Refusing)
    permission = amx_allowed.__wrapped__()
    assert not permission
    assert words in permission.reason
