"""What the documentation shows is run: every Python block of the README and the pages, and every example."""

from __future__ import annotations

import re
import runpy
import sys
import types
from pathlib import Path

import pytest

from fallline.core.record import RECORDS
from fallline.graph.op import OPS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCREEN = 60  # lines: a page about adding something that outgrows a screen means that the architecture is wrong


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def own_records() -> dict[str, type]:
    return {name: cls for name, cls in RECORDS.known().items() if not cls.__module__.startswith("fallline.")}


@pytest.fixture
def only_our_records():
    """A page meets the registry as a user does, and leaves nothing behind."""
    set(RECORDS)
    others = own_records()
    for name in others:
        RECORDS.remove(name)
    yield
    for name in own_records():
        RECORDS.remove(name)
    for name, cls in others.items():
        RECORDS.add(name, cls, cls.aliases)


@pytest.mark.usefixtures("only_our_records")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    ops = set(OPS)
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), module.__dict__)
    assert set(OPS) == ops, "the page leaves an op behind"


@pytest.mark.parametrize("kind", ["op", "layer", "loss", "optimizer", "engine"])
def test_adding_something_fits_a_screen_and_shows_it(kind):
    page = ROOT / "docs" / "adding" / f"{kind}.md"
    assert len(page.read_text(encoding="utf-8").splitlines()) <= SCREEN
    assert blocks(page)


@pytest.mark.usefixtures("only_our_records")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_an_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
