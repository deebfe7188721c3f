"""Loading: kernels run, each is made once, and what lies on disk is used only when it is what was written."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fallline.core.errors import CompileError
from fallline.core.settings import settings
from fallline.engines.llvm import loader, objects
from fallline.engines.llvm.emitter import Module
from fallline.engines.llvm.kernel import Kernel, entry
from fallline.engines.llvm.loader import Builds, McjitLinker, addresses, compile_object, write_text
from fallline.engines.llvm.target import Target, choose_target, host_target, named_target

CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
FAMILIES = ("avx512", "avx2", "sse2", "neon", "generic")


def here(name: str) -> Target | None:
    try:
        return host_target(name)
    except Exception:
        return None


TARGETS = [target for target in map(here, FAMILIES) if target is not None]


def adding(name: str, amount: float, shared: bool = False, calls: str = "expm1") -> Kernel:
    """x[0] = calls(x[0]) + amount, in doubles; x is what args points to."""

    def write(module: Module) -> None:
        module.declare(f"declare double @{calls}(double)")
        f = entry(module, name)
        x = f.call(calls, [("double", f.load("double", "%args"))], "double")
        f.store("double", f.binary("fadd", x, f.constant(amount, "double"), "double"), "%args")
        f.finish()

    return Kernel(name, write, shared)


def run(address: int, x: float) -> float:
    memory = np.array([x])
    CALL(address)(memory.ctypes.data, 0, 1, None, 0)
    return float(memory[0])


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test alone, and a process that has loaded nothing; the folder of entries."""
    monkeypatch.setattr(settings, "cache", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "_source_digest", lambda: "source")
    forget(monkeypatch)
    return tmp_path / "cache" / "objects"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_ADDRESSES", {})
    monkeypatch.setattr(loader, "_OBJECTS", {})
    monkeypatch.setattr(loader, "_TEXTS", {})
    monkeypatch.setattr(loader, "BUILDS", Builds())


def counts() -> tuple[int, int, int]:
    """(objects compiled, objects read from disk, kernels that were in memory)"""
    return loader.BUILDS.compiled, loader.BUILDS.loaded, loader.BUILDS.reused


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_kernels_run(target: Target) -> None:
    found = addresses([adding("one", 1.0), adding("two", 2.0), adding("big", 3.0, shared=True)], target)
    assert [run(found[name], 0.5) for name in ("one", "two", "big")] == [math.expm1(0.5) + k for k in (1, 2, 3)]


def test_each_kernel_is_made_once_in_a_process(fresh: Path) -> None:
    target = host_target()
    first = addresses([adding("one", 1.0), adding("two", 2.0), adding("big", 3.0, shared=True)], target)
    assert counts() == (2, 0, 0)
    assert addresses([adding("big", 3.0, shared=True), adding("two", 2.0)], target) == {
        "two": first["two"], "big": first["big"],
    }  # fmt: skip
    assert counts() == (2, 0, 2)
    addresses([adding("one", 1.0), adding("three", 3.0)], target)
    assert counts() == (3, 0, 3)
    assert loader.BUILDS.compile_seconds > 0 < loader.BUILDS.load_seconds
    before = loader.BUILDS.snapshot()
    addresses([adding("one", 1.0)], target)
    assert (before.reused, loader.BUILDS.reused) == (3, 4)
    assert len(entries(fresh)) == 3


def test_targets_do_not_share_code() -> None:
    for target in TARGETS:
        addresses([adding("one", 1.0)], target)
    assert counts() == (len(TARGETS), 0, 0)


