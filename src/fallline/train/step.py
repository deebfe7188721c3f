"""The training step as one program, and the programs that evaluate and predict.

    J = Σ_i w_i L(score_i, target_i) / B  +  b/B · penalty(weights)          b rows in this batch, B the batch size

so that every row counts the same in every batch, a short last batch weighs by its size, and the strength
of a penalty does not depend on the batch size. Weights of rows are scaled to a mean of 1 over the training rows.

Without a B every batch is a mean of its own, and a penalty counts like one row, as scikit-learn has it:

    J = (Σ_i w_i L(score_i, target_i)  +  penalty(weights)) / Σ_i w_i
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import key_of
from fallline.core.spec import Spec
from fallline.core.tree import leaves, with_leaves
from fallline.engines.engine import COMPILED, Call, CompileCache, Engine, Loop
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program
from fallline.graph.value import Value, scope
from fallline.losses.loss import Loss
from fallline.nn.ensemble import Ensemble
from fallline.nn.layer import Layer, output_spec
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import dot
from fallline.ops.reduce import sum as asum
from fallline.ops.transcendental import sqrt
from fallline.optim.optimizer import Context, Optimizer

Arrays = dict[str, Any]
_SHAPES = CompileCache()  # of what networks give: a network that many are trained of is traced once


def row_scores(network: Layer, x: Any, run: Run) -> Value:
    """The network's scores in the shape that losses take: (batch,) for one score a row, else (batch, n_scores)."""
    score = as_value(network(x, run))
    if score.ndim == 2 and score.shape[1] == 1:
        return score.reshape(score.shape[0])
    return score


def row_losses(network: Layer, loss: Loss, x: Any, y: Any, run: Run) -> tuple[Value, Value]:
    """(scores, L(score_i, target_i) of every row); ShapeError for a loss that does not give one number a row."""
    score = row_scores(network, x, run)
    with scope("loss"):
        losses = as_value(loss(score, y))
    if losses.shape != (score.shape[0],):
        raise ShapeError(f"{loss!r} gives {losses.spec} for {score.shape[0]} rows: it must give one number a row")
    return score, losses


class Cost(NamedTuple):
    """J on one batch, as nodes: the scores, one loss a row, Σ w L and the same over B, each penalty, and J.

    Where every batch is a mean of its own, total is J instead.
    """

    score: Value
    losses: Value
    total: Value
    mean: Value
    penalties: list[Value]
    objective: Value


def batch_cost(
    network: Layer,
    params: Arrays,
    loss: Loss,
    penalties: Sequence[Any],
    batch: int | None,
    rows: tuple[Any, Any, Any],
    run: Run,
) -> Cost:
    """J of a network with these parameters on the rows (x, y, w); see the head of this file."""
    x, y, w = rows
    score, losses = row_losses(network, loss, x, y, run)
    total = dot(losses, w)
    size = asum(w) if batch is None else batch
    mean = objective = total / size
    share = 1.0 / size if batch is None else w.shape[0] / batch
    added = []
    for penalty in penalties:
        with scope("penalty"):
            added.append(as_value(penalty(params) * share))
            objective = objective + added[-1]
    return Cost(score, losses, objective if batch is None else total, mean, added, objective)


def gradients_of(objective: Value, params: Arrays) -> Arrays:
    """dJ/dw by the path of w."""
    found = pullback([objective], [np.ones((), objective.dtype)], list(params.values()))
    return dict(zip(params, found, strict=True))


class Inside(NamedTuple):
    """The nodes inside one training step, for whoever wants to see more than what the step leaves.

    calls      (path, layer, result) of every layer call, in the order in which they end
    losses     one a row;  mean  Σ w L / B;  penalties  one number each;  cost  their sum, J
    gradients  dJ/dw by the path of w
    """

    calls: list[tuple[str, Layer, Any]]
    score: Value
    losses: Value
    mean: Value
    penalties: list[Value]
    cost: Value
    gradients: Arrays


class _State(Mapping[str, Any]):
    """The optimizer's arrays among the carried ones, by name; an engine may copy out those that are read."""

    def __init__(self, carry: Sequence[Any], places: Mapping[str, int]):
        self._carry, self._places = carry, places

    def __getitem__(self, name: str) -> Any:
        return self._carry[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True)
