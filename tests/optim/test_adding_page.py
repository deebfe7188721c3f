"""docs/adding/optimizer.md says what works: its code is run, and what it registers is taken out again."""

from __future__ import annotations

import re
from pathlib import Path

from fallline.core.record import RECORDS

PAGE = Path(__file__).parents[2] / "docs" / "adding" / "optimizer.md"


def test_the_page_runs_and_fits_a_screen():
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    known = set(RECORDS)
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), {"__name__": "__main__"})
        assert len(set(RECORDS) - known) == len(blocks) == 1
    finally:
        for name in set(RECORDS) - known:
            RECORDS.remove(name)
    assert len(text.splitlines()) <= 65
