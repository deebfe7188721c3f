"""Descent: the way down a function, step by step, as data and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.listing import Listing
from fallline.core.numbers import number_text
from fallline.core.views import VIEWS
from fallline.optim.optimizer import Minimizer

SHOWN = 12  # steps of a printed descent
DIGITS = 6


@dataclass(frozen=True, eq=False)
class Descent:
    """The way down a function: `str` prints it, `table()` has every step.

    f          the function
    path       (steps + 1, …) the w of each step, path[0] the start;  values  (steps + 1,) f there
    slopes     (steps + 1, …) df/dw there
    reason     why it ended, and what to do about it;  converged  whether it ended where the slope is 0
    noisy      whether each look at f draws new numbers
    evaluations  of f so far by kind, as an Objective counts them, (steps + 1,) each; of an optimizer one slope a step
    restarts   with restarts=n every start and where it led;  minima  the different minima among these ends
    """

    f: Callable[..., Any]
    minimizer: Minimizer
    path: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    reason: str
    converged: bool
    noisy: bool = False
    restarts: Listing | None = None
    minima: Listing | None = None
    evaluations: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def _best(self) -> int:
        if self.noisy or self.converged:
            return self.steps
        return int(np.nanargmin(self.values)) if np.isfinite(self.values).any() else 0

    @property
    def minimum(self) -> Any:
        """The w where it converged, else the one with the lowest value on the way, of a noisy f the last one."""
        found = self.path[self._best]
        return found if found.ndim else float(found)

    @property
    def lowest(self) -> float:
        """f at the minimum."""
        return float(self.values[self._best])

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.path) - 1

    def table(self) -> Listing:
        """Every step: w, f(w), the slope, and where the step goes."""
        return self._listing(list(range(len(self.path))))

    def plot(self, path: str | Path | None = None) -> Any:
        """The way on the curve of f as a matplotlib figure; written to a file when a path is given."""
        return VIEWS["descent"](self, path)

    def _listing(self, rows: list[int | None]) -> Listing:
        """These steps as a table; None is a gap."""

        def cells(cell: Callable[[int], Any]) -> list[Any]:
            return [None if i is None else cell(i) for i in rows]

        columns = {
            "step": ["…" if i is None else i for i in rows],
            "w": cells(lambda i: self.path[i]),
            "f(w)": cells(lambda i: float(self.values[i])),
            "slope": cells(lambda i: self.slopes[i]),
            "next step": cells(self._step_text),
        }
        return Listing(f"Descent by {self.minimizer!r}", columns, [""] * len(rows), self._end(), DIGITS)

    def _end(self) -> str:
        if self.noisy:
            return self.reason
        return f"{self.reason}; the lowest value is f({_text(self.minimum)}) = {_text(self.lowest)}"

    def _step_text(self, i: int) -> str:
        """ "right by 0.6"; of an array the length alone."""
        if i >= self.steps:
            return ""
        change = self.path[i + 1] - self.path[i]
        side = "" if change.ndim else "right " if change > 0 else "left " if change < 0 else ""
        return f"{side}by {_text(float(np.linalg.norm(np.ravel(change))))}"

    def _shown(self) -> Listing:
        """The table with the first steps and the last ones."""
        last, half = len(self.path), SHOWN // 2
        return self._listing([*range(last)] if last <= SHOWN else [*range(half), None, *range(last - half, last)])

    def __str__(self) -> str:
        return "\n\n".join(str(part) for part in (self._shown(), self.minima) if part is not None)

    def __repr__(self) -> str:
        return f"Descent({self.steps} steps: {self._end()})"

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in (self._shown(), self.minima) if part is not None)


def _text(value: Any) -> str:
    return number_text(value, DIGITS)


__all__ = ["DIGITS", "Descent"]
