"""docs/adding/op.md says what works: its code is run, and leaves no op behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fallline.graph.op import OPS

PAGE = Path(__file__).parents[2] / "docs" / "adding" / "op.md"


def test_the_page_runs_and_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    known = set(OPS)
    assert len(blocks) == 1
    exec(compile(blocks[0], str(PAGE), "exec"), {"__name__": "adding_page"})
    assert set(OPS) == known
    printed = capsys.readouterr().out
    assert "%0 = arcsinh(x0)  f32[3]" in printed
    assert "gradients agree: 3 entries" in printed
    assert len(text.splitlines()) <= 65