def test_code_is_read_from_disk_in_any_order_of_the_kernels(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [adding("one", 1.0), adding("two", 2.0), adding("big", 3.0, shared=True)]
    addresses(kernels, host_target())
    forget(monkeypatch)
    monkeypatch.setattr(settings, "verify", False)
    unwritten = [kernel._replace(write=None) for kernel in reversed(kernels)]  # type: ignore[arg-type]
    found = addresses(unwritten, host_target())
    assert counts() == (0, 2, 0)
    assert run(found["two"], 0.25) == math.expm1(0.25) + 2.0


def test_cached_code_is_fresh_code_byte_for_byte(fresh: Path) -> None:
    target = host_target()
    kernels = [adding("two", 2.0), adding("one", 1.0)]
    addresses(kernels, target)
    key = objects.object_key(["one", "two"], target)
    assert key is not None
    assert objects.load_object(key) == compile_object(write_text(kernels[::-1], target), target)


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def spoil_foreign(path: Path) -> None:
    """A whole entry of another key."""
    objects.store_object("other", b"whatever")
    os.replace(path.parent / "other", path)


def spoil_machine(path: Path) -> None:
    """A whole entry of this key that holds the code of another machine."""
    target = named_target("aarch64")
    objects.store_object(path.name, compile_object(write_text([adding("one", 1.0, calls="sqrt")], target), target))


def spoil_names(path: Path) -> None:
    """A whole entry of this key that lacks the kernel."""
    target = host_target()
    objects.store_object(path.name, compile_object(write_text([adding("another", 1.0)], target), target))


def spoil_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil", [spoil_cut, spoil_empty, spoil_bit, spoil_foreign, spoil_machine, spoil_names, spoil_folder]
)
def test_a_spoilt_entry_is_made_anew(spoil, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses([adding("one", 1.0)], host_target())
    (path,) = entries(fresh)
    spoil(path)
    forget(monkeypatch)
    found = addresses([adding("one", 1.0)], host_target())
    assert run(found["one"], 0.5) == math.expm1(0.5) + 1.0
    assert counts() == (1, 0, 0)
    if spoil is not spoil_folder:
        forget(monkeypatch)
        addresses([adding("one", 1.0)], host_target())
        assert counts() == (0, 1, 0)


def test_keys_differ_by_all_that_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    target = host_target()
    keys = [objects.object_key(names, chosen) for names in (["a"], ["b"], ["a", "b"], ["ab"]) for chosen in TARGETS]
    monkeypatch.setattr(objects, "_source_digest", lambda: "another source")
    keys.append(objects.object_key(["a"], target))
    monkeypatch.setattr("llvmlite.binding.llvm_version_info", (99, 0, 0))
    keys.append(objects.object_key(["a"], target))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("place", ["off", "/dev/null/cache", "~nobody-of-this-name/cache"])
def test_works_without_a_place_to_write(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cache", place)
    assert objects.cache_folder() is None
    assert run(addresses([adding("one", 1.0)], host_target())["one"], 0.0) == 1.0
    assert counts() == (1, 0, 0)


def test_a_folder_that_cannot_be_written_is_still_read(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses([adding("one", 1.0)], host_target())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for place in ("tempfile.mkstemp", "os.utime"):
        monkeypatch.setattr(place, refuse)
    forget(monkeypatch)
    addresses([adding("one", 1.0), adding("big", 2.0, shared=True)], host_target())
    assert counts() == (1, 1, 0)
    assert len(entries(fresh)) == 1


def test_a_full_disk_leaves_nothing_behind(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    addresses([adding("one", 1.0)], host_target())
    assert entries(fresh) == []


@pytest.mark.skipif(os.name != "posix", reason="home folders of POSIX")
def test_missing_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "cache", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    if sys.platform.startswith("linux"):
        assert objects.cache_folder() == tmp_path / "own" / "fallline" / "objects"
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    assert objects.cache_folder() is None
    assert not (tmp_path / "~").exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_others_may_write_to_is_not_trusted(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses([adding("one", 1.0)], host_target())
    fresh.chmod(0o777)
    forget(monkeypatch)
    addresses([adding("one", 1.0)], host_target())
    assert counts() == (1, 0, 0)


def test_changed_source_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    digest = objects._source_digest.__wrapped__
    monkeypatch.setattr(objects, "__file__", str(tmp_path / "objects.py"))
    (tmp_path / "a.py").write_text("a = 1")
    monkeypatch.setattr(objects, "_IMPORTED", (tmp_path / "a.py").stat().st_mtime + 60)
    first = digest()
    (tmp_path / "a.py").write_text("a = 2")
    assert digest() not in (None, first)
    os.utime(tmp_path / "a.py", (objects._IMPORTED + 60,) * 2)  # edited while this process runs
    assert digest() is None


def test_the_longest_unused_entries_leave(fresh: Path) -> None:
    for k in range(8):
        assert objects.store_object(f"key{k}", bytes(1000))
        os.utime(fresh / f"key{k}", (1000 + k, 1000 + k))
    (fresh / ".dead.part").write_bytes(b"half")
    os.utime(fresh / ".dead.part", (1, 1))
    (fresh / ".alive.part").write_bytes(b"half")
    assert objects.load_object("key1") == bytes(1000)  # used now
    objects.prune(fresh, 20_000)
    assert [path.name for path in entries(fresh)] == [".alive.part", *(f"key{k}" for k in range(8))]
    objects.prune(fresh, 6000)
    assert [path.name for path in entries(fresh)] == [".alive.part", "key1", "key7"]


WORKER = """
import sys
from fallline.engines.llvm import loader, objects
from tests.engines.llvm.test_loader import adding, run
from fallline.engines.llvm.target import host_target
objects._source_digest = lambda: "source"
kernels = [adding(f"k{i}", float(i), shared=i % 3 == 0) for i in range(12)]
sys.stdin.readline()
found = loader.addresses(kernels, host_target())
assert [run(found[f"k{i}"], 0.0) for i in range(12)] == [float(i) for i in range(12)]
print(loader.BUILDS.compiled, loader.BUILDS.loaded)
"""


def worker(code: str) -> subprocess.Popen[str]:
    env = os.environ | {"FALLLINE_CACHE": settings.cache, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code], env=env, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_several_processes_write_at_once(fresh: Path) -> None:
    started = [worker(WORKER) for _ in range(4)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert sum(map(int, out.split())) == 5
    assert len(entries(fresh)) == 5
    out, _ = worker(WORKER).communicate("go\n", timeout=120)
    assert out.split() == ["0", "5"]


def test_threads_get_the_same_code() -> None:
    results: list[dict[str, int]] = []
    kernels = [adding(f"k{i}", float(i), shared=i == 0) for i in range(6)]
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        results.append(addresses(kernels, host_target()))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(result == results[0] for result in results)
    assert counts()[:2] == (2, 0)


FORK = """
import os, threading, warnings
warnings.simplefilter("ignore")
from fallline.engines.llvm.loader import addresses
from fallline.engines.llvm.target import host_target
from tests.engines.llvm.test_loader import adding, run
target = host_target()
before = addresses([adding("one", 1.0)], target)
busy = threading.Thread(target=lambda: [addresses([adding(f"t{i}", 0.5)], target) for i in range(40)])
busy.start()
for k in range(5):
    child = os.fork()
    if child == 0:
        after = addresses([adding("one", 1.0), adding(f"new{k}", 2.0)], target)
        os._exit(0 if after["one"] == before["one"] and run(after[f"new{k}"], 0.0) == 2.0 else 1)
    assert os.waitpid(child, 0)[1] == 0
busy.join()
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_compiles_while_its_parent_does() -> None:
    out, error = worker(FORK).communicate(timeout=120)
    assert out.split() == ["well"], error


def test_what_llvm_refuses_is_one_kind_of_error() -> None:
    target = host_target()
    with pytest.raises(CompileError, match=r"(?s)cannot compile.*expected instruction opcode"):
        compile_object("define void @f() {\n nonsense\n}", target)
    with pytest.raises(CompileError, match="cannot compile"):
        compile_object("define void @f() { ret void }", choose_target("vax-unknown-linux-gnu", {}))
    with pytest.raises(CompileError, match="calls nowhere_to_be_found, which this process does not have"):
        addresses([adding("lost", 1.0, calls="nowhere_to_be_found")], target)
    with pytest.raises(CompileError, match="cannot load absent"):
        loader._link(compile_object(write_text([adding("present", 1.0)], target), target), ["absent"])
    with pytest.raises(CompileError, match="does not run here"):
        addresses([adding("one", 1.0)], choose_target("riscv64-unknown-linux-gnu", {}))
    assert run(addresses([adding("after", 1.0)], target)["after"], 0.0) == 1.0  # an error leaves nothing broken


def test_two_kernels_of_one_name_are_found_by_the_tests() -> None:
    addresses([adding("one", 1.0)], host_target())
    with pytest.raises(CompileError, match="two kernels are named 'one'"):
        addresses([adding("one", 2.0)], host_target())


def test_loading_where_jitlink_is_missing() -> None:
    target = host_target()
    linker = McjitLinker()
    for amount in (1.0, 2.0):  # two objects that define the same name
        text = write_text([adding("one", amount)], target)
        loader._check_symbols(text)
        assert run(linker.link([compile_object(text, target)], ["one"])["one"], 0.5) == math.expm1(0.5) + amount
    with pytest.raises(CompileError, match="nowhere_to_be_found, which this process does not have"):
        loader._check_symbols(write_text([adding("lost", 1.0, calls="nowhere_to_be_found")], target))


def test_a_process_without_jitlink() -> None:
    code = """
from fallline.engines.llvm import loader
from fallline.engines.llvm.target import host_target
from tests.engines.llvm.test_loader import adding, run
loader._HAS_JITLINK = False
found = loader.addresses([adding("one", 1.0), adding("big", 2.0, shared=True)], host_target())
print(run(found["one"], 0.0), run(found["big"], 0.0), type(loader._linker()).__name__)
"""
    out, error = worker(code).communicate(timeout=120)
    assert out.split() == ["1.0", "2.0", "McjitLinker"], error


def test_symbols_of_the_c_library_are_found() -> None:
    names = ["expm1", "log1p", "erf", "exp", "log", "sin", "cos", "tanh"]
    found = addresses([adding(name + "_", 0.0, calls=name) for name in names], host_target())
    assert [run(found[name + "_"], 0.5) for name in names] == [getattr(math, name)(0.5) for name in names]


def test_llvmlite_is_not_imported_until_it_is_used() -> None:
    code = "import sys, fallline.engines.llvm.loader; print(sorted(m for m in sys.modules if 'llvmlite' in m))"
    assert worker(code).communicate(timeout=60)[0].strip() == "[]"
