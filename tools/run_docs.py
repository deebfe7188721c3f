"""Runs the pages: fills in what their code prints and draws, or checks that it still does.

A page's Python blocks run in order, in one namespace and in an empty folder. The ```text block after a Python block
shows what it printed; a figure that the page shows as figures/NAME is one that a block wrote there. In the course,
lines `$ fallline …` of a ```console block run too, and the lines below them are what they print. A line that holds
only … stands for any lines. Numbers may differ in the last digit shown; a comment before a block allows more:

    <!-- within 5 % -->            results of a training, which another processor rounds otherwise
    <!-- yours will differ -->     times: the words are compared, the numbers are not
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import shlex
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from PIL import Image

from fallline.cli.main import run as fallline
from fallline.core.record import RECORDS

ROOT = Path(__file__).parents[1]
WIDTH = 88  # columns that a table may take: what the site and a code host show without a scroll bar
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
REMARK = re.compile(r"\s*(?:<!-- (.*?) -->)?\s*")
NUMBER = re.compile(r"([-−+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-−+]?\d+)?)")
FIGURE = re.compile(r"!\[[^\]]*\]\((figures/[^)]+)\)")
ELLIPSIS = "…"
SHARE = 0.005  # of a number, at most, that a difference in its last digit may make
COLORS = 96  # of a kept PNG
LIKE = 0.6  # ratio of difflib from which a line counts as the same one, reworded
ROUNDING = 1e-9  # numbers below this size are rounding errors: any two are equal


@dataclass
class Block:
    """Code of a page, and what the page shows of its output.

    line    of the first line of code, from 1
    shown   the output on the page, None where it shows none;  span  where that text stands
    within  share by which numbers may differ; infinite: they are not compared
    printed what running it printed
    """

    kind: str
    code: str
    line: int
    shown: str | None = None
    span: tuple[int, int] = (0, 0)
    within: float = 0.0
    printed: str = ""


@dataclass
class Page:
    """A page with its blocks, and the figures that they made."""

    path: Path
    text: str
    blocks: list[Block] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    @property
    def figures(self) -> list[str]:
        """The figures that the page shows, as paths beside it."""
        return FIGURE.findall(self.text)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: Path) -> Page:
    """The page with its blocks; commands are run in the course only."""
    text = path.read_text(encoding="utf-8")
    page, fences = Page(path, text), list(FENCE.finditer(text))
    for i, fence in enumerate(fences):
        line = text.count("\n", 0, fence.start(2)) + 1
        if fence[1] == "python":
            page.blocks.append(Block("python", fence[2], line))
            after = fences[i + 1] if i + 1 < len(fences) else None
            remark = REMARK.fullmatch(text[fence.end() : after.start()]) if after and after[1] == "text" else None
            if after is not None and remark is not None:
                _show(page.blocks[-1], after[2], after.start(2), remark[1])
        elif fence[1] == "console" and path.parent.name == "course":
            above = re.search(r"<!-- (.*?) -->\s*\Z", text[: fence.start()])
            for command in COMMAND.finditer(fence[2]):
                page.blocks.append(Block("console", command[1], line + fence[2].count("\n", 0, command.start())))
                if command[2]:
                    _show(page.blocks[-1], command[2], fence.start(2) + command.start(2), above and above[1])
    return page


def _show(block: Block, shown: str, start: int, remark: str | None) -> None:
    block.shown, block.span = shown, (start, start + len(shown))
    if remark == "yours will differ":
        block.within = math.inf
    elif remark:
        percent = re.fullmatch(r"within ([\d.]+) %", remark)
        if percent is None:
            raise SystemExit(f"line {block.line}: {remark!r} is no remark: within N %, or yours will differ")
        block.within = float(percent[1]) / 100


def execute(page: Page, folder: Path) -> None:
    """Runs the blocks in the folder, which is empty, and notes what each prints and which figures they make."""
    (folder / "figures").mkdir()
    module = types.ModuleType("page")
    with _as_a_user_meets_it(module, folder):
        for block in page.blocks:
            out = io.StringIO()
            with redirect_stdout(out):
                if block.kind == "console":
                    _command(block)
                else:  # empty lines above, so that a traceback shows the line of the page
                    code = compile("\n" * (block.line - 1) + block.code, str(page.path), "exec")
                    exec(code, module.__dict__)
            block.printed = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    page.made = sorted(f"figures/{made.name}" for made in (folder / "figures").iterdir())


@contextmanager
def _as_a_user_meets_it(module: types.ModuleType, folder: Path) -> Iterator[None]:
    """In the folder, at a fixed width, with the module importable; records of the page are forgotten afterwards."""
    before, width = {*RECORDS}, os.environ.get("COLUMNS")
    sys.modules[module.__name__], os.environ["COLUMNS"] = module, str(WIDTH)
    try:
        with chdir(folder):
            yield
    finally:
        del sys.modules[module.__name__], os.environ["COLUMNS"]
        if width is not None:
            os.environ["COLUMNS"] = width
        for name in {*RECORDS} - before:
            if RECORDS[name].__module__ == module.__name__:
                RECORDS.remove(name)


def _command(block: Block) -> None:
    words, errors = shlex.split(block.code), io.StringIO()
    if words[0] != "fallline":
        raise ValueError(f"line {block.line}: only `fallline …` is run in the course, not {block.code!r}")
    with redirect_stderr(errors):
        status = fallline(words[1:])
    if status:
        print(errors.getvalue(), end="")  # a message is what the page shows of a command that fails


def problems(page: Page) -> Iterator[str]:
    """What the page shows and its code does not do, one line each."""
    for block in page.blocks:
        if block.shown is not None and (wrong := difference(block.shown, block.printed, block.within)):
            yield f"{_name(page.path)}:{block.line}: {wrong}"
    for name in sorted({*page.figures} - {*page.made}):
        yield f"{_name(page.path)}: no block makes {name}"
    for name in sorted({*page.made} - {*page.figures}):
        yield f"{_name(page.path)}: a block makes {name}, which the page does not show"
    for name in page.figures:
        if not (page.path.parent / name).is_file():
            yield f"{_name(page.path)}: {name} is not there: run tools/run_docs.py --write"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def difference(shown: str, printed: str, within: float = 0.0) -> str | None:
    """The first line that differs, in words; None where the texts are equal as far as they should be."""
    found, parts, start = printed.rstrip().splitlines(), _parts(shown.splitlines()), 0
    for i, part in enumerate(parts):
        places = list(range(start, len(found) - len(part) + 1))
        if i == 0:
            places = places[:1]
        if i == len(parts) - 1:
            places = [p for p in places if p + len(part) == len(found)]
        at = next((p for p in places if _equal_lines(part, found[p:], within)), None)
        if at is None:
            return _first_difference(part, found[start:], within)
        start = at + len(part)
    return None


def _parts(lines: Sequence[str]) -> list[list[str]]:
    """The lines between those that hold only an ellipsis."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == ELLIPSIS:
            found.append([])
        else:
            found[-1].append(line)
    return found


