"""The base of all solvers: methods that ask for the whole objective J(w), not for the gradient of one batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError, UnknownNameError
from fallline.core.record import as_record, records_of
from fallline.core.registry import plain_name
from fallline.optim.optimizer import Arrays, Minimizer
from fallline.optim.schedules import Schedule


class Objective(ABC):
    """J(w) of all weights in one vector, with its derivatives; it counts how often the data were gone through.

    w            (n_weights,) float64, what every method takes and gives

    eps          the rounding unit of the numbers that J is computed in
    l1           strengths of the part Σ l1_j |w_j| of J, (n_weights,) or one for all; J without it is smooth
    bounds       (low, high), each (n_weights,), between which w has to stay; None where it is free
    counts       runs through all data so far, by what was asked for: J alone ("function_evaluations"), J with its
                 gradient ("gradient_evaluations"), products with a Hessian ("hessian_products")

    A solver asks for what it needs and nothing else is computed. The gradient at the last w is remembered.
    """

    eps = float(np.finfo(np.float64).eps)
    l1: np.ndarray | float = 0.0
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    def __init__(self) -> None:
        self.counts = {"function_evaluations": 0, "gradient_evaluations": 0, "hessian_products": 0}
        self._last: tuple[bytes | None, tuple[float, np.ndarray]] = None, (math.nan, np.zeros(0))
        self._counted = False  # whether a solver has asked for the gradient that is remembered

    @abstractmethod
    def compute(self, w: np.ndarray) -> float:
        """J(w)"""

    @abstractmethod
    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """(J(w), dJ/dw)"""

    @abstractmethod
    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """H d, H the Hessian at w"""

    def multiply_gauss_newton(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """G d, G the Gauss-Newton matrix at w; ConfigError where J is no loss of scores"""
        raise ConfigError(
            "this objective is one number and not a loss of residuals, which Gauss-Newton needs: give a function whose "
            "result is the array of residuals, or take optimizer='newton_cg'"
        )

    @property
    def evaluations(self) -> int:
        """Runs through all data so far, whatever was asked for."""
        return sum(self.counts.values())

    def tree(self, w: np.ndarray) -> Any:
        """w as functions of a user's own see it."""
        return w

    def value(self, w: np.ndarray) -> float:
        """J(w)"""
        self.counts["function_evaluations"] += 1
        return self.compute(w)

    def values(self, W: np.ndarray) -> np.ndarray:
        """J of every row of W; infinite where it is no number, so that no search prefers it.

        W (k, n_weights) -> (k,)
        """
        found = np.array([self.value(w) for w in W], dtype=np.float64)
        return np.where(np.isnan(found), np.inf, found)

    def gradient(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """(J(w), dJ/dw); asked for once more at the same w, it costs nothing and is not counted."""
        found = self.look(w)
        self.counts["gradient_evaluations"] += not self._counted
        self._counted = True
        return found

    def look(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """The same for an onlooker: it is not counted."""
        here = w.tobytes()  # compared in a fraction of the time that arrays take
        if here != self._last[0]:
            self._last, self._counted = (here, self.differentiate(w)), False
        return self._last[1]

    def kept(self) -> dict[str, Any]:
        """The counts, as plain data; `take_up` undoes it."""
        return {"counts": dict(self.counts), "counted": self._counted}

    def take_up(self, w: np.ndarray, kept: Mapping[str, Any]) -> None:
        """Goes on at w, at which an onlooker had looked, with the counts that were kept."""
        self.look(w)
        self.counts, self._counted = dict(kept["counts"]), kept["counted"]

    def smooth(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """(value, gradient) of J without Σ l1_j |w_j|; it counts like `gradient`."""
        value, g = self.gradient(w)
        return value - self.kinks(w), g - self.l1 * np.sign(w)

    def kinks(self, w: np.ndarray) -> float:
        """Σ l1_j |w_j|"""
        return float(np.sum(self.l1 * np.abs(w)))

    def hvp(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """H d: the Hessian at w times a direction, at the cost of about two gradients."""
        self.counts["hessian_products"] += 1
        return self.multiply(w, direction)

    def gauss_newton(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """G d = Jᵀ H_L J d: the Jacobian of the scores, and the Hessian of the loss in the scores; never negative."""
        self.counts["hessian_products"] += 1
        return self.multiply_gauss_newton(w, direction)

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """d²J / dw_i dw_j, symmetric; one product for each weight.   -> (n_weights, n_weights)"""
        return symmetric(self.hvp, w)

    @abstractmethod
    def closed_form(self) -> np.ndarray:
        """The w of the smallest norm where dJ/dw = 0, without iterations; ConfigError where there is no formula."""


def symmetric(product: Callable[[np.ndarray, np.ndarray], np.ndarray], w: np.ndarray) -> np.ndarray:
    """The matrix of a product (w, direction) -> M direction, made of its columns.   -> (n_weights, n_weights)"""
    columns = np.stack([product(w, unit) for unit in np.eye(len(w))], axis=1)
    return (columns + columns.T) / 2


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

    takes_bounds: ClassVar[bool] = False  # whether it follows `Objective.bounds`, and knows the kinks of `Objective.l1`
    draws: ClassVar[bool] = True  # whether `iterate` draws random numbers: to make a generator takes as long as a look

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


def size_of(vector: np.ndarray) -> float:
    """The Euclidean norm."""
    return math.sqrt(vector.dot(vector))


def reached(size: float, tolerance: float, what: str = "the gradient norm") -> str:
    """Why a solver is done whose gradient is small enough; "" where it is not."""
    return f"{what} {size:.2g} is within the tolerance {tolerance:g}" if size <= tolerance else ""


def endless(value: float) -> str:
    """Why a solver is done that found no end of the way down."""
    return f"the loss falls without bound: it is {value:.3g}, and there is no minimum in this direction"


def stuck(objective: Objective, size: float) -> str:
    """Why a solver is done for which no step leads down any more."""
    return f"no step lowers the loss any more; the gradient norm is {size:.2g}{blind(objective)}"


def blind(objective: Objective) -> str:
    """A word about kinks, for a method that does not see any; "" where there are none."""
    return "; this method is blind to the kinks of an L1 penalty: take fista or lbfgs" if np.any(objective.l1) else ""


def as_minimizer(value: Any) -> Minimizer:
    """An optimizer or a solver from itself, its class or its text ("adam", "newton")."""
    try:
        return as_record(value, Minimizer)
    except UnknownNameError as error:  # users call all of them optimizers
        name = str(value).partition("(")[0].strip()
        if any(plain_name(name) in map(plain_name, (n, *c.aliases)) for n, c in records_of(Schedule).items()):
            raise UnknownNameError(f"{name!r} is a learning rate, and no optimizer: write sgd({name}(0.1))") from None
        raise UnknownNameError(str(error).replace("no minimizer", "no optimizer", 1)) from None


__all__ = [
    "Move",
    "Objective",
    "Solver",
    "as_minimizer",
    "blind",
    "endless",
    "reached",
    "size_of",
    "stuck",
    "symmetric",
]
