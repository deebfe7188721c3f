"""Where native code cannot be made or kept: one warning or none, and the same results; what a fresh process imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fallline.core.settings import settings
from fallline.engines.llvm.objects import cache_folder

# Hides llvmlite as if it were not installed.
HIDDEN = "import sys; sys.modules['llvmlite'] = None\n"
# As if it were installed, but broken.
BROKEN = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
class Broken(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name == "llvmlite" else None
    def create_module(self, spec): return None
    def exec_module(self, module): raise ImportError("libLLVM.so is not there")
sys.meta_path.insert(0, Broken())
"""
REFUSED = """
from fallline.core.errors import CompileError
from fallline.engines.llvm import loader
def refuse(text, target): raise CompileError(f"LLVM refuses {len(text)} characters")
loader.compile_object = refuse
"""
# Fits of two networks, predictions, and all the warnings; prints one digest of what they gave.
FITS = """
import hashlib, warnings
import numpy as np, fallline as fl
from fallline.core.tree import leaves
rng = np.random.default_rng(0)
X = rng.normal(size=(200, 6)).astype("float32")
y = (X[:, 0] > X[:, 1]).astype("float32")
digest = hashlib.sha256()
def train(units, **options):
    network = fl.Sequential(fl.Dense(units), fl.ReLU(), fl.Dense(1))
    model = fl.fit(network, (X, y), epochs=5, validation=0.2, **options).model
    for array in (*leaves(model.network).values(), model.predict(X)):
        digest.update(np.asarray(array).tobytes())
    return model
def both(**options):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train(5, **options)
        train(90, **options)
    for warning in seen:
        print("warned", warning.category.__name__, warning.message, "in", warning.filename)
    print("digest", digest.hexdigest())
"""


def says(code: str, **environment: str) -> list[str]:
    """The lines that a fresh process prints."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("FALLLINE_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def reference() -> str:
    """What NumPy gives."""
    [line] = says(FITS + "both(engine='numpy')")
    return line


CASES = {
    "not installed": (HIDDEN, "llvmlite is not installed, NumPy computes instead (slower): pip install llvmlite"),
    "broken": (BROKEN, "no native code could be made, NumPy computes instead (slower): libLLVM.so is not there"),
    "refused": (REFUSED, "no native code could be made, NumPy computes instead (slower): LLVM refuses"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reference_engine_takes_over_with_one_warning(case: str, reference: str) -> None:
    code, message = CASES[case]
    if case == "refused":
        pytest.importorskip("llvmlite")
    lines = says(code + FITS + "both()", FALLLINE_CACHE="off")
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"warned RuntimeWarning {message}")
    assert lines[0].endswith("in <string>")
    assert lines[1] == reference


def test_who_asks_for_numpy_is_not_warned(reference: str) -> None:
    assert says(HIDDEN + FITS + "both(engine='numpy')") == [reference]
    assert says(HIDDEN + FITS + "both()", FALLLINE_ENGINE="numpy") == [reference]


@pytest.mark.parametrize("way", ["by name", "by the environment"])
def test_an_engine_that_is_not_there_is_an_error_of_one_line(way: str) -> None:
    """And no warning besides."""
    given, environment = ("'llvm'", {}) if way == "by name" else ("", {"FALLLINE_ENGINE": "llvm"})
    code = f"""
import warnings
warnings.simplefilter("error")
from fallline.core.errors import ConfigError
from fallline.engines.engine import get_engine
try:
    get_engine({given})
except ConfigError as error:
    print(error)
"""
    meant = "engine 'llvm' is not installed here: pip install llvmlite, or use engine='auto'"
    assert says(HIDDEN + code, **environment) == [meant]


@pytest.mark.parametrize("precision", ["bf16x3", "bf16"])
def test_a_precision_that_needs_native_code_is_refused_without_it(precision: str) -> None:
    code = f"""
from fallline.core.errors import ConfigError
from fallline.engines.engine import ENGINES
try:
    ENGINES["llvm"].with_options(precision={precision!r})
except ConfigError as error:
    print(error)
"""
    assert says(BROKEN + code) == [f"precision={precision!r}: no native code can be made: libLLVM.so is not there"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    pytest.importorskip("llvmlite")
    file = tmp_path / "file"
    file.write_text("no folder")
    places = [  # each in a process of its own that compiles everything: few, the others in the next test
        {"FALLLINE_CACHE": "off"},
        {"FALLLINE_CACHE": str(file / "below")},
        {"HOME": str(file), "XDG_CACHE_HOME": ""},
    ]
    found = [says(FITS + "both(engine='llvm')", **place) for place in places]
    assert all(len(lines) == 1 for lines in found), found
    assert len({lines[0] for lines in found}) == 1


@pytest.mark.parametrize("place", ["{file}", "{file}/below", "/proc/nowhere", "relative/~nobody/below"])
def test_a_folder_that_cannot_be_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.chdir("/proc")
    monkeypatch.setattr(settings, "cache", place.format(file=file))
    assert cache_folder() is None


@pytest.mark.parametrize("home", ["missing", "file"])
def test_a_home_that_cannot_be_written_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(settings, "cache", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "below" if home == "missing" else tmp_path / "file"))
    assert cache_folder() is None


def test_importing_needs_no_llvmlite() -> None:
    code = "import sys, fallline, fallline.engines.engine as e\nlist(e.ENGINES)\nprint('llvmlite' in sys.modules)"
    assert says(code) == ["False"]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]], ids=" ".join)
def test_the_pages_of_the_command_need_no_llvmlite(arguments: list[str]) -> None:
    code = f"""
import sys
from fallline.cli.main import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit:
    pass
print('llvmlite' in sys.modules)
"""
    assert says(code)[-1] == "False"


MODEL_FILE = """
import hashlib, pathlib, sys
from fallline.engines.llvm.loader import BUILDS
fl.fit(fl.Sequential(fl.Dense(70), fl.Tanh(), fl.Dropout(0.1), fl.Dense(1)), (X, y), epochs=5, batch_size=48,
       engine="llvm", threads={threads}).save("{path}")
print(hashlib.sha256(pathlib.Path("{path}").read_bytes()).hexdigest(), BUILDS.compiled > 0)
"""


def test_model_files_are_the_same_from_any_process(tmp_path: Path) -> None:
    """Cold and warm cache, one thread, two, and as many as the engine finds best."""
    pytest.importorskip("llvmlite")
    found = []
    for threads in (1, 2, None):
        for turn in ("cold", "warm"):
            path = tmp_path / f"{turn}{threads}.safetensors"
            code = FITS + MODEL_FILE.format(threads=threads, path=path)
            [line] = says(code, FALLLINE_CACHE=str(tmp_path / f"cache{threads}"))
            digest, compiled = line.split()
            assert compiled == str(turn == "cold")
            found.append(digest)
    assert len(set(found)) == 1
