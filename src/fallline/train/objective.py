"""The whole objective J(w) of a training: the step's cost on all rows at once, as one vector of weights sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError
from fallline.core.record import key_of
from fallline.core.select import select
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.engines.engine import COMPILED, Call, Engine, get_engine
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.losses.penalties import L1
from fallline.nn.run import Run
from fallline.ops.shape import concatenate
from fallline.optim.solver import Objective
from fallline.train.closed_form import check_quadratic, solve_least_squares
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.step import Cost, batch_cost, gradients_of, row_scores
from fallline.train.trail import flattened, parted

Arrays = dict[str, Any]
CHUNK = 1 << 21  # bytes of rows that go through together: they stay in the cache from the scores to the gradient
FEWEST_ROWS = 256  # of a chunk, so that a call is worth its fixed cost


class FixedRun(Run):
    """A training run that draws no random numbers: J must be the same at every look."""

    def uniform(self, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
        raise ConfigError(
            "a layer draws random numbers (Dropout): a solver needs an objective that stays the same; leave it out, "
            "or take an optimizer that steps from batch to batch (adam)"
        )


class TrainingObjective(Objective):
    """J on all training rows, compiled from the pieces of the training step: same loss, weights of rows and penalties.

    Layers are in training mode: batch norm uses the statistics of all rows, which then go through in one piece. Other
    networks take them a chunk at a time, and a chunk that was read for the scores is still in the cache for the
    gradient; J and its gradient are summed over the chunks in float64.
    """

    def __init__(self, model: Model, train: Examples, penalties: tuple[Any, ...], engine: Engine | None = None):
        super().__init__()
        self.model, self.train, self.penalties = model, train, penalties
        self.engine = engine or get_engine(model.engine)
        self.params, self.buffers = leaves(model.network, "param"), leaves(model.network, "buffer")
        self.eps = float(np.finfo(train.w.dtype).eps)
        self.l1 = self._l1()
        self._penalised = 0.0  # the penalties where J was last differentiated
        self._calls: dict[str, list[tuple[Call, list[np.ndarray]]]] = {}

    def _l1(self) -> np.ndarray | float:
        """The strengths of all L1 penalties, one for each weight."""
        found: Any = 0.0
        for penalty in self.penalties:
            if type(penalty) is L1:
                chosen = select(penalty.where, self.params, repr(penalty))
                parts = [np.full(leaf.size, penalty.strength * (path in chosen)) for path, leaf in self.params.items()]
                found = found + np.concatenate(parts)
        return found

    @property
    def weights(self) -> np.ndarray:
        """The starting weights in one vector, in the order of `leaves(network, "param")`."""
        return flattened(self.model.network)

    def leaves_at(self, w: np.ndarray, buffers: Arrays) -> Arrays:
        """Every leaf of the network with these weights and this state, in the order of `leaves(network)`."""
        found = {**self._split(w), **buffers}
        return {path: found[path] for path in self._paths}

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        """Of all leaves, in order."""
        return tuple(leaves(self.model.network))

    def moved(self, buffers: Arrays, w: np.ndarray) -> Arrays:
        """The state after one step at these weights: running statistics come nearer to those of all rows."""
        if not buffers:
            return buffers
        [updated] = self._results("buffers", self._buffers, buffers, w)
        return dict(zip(buffers, updated, strict=True))

    def tree(self, w: np.ndarray) -> Arrays:
        return self._split(w)

    def compute(self, w: np.ndarray) -> float:
        return sum(float(value) for (value,) in self._results("value", self._value, self.buffers, w))

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        found = self._results("gradient", self._gradient, self.buffers, w)
        self._penalised = sum(float(penalty) for _, penalty, _ in found)
        return sum(float(value) for value, _, _ in found), _summed([g for _, _, g in found])

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return _summed([g for (g,) in self._results("hvp", self._product, self.buffers, w, direction)])

    def multiply_gauss_newton(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return _summed([g for (g,) in self._results("gauss_newton", self._gauss_newton, self.buffers, w, direction)])

    def closed_form(self) -> np.ndarray:
        return solve_least_squares(self._scores, self.params, self.model.loss, self.penalties, self.train)

    def check_quadratic(self) -> None:
        """ConfigError with the reason unless the Hessian is the same for all weights, as it is for least squares."""
        check_quadratic(self._scores, self.params, self.model.loss, self.penalties, self.train)

    def _scores(self, params: Arrays, x: Any) -> Value:
        """The network's scores in float64, as a function of its weights."""
        network = map_leaves(lambda _, a: a.astype(np.float64) if a.dtype.kind == "f" else a, self.model.network)
        run = FixedRun.of(network, training=True)
        found = row_scores(with_leaves(network, params), x, run)
        if run.updates:
            raise ConfigError("there is no closed form behind the statistics of a batch: leave batch norm out")
        return found

    def penalty(self, w: np.ndarray) -> float:
        """The part of J that is not the mean loss of the rows."""
        if not self.penalties:
            return 0.0
        self.look(w)
        return self._penalised

    def _split(self, w: np.ndarray) -> Arrays:
        """A vector as arrays by path, in the precision of the network."""
        return parted(w, self.params)

    def _results(
        self, name: str, build: Callable[..., Any], buffers: Arrays, *vectors: np.ndarray
    ) -> list[list[np.ndarray]]:
        """The results of build(rows, buffers, *vectors) for each chunk of the rows, in order.

        The vectors, of all weights each, come apart inside the program, and gradients go together there.
        """
        if name not in self._calls:
            self._calls[name] = [
                (self._compiled(name, build, rows, buffers, vectors), rows.arrays)
                for rows in self._chunks(name == "buffers")
            ]
        given = [*buffers.values(), *vectors]
        return [call(*arrays, *given) for call, arrays in self._calls[name]]

    def _compiled(
        self, name: str, build: Callable[..., Any], rows: Examples, buffers: Arrays, vectors: Sequence[np.ndarray]
    ) -> Call:
        """The function (rows, buffers, *vectors) -> results, compiled once for a configuration and a number of rows."""
        key = (*self._key, name, len(rows))

        def whole(x: Any, y: Any, w: Any, buffers: Arrays, *vectors: Any) -> Any:
            return build((x, y, w), buffers, *map(self._split, vectors))

        def compiled() -> Call:
            return self.engine.compile(Program.of(whole, rows.x, rows.y, rows.w, buffers, *vectors))

        return COMPILED.get(key, compiled)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        """What every program depends on."""
        model, data = self.model, self.train.arrays
        parts = map(key_of, (model.network, model.loss, self.penalties))
        return ("objective", *parts, len(self.train), tuple(str(Spec.of(array)) for array in data), self.engine.key)

    def _chunks(self, whole: bool) -> list[Examples]:
        """All rows in order, cut where a chunk has CHUNK bytes."""
        n, size = len(self.train), sum(array.nbytes for array in self.train.arrays)
        rows = max(FEWEST_ROWS, int(CHUNK * n / max(1, size)))
        if whole or n <= rows or self._mixes_rows:
            return [self.train]
        return [self.train.take(np.s_[k : k + rows]) for k in range(0, n, rows)]

    @cached_property
    def _mixes_rows(self) -> bool:
        """Whether what a row gives depends on the others, as behind batch norm."""
        run = FixedRun.of(self.model.network, training=True)
        rows = map_leaves(lambda _, leaf: Spec((2, *leaf.shape[1:]), leaf.dtype), self.train.x)
        Program.of(lambda params, x: row_scores(with_leaves(self.model.network, params), x, run), self.params, rows)
        return bool(run.updates)

    def _cost(self, rows: Any, buffers: Arrays, params: Arrays) -> tuple[Cost, Run]:
        network = with_leaves(self.model.network, {**params, **buffers})
        run = FixedRun.of(network, training=True)
        n = len(self.train)
        return batch_cost(network, params, self.model.loss, self.penalties, n, rows, run), run

    def _value(self, rows: Any, buffers: Arrays, params: Arrays) -> Any:
        return (self._cost(rows, buffers, params)[0].objective,)

    def _gradient(self, rows: Any, buffers: Arrays, params: Arrays) -> Any:
        cost = self._cost(rows, buffers, params)[0]
        penalty = sum(cost.penalties) if cost.penalties else np.zeros((), cost.objective.dtype)
        return cost.objective, penalty, as_vector(gradients_of(cost.objective, params).values())

    def _product(self, rows: Any, buffers: Arrays, params: Arrays, direction: Arrays) -> Any:
        """Forward over reverse: the change of the gradient along the direction."""
        gradients = gradients_of(self._cost(rows, buffers, params)[0].objective, params)
        return (as_vector(pushforward(list(gradients.values()), list(params.values()), list(direction.values()))),)

    def _gauss_newton(self, rows: Any, buffers: Arrays, params: Arrays, direction: Arrays) -> Any:
        """Jᵀ H_L J d, and the products of the penalties' own Hessians."""
        cost, wrt, tangents = self._cost(rows, buffers, params)[0], list(params.values()), list(direction.values())
        one = np.ones((), cost.mean.dtype)
        [moved] = pushforward([cost.score], wrt, tangents)
        slopes = pullback([cost.mean], [one], [cost.score])
        curved = pushforward(slopes, [cost.score], [moved])
        found = pullback([cost.score], curved, wrt)
        if cost.penalties:
            added = pullback(cost.penalties, [one] * len(cost.penalties), wrt)
            found = [a + b for a, b in zip(found, pushforward(added, wrt, tangents), strict=True)]
        return (as_vector(found),)

    def _buffers(self, rows: Any, buffers: Arrays, params: Arrays) -> Any:
        run = self._cost(rows, buffers, params)[1]
        return tuple(run.updates.get(path, old) for path, old in buffers.items())


def as_vector(values: Iterable[Any]) -> Any:
    """`joined` inside a program: all entries of some values in one float64 vector."""
    parts = [value.astype(np.float64).reshape(-1) for value in values]
    return concatenate(parts) if parts else np.zeros(0)


def _summed(parts: Sequence[np.ndarray]) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
