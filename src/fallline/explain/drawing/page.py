"""The page: one stand-alone HTML document with its own style, light and dark, that fetches nothing."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path

# name -> (light, dark). Blue and orange differ for every kind of colour blindness, and in lightness from the paper.
COLOURS = {
    "ink": ("#1b1f24", "#e6edf3"),
    "soft": ("#57606a", "#9aa5b1"),
    "paper": ("#ffffff", "#0d1117"),
    "box": ("#f6f8fa", "#1b222c"),
    "input": ("#fdf6e3", "#2c2a1c"),
    "group": ("#eaeef2", "#252e3a"),
    "line": ("#d5dbe1", "#30363d"),
    "edge": ("#8a94a0", "#6b7682"),
    "positive": ("#0b62c4", "#58a6ff"),
    "negative": ("#bc4c00", "#ff9e57"),
}

# Nothing may be fetched, whatever the body holds: the browser itself refuses.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, body: str, *, style: str = "") -> str:
    """A complete HTML document: the title as heading, a button for light and dark, and the body under it.

    title  plain text, escaped here
    body   HTML, as it stands; tables are given a sticky heading, numbers at the right, and a scroll bar where needed
    style  more CSS; the colours are variables: var(--ink), var(--soft), var(--paper), var(--box), var(--line) …
    """
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{theme()}\n{beside('page.css')}{style}\n</style>\n</head>\n<body>\n"
        f'<header><h1>{name}</h1><button type="button" id="theme" title="light or dark">Dark</button></header>\n'
        f"<main>\n{body}\n</main>\n<script>\n{{\n{beside('page.js')}}}\n</script>\n</body>\n</html>\n"
    )


def theme() -> str:
    """The colours as CSS variables: by the reader's setting, and as the attribute data-theme of the document says."""
    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in COLOURS.items()) for i in (0, 1))
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
    )


@cache
def beside(name: str) -> str:
    """The text of a style sheet or script that lies beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
