"""The modes side by side: one derivative by reverse, forward and numerical differentiation, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.autodiff.functions import MODES, jacobian, positions_of, value_and_grad
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.numbers import counted
from fallline.core.tree import leaves, map_leaves
from fallline.graph.program import Program

# Relative differences that are taken as agreement: a few hundred rounding units between the exact modes, and the error
# of central differences at the best step, which is about eps^(2/3).
EXACT = {"float64": 1e-12, "float32": 1e-5}
NUMERIC = {"float64": 1e-7, "float32": 2e-2}


@dataclass(frozen=True, repr=False)
class ModeReport:
    """What `compare_modes` found; true when the three modes agree.

    reverse, forward, numeric  the derivatives: gradients like the argument, or Jacobians (*result, *argument); of
                   several positions a tuple
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

    def __repr__(self) -> str:
        return str(self)

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


def compare_modes(f: Callable[..., Any], *args: Any, wrt: int | Sequence[int] = 0) -> ModeReport:
    """The derivative of f by reverse, forward and numerical differentiation: passes, and the largest differences.

    f     a function with one number as its result, of numbers, arrays, trees of them or a model; or from one array
          to an array, whose Jacobian is then compared
    args  what f is called with
    wrt   the position of the argument to differentiate by, or several positions
    """
    positions, name = positions_of(wrt, args), getattr(f, "__name__", type(f).__name__)
    given = {p: map_leaves(_as_floats, args[p]) for p in positions}
    if not given:
        raise ConfigError("compare_modes found no argument to differentiate by: give wrt= a position")

    def changed(new: dict[int, Any]) -> Any:
        return f(*(new.get(i, a) for i, a in enumerate(args)))

    outputs = Program.of(lambda *xs: changed(dict(zip(positions, xs, strict=True))), *given.values()).outputs
    if len(outputs) != 1:
        raise ShapeError(f"compare_modes needs one number or one array as the result, {name} gives {len(outputs)}")
    if outputs[0].shape == ():
        found = {m: value_and_grad(f, positions, mode=m)(*args)[1] for m in MODES}
    else:
        _need_arrays(given, name)
        found = {m: tuple(jacobian(lambda x, p=p: changed({p: x}), mode=m)(given[p]) for p in given) for m in MODES}
    n_inputs, n_results = sum(int(np.size(leaf)) for leaf in leaves(given, "param").values()), outputs[0].size
    passes = {"reverse": n_results, "forward": n_inputs, "numeric": 2 * n_inputs}
    reverse, forward, numeric = (_flat(found[m]) for m in MODES)
    errors = {"forward_error": _difference(forward, reverse), "numeric_error": _difference(numeric, reverse)}
    dtypes = {str(np.asarray(leaf).dtype) for leaf in leaves(found["reverse"], "param").values()}
    limits = max((EXACT[d] for d in dtypes), default=0.0), max((NUMERIC[d] for d in dtypes), default=0.0)
    shown = {m: found[m][0] if isinstance(wrt, int) else found[m] for m in MODES}
    return ModeReport(name, n_inputs, n_results, **shown, passes=passes, **errors, tolerances=limits)


def _as_floats(_: str, leaf: Any) -> np.ndarray:
    """Python numbers as float64; arrays keep their dtype."""
    return np.asarray(leaf, float if isinstance(leaf, (int, float)) else None)


def _need_arrays(given: dict[int, Any], name: str) -> None:
    for p, tree in given.items():
        if list(leaves(tree)) != [""]:
            raise ShapeError(f"argument {p} is no array, and {name} gives one: for a Jacobian both must be arrays")


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