class Step:
    """Everything that one training step is made of.

    network    a filled network; only its configuration and the shapes of its leaves count
    penalties  records that map the parameters to a number which is added to the mean loss
    batch      the batch size B, in rows; None: every batch is a mean of its own
    """

    network: Layer
    loss: Loss
    optimizer: Optimizer
    penalties: tuple[Any, ...]
    batch: int | None
    engine: Engine

    @cached_property
    def params(self) -> list[str]:
        return list(leaves(self.network, "param"))

    @cached_property
    def buffers(self) -> list[str]:
        return list(leaves(self.network, "buffer"))

    def carried(self, network: Layer, state: Arrays) -> list[Any]:
        """The arrays that travel from step to step: parameters, buffers, the optimizer's state."""
        found = leaves(network)
        return [found[p] for p in (*self.params, *self.buffers)] + list(state.values())

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each leaf of the network stands in the carry, in the order of `leaves(network)`."""
        places = {path: k for k, path in enumerate((*self.params, *self.buffers))}
        return {path: places[path] for path in leaves(self.network)}

    def weights(self, carry: Sequence[Any]) -> Arrays:
        """The leaves of the network by path, from carried arrays."""
        return {path: carry[k] for path, k in self._places.items()}

    def restored(self, carry: Sequence[Any], state: Arrays) -> tuple[Layer, Arrays]:
        """The network and the optimizer's state from carried arrays."""
        paths = [*self.params, *self.buffers]
        network = with_leaves(self.network, dict(zip(paths, carry, strict=False)))
        return network, dict(zip(state, carry[len(paths) :], strict=True))

    def program(self, state: Arrays, x: Any, y: Any, w: Any, look: Callable[[Inside], None] | None = None) -> Program:
        """(parameters, buffers, state; lr, t, key; x, y, w) -> (parameters, buffers, state; the recorded numbers).

        look  is shown the nodes inside while the program is built
        """
        found = leaves(self.network)
        params = {p: found[p] for p in self.params}
        buffers = {p: found[p] for p in self.buffers}
        number = Spec((), np.dtype(w.dtype))
        key = Spec((2,), np.dtype("uint32"))
        names = ("", "", "", "lr", "t", "key", "x", "y", "w")
        return Program.of(partial(self._build, look), params, buffers, state, number, number, key, x, y, w, names=names)

    def _build(self, look: Any, params: Arrays, buffers: Arrays, state: Arrays, *rest: Any) -> Any:
        lr, t, key, x, y, w = rest
        network = with_leaves(self.network, {**params, **buffers})
        run = Run.of(network, training=True, key=key, record=look is not None)
        cost = batch_cost(network, params, self.loss, self.penalties, self.batch, (x, y, w), run)
        objective, gradients = cost.objective, gradients_of(cost.objective, params)
        if look is not None:
            found = cost.score, cost.losses, cost.mean, cost.penalties, objective
            look(Inside(run.calls or [], *found, gradients))
        with scope("gradient_norm"):
            norm = sqrt(sum(dot(g, g) for g in gradients.values())) if gradients else objective * 0.0
        new_buffers = {path: run.updates.get(path, old) for path, old in buffers.items()}
        context = Context(partial(self._gradient_at, buffers, key, (x, y, w)), new_buffers, key)
        with scope("optimizer"):
            new_params, new_state = self.optimizer.update(params, gradients, state, lr=lr, t=t, context=context)
        ordered = {p: new_params[p] for p in params}, new_buffers, {s: new_state[s] for s in state}
        return (*ordered, objective + norm, cost.total, norm)

    def _gradient_at(self, buffers: Arrays, key: Any, rows: tuple[Any, Any, Any], params: Arrays) -> Arrays:
        """dJ/dw of the same rows at other parameters, with the same random numbers; the buffers stay as they are."""
        # Nodes of their own: the gradient is to end here, and not to go on into what these parameters were made of.
        here = {path: OPS["identity"].apply(as_value(params[path])) for path in self.params}
        network = with_leaves(self.network, {**here, **buffers})
        run = Run.of(network, training=True, key=key)
        return gradients_of(batch_cost(network, here, self.loss, self.penalties, self.batch, rows, run).objective, here)

    def start(self, network: Layer) -> Arrays:
        """The optimizer's state before the first step of this network."""
        return self.optimizer.init(leaves(network, "param"), leaves(network, "buffer"))

    @cached_property
    def evaluated_network(self) -> Layer:
        """The network that is judged and kept; its leaves are those of `evaluated`."""
        network = self.network
        for n in reversed(self.optimizer.members):
            network = Ensemble.of(network, n, self.loss.link, next(iter(leaves(network, "param").values())).dtype)
        return network

    def evaluated(self, weights: Arrays, carry: Sequence[Any], state: Arrays) -> Arrays:
        """The leaves of the evaluated network by path, in their order.

        weights  the trained ones, as from `weights(carry)`;  state  the names of the optimizer's arrays
        """
        found = self.optimizer.evaluated(
            weights, _State(carry, {s: len(self._places) + k for k, s in enumerate(state)})
        )
        return {path: found[path] for path in self._evaluated_paths}

    @cached_property
    def _evaluated_paths(self) -> list[str]:
        return list(leaves(self.evaluated_network))

    def loop(self, state: Arrays, x: Any, y: Any, w: Any) -> Loop:
        """The compiled loop over batches shaped like x, y, w; built once per configuration and shape."""
        key = ("loop", self.key, _specs(state), _specs(x), _specs(y), _specs(w))

        def build() -> Loop:
            program = self.program(state, x, y, w)
            return self.engine.loop(program, carry=len(self.params) + len(self.buffers) + len(state), scan=3, watch=0)

        return COMPILED.get(key, build)

    @cached_property
    def key(self) -> Hashable:
        """What the program depends on; the learning rate is data, so it is left out."""
        parts = (self.network, self.loss, self.optimizer.with_rate(0.0), self.penalties)
        return tuple(map(key_of, parts)), self.batch, self.engine.key