def _equal_lines(part: Sequence[str], found: Sequence[str], within: float) -> bool:
    return all(_equal(a, b, within) for a, b in zip(part, found, strict=False))


def _first_difference(part: Sequence[str], found: Sequence[str], within: float) -> str:
    for i in range(max(len(part), len(found))):
        a, b = (lines[i] if i < len(lines) else "(no line)" for lines in (part, found))
        if not _equal(a, b, within):
            return f"the page shows {a!r}, the code prints {b!r}"
    return "a part of the shown lines is not printed"


def _equal(a: str, b: str, within: float) -> bool:
    """Whether two lines have the same words, up to blanks and rules, and nearly the same numbers."""
    left, right = NUMBER.split(_plain(a)), NUMBER.split(_plain(b))
    return (
        len(left) == len(right)
        and all(x.split() == y.split() for x, y in zip(left[::2], right[::2], strict=True))
        and all(_near(x, y, within) for x, y in zip(left[1::2], right[1::2], strict=True))
    )


def _plain(line: str) -> str:
    """A number may be a digit wider or a bar longer: lengths of blanks, rules and bars do not count."""
    return re.sub("([─█])+", r"\1", line)


def _near(a: str, b: str, within: float) -> bool:
    x, y = (float(n.replace("−", "-")) for n in (a, b))
    size = max(abs(x), abs(y))
    last = max(map(_last_digit, (a, b)))
    return abs(x - y) <= max(ROUNDING * size, ROUNDING, min(1.5 * last, SHARE * size), within * size)


