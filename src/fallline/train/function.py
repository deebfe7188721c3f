"""A function of one's own as an objective, and the way down it that a method takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.functions import value_and_grad
from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DtypeError, FalllineError, ShapeError
from fallline.core.record import Record
from fallline.core.tree import leaves, map_leaves, map_records, with_leaves
from fallline.engines.engine import Call, Engine, get_engine
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program
from fallline.ops.composite import dot
from fallline.optim.optimizer import Context, Minimizer, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.solver import Objective, Solver, as_minimizer
from fallline.train.trail import joined, parted

LEARNING_RATE = 0.1  # where none is given
LARGE = 4096  # entries of an array in f from which machine code is worth its making
UNFOLLOWED = (FalllineError, TypeError, ValueError, AttributeError, IndexError)
CURE = "write it with Python's operators and Fallline's functions (fl.sin, fl.sum), or take a method without gradients"


class FunctionObjective(Objective):
    """J(w) = f(x) + Σ l1_j |w_j|, x the tree whose arrays w has in one vector; of residuals r = f(x) it is ½ Σ r².

    f is called as it is for values, and followed once, as a program, for its derivatives.
    like       x at the start, which tells its structure
    rng        f(x, rng) is noisy: it draws from rng, new numbers at each look
    residuals  whether f gives an array of them
    """

    def __init__(
        self, f: Callable[..., Any], like: Any, *, rng: np.random.Generator | None = None, residuals: bool = False,
        engine: str | Engine = "auto",
    ):  # fmt: skip
        super().__init__()
        self.f = f if rng is None else (lambda x: f(x, rng))
        self.like, self.noisy, self.residuals, self.engine = like, rng is not None, residuals, engine
        self.params = leaves(like, "param")
        self.eps = max(float(np.finfo(leaf.dtype).eps) for leaf in self.params.values())
        self._compiled: dict[str, Call] = {}

    @cached_property
    def start(self) -> np.ndarray:
        """The start in one vector."""
        return joined(self.params.values())

    def parts(self, w: np.ndarray) -> dict[str, Any]:
        """w as arrays by path."""
        return parted(w, self.params)

    def tree(self, w: np.ndarray) -> Any:
        parts = self.parts(w)
        return with_leaves(self.like, {path: leaf if leaf.ndim else leaf[()] for path, leaf in parts.items()})

    def compute(self, w: np.ndarray) -> float:
        found = np.asarray(self.f(self.tree(w)), np.float64)
        self._check(found.shape)
        return (0.5 * float(np.sum(found * found)) if self.residuals else float(found)) + self.kinks(w)

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        if self.noisy:
            value, slope = value_and_grad(self.f)(self.tree(w))
            value, slopes = float(value), joined(leaves(slope, "param").values())
        else:
            found, *parts = self._call("gradient", self._gradient, w)
            value, slopes = float(found), joined(parts)
        return value + self.kinks(w), slopes + self.l1 * np.sign(w)

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return joined(self._call("hvp", self._product, w, direction))

    def multiply_gauss_newton(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        if not self.residuals:
            return super().multiply_gauss_newton(w, direction)
        return joined(self._call("gauss_newton", self._gauss_newton, w, direction))

    def closed_form(self) -> np.ndarray:
        raise ConfigError("a function of one's own has no closed form: take optimizer='newton' or gradient descent")

    def curvature(self, w: np.ndarray) -> float:
        """The largest eigenvalue of the Hessian."""
        return float(np.linalg.eigvalsh(self.hessian(np.ravel(w)))[-1])

    def _call(self, name: str, build: Callable[..., Any], *vectors: np.ndarray) -> list[np.ndarray]:
        """The results of build(*trees of nodes by path), compiled once; what is noisy is followed anew each time."""
        trees = [parted(v, self.params) for v in vectors]
        if name not in self._compiled or self.noisy:
            try:
                program = Program.of(build, *trees)
            except ShapeError:  # what f itself does wrong, on arrays too
                raise
            except UNFOLLOWED as error:
                raise ConfigError(f"f cannot be followed to its derivative ({error}): {CURE}") from error
            large = max((v.size for v in program.order), default=0) >= LARGE
            engine = get_engine("numpy" if self.engine == "auto" and not large else self.engine)
            self._compiled[name] = engine.compile(program)
        return self._compiled[name](*(leaf for tree in trees for leaf in tree.values()))

    def _followed(self, params: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        """(f, the nodes of x that it was called with); only numbers that change with x have a derivative."""
        copies = {path: OPS["identity"].apply(leaf) for path, leaf in params.items()}
        found = as_value(self.f(with_leaves(self.like, copies)))
        self._check(found.shape)
        if not found.spec.is_float:
            raise DtypeError(f"it gives {found.spec}, which has no slope")
        return found, list(copies.values())

    def _check(self, shape: tuple[int, ...]) -> None:
        """ShapeError unless f gives what the method needs."""
        if self.residuals and not shape:
            raise ShapeError(
                "f gives one number, and Levenberg-Marquardt needs the array of residuals r, of which it minimises "
                "½ Σ r²: give that, or take optimizer='newton_cg'"
            )
        if shape and not self.residuals:
            raise ShapeError(
                f"f gives an array of shape {shape}: give one number, such as fl.sum(…); or residuals, whose squares "
                "optimizer='levenberg_marquardt' sums up"
            )

    def _gradient(self, params: Mapping[str, Any]) -> Any:
        found, wrt = self._followed(params)
        if self.residuals:
            flat = found.reshape(-1)
            found = 0.5 * dot(flat, flat)
        return found, *pullback([found], [np.ones((), found.dtype)], wrt)

    def _product(self, params: Mapping[str, Any], direction: Mapping[str, Any]) -> Any:
        copies = {path: OPS["identity"].apply(leaf) for path, leaf in params.items()}
        slopes = self._gradient(copies)[1:]
        return tuple(pushforward(list(slopes), list(copies.values()), list(direction.values())))

    def _gauss_newton(self, params: Mapping[str, Any], direction: Mapping[str, Any]) -> Any:
        found, wrt = self._followed(params)
        return tuple(pullback([found], pushforward([found], wrt, list(direction.values())), wrt))


@dataclass(frozen=True)
class Stage:
    """Where a method is after some steps: w, f there, its gradient where it was computed, notes, why it is done."""

    w: np.ndarray
    value: float
    gradient: np.ndarray | None
    notes: Mapping[str, float] = field(default_factory=dict)
    done: str = ""


def stages(method: Minimizer, objective: FunctionObjective, steps: int, seed: Any) -> Iterator[Stage]:
    """The start and what every step or iteration leaves, without an end but that of a solver which is done.

    seed  of a solver, see `np.random.default_rng`, or a generator
    """
    if isinstance(method, Optimizer):
        return _steps(method, objective, steps)
    assert isinstance(method, Solver)
    return _iterations(method, objective, np.random.default_rng(seed))


def _steps(method: Optimizer, objective: FunctionObjective, steps: int) -> Iterator[Stage]:
    """The stages show the w by which the method wants to be judged, where that is not the one that it moves."""
    if method.members:
        raise ConfigError(f"{method!r} ends in several networks, f in one place: take the optimizer inside it")
    method = method.for_run(batches=1.0, epochs=steps)
    params = dict(objective.params)
    state = method.init(params)

    def gradient(at: Mapping[str, Any]) -> dict[str, Any]:
        return parted(objective.gradient(joined(at.values()))[1], objective.params)

    for t in itertools.count():
        shown = method.evaluated(params, state)
        w = joined(shown.values())
        value, slope = objective.gradient(w)
        yield Stage(w, value, slope)
        rate = method.rate_at(t, steps_per_epoch=1, epochs=steps)
        moved = any(shown[path] is not p for path, p in params.items())
        grads = gradient(params) if moved else parted(slope, objective.params)
        params, state = method.update(params, grads, state, lr=rate, t=t + 1.0, context=Context(gradient))
        if objective.bounds is not None:
            params = parted(np.clip(joined(params.values()), *objective.bounds), objective.params)


def _iterations(method: Solver, objective: FunctionObjective, rng: np.random.Generator) -> Iterator[Stage]:
    w, state = objective.start, method.init(objective.start)

    def look() -> tuple[float, np.ndarray | None]:
        return objective.look(w) if method.uses_gradient else (value, None)

    value = objective.look(w)[0] if method.uses_gradient else objective.value(w)
    yield Stage(w, *look())
    while True:
        move = method.iterate(objective, w, value, state, rng)
        w, value, state = move.w, move.value, move.state
        yield Stage(w, value, look()[1], move.notes, move.done)


def chosen_method(optimizer: str | Minimizer, learning_rate: Rate | None) -> Minimizer:
    """The optimizer with its learning rate, or the solver, which has none; weight decay decays all of w."""
    method = map_records(_decays_all, as_minimizer(optimizer))
    if not isinstance(method, Optimizer):
        if learning_rate is not None:
            raise ConfigError(
                f"{method!r} is a solver and finds the length of its steps itself: leave learning_rate out"
            )
        return method
    if learning_rate is None and (isinstance(optimizer, type) or (isinstance(optimizer, str) and "(" not in optimizer)):
        learning_rate = LEARNING_RATE
    return method if learning_rate is None else method.with_rate(learning_rate)


def _decays_all(_: str, method: Record) -> Record:
    """The optimizer, for which w is no bias although it may have no axis or one: where=None would leave it out."""
    return method.replace(where="*") if getattr(method, "where", "*") is None else method


def float_leaves(x: Any, name: str, *, finite: bool = True) -> Any:
    """x with float arrays at its leaves; a list is one array. ConfigError for what holds no (finite) numbers."""

    def floats(path: str, leaf: Any) -> np.ndarray:
        where = f"{name} at {path}" if path else name
        try:
            array = np.array(leaf)
            array = array if array.dtype.kind == "f" else array.astype(np.float64)
        except (TypeError, ValueError):
            raise ConfigError(f"{where} is {leaf!r}: give numbers, or arrays of numbers") from None
        if np.isnan(array).any() or (finite and not np.isfinite(array).all()):
            raise ConfigError(f"{where} is {leaf!r}: give numbers that are finite")
        return array

    return map_leaves(floats, x) if not isinstance(x, list) else floats("", x)


__all__ = ["LEARNING_RATE", "FunctionObjective", "Stage", "chosen_method", "float_leaves", "stages"]
