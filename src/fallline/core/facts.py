"""Facts: what the docstring of an activation, a link or a loss says, read line by line.

formula                               the first line, up to a full stop that shapes may follow
derivative  2 (s - t)                 a word, two spaces or more, the fact; deeper lines below it go on with it
special     0 -> 1/2, -1000 -> 0      numbers that `special_values` reads, so that tests can check them
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

from fallline.core.listing import Listing

R = TypeVar("R", bound=tuple)
Numbers = tuple[float, ...]

_FACT = re.compile(r"([a-z]+) {2,}(\S.*)")
_PAIR = re.compile(r"([^,()|>]+|\([^()]*\))(?:\|([^,()>]+))?->([^,()]+|\([^()]*\))")


class Special(NamedTuple):
    """One special value: the inputs (of a loss the scores), the target of a loss, the results."""

    inputs: Numbers
    target: float | None
    results: Numbers


def facts_of(thing: Any) -> dict[str, str]:
    """The facts by word, and the formula; empty without a docstring."""
    lines = inspect.cleandoc(thing.__doc__ or "").splitlines()
    found, word = {"formula": re.split(r"\.(?: {2,}|$)", lines[0])[0] if lines else ""}, ""
    for line in lines[1:]:
        match = _FACT.fullmatch(line)
        if match:
            word, found[match[1]] = match[1], match[2]
        elif word and line.startswith(" "):
            found[word] += " " + line.strip()
        else:
            word = ""
    return found


def special_values(text: str) -> list[Special]:
    """The numbers in "0 -> 1/2, (0, 1) -> (1/2, 1)" or, with a target, "0 | 1 -> 1/2"; after ";" words follow."""
    told = text.partition(";")[0].replace(" ", "")
    return [Special(_numbers(x), _number(t) if t else None, _numbers(y)) for x, t, y in _PAIR.findall(told)]


def _numbers(text: str) -> Numbers:
    return tuple(_number(part) for part in text.strip("()").split(","))


def _number(text: str) -> float:
    return float(Fraction(text)) if "/" in text else float(text)


class FactRows(list[R]):
    """A list of rows (named tuples) that prints as a table of some of their fields; `frame()` has all of them."""

    def __init__(self, title: str, rows: Iterable[R], shown: tuple[str, ...], note: str = ""):
        super().__init__(rows)
        self.title, self.shown, self.note = title, shown, note

    def listing(self, names: Iterable[str] = ()) -> Listing:
        """The rows as a Listing with these columns; all without names."""
        fields: Any = type(self[0]) if self else None
        chosen = tuple(names) or (fields._fields if self else ())
        columns = {name: [getattr(row, name) for row in self] for name in chosen}
        return Listing(self.title, columns, [""] * len(self), self.note)

    def text(self, width: int = 100) -> str:
        """The table in `width` columns of a terminal."""
        return self.listing(self.shown).text(width)

    def frame(self) -> Any:
        """The rows as a polars DataFrame with all fields."""
        return self.listing().frame()

    def __repr__(self) -> str:
        return self.text(shutil.get_terminal_size((100, 40)).columns)

    def _repr_html_(self) -> str:
        return self.listing()._repr_html_()


__all__ = ["FactRows", "Special", "facts_of", "special_values"]
