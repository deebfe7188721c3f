"""Words: messages of the library, which speak of Python's arguments, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Advice that has no flag of the same name.
_ADVICE = (
    (r"\bmissing=\[(.*?)\]", r"missing=\1"),
    (r"task='regression'", "loss=SquaredError"),
    (r"use task='classification' or", "leave out --loss, or choose"),
    (r": pass kinds= to use one anyway", ": give a table with another column"),
)


def one_line(text: str) -> str:
    """The text without line breaks and control characters."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.splitlines()))


def flag_of(name: str) -> str:
    """The flag of a field or argument: learning_rate -> --learning-rate."""
    return "--" + name.replace("_", "-")


def in_flags(text: str, names: Iterable[str]) -> str:
    """The text with `name=value` written as `--name value` for each of the names; calls such as Adam(eps=1) stay.

    TableOptions(dropout=-1): dropout must …  becomes  --dropout -1: must …
    """
    for pattern, words in _ADVICE:
        text = re.sub(pattern, words, text)
    listed = "|".join(map(re.escape, names))
    text = re.sub(rf"^TableOptions\(({listed})='?(.*?)'?\): (\1 )?", lambda m: f"{flag_of(m[1])} {m[2]}: ", text)
    pattern = rf"(?<![\w'\"])(?<!\w\()(?<!, )({listed})=(?!=)([^\s,;)]?)"
    return re.sub(pattern, lambda m: flag_of(m[1]) + (f" {m[2]}" if m[2] else ""), text)
