"""One step of gradient descent, explained: every number of the step that training takes, under six headings.

The numbers are nodes of the program that `fit` runs (`train.step.Step`), asked for beside its results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.core.tree import leaves
from fallline.core.views import VIEWS
from fallline.data.target import ClassTarget, NumberTarget
from fallline.engines.engine import get_engine
from fallline.explain.reports.report import Report, Section
from fallline.explain.reports.step_text import sections_of
from fallline.explain.tracing.trace import Trace
from fallline.graph.program import Program, reachable
from fallline.graph.value import Value
from fallline.losses.loss import Loss
from fallline.losses.penalties import L1, L2
from fallline.nn.layer import Layer, output_spec
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.train.examples import Examples, as_inputs, as_targets, n_rows
from fallline.train.fit import choose_target, start_model
from fallline.train.model import Model, encode_targets
from fallline.train.step import Inside, Step

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LayerValue:
    """What a layer gave for the batch, and dJ/d(that); path "" is a network of one layer."""

    path: str
    layer: Layer
    value: np.ndarray
    partial: np.ndarray


@dataclass(frozen=True, eq=False)
class OneStep:
    """The numbers of one training step.

    number, rate   t, counted from 1, and the learning rate
    layers         in the order of the forward pass;  score  of each row, and its partial dJ/dscore
    losses         one a row;  mean  their mean;  penalties  one number each;  cost  J, the sum
    before, gradients, after   w, dJ/dw and the new w, by path
    changes        what the optimizer adds to w, by path; in float64: the difference of rounded weights has few digits
    slots          what the optimizer remembers after the step, "m:W" -> array
    new_cost       J of the same rows after the step, with the same random key
    """

    number: int
    rate: float
    layers: list[LayerValue]
    score: np.ndarray
    score_partial: np.ndarray
    losses: np.ndarray
    mean: float
    penalties: list[float]
    cost: float
    before: Arrays
    gradients: Arrays
    after: Arrays
    changes: Arrays
    slots: Arrays
    new_cost: float

    @cached_property
    def norm(self) -> float:
        """|dJ/dw| over all parameters together."""
        return float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in self.gradients.values())))

    @property
    def change(self) -> float:
        """new J - J."""
        return self.new_cost - self.cost

    @cached_property
    def predicted(self) -> float:
        """The change that the gradient promises, Σ dJ/dw · (new w - w): of first order, so right for a small step."""
        pairs = ((self.gradients[p].astype(np.float64), d.astype(np.float64)) for p, d in self.changes.items())
        return float(sum(np.sum(g * d) for g, d in pairs))


@dataclass(frozen=True, eq=False, repr=False)
class StepExplanation(Report):
    """One step or several on one batch, under the six headings forward, cost, gradients, update, new cost, repeat.

    start      the model before the first step;  model  the model after the last one
    x, y       the batch as the network and the loss read it
    steps      the numbers of each step
    seed       of dropout;  drawn  whether the starting weights were drawn with it too
    traced     makes `trace`, the first step's cost node by node
    """

    start: Model
    model: Model
    optimizer: Optimizer
    penalties: tuple[Any, ...]
    x: Any
    y: np.ndarray
    steps: tuple[OneStep, ...]
    seed: int
    drawn: bool
    traced: Callable[[], Trace]

    @property
    def title(self) -> str:
        return (
            "One step of gradient descent" if len(self.steps) == 1 else f"{len(self.steps)} steps of gradient descent"
        )

    def sections(self) -> list[Section]:
        return sections_of(self)

    def __getitem__(self, number: int) -> OneStep:
        """A step, counted from 0."""
        return self.steps[number]

    @cached_property
    def trace(self) -> Trace:
        """The first step's cost node by node, with every product of the chain rule; see `fl.trace`."""
        return self.traced()


