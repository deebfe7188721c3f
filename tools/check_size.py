"""Fails when a file or a function is too long to be read in one sitting."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tests", "tools", "benchmarks")
FILE_LINES = 600
FUNCTION_LINES = 40  # without the docstring; only under src/


def main() -> int:
    parser = argparse.ArgumentParser(
        description=f"{__doc__} A file has at most {FILE_LINES} lines; a function under src/ has at most "
        f"{FUNCTION_LINES}, from def to its end, docstring not counted."
    )
    parser.add_argument("root", nargs="?", type=Path, default=Path("."), help="the repository (default: here)")
    root = parser.parse_args().root
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    offences = [line for path in paths for line in check(path, root)]
    print("\n".join(offences) or "size: every file and function is short enough")
    return 1 if offences else 0


def check(path: Path, root: Path) -> Iterator[str]:
    """One line per offence: where, what, how many lines, the limit."""
    shown, text = path.relative_to(root), path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{shown}:1: file has {lines} lines, limit {FILE_LINES}"
    if shown.parts[0] != "src":
        return
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = length(node)
            if lines > FUNCTION_LINES:
                yield f"{shown}:{node.lineno}: function {node.name} has {lines} lines, limit {FUNCTION_LINES}"


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from def to the end, minus those of the docstring."""
    first = function.body[0]
    total = _lines(function)
    return total - _lines(first) if ast.get_docstring(function) is not None else total


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    sys.exit(main())
