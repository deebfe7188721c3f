"""Capture: a function, a layer or a fitted model as the one program that a trace shows.

A model's program is made of what training itself calls: `row_losses` for the loss, `row_scores` and the loss's link
for a prediction.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.facts import facts_of
from fallline.core.numbers import number_text
from fallline.core.record import as_record
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.core.views import VIEWS
from fallline.core.warn import PACKAGE
from fallline.data.target import ClassTarget, NumberTarget
from fallline.graph.op import Op
from fallline.graph.program import Program
from fallline.graph.value import Value, scope
from fallline.losses.loss import Loss
from fallline.nn.layer import Layer, output_spec
from fallline.nn.run import Run
from fallline.ops.composite import mean
from fallline.train.examples import as_inputs, n_rows
from fallline.train.model import Model
from fallline.train.step import row_losses, row_scores
from fallline.train.trainer import Fit

Names = dict[int, tuple[Value, str]]  # by id, with the value itself: the id of one that is gone is given to another


class Captured(NamedTuple):
    """A program with its arrays and what a reader should know about them.

    names   of nodes of the program, by id
    fixed   ids of inputs that are data, without a derivative: targets, running statistics
    labels  names along the last axis of an input: {"x": ("Age", "Sex")}
    blocks  what a block of nodes computes, by where they are: {"loss": "SquaredError: (s - t)²"}
    """

    program: Program
    arrays: list[np.ndarray]
    names: dict[int, str]
    fixed: frozenset[int] = frozenset()
    note: str = ""
    labels: dict[str, tuple[str, ...]] | None = None
    blocks: dict[str, str] | None = None


def capture(f: Any, inputs: Sequence[Any], loss: Any = None) -> Captured:
    """What `fl.trace` was given, as a program; see there."""
    f = f.model if isinstance(f, Fit) else f
    if isinstance(f, Model):
        if loss is not None:
            raise ConfigError(f"loss={loss!r}: a fitted model has its own ({f.loss!r}); leave it out")
        return of_model(f, *_rows_and_targets(inputs))
    if loss is not None:
        x, y = _rows_and_targets(inputs)
        return of_model(as_model(f, loss, x, y), x, y)
    if isinstance(f, Layer):
        return of_layer(f, inputs)
    if not callable(f):
        raise ConfigError(f"trace takes a function of ops, a filled layer or a fitted model, given {type(f).__name__}")
    return of_function(f, inputs)


def of_function(f: Callable[..., Any], inputs: Sequence[Any]) -> Captured:
    """A function of ops; nodes are named by its local variables."""
    given = _as_arrays(inputs)
    with _Locals(f) as seen:
        program = Program.of(f, *given, names=_argument_names(f, given))
    return Captured(program, _flat(given), _of_nodes(program, seen.names))


def of_layer(network: Layer, inputs: Sequence[Any]) -> Captured:
    """A filled layer in evaluation mode; its leaves are inputs, named by their path."""
    given = _as_arrays([np.asarray(x) if isinstance(x, list) else x for x in inputs])  # as a layer's call does
    params = leaves(network)

    def output(found: dict[str, Value], *xs: Any) -> Any:
        with _Called(network, found) as called:
            result = called.network(_joined(xs), called.run)
        names.update(called.names)
        if isinstance(result, Value):
            names[id(result)] = result, "J"
        return result

    names: Names = {}
    program = Program.of(output, params, *given, names=["", *_input_names(len(given))])
    arrays = [*params.values(), *_flat(given)]
    return Captured(program, arrays, _of_nodes(program, names), _buffers(network, program))


def of_model(model: Model, X: Any, y: Any = None) -> Captured:
    """The mean loss of rows with their targets; without targets the prediction for one row."""
    x, params = model.inputs(X), leaves(model.network)
    parts = x if isinstance(x, tuple) else (x,)
    labels = {"x": model.feature_names}
    x_names = _input_names(len(parts))
    if model.columns is not None:
        x_names = ["x", "codes"][: len(parts)]
        labels = {"x": model.columns.feature_names, "codes": model.columns.code_names}
    names: Names = {}
    if y is None:
        choose, note = _answer(model, X, n_rows(x))
        targets = []
    else:
        choose, note = None, ""
        targets = [model.rows(X, y)[1]]

    def goal(found: dict[str, Value], *given: Any) -> Value:
        xs = _joined(given[: len(parts)])
        with _Called(model.network, found) as called:
            if choose is None:
                _, losses = row_losses(called.network, model.loss, xs, given[-1], called.run)
                with scope("loss"):
                    result = losses if losses.size == 1 else mean(losses)
            else:
                score = row_scores(called.network, xs, called.run)
                with scope("link"):
                    result = choose(model.loss.predict(score))
        names.update(called.names)
        names[id(result)] = result, "J" if choose is None else "prediction"
        return result

    all_names = ["", *x_names, *(["y"] if targets else [])]
    program = Program.of(goal, params, *parts, *targets, names=all_names)
    fixed = _buffers(model.network, program) | {id(v) for v in program.inputs[-1:] if targets}
    arrays = [*params.values(), *_flat(parts), *targets]
    return Captured(program, arrays, _of_nodes(program, names), fixed, note, labels, {"loss": _loss_words(model.loss)})


def _answer(model: Model, X: Any, rows: int) -> tuple[Callable[[Value], Value], str]:
    """What is read off the linked scores of one row, and what it stands for."""
    if rows != 1:
        raise ShapeError(f"trace follows the prediction for one row, given {rows}: pass one, or the targets too")
    scores = model.scores(X)
    n = int(np.size(model.loss.predict(scores)))
    if not model.classes:
        if n != 1:
            raise ShapeError(
                f"the model predicts {n} numbers a row, trace follows one: pass the targets too, or trace a function "
                "that picks one"
            )
        mean_, scale = (getattr(model.target, k, d) for k, d in (("mean", 0.0), ("scale", 1.0)))
        how = f"{model.target.name} = prediction · {number_text(scale, 6)} + {number_text(mean_, 6)}"
        return lambda linked: linked, "" if (mean_, scale) == (0.0, 1.0) else how
    code = int(np.asarray(model.loss.decide(scores)).ravel()[0])
    who = f"{model.target.name} = {model.classes[code]}"
    if not model.loss.probabilistic:
        return lambda linked: linked, f"prediction is the score, which decides for {who}"
    note = f"prediction is the probability of {who}"
    if n > 1:
        return lambda linked: linked[0, code], note
    return (lambda linked: linked) if code else (lambda linked: 1.0 - linked), note


def as_model(network: Layer, loss: Any, x: Any, y: Any = None) -> Model:
    """A filled layer as if it had been fitted with this loss; targets are class codes, or numbers as they are."""
    if not isinstance(network, Layer):
        raise ConfigError(f"loss={loss!r} belongs to a layer, given {type(network).__name__}")
    loss = as_record(loss, Loss)
    model = Model(network, loss, NumberTarget("y"))
    if loss.task == "classification" and (y is None or loss.target_dtype == "int32"):
        shape = output_spec(network, as_inputs(x, network, model.dtype)).shape
        n = shape[-1] if len(shape) > 1 else 1
        return Model(network, loss, ClassTarget("y", tuple(range(max(2, n)))))
    return model


def _rows_and_targets(inputs: Sequence[Any]) -> tuple[Any, Any]:
    if len(inputs) not in (1, 2):
        raise ConfigError(
            f"trace of a model takes X, or X and y, given {len(inputs)} arguments: several arrays for X go into a tuple"
        )
    return inputs[0], inputs[1] if len(inputs) == 2 else None


class _Called:
    """One call of a network on Values: its layers' outputs get the layers' paths as names."""

    def __init__(self, network: Layer, found: dict[str, Value]):
        self.network = with_leaves(network, found)
        self.run = Run.of(self.network, record=True)
        self.names: Names = {}
        self._locals = _Locals()

    def __enter__(self) -> _Called:
        self._locals.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._locals.__exit__()
        self.names.update(self._locals.names)
        seen: set[int] = set()
        for path, _, made in self.run.calls or []:
            if isinstance(made, Value) and path and id(made) not in seen:
                seen.add(id(made))
                self.names[id(made)] = made, path


def _of_nodes(program: Program, names: Names) -> dict[int, str]:
    """The names of the program's own nodes; values that were made and dropped on the way have left no node."""
    return {id(v): names[id(v)][1] for v in program.order if id(v) in names}


