"""What the documentation shows is run: every Python block of the README and the pages, and every example."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

from fallline.core.record import RECORDS
from fallline.graph.op import OPS
from tools import run_docs

ROOT = Path(__file__).parents[1]
PAGES = run_docs.pages()
COURSE = ROOT / "docs" / "course"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCREEN = 60  # lines: a page about adding something that outgrows a screen means that the architecture is wrong
COLUMNS = 100  # of a code block that the site shows without a scroll bar
FIGURE_BYTES = 2_000_000  # of all figures together
# The numbers of the course's concepts.
ROWS = {*range(1, 64), *range(65, 77), *range(79, 123)} - {29}


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
def test_a_page_does_what_it_shows(page, tmp_path):
    ops = set(OPS)
    assert run_docs.check(page, tmp_path) == []
    assert set(OPS) == ops, "the page leaves an op behind"


@pytest.mark.parametrize("kind", ["op", "layer", "loss", "optimizer", "solver", "engine"])
def test_adding_something_fits_a_screen_and_shows_it(kind):
    page = ROOT / "docs" / "adding" / f"{kind}.md"
    assert len(page.read_text(encoding="utf-8").splitlines()) <= SCREEN
    assert run_docs.read(page).blocks


@pytest.mark.usefixtures("only_our_records")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.name)
def test_an_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(example)])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor[1:] in anchors(found), f"{page.name} links to {target}{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and code hosts make them."""
    text = run_docs.FENCE.sub("", page.read_text(encoding="utf-8"))
    return {slugify(heading, "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_concept_has_a_place_in_the_course_and_a_test_of_its_number():
    rows = re.findall(r"^\| (\d+) \| (.+?) \| \[.+?\]\((\S+?\.md#\S+?)\) \|$", read("concepts.md"), re.MULTILINE)
    numbers = [int(number) for number, _, _ in rows]
    assert numbers == sorted(numbers)
    assert set(numbers) == ROWS
    for _, name, target in rows:
        page, anchor = target.split("#")
        assert anchor in anchors(COURSE / page), f"{name}: no {target}"
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    tested = {int(number) for number in re.findall(r"def test_row_(\d{3})_", tests)}
    assert tested >= ROWS, f"no test for {sorted(ROWS - tested)}"


def read(name: str) -> str:
    return (COURSE / name).read_text(encoding="utf-8")


def test_the_code_of_the_course_fits_the_page():
    for page in COURSE.glob("*.md"):
        for block in run_docs.read(page).blocks:
            lines = [*block.code.splitlines(), *(block.shown or "").splitlines()]
            assert max(map(len, lines)) <= COLUMNS, f"{page.name}:{block.line}: {max(lines, key=len)!r}"


def test_the_pages_of_the_course_are_linked_in_order():
    pages = [p.name for p in sorted(COURSE.glob("[0-9]*.md"))]
    assert len(pages) == 11
    for page, later in zip(pages, [*pages[1:], "concepts.md"], strict=True):
        assert f"({page}" in read("index.md")
        assert f"({later}" in read(page).splitlines()[-1]


def test_every_figure_is_shown_and_all_together_are_small():
    shown = {path.parent / name for path in PAGES for name in run_docs.read(path).figures}
    kept = set((ROOT / "docs").glob("**/figures/*"))
    assert kept == shown
    assert sum(path.stat().st_size for path in kept) < FIGURE_BYTES


def test_the_site_builds_and_asks_no_other_host(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//", text)
    for style in tmp_path.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", style.read_text(encoding="utf-8"))