def explain_step(
    model: Model | Layer,
    batch: Any,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | None = None,
    steps: int = 1,
    l1: float = 0.0,
    l2: float = 0.0,
    penalties: Sequence[Any] = (),
    seed: int = 0,
) -> StepExplanation:
    """Takes a step of gradient descent on one batch and shows every number of it.

        w <- w - learning_rate · dJ/dw        J = the mean loss of the batch + the penalties

    model          a fitted model, a network, or a recipe, whose weights are drawn first
    batch          (X, y); for a model that was trained on a table also a table with its target
    loss           for a network: a loss or its name; None: what suits the targets. A model has its own.
    optimizer      an optimizer or its text: "sgd", "adam", "momentum(0.1)"
    learning_rate  in place of the optimizer's own
    steps          how many steps to take, all on this batch; the first one is shown in full
    l1, l2         strengths of l1 · Σ|w| and l2/2 · Σw², as in fit
    seed           of dropout, which is on as in every training step, and of the weights of a recipe
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ConfigError(f"steps={steps!r}: steps must be a whole number of at least 1")
    start, x, y = _start(model, batch, loss, seed)
    chosen = as_record(optimizer, Optimizer)
    chosen = chosen if learning_rate is None else chosen.with_rate(learning_rate)
    added = (*[L1(l1)] * bool(l1), *[L2(l2)] * bool(l2), *penalties)
    opened = _Opened(start, chosen, added, x, y, seed)
    taken, end = opened.run(int(steps))
    drawn = isinstance(model, Layer) and not model.is_filled
    return StepExplanation(start, end, chosen, added, x, y, tuple(taken), seed, drawn, opened.trace)


def _start(model: Any, batch: Any, loss: Any, seed: int) -> tuple[Model, Any, np.ndarray]:
    """The model before the step, and the batch as its network and its loss read it."""
    if isinstance(getattr(model, "model", None), Model):  # a Fit
        model = model.model
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if isinstance(model, Model):
        if loss is not None:
            raise ConfigError(f"loss={loss!r}: a fitted model has its own ({model.loss!r}); leave it out")
        if not pair and model.columns is None:
            raise DataError(f"the batch must be a pair (X, y), given {type(batch).__name__}")
        x, y = model.rows(*batch) if pair else model.rows(batch, None)
    elif isinstance(model, Layer):
        if not pair:
            raise DataError(f"the batch must be a pair (X, y), given {type(batch).__name__}")
        rows, targets = batch
        model, x, y = _filled(model, rows, targets, None if loss is None else as_record(loss, Loss), seed)
    else:
        raise ConfigError(f"explain_step takes a fitted model or a network, given {type(model).__name__}")
    return model, x, y


def _filled(network: Layer, X: Any, y: Any, loss: Loss | None, seed: int) -> tuple[Model, Any, np.ndarray]:
    """A network as a model in the dtype of its weights (float64 for a recipe), and the batch as it reads it."""
    floats = [leaf.dtype for leaf in leaves(network, "param").values() if leaf.dtype.kind == "f"]
    dtype = floats[0] if floats else np.dtype(np.float64)
    x, targets = as_inputs(X, network, dtype), as_targets(y)
    if targets.ndim == 0 or n_rows(x) != len(targets):
        raise DataError(f"X has {n_rows(x)} rows and y has shape {targets.shape}: they must have equally many rows")
    target, chosen = _target(network, x, targets, loss)
    encoded = encode_targets(chosen, target, targets, dtype)
    examples = Examples(x, encoded, np.ones(len(encoded), dtype))
    return start_model(network, examples, chosen, target, "auto", seed), x, encoded


def _target(network: Layer, x: Any, y: np.ndarray, loss: Loss | None) -> tuple[ClassTarget | NumberTarget, Loss]:
    """As `fit` chooses it; but with a loss given, a batch need not hold every class: numbers are codes then."""
    if loss is None or loss.task == "regression" or y.ndim > 1 or y.dtype.kind not in "fiub":
        return choose_target(y, loss)
    if loss.target_dtype == "int32":
        shape = output_spec(network, x).shape
        return ClassTarget("y", tuple(range(shape[-1]))), loss
    return choose_target(np.concatenate([y, [0, 1]]), loss)


class _Opened:
    """The program of a step with what lies inside it among its outputs."""

    def __init__(self, model: Model, optimizer: Optimizer, penalties: Any, x: Any, y: np.ndarray, seed: int):
        self.model, self.optimizer, self.x, self.seed = model, optimizer, x, seed
        w, seen = np.ones(len(y), model.dtype), list[Inside]()
        self.step = Step(model.network, model.loss, optimizer, penalties, len(y), get_engine(model.engine))
        self.state = self.step.start(model.network)
        self.program = self.step.program(self.state, x, y, w, seen.append)
        self.batch, self.inside = [*leaves(x).values(), y, w], seen[0]
        self.layers = _outputs(self.inside.calls)
        self.cost = Program(self.program.inputs, [self.inside.cost])
        self.whole = Program(self.program.inputs, [*self.program.outputs, *self._wanted()])

    def _wanted(self) -> list[Value]:
        inside, places = self.inside, [*(value for _, _, value in self.layers), self.inside.score]
        flows = pullback([inside.cost], [np.ones((), inside.cost.dtype)], places)
        numbers = [inside.losses, inside.mean, *inside.penalties, inside.cost]
        return [*places, *flows, *numbers, *inside.gradients.values()]

    def run(self, steps: int) -> tuple[list[OneStep], Model]:
        """The numbers of each step, and the model after the last one."""
        carry, taken = self._start, []
        for number in range(1, steps + 1):
            rate = float(self.optimizer.rate_at(number - 1, steps_per_epoch=1, epochs=steps))
            one, carry = self._take(carry, self._scanned(number, rate), number, rate)
            taken.append(one)
        return taken, replace(self.model, network=self.step.restored(carry, self.state)[0])

    @property
    def _start(self) -> list[Any]:
        return self.step.carried(self.model.network, self.state)

    def _scanned(self, number: int, rate: float) -> list[np.ndarray]:
        key = step_keys(new_key(self.seed), np.array([number]))[0]
        return [np.asarray(rate, self.model.dtype), np.asarray(number, self.model.dtype), key]

    def _take(self, carry: list[Any], scanned: list[Any], number: int, rate: float) -> tuple[OneStep, list[Any]]:
        """One step from the carried arrays, and the arrays after it."""
        found = self.whole.run(*carry, *scanned, *self.batch)
        after, rest = found[: len(carry)], iter(found[len(self.program.outputs) :])
        values, flows = ([next(rest) for _ in range(len(self.layers) + 1)] for _ in range(2))
        losses, mean = next(rest), float(next(rest))
        penalties = [float(next(rest)) for _ in self.inside.penalties]
        cost, paths = float(next(rest)), self.step.params
        named = zip(self.layers, values, flows, strict=False)
        before, gradients = dict(zip(paths, carry, strict=False)), dict(zip(paths, rest, strict=True))
        one = OneStep(
            number, rate, [LayerValue(path, layer, value, flow) for (path, layer, _), value, flow in named],
            values[-1], flows[-1], losses, mean, penalties, cost,
            before=before,
            gradients=gradients,
            after=dict(zip(paths, after, strict=False)),
            changes=self._changes(before, gradients, carry, after, rate, number),
            slots=self.step.restored(after, self.state)[1],
            new_cost=float(self.cost.run(*after, *scanned, *self.batch)[0]),
        )  # fmt: skip
        return one, after

    def _changes(self, w: Arrays, g: Arrays, carry: list[Any], after: list[Any], rate: float, number: int) -> Arrays:
        """What the optimizer adds to the weights, in float64."""
        if self.optimizer.looks_again:  # only the step itself has the gradients that it asks for
            pairs = zip(w.items(), after, strict=False)
            return {path: new.astype(np.float64) - old for (path, old), new in pairs}
        state = self.step.restored(carry, self.state)[1]
        w, g, state = ({path: np.asarray(a, np.float64) for path, a in each.items()} for each in (w, g, state))
        new = self.optimizer.update(w, g, state, lr=np.float64(rate), t=np.float64(number))[0]
        return {path: np.asarray(new[path]) - old for path, old in w.items()}

    def trace(self) -> Trace:
        """The cost of the first step, from the inputs that it depends on."""
        rate = float(self.optimizer.rate_at(0, steps_per_epoch=1, epochs=1))
        arrays = [*self._start, *self._scanned(1, rate), *self.batch]
        used = {id(v) for v in reachable([self.inside.cost])}
        pairs = [(v, a) for v, a in zip(self.program.inputs, arrays, strict=True) if id(v) in used]
        wrt = {*self.step.params, *(f"x.{path}".rstrip(".") for path in leaves(self.x))}
        fixed = frozenset(id(v) for v, _ in pairs if v.attrs["name"] not in wrt)
        names = {id(value): path for path, _, value in self.layers if path}
        return Trace(Program([v for v, _ in pairs], [self.inside.cost]), [a for _, a in pairs], names, fixed)


def _outputs(calls: Sequence[tuple[str, Layer, Any]]) -> list[tuple[str, Layer, Value]]:
    """The different outputs in the order in which they are made: a container's is that of its last layer."""
    found: dict[int, tuple[str, Layer, Value]] = {}
    for path, layer, made in calls:
        if isinstance(made, Value):
            found.setdefault(id(made), (path, layer, made))
    return list(found.values())


VIEWS.add("step", explain_step)

__all__ = ["LayerValue", "OneStep", "StepExplanation", "explain_step"]