def _loss_words(loss: Loss) -> str:
    """The formula that the loss's docstring states, which is that without settings; with some, the settings."""
    name, formula = type(loss).__name__, facts_of(type(loss))["formula"]
    return f"{name}: {formula}" if formula and repr(loss) == f"{name}()" else repr(loss)


def _joined(xs: Sequence[Any]) -> Any:
    return xs[0] if len(xs) == 1 else tuple(xs)


def _input_names(n: int) -> list[str]:
    return ["x"] if n == 1 else [f"x{i}" for i in range(n)]


def _buffers(network: Layer, program: Program) -> frozenset[int]:
    """The inputs that hold running statistics, which no gradient changes."""
    paths = set(leaves(network, "buffer"))
    return frozenset(id(v) for v in program.inputs[: len(leaves(network))] if v.attrs["name"] in paths)


def _as_arrays(inputs: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(map_leaves(lambda _, leaf: _as_array(leaf), x) for x in inputs)


def _flat(given: Sequence[Any]) -> list[np.ndarray]:
    return [leaf for x in given for leaf in leaves(x).values()]


def _as_array(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, dtype=np.float64) if isinstance(leaf, (int, float)) else np.asarray(leaf)


def _argument_names(f: Callable[..., Any], given: Sequence[Any]) -> list[str]:
    """The names of the parameters that the arguments reach; those that *rest takes are rest[0], rest[1] …"""
    if isinstance(f, Op):
        return _input_names(len(given))
    try:
        bound = inspect.signature(f).bind(*given)
    except (TypeError, ValueError):  # no signature is known, or the call will fail
        return _input_names(len(given))
    names = []
    for name, value in bound.arguments.items():
        several = bound.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        names += [f"{name}[{i}]" for i in range(len(value))] if several else [name]
    return names


class _Locals:
    """While active, notes the local variables that hold Values when a function of the user's returns.

    The user's functions are those outside this library, and f itself; an outer function's name for a value counts
    more than that of a function which it calls. Inside a layer the name follows the layer's path.
    """

    def __init__(self, f: Callable[..., Any] | None = None):
        self.names: Names = {}
        self._file = getattr(getattr(f, "__code__", None), "co_filename", None)
        self._before: Any = None

    def __enter__(self) -> _Locals:
        self._before = sys.getprofile()
        if self._before is None or isinstance(getattr(self._before, "__self__", None), _Locals):
            sys.setprofile(self._look)  # a profiler that runs is left alone: then the names are v1, v2 …
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is None or isinstance(getattr(self._before, "__self__", None), _Locals):
            sys.setprofile(self._before)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "return":
            return
        file = frame.f_code.co_filename
        if file != self._file and file.startswith(PACKAGE):
            return
        found: Names = {}
        for name, value in frame.f_locals.items():
            if isinstance(value, Value):
                found.setdefault(id(value), (value, f"{value.scope}.{name}" if value.scope else name))
        self.names.update(found)


VIEWS.add("model", as_model)
