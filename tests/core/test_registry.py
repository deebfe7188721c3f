"""Registries: names, aliases, nearest names, homes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from fallline.core.errors import UnknownNameError
from fallline.core.registry import Registry, nearest, plain_name


def test_spellings() -> None:
    assert plain_name("BinaryCrossEntropy") == plain_name("binary_cross-entropy") == plain_name("binary cross entropy")


def test_names_and_aliases() -> None:
    tools: Registry[int] = Registry("tool")
    tools.add("RoundSaw", 1, ("saw",))
    tools.add("hammer", 2)
    assert tools["RoundSaw"] == tools["round_saw"] == tools["SAW"] == 1
    assert "saw" in tools
    assert "axe" not in tools
    assert list(tools) == ["RoundSaw", "hammer"]
    assert len(tools) == 2
    assert tools.values() == [1, 2]
    tools.remove("RoundSaw")
    assert "saw" not in tools


def test_did_you_mean() -> None:
    tools: Registry[int] = Registry("tool")
    tools.add("hammer", 1)
    tools.add("handsaw", 2)
    with pytest.raises(UnknownNameError, match="no tool is called 'hamer': did you mean 'hammer'"):
        tools["hamer"]
    with pytest.raises(LookupError, match="known: hammer, handsaw"):
        tools["zzz"]
    assert nearest("zzz", [f"n{i:02}" for i in range(30)]).endswith("… (30 in all)")


def test_a_name_means_one_thing() -> None:
    tools: Registry[object] = Registry("tool")
    hammer = object()
    tools.add("hammer", hammer)
    tools.add("hammer", hammer)
    with pytest.raises(ValueError, match=r"tool 'hammer' is registered twice.*remove\('hammer'\)"):
        tools.add("hammer", object())
    with pytest.raises(ValueError, match="'Hammer' already means 'hammer'"):
        tools.add("Hammer", object())
    assert tools["hammer"] is hammer


def test_a_class_may_be_defined_anew() -> None:
    tools: Registry[type] = Registry("tool")

    def define() -> type:
        class Hammer:
            pass

        return tools.add("Hammer", Hammer)

    first, second = define(), define()
    assert first is not second
    assert tools["Hammer"] is second


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that is found by its registry; its module looks a name up while it is imported."""
    package = tmp_path / "toolshed"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("toolshed", "toolshed.saws"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return str(package / "saws.py")


def test_homes_are_imported_on_the_first_look_up(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools: Registry[int] = Registry("tool", homes=("toolshed",))
    monkeypatch.setattr(sys, "tools_under_test", tools, raising=False)
    Path(home).write_text(
        "import sys, time\ntools = sys.tools_under_test\n"
        "assert 'axe' not in tools\ntime.sleep(0.05)\ntools.add('saw', 1)\n"
    )
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(tools["saw"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1, 1, 1]  # the others waited for the one that imports


def test_a_home_that_fails_to_import_fails_again(home: str) -> None:
    tools: Registry[int] = Registry("tool", homes=("toolshed",))
    Path(home).write_text("raise RuntimeError('broken')\n")
    for _ in range(2):  # not "no tool is called …", which would hide the reason
        with pytest.raises(RuntimeError, match="broken"):
            tools["saw"]


def test_a_name_brings_only_the_modules_that_have_it(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools: Registry[int] = Registry("tool", homes=("toolshed",))
    monkeypatch.setattr(sys.modules["builtins"], "toolbox", tools, raising=False)
    Path(home).write_text("toolbox.add('saw', 1)\n")
    Path(home).with_name("blunt.py").write_text("toolbox.add('Old_Hammer', 2)  # no good for a handsaw\n")
    assert tools["saw"] == 1
    assert "toolshed.blunt" not in sys.modules
    assert tools["old-hammer"] == 2
    Path(home).with_name("hidden.py").write_text("toolbox.add('ch' + 'isel', 3)\n")
    assert tools["chisel"] == 3  # not to be seen in the source: the whole home is loaded
    assert len(tools) == 3
