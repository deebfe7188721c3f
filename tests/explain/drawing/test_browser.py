"""Drawings in a browser: nothing on the console, nothing fetched, every text in its box, folded and unfolded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fallline.explain.drawing.page import page
from tests.explain.drawing.browser import CHROMIUM, visit
from tests.explain.drawing.graphs import GRAPHS

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser on the path: chromium, chromium-browser or google-chrome"
)

# What a page must not do, each in a way of its own.
PLANTED = """<!doctype html><html><body><img src="http://pictures.example/a.png"><script>
console.warn("planted warning"); console.error("planted error");
fetch("https://data.example/b").catch(() => 0);
setTimeout(() => { throw new Error("planted exception"); }, 0);
</script></body></html>"""
# Faces wider than those of this machine: by a fifth, which the page bears, and as the widest of the usual ones.
WIDE = ".wide text { letter-spacing: 1.5px; } .plain text { letter-spacing: 0.2px; }"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A file as a reader gets it."""
    folder = tmp_path_factory.mktemp("drawn")
    GRAPHS["blocks"]().draw(folder / "graph.html", by="module")
    return folder / "graph.html"


def test_the_check_notices_messages_and_requests(tmp_path):
    planted = tmp_path / "planted.html"
    planted.write_text(PLANTED, encoding="utf-8")
    seen = visit(planted, tmp_path)
    for message in ("planted warning", "planted error", "planted exception"):
        assert any(message in line for line in seen.console)
    assert {"http://pictures.example/a.png", "https://data.example/b"} <= seen.requests


def test_the_page_is_silent_and_alone_in_light_and_dark(drawn, tmp_path):
    light, dark = (visit(drawn, tmp_path / theme, dark=theme == "dark") for theme in ("light", "dark"))
    for seen in (light, dark):
        assert seen.console == []
        assert seen.requests == set()
        assert seen.picture.shape == (800, 1000, 3)
        colours = np.unique(seen.picture.reshape(-1, 3), axis=0)
        assert len(colours) > 100  # letters, boxes, lines
    assert light.picture[-1, 0].mean() > 0.9
    assert dark.picture[-1, 0].mean() < 0.2


def test_the_browser_itself_refuses_what_a_page_would_fetch(tmp_path):
    file = tmp_path / "fetching.html"
    file.write_text(page("picture", '<img src="http://pictures.example/a.png">'), encoding="utf-8")
    seen = visit(file, tmp_path)
    assert seen.requests == set()
    assert any("Content Security Policy" in line for line in seen.console)


def test_every_text_lies_in_its_box_folded_and_unfolded(tmp_path):
    parts, style = [], ""
    for name, made in GRAPHS.items():
        drawing = made().draw(by="module")
        style = drawing.style
        parts.append(f'<div data-name="{name}">{drawing.body}</div>')
        parts.append(f'<div data-name="{name}, alone" class="plain">{drawing.svg}</div>')
        if name in ("blocks", "one hidden layer"):
            parts.append(f'<div data-name="{name}, a wide face" class="wide">{drawing.body}</div>')
    check = (Path(__file__).with_name("check_drawing.js")).read_text(encoding="utf-8")
    file = tmp_path / "all.html"
    file.write_text(page("all", "".join(parts) + f"<script>{check}</script>", style=style + WIDE), encoding="utf-8")
    seen = visit(file, tmp_path)
    assert seen.console == []
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', seen.dom, re.DOTALL)
    results = {entry["name"]: entry for entry in json.loads(found.group(1))}
    assert len(results) == 2 * len(GRAPHS) + 2
    for name, entry in results.items():
        for state, saw in entry["states"]:
            assert saw["texts"] >= 3, (name, state)
            assert [saw["outside"], saw["over"], saw["through"]] == [[], [], []], (name, state)
    states = [state for state, _ in results["blocks"]["states"]]
    assert states[0] == "as it comes"
    assert {"open layers.0 · 10 nodes", "all open", "all folded"} <= set(states)
    texts = dict(results["blocks"]["states"])
    assert texts["as it comes"]["texts"] == texts["all folded"]["texts"]
    assert texts["all open"]["texts"] > 2 * texts["as it comes"]["texts"]
    assert results["diamond"]["said"].startswith("xvalue 1")
