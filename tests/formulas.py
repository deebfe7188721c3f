"""Reads the formulas of docstrings ("z (z > 0), alpha (e^z - 1) (z <= 0)") and computes them with NumPy and SciPy.

Names beside each other are multiplied, a name directly before a bracket is a function, |x| is the absolute value.
After ";" stand definitions ("t = tanh(z)"); other words there are skipped.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from scipy import special

FUNCTIONS = {
    "max": np.maximum, "min": np.minimum, "log": np.log, "ln": np.log, "exp": np.exp, "expm1": np.expm1,
    "log1p": np.log1p,
    "tanh": np.tanh, "cosh": np.cosh, "sqrt": np.sqrt, "sign": np.sign, "abs": np.abs, "erf": special.erf,
    "σ": special.expit, "Φ": special.ndtr, "Γ": special.gamma, "softplus": lambda x: np.logaddexp(0.0, x),
}  # fmt: skip
TOKEN = re.compile(r"\d+(?:\.\d+)?|expm1|log1p|[^\W\d_²³]+|<=|>=|[-+/·^²³()|,<>=]|\s+")


def evaluate(text: str, **names: Any) -> list[Any]:
    """The value of each side of "a = b = c", of which there is one where no sign of equality stands."""
    main, _, rest = text.partition(";")
    known = {"π": np.pi, **names}
    for part in _split(rest, ", "):
        match = re.fullmatch(r"\s*([^\W\d_]+) = (.+)", part)
        if match:
            known[match[1]] = _expression(match[2], known)
    return [_cases(side, known) for side in _split(main, " = ")]


def _split(text: str, at: str) -> list[str]:
    """The parts between separators that lie outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and text.startswith(at, i):
            parts.append(text[start:i])
            start = i + len(at)
    return [*parts, text[start:]]


def _cases(text: str, known: dict[str, Any]) -> Any:
    """An expression, or the one among several whose condition holds."""
    found: Any = np.nan
    for part in _split(text, ", "):
        match = re.fullmatch(r"(.+) \(([^()]*[<>=][^()]*)\)", part)
        if match is None:
            return _expression(part, known)
        found = np.where(_holds(match[2], known), _expression(match[1], known), found)
    return found


def _holds(condition: str, known: dict[str, Any]) -> Any:
    parts = re.split(r" (<=|>=|<|>|=) ", condition)
    sides = [_expression(side, known) for side in parts[::2]]
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal}
    pairs = zip(sides[:-1], parts[1::2], sides[1:], strict=True)
    return np.logical_and.reduce([compare[sign](a, b) for a, sign, b in pairs])


def _expression(text: str, known: dict[str, Any]) -> Any:
    with np.errstate(all="ignore"):
        return eval(_python(text), {"__builtins__": {}}, {**{f"f_{n}": f for n, f in FUNCTIONS.items()}, **known})


def _python(text: str) -> str:
    """The expression in Python's spelling."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text, f"cannot read {text!r}"
    made: list[str] = []
    ended = False  # whether a value has just ended, so that a value that begins is a factor
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token.isspace():
            continue
        opens = token == "(" or (token == "|" and not ended) or _is_word(token)
        if opens and ended:
            made.append("*")
        if token == "|":
            made.append(")" if ended else "f_abs(")
            ended = not opens
        elif token == "e" and following == "^":
            made.append("f_exp")
        elif token in FUNCTIONS and following == "(":
            made.append(f"f_{token}")
            ended = False
            continue
        else:
            made.append({"·": "*", "²": "**2", "³": "**3"}.get(token, token))
            ended = token in ")²³" or _is_word(token)
    return _powers_of_e("".join(made))


def _is_word(token: str) -> bool:
    """A number or a name; Python counts ² among the letters and digits too."""
    return token[0].isalnum() and token not in "²³"


def _powers_of_e(text: str) -> str:
    """exp^-z becomes exp(-z): the exponent is a name, a bracket or an absolute value, with a sign perhaps."""
    while "f_exp^" in text:
        start = text.index("f_exp^") + 6
        end = start + (text[start] == "-")
        name = re.match(r"f_abs|[^\W_²³]+|", text[end:])
        assert name is not None
        end += len(name[0])
        if text[end : end + 1] == "(":
            end += _closing(text[end:]) + 1
        text = f"{text[: start - 1]}({text[start:end]}){text[end:]}"
    return text


def _closing(text: str) -> int:
    """Where the bracket closes that the text begins with."""
    depth = 0
    for i, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return i
    raise AssertionError(f"a bracket stays open in {text!r}")
