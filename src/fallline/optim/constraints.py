"""Constraints: equations and inequalities that the weights have to satisfy, as functions written in ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.errors import ConfigError, FalllineError
from fallline.core.record import Record, record
from fallline.core.tree import leaves, map_leaves
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program

SCIPY = {"eq": "Equal", "ineq": "AtLeast"}


class Constraint(Record):
    """Something that f(w) has to be, entry by entry.

    f   of the weights: in `minimize` as f itself takes them, in `fit` arrays by path, {"layers.0.W": …}; its result is
        a number or an array, made of Python's operators and fl's ops
    to  a number, or an array that fits to the result
    """

    f: Callable[..., Any]
    to: Any

    equal: ClassVar[bool] = False
    sign: ClassVar[float] = 1.0  # the constraint is sign · (f(w) - to) >= 0, or = 0

    def validate(self) -> None:
        if not callable(self.f):
            raise ConfigError(f"{type(self).__name__}(f={self.f!r}): f must be a function of the weights")


@record
class Equal(Constraint):
    """f(w) = to"""

    f: Callable[..., Any]
    to: Any = 0.0

    equal: ClassVar[bool] = True


@record
class AtLeast(Constraint):
    """f(w) >= to"""

    f: Callable[..., Any]
    to: Any = 0.0


@record
class AtMost(Constraint):
    """f(w) <= to"""

    f: Callable[..., Any]
    to: Any = 0.0

    sign: ClassVar[float] = -1.0


def as_constraints(given: Any) -> tuple[Constraint, ...]:
    """Constraints from themselves, or from dicts as SciPy takes them: {"type": "eq" or "ineq", "fun": f}."""
    listed = [given] if isinstance(given, (Constraint, Mapping)) else list(given)
    return tuple(_as_constraint(each) for each in listed)


def _as_constraint(given: Any) -> Constraint:
    if isinstance(given, Constraint):
        return given
    if isinstance(given, Mapping) and set(given) == {"type", "fun"} and given["type"] in SCIPY:
        return {"eq": Equal, "ineq": AtLeast}[given["type"]](given["fun"])
    raise ConfigError(
        f"constraints hold {given!r}: give fl.Equal(f), fl.AtLeast(f, 0.0) or fl.AtMost(f, 1.0) in a list"
    )


class ConstraintSet:
    """c(w) of all constraints in one vector: c = 0 for equations, c >= 0 for inequalities.

    tree   w as the functions see it, which tells their shapes
    equal  (n,) of bool: which entries are equations
    """

    def __init__(self, constraints: Sequence[Constraint], tree: Any):
        self._programs = [self._traced(c, tree) for c in constraints]
        sizes = [program.outputs[0].size for program, _ in self._programs]
        self.equal = np.repeat([c.equal for c in constraints], sizes).astype(bool)
        self._ends = np.cumsum(sizes)

    @staticmethod
    def _traced(constraint: Constraint, tree: Any) -> tuple[Program, Program]:
        """(c, (the weights, v) -> Jᵀv) of one constraint, the results flat."""

        def entries(given: Any) -> Any:
            found = as_value(constraint.f(given))
            found = found - np.asarray(constraint.to, found.dtype)
            return (constraint.sign * found).reshape(-1)

        def pulled(given: Any, v: Any) -> Any:
            copies = map_leaves(lambda _, leaf: OPS["identity"].apply(leaf), given)
            found = list(leaves(copies).values())
            return tuple(part.reshape(-1) for part in pullback([entries(copies)], [v], found))

        try:
            value = Program.of(entries, tree)
        except FalllineError as error:
            raise ConfigError(f"the constraint {constraint!r} cannot be followed: {error}") from error
        return value, Program.of(pulled, tree, value.outputs[0].spec)

    def __len__(self) -> int:
        return len(self.equal)

    def values(self, tree: Any) -> np.ndarray:
        """c(w), (n,)"""
        found = [program.run(*leaves(tree).values())[0] for program, _ in self._programs]
        return np.concatenate(found).astype(np.float64) if found else np.zeros(0)

    def pull(self, tree: Any, v: np.ndarray) -> np.ndarray:
        """Σ_i v_i dc_i/dw, (n_weights,)"""
        total: Any = 0.0
        for (value, program), part in zip(self._programs, np.split(v, self._ends)[:-1], strict=True):
            given = part.astype(value.outputs[0].dtype)
            total = total + np.concatenate(program.run(*leaves(tree).values(), given)).astype(np.float64)
        return total

    def violation(self, c: np.ndarray) -> float:
        """How far the worst entry of c(w) is from what it has to be."""
        return float(np.max(np.where(self.equal, np.abs(c), np.maximum(-c, 0.0)), initial=0.0))


__all__ = ["AtLeast", "AtMost", "Constraint", "ConstraintSet", "Equal", "as_constraints"]