def _last_digit(number: str) -> float:
    """What one more in the last digit is worth: 0.01 for 3.14, 0 for a whole number."""
    digits, _, exponent = number.replace("−", "-").partition("e")
    _, point, decimals = digits.partition(".")
    return 10.0 ** (int(exponent or 0) - len(decimals)) if point or exponent else 0.0


def write(page: Page, folder: Path) -> Page:
    """Puts what the code printed and drew into the page; the page as it is then."""
    text = page.text
    for block in reversed(page.blocks):
        if block.shown is not None and _is_stale(block):
            text = text[: block.span[0]] + shortened(block.shown, block.printed) + text[block.span[1] :]
    for name in page.made:
        target = page.path.parent / name
        target.parent.mkdir(exist_ok=True)
        if target.suffix == ".png":  # lines on white need few colors, and then a third of the bytes
            few = Image.open(folder / name).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
            few.save(target, optimize=True)
        else:
            shutil.copyfile(folder / name, target)
    if text != page.text:
        page.path.write_text(text, encoding="utf-8")
        print(f"{_name(page.path)}: written")
    written = read(page.path)
    written.made = page.made
    for block, run in zip(written.blocks, page.blocks, strict=True):
        block.printed = run.printed
    return written


def shortened(shown: str, printed: str) -> str:
    """The printed text with … where the shown one has it: each stretch runs from the line most like its first line."""
    found, kept, start = printed.splitlines(), [], 0
    parts = _parts(shown.splitlines())
    if len(parts) == 1:
        return printed
    for i, part in enumerate(parts):
        told = [n for n, line in enumerate(part) if line]
        if not told:
            kept.append(part)
            continue
        first = _most_like(part[told[0]], found, start) - told[0] if i else 0
        last = _most_like(part[told[-1]], found, max(first, start)) if part is not parts[-1] else len(found) - 1
        if not start <= first <= last:
            return printed
        kept.append(found[first : last + 1])
        start = last + 1
    return "\n".join([line for part in kept for line in (ELLIPSIS, *part)][1:]) + "\n"


def _most_like(line: str, found: Sequence[str], start: int) -> int:
    """Where the line comes again at or after `start`, its numbers changed perhaps; -1 where nothing is much like it."""

    def likeness(other: str) -> tuple[float, float]:
        words = SequenceMatcher(None, NUMBER.sub("0", line), NUMBER.sub("0", other)).ratio()
        return words, SequenceMatcher(None, line, other).ratio()

    ranked = [(*likeness(other), -place) for place, other in enumerate(found[start:], start)]
    words, _, place = max(ranked, default=(0.0, 0.0, 1))
    return -place if words > LIKE else -1


def _is_stale(block: Block) -> bool:
    """Whether the shown text has to be replaced; one that was shortened, or may differ, stays while it is right."""
    shown = block.shown or ""
    exact = not block.within and len(_parts(shown.splitlines())) == 1
    return shown != block.printed if exact else difference(shown, block.printed, block.within) is not None


def check(path: Path, folder: Path) -> list[str]:
    """Runs one page in an empty folder; what is wrong with it, one line each."""
    page = read(path)
    execute(page, folder)
    return list(problems(page))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put what the code prints and draws into the pages")
    parser.add_argument("pages", nargs="*", type=Path, help="(default: the README and every page of docs/)")
    given: Any = parser.parse_args(argv)
    wrong: list[str] = []
    for path in [p.resolve() for p in given.pages] or pages():
        page = read(path)
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("error")
            execute(page, Path(name))
            wrong += problems(write(page, Path(name)) if given.write else page)
    print("\n".join(wrong) or "docs: every page does what it shows")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
