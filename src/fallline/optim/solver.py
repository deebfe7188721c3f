"""The base of all solvers: methods that ask for the whole objective J(w), not for the gradient of one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.core.errors import UnknownNameError
from fallline.core.record import as_record
from fallline.optim.optimizer import Arrays, Minimizer


class Objective(ABC):
    """J(w) of all weights in one vector, with its derivatives; it counts how often the data were gone through.

    w            (n_weights,) float64, what every method takes and gives
    evaluations  runs through all data so far: J, J with its gradient, and a product with the Hessian count one each

    eps          the rounding unit of the numbers that J is computed in

    A solver asks for what it needs and nothing else is computed. The gradient at the last w is remembered.
    """

    eps = float(np.finfo(np.float64).eps)

    def __init__(self) -> None:
        self.evaluations = 0
        self._last: tuple[np.ndarray, tuple[float, np.ndarray]] | None = None

    @abstractmethod
    def compute(self, w: np.ndarray) -> float:
        """J(w)"""

    @abstractmethod
    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """(J(w), dJ/dw)"""

    @abstractmethod
    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """H d, H the Hessian at w"""

    def value(self, w: np.ndarray) -> float:
        """J(w)"""
        self.evaluations += 1
        return self.compute(w)

    def gradient(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """(J(w), dJ/dw)"""
        self.evaluations += 1
        return self.look(w)

    def look(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """The same for an onlooker: it is not counted."""
        if self._last is None or not np.array_equal(self._last[0], w):
            self._last = np.array(w), self.differentiate(w)
        return self._last[1]

    def hvp(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """H d: the Hessian at w times a direction, at the cost of about two gradients."""
        self.evaluations += 1
        return self.multiply(w, direction)

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """d²J / dw_i dw_j, symmetric; one product for each weight.   -> (n_weights, n_weights)"""
        columns = np.stack([self.hvp(w, unit) for unit in np.eye(len(w))], axis=1)
        return (columns + columns.T) / 2

    @abstractmethod
    def closed_form(self) -> np.ndarray:
        """The w of the smallest norm where dJ/dw = 0, without iterations; ConfigError where there is no formula."""


@dataclass(frozen=True)
class Move:
    """What one iteration of a solver leaves.

    w, value  the weights after it, and J there
    state     what the next iteration needs besides, arrays by name
    notes     numbers for the history
    done      why there is nothing more to do; "" to go on
    """

    w: np.ndarray
    value: float
    state: Arrays = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)
    done: str = ""


class Solver(Minimizer):
    """A method for the whole objective: one iteration is one epoch of `fit(optimizer=...)`, on all rows at once.

    A subclass writes `iterate`, and `init` where it keeps something from one iteration to the next. Both are pure
    functions, so that a run can be repeated from any epoch: what is kept is handed on as `state`.
    """

    def init(self, w: np.ndarray) -> Arrays:
        """The state before the first iteration; ConfigError for a w that the method is not made for."""
        return {}

    def iterate(
        self, objective: Objective, w: np.ndarray, value: float, state: Arrays, rng: np.random.Generator
    ) -> Move:
        """The next weights.   w (n_weights,), value = J(w); rng is a new one for each iteration, made from the seed"""
        raise TypeError(f"{type(self).__name__} must define iterate(objective, w, value, state, rng)")

    @classmethod
    def sample(cls) -> Solver:
        """The instance on which the contract tests run."""
        return cls()


def as_minimizer(value: Any) -> Minimizer:
    """An optimizer or a solver from itself, its class or its text ("adam", "newton")."""
    try:
        return as_record(value, Minimizer)
    except UnknownNameError as error:  # users call all of them optimizers
        raise UnknownNameError(str(error).replace("no minimizer", "no optimizer", 1)) from None


__all__ = ["Move", "Objective", "Solver", "as_minimizer"]