def scorer(network: Layer, x: Any, engine: Engine) -> Call:
    """The compiled function (leaves, x leaves) -> [scores] of a network in evaluation mode."""

    def build() -> Call:
        return engine.compile(
            Program.of(lambda found, rows: row_scores(with_leaves(network, found), rows, EVAL), leaves(network), x)
        )

    return COMPILED.get(("scores", key_of(network), _specs(x), engine.key), build)


def loss_of(loss: Loss, score: Any, y: Any, engine: Engine) -> np.ndarray:
    """The losses of rows from their scores."""
    call = COMPILED.get(
        ("loss", key_of(loss), _specs(score), _specs(y), engine.key),
        lambda: engine.compile(Program.of(loss, score, y)),
    )
    return call(score, y)[0]


def judged(network: Layer, loss: Loss, x: Any, y: Any, engine: Engine) -> Call:
    """The compiled function (leaves, x leaves, y) -> [scores, losses of the rows] in evaluation mode."""

    def build() -> Call:
        return engine.compile(
            Program.of(
                lambda found, rows, targets: row_losses(with_leaves(network, found), loss, rows, targets, EVAL),
                leaves(network), x, y,
            )
        )  # fmt: skip

    return COMPILED.get(("judged", key_of(network), key_of(loss), _specs(x), _specs(y), engine.key), build)


def check_scores(network: Layer, loss: Loss, x: Any, wanted: int) -> None:
    """ConfigError when the network's last layer does not give as many scores as the loss needs."""
    shape = _SHAPES.get((key_of(network), _specs(x)), lambda: output_spec(network, x).shape)
    given = 1 if len(shape) == 1 else shape[-1]
    if len(shape) > 2 or given != wanted:
        shown = (
            f"gives {given} score{'s' * (given != 1)} a row" if len(shape) <= 2 else f"gives an array of shape {shape}"
        )
        raise ConfigError(
            f"the network {shown}, {type(loss).__name__} needs {wanted}: end the network with Dense({wanted})"
        )


def _specs(tree: Any) -> Hashable:
    return tuple((path, str(Spec.of(leaf))) for path, leaf in leaves(tree).items())
