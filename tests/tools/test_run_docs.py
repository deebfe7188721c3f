"""The runner of the pages: it finds what a page shows and its code does not do."""

from __future__ import annotations

import sys

import pytest

from fallline.core.record import RECORDS
from tools import run_docs

FIGURE = "from pathlib import Path\nsize = Path('figures/curve.svg').write_text('<svg/>')"


@pytest.fixture
def check(tmp_path):
    """What is wrong with a page of this text."""

    def checked(text: str, name: str = "page.md") -> list[str]:
        page, folder = tmp_path / name, tmp_path / "folder"
        page.parent.mkdir(exist_ok=True)
        page.write_text(text, encoding="utf-8")
        folder.mkdir()
        return run_docs.check(page, folder)

    return checked


def page(code: str, shown: str, remark: str = "") -> str:
    return f"# Title\n\n```python\n{code}\n```\n\n{remark}\n```text\n{shown}\n```\n"


@pytest.mark.parametrize(
    "printed, shown, remark",
    [
        ("loss 0.6931", "loss 0.6931", ""),
        ("loss 0.6931", "loss 0.6932", ""),  # another processor rounds the last digit otherwise
        ("0.4999999999", "0.5", ""),
        ("error 1.2e-16", "error 3.1e-16", ""),  # rounding errors
        ("a      1\n── ───", "a  1\n── ──────", ""),  # wider columns
        ("loss 0.61", "loss 0.60", "<!-- within 2 % -->"),
        ("3.2 seconds", "0.1 seconds", "<!-- yours will differ -->"),
        ("first\n1\n2\n3\nlast", "first\n…\nlast", ""),
    ],
)
def test_what_is_shown_may_differ_where_computers_differ(check, printed, shown, remark):
    assert check(page(f"print({printed!r})", shown, remark)) == []


@pytest.mark.parametrize(
    "printed, shown, remark",
    [
        ("loss 0.6931", "loss 0.6941", ""),
        ("0.5", "0.6", ""),
        ("slope 0.25", "slope -0.25", ""),
        ("3 layers", "4 layers", ""),
        ("loss 0.6931", "cost 0.6931", ""),
        ("loss 0.61", "loss 0.50", "<!-- within 2 % -->"),
        ("3.2 seconds", "3.2 minutes", "<!-- yours will differ -->"),
        ("first\n1\nlast", "second\n…\nlast", ""),
        ("first\n1\nlast", "first\n…\nlast\nmore", ""),
        ("one\ntwo", "one", ""),
        ("one", "one\ntwo", ""),
        ("", "one", ""),
    ],
)
def test_what_is_shown_is_compared(check, printed, shown, remark):
    assert len(check(page(f"print({printed!r})", shown, remark))) == 1


def test_the_line_of_the_page_is_named(check):
    [wrong] = check(page("print(1)", "2"))
    assert wrong.endswith("page.md:4: the page shows '2', the code prints '1'")


def test_a_figure_that_no_block_makes(check):
    found = check("![curve](figures/other.svg)\n")
    assert any(wrong.endswith("no block makes figures/other.svg") for wrong in found)


def test_a_figure_that_the_page_does_not_show(check):
    [wrong] = check(f"```python\n{FIGURE}\n```\n")
    assert wrong.endswith("a block makes figures/curve.svg, which the page does not show")


def test_a_figure_that_was_not_kept(check):
    [wrong] = check(f"```python\n{FIGURE}\n```\n\n![curve](figures/curve.svg)\n")
    assert "figures/curve.svg is not there: run" in wrong


def test_writing_fills_in_and_then_nothing_is_wrong(tmp_path):
    path, first, second = tmp_path / "page.md", tmp_path / "first", tmp_path / "second"
    path.write_text(page(f"print(6 * 7)\n{FIGURE}", "") + "\n![curve](figures/curve.svg)\n", encoding="utf-8")
    first.mkdir()
    second.mkdir()
    filled = run_docs.read(path)
    run_docs.execute(filled, first)
    assert list(run_docs.problems(run_docs.write(filled, first))) == []
    assert "```text\n42\n```" in path.read_text(encoding="utf-8")
    assert (tmp_path / "figures" / "curve.svg").read_text() == "<svg/>"
    assert run_docs.check(path, second) == []


@pytest.mark.parametrize(
    "shown, printed, expected",
    [
        ("a 1\n…\nend", "a 2\nb\nc\nend", "a 2\n…\nend\n"),
        ("…\nloss 0.5\n…", "head\nloss 0.25\nmore", "…\nloss 0.25\n…\n"),
        ("a\n…\n\nthe end is near\nx", "a\nb\n\nthe end was near\nx\ny", "a\n…\n\nthe end was near\nx\ny\n"),
        ("a\n…\nsomething else\n…", "a\nb\n", "a\nb\n"),
        ("", "a\nb\n", "a\nb\n"),
    ],
)
def test_what_was_shortened_stays_short(shown, printed, expected):
    assert run_docs.shortened(shown, printed) == expected


def test_commands_of_the_course_are_run(check):
    assert check("```console\n$ fallline --version\nfallline 1000.0\n```\n", "course/page.md")


def test_commands_outside_the_course_are_only_shown(check):
    assert check("```console\n$ make coffee\n```\n") == []


def test_blocks_share_their_names_and_leave_nothing_behind(check):
    code = 'import fallline as fl\n@fl.record\nclass OfThisPage(fl.Layer):\n    "nothing"\n'
    assert check(f"```python\n{code}```\n\n" + page("print(OfThisPage.__name__)", "OfThisPage")) == []
    assert "OfThisPage" not in RECORDS
    assert "page" not in sys.modules


def test_an_unknown_remark_is_refused(check):
    with pytest.raises(SystemExit, match="no remark"):
        check(page("print(1)", "1", "<!-- roughly -->"))
