"""Flags: the options of a command from the fields of a record, and those with which a table is read."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from fallline.cli.words import flag_of
from fallline.core.errors import ConfigError
from fallline.core.record import Record, fields_of
from fallline.data.table import Table, read_table

READING = "Reading DATA"
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="a CSV, TSV or Parquet file (also .gz), or a packaged set such as iris")
]
ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="the folder of a run, or a model file")]
Delimiter = Annotated[
    str | None,
    typer.Option(metavar="CHARACTER", help="what divides the cells; found by itself", rich_help_panel=READING),
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="whether the first line names the columns; found by itself",
                 rich_help_panel=READING),
]  # fmt: skip
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="encoding of the text, such as latin-1; found by itself",
                 rich_help_panel=READING),
]  # fmt: skip
Missing = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="a further sign for a missing cell, beside an empty one, ?, NA and NaN; "
                 "may be given several times", rich_help_panel=READING),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
Target = Annotated[
    str | None,
    typer.Option(metavar="NAME|INDEX", help="the column to predict: its name, or its position from 1, or back from -1; "
                 "not given: the packaged set's own, else the last column"),
]  # fmt: skip

READING_OPTIONS = {"delimiter": Delimiter, "header": Header, "encoding": Encoding, "missing": Missing}

_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
_METAVARS = {"tuple[int, ...]": "N,N…", "int": "N", "float": "X", "str": "NAME"}
_DESCRIBED = re.compile(r"    (\w+) {2,}(\S.*)")


def reads_table(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: the function's **given become the options that `read` follows."""
    kind = inspect.Parameter.KEYWORD_ONLY
    made = [inspect.Parameter(n, kind, default=None, annotation=a) for n, a in READING_OPTIONS.items()]
    return _with_options(command, made)


def read(data: str, given: Mapping[str, Any], missing: Iterable[str] | None = None) -> Table:
    """The table, read as the flags say.   missing: the markers where --missing was not given"""
    chosen = {name: given[name] for name in READING_OPTIONS}
    divided = _DELIMITERS.get(chosen["delimiter"], chosen["delimiter"])
    return read_table(data, **{**chosen, "delimiter": divided, "missing": chosen["missing"] or missing})


def with_flags(record: type[Record]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: the function's **given become one option for each field of the record, given as text or None."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return _with_options(command, [_parameter(f, described(record)[f.name]) for f in fields_of(record)])

    return decorate


def _with_options(command: Callable[..., None], made: Sequence[inspect.Parameter]) -> Callable[..., None]:
    """The command, which shows these parameters in the place of its ** argument."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    return command


def described(record: type[Record]) -> dict[str, str]:
    """What each field is for: the lines "name  words" of the docstring, with the lines that go on below them."""
    found: dict[str, str] = {}
    name = ""
    for line in (record.__doc__ or "").splitlines():
        match = _DESCRIBED.fullmatch(line)
        if match:
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith("     "):
            found[name] += " " + line.strip()
        else:
            name = ""
    return found


def from_flags(record: type[Record], given: Mapping[str, Any]) -> Any:
    """The record with the fields whose flags were given; ConfigError in the words of the flags."""
    kinds = {field.name: str(field.type) for field in fields_of(record)}
    asked = {name: text for name, text in given.items() if name in kinds and text is not None}
    return record(**{name: parse(name, text, kinds[name]) for name, text in asked.items()})


def parse(name: str, text: str, kind: str) -> Any:
    """A flag's text as the field's type says: "64,32" for tuple[int, ...], "full" or "64" for int | str."""
    if kind == "tuple[int, ...]":
        words = [] if text.strip().lower() in ("", "none", "()") else text.strip("()[] ").rstrip(",").split(",")
        if not all(word.strip().lstrip("+-").isdecimal() for word in words):
            raise ConfigError(f"{flag_of(name)} {text}: give whole numbers with commas between them, or none")
        return tuple(map(int, words))
    kinds = kind.split(" | ")
    if "None" in kinds and text.lower() == "none":
        return None
    if "str" in kinds:
        return int(text) if "int" in kinds and text.isdecimal() else text
    if kinds[0] == "int":
        return _number(name, text, int, "a whole number")
    whole = "int" in kinds and text.lstrip("+-").isdecimal()
    return _number(name, text, int if whole else float, "a number")


def _number(name: str, text: str, kind: Callable[[str], Any], wanted: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{flag_of(name)} {text}: give {wanted}")
    return value


def _parameter(field: dataclasses.Field, words: str) -> inspect.Parameter:
    default = field.default
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    help = words if default is None else f"{words} (default {text})"
    metavar = "|".join(_METAVARS[k] for k in str(field.type).split(" | ") if k != "None")
    option = typer.Option(flag_of(field.name), metavar=metavar, help=help, rich_help_panel="Training")
    annotation = Annotated[str | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
