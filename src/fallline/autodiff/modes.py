"""The modes side by side: one derivative by reverse, forward and numerical differentiation, and what each costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.autodiff.functions import MODES, jacobian, value_and_grad
from fallline.core.errors import ConfigError
from fallline.core.numbers import counted
from fallline.core.tree import leaves, map_leaves
from fallline.graph.program import Program

# Relative differences that are taken as agreement: a few hundred rounding units between the exact modes, and the error
# of central differences at the best step, which is about eps^(2/3).
EXACT = {"float64": 1e-12, "float32": 1e-5}
NUMERIC = {"float64": 1e-7, "float32": 2e-2}


@dataclass(frozen=True)
class ModeReport:
    """What `compare_modes` found; true when the three modes agree.

    reverse, forward, numeric  the derivatives: gradients like the argument, or Jacobians (*result, *argument)
    passes         how many each mode needs: one per result entry, one per input entry, two runs per input entry
    forward_error  the largest |forward - reverse| relative to the largest derivative;  numeric_error  of numeric
    advice         which mode suits this function and why, in one sentence
    """

    name: str
    n_inputs: int
    n_results: int
    reverse: Any
    forward: Any
    numeric: Any
    passes: dict[str, int]
    forward_error: float
    numeric_error: float
    tolerances: tuple[float, float]

    def __bool__(self) -> bool:
        return self.forward_error <= self.tolerances[0] and self.numeric_error <= self.tolerances[1]

    @property
    def advice(self) -> str:
        reverse, forward = (counted(self.passes[m], "pass") for m in ("reverse", "forward"))
        if self.n_inputs == self.n_results:
            return f"either mode suits: both need {reverse}, and forward mode stores nothing on its way"
        if self.n_inputs > self.n_results:
            return (
                f"reverse mode suits: it needs {reverse} where forward mode needs {forward}, one for each input entry"
            )
        return f"forward mode suits: it needs {forward} where reverse mode needs {reverse}, one for each result entry"

    def __str__(self) -> str:
        head = f"derivatives of {self.name}: {_entries(self.n_inputs, 'input')}, {_entries(self.n_results, 'result')}"
        each = {"reverse": "one for each result entry", "forward": "one for each input entry"}
        each["numeric"] = "two for each input entry"
        errors = {"forward": self.forward_error, "numeric": self.numeric_error}
        counts = {m: counted(self.passes[m], "run" if m == "numeric" else "pass") for m in MODES}
        wide = max(map(len, counts.values()))
        lines = [head]
        for mode in MODES:
            cost = f"  {mode:<8} {counts[mode]:>{wide}}, {each[mode]:<25}"
            lines.append(f"{cost}  differs by {errors[mode]:.2g} from reverse" if mode in errors else cost.rstrip())
        return "\n".join([*lines, self.advice])


def compare_modes(f: Callable[..., Any], *args: Any, wrt: int = 0) -> ModeReport:
    """The derivative of f by reverse, forward and numerical differentiation: passes, and the largest differences.

    f     a function with one number as its result, of numbers, arrays, trees of them or a model; or from one array
          to an array, whose Jacobian is then compared
    args  what f is called with;  wrt  the position of the argument to differentiate by
    """
    if not 0 <= wrt < len(args):
        raise ConfigError(f"wrt={wrt}: the function was given {counted(len(args), 'argument')}")
    given = map_leaves(lambda _, leaf: np.asarray(leaf, float if isinstance(leaf, (int, float)) else None), args[wrt])

    def chosen(x: Any) -> Any:
        return f(*args[:wrt], x, *args[wrt + 1 :])

    name = getattr(f, "__name__", type(f).__name__)
    chosen.__name__ = name
    (out,) = Program.of(chosen, given).outputs or (None,)
    n_results = out.size if out is not None else 0
    if out is not None and out.shape == ():
        found = {m: value_and_grad(chosen, mode=m)(given)[1] for m in MODES}
    else:
        found = {m: jacobian(chosen, mode=m)(given) for m in MODES}
    n_inputs = sum(int(np.size(leaf)) for leaf in leaves(given, "param").values())
    reverse, forward, numeric = (_flat(found[m]) for m in MODES)
    passes = {"reverse": n_results, "forward": n_inputs, "numeric": 2 * n_inputs}
    dtype = str(reverse.dtype)
    errors, tolerances = (_difference(forward, reverse), _difference(numeric, reverse)), (EXACT[dtype], NUMERIC[dtype])
    return ModeReport(
        name, n_inputs, n_results, found["reverse"], found["forward"], found["numeric"], passes, *errors, tolerances
    )


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in leaves(tree, "param").values()] or [np.zeros(0)])


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max |a|, |b|;  0 where all are 0, infinity where one is not finite."""
    if not a.size:
        return 0.0
    size = max(float(np.max(np.abs(a))), float(np.max(np.abs(b))))
    gap = float(np.max(np.abs(a.astype(np.float64) - b)))
    if not np.isfinite(gap) or not np.isfinite(size):
        return float("inf")
    return gap / size if size else 0.0


def _entries(n: int, word: str) -> str:
    return f"{n:,} {word} {'entry' if n == 1 else 'entries'}"


__all__ = ["ModeReport", "compare_modes"]
