"""The whole objective J(w) of a training: the step's cost on all rows at once, as one vector of weights sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.autodiff.forward import pushforward
from fallline.core.errors import ConfigError
from fallline.core.record import key_of
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.engines.engine import COMPILED, Engine, get_engine
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.nn.run import Run
from fallline.optim.solver import Objective
from fallline.train.closed_form import check_quadratic, solve_least_squares
from fallline.train.examples import Examples
from fallline.train.model import Model
from fallline.train.step import Cost, batch_cost, gradients_of, row_scores
from fallline.train.trail import flattened, joined, parted

Arrays = dict[str, Any]


class FixedRun(Run):
    """A training run that draws no random numbers: J must be the same at every look."""

    def uniform(self, shape: tuple[int, ...], dtype: Any = "float32") -> Any:
        raise ConfigError(
            "a layer draws random numbers (Dropout): a solver needs an objective that stays the same; leave it out, "
            "or take an optimizer that steps from batch to batch (adam)"
        )


class TrainingObjective(Objective):
    """J on all training rows, compiled from the pieces of the training step: same loss, weights of rows and penalties.

    Layers are in training mode: batch norm uses the statistics of all rows. The rows go through in one piece.
    """

    def __init__(self, model: Model, train: Examples, penalties: tuple[Any, ...], engine: Engine | None = None):
        super().__init__()
        self.model, self.train, self.penalties = model, train, penalties
        self.engine = engine or get_engine(model.engine)
        self.params, self.buffers = leaves(model.network, "param"), leaves(model.network, "buffer")
        self.eps = float(np.finfo(train.w.dtype).eps)

    @property
    def weights(self) -> np.ndarray:
        """The starting weights in one vector, in the order of `leaves(network, "param")`."""
        return flattened(self.model.network)

    def leaves_at(self, w: np.ndarray, buffers: Arrays) -> Arrays:
        """Every leaf of the network with these weights and this state, in the order of `leaves(network)`."""
        found = {**self._split(w), **buffers}
        return {path: found[path] for path in leaves(self.model.network)}

    def moved(self, buffers: Arrays, w: np.ndarray) -> Arrays:
        """The state after one step at these weights: running statistics come nearer to those of all rows."""
        if not buffers:
            return buffers
        updated = self._call("buffers", self._buffers, (self._split(w), buffers))
        return dict(zip(buffers, updated, strict=True))

    def compute(self, w: np.ndarray) -> float:
        return float(self._call("value", self._value, self._parts(w))[0])

    def differentiate(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        value, *gradients = self._call("gradient", self._gradient, self._parts(w))
        return float(value), joined(gradients)

    def multiply(self, w: np.ndarray, direction: np.ndarray) -> np.ndarray:
        parts = (*self._parts(w), self._split(direction))
        return joined(self._call("hvp", self._product, parts))

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
        return sum(float(penalty(self._split(w))) for penalty in self.penalties)

    def _split(self, w: np.ndarray) -> Arrays:
        """A vector as arrays by path, in the precision of the network."""
        return parted(w, self.params)

    def _parts(self, w: np.ndarray) -> tuple[Arrays, Arrays]:
        return self._split(w), self.buffers

    def _call(self, name: str, build: Callable[..., Any], parts: Sequence[Arrays]) -> list[np.ndarray]:
        """The results of build(rows, *parts), compiled once for each configuration and number of rows."""
        data, model = self.train.arrays, self.model
        key = (f"objective {name}", *map(key_of, (model.network, model.loss, self.penalties)), len(self.train),
               tuple(str(Spec.of(array)) for array in data), self.engine.key)  # fmt: skip

        def compiled() -> Any:
            rows = self.train.x, self.train.y, self.train.w
            return self.engine.compile(Program.of(lambda *given: build(given[:3], *given[3:]), *rows, *parts))

        return COMPILED.get(key, compiled)(*data, *(leaf for part in parts for leaf in part.values()))

    def _cost(self, rows: Any, params: Arrays, buffers: Arrays) -> tuple[Cost, Run]:
        network = with_leaves(self.model.network, {**params, **buffers})
        run = FixedRun.of(network, training=True)
        n = len(self.train)
        return batch_cost(network, params, self.model.loss, self.penalties, n, rows, run), run

    def _value(self, rows: Any, params: Arrays, buffers: Arrays) -> Any:
        return (self._cost(rows, params, buffers)[0].objective,)

    def _gradient(self, rows: Any, params: Arrays, buffers: Arrays) -> Any:
        objective = self._cost(rows, params, buffers)[0].objective
        return objective, *gradients_of(objective, params).values()

    def _product(self, rows: Any, params: Arrays, buffers: Arrays, direction: Arrays) -> Any:
        """Forward over reverse: the change of the gradient along the direction."""
        gradients = gradients_of(self._cost(rows, params, buffers)[0].objective, params)
        return tuple(pushforward(list(gradients.values()), list(params.values()), list(direction.values())))

    def _buffers(self, rows: Any, params: Arrays, buffers: Arrays) -> Any:
        run = self._cost(rows, params, buffers)[1]
        return tuple(run.updates.get(path, old) for path, old in buffers.items())
