"""fit: from arrays and a recipe to a trained model, in one call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.core.spec import Spec
from fallline.core.tree import map_leaves
from fallline.data.split import Split, split_rows
from fallline.data.target import ClassTarget, NumberTarget, infer_array
from fallline.engines.engine import PRECISIONS, Engine, get_engine
from fallline.losses.loss import Loss
from fallline.losses.penalties import L1, L2
from fallline.nn.layer import Layer
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.solver import Solver, as_minimizer
from fallline.train.checkpoint import Checkpoint, Checkpoints
from fallline.train.events import Consumer
from fallline.train.examples import (
    Examples,
    as_inputs,
    as_targets,
    column_names,
    drop_absent,
    in_order,
    n_rows,
    row_weights,
    take_rows,
)
from fallline.train.kept_run import kept_run
from fallline.train.model import Model, encode_targets
from fallline.train.pairing import check_pairing
from fallline.train.progress import Progress
from fallline.train.restarts import best_of_starts
from fallline.train.space import open_ranges
from fallline.train.step import check_scores
from fallline.train.stopping import StoppingRule, as_rule
from fallline.train.trainer import Fit, Trainer

DTYPES = ("float32", "float64")
LESS_EXACT = tuple(name for name in PRECISIONS if name not in DTYPES)
LOSS_OF = {
    "binary": "BinaryCrossEntropy",
    "classes": "CategoricalCrossEntropy",
    "numbers": "SquaredError",
    "counts": "SquaredError",
}


def fit(
    network: Layer,
    data: tuple[Any, Any],
    *,
    loss: str | Loss | None = None,
    optimizer: str | Minimizer = "adam",
    learning_rate: Rate | None = None,
    solver: str | Solver | None = None,
    epochs: int = 100,
    batch_size: int | str = 64,
    validation: float | tuple[Any, Any] | None = None,
    early_stopping: StoppingRule | int | str | Sequence[Any] | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    penalties: Sequence[Any] = (),
    sample_weight: Any = None,
    class_weight: str | Mapping[Any, float] | None = None,
    metrics: str | Sequence[str] = (),
    shuffle: bool = True,
    seed: int = 0,
    precision: str | None = None,
    engine: str | Engine = "auto",
    threads: int | None = None,
    callbacks: Sequence[Consumer] = (),
    progress: bool | str = False,
    strict: bool = True,
    restarts: int = 1,
    keep_path: bool = False,
    checkpoint: str | Path | Checkpoint | Checkpoints | None = None,
) -> Fit:
    """Trains a network on (X, y) and returns a Fit: the model with its best weights, and the history.

    network         a recipe, or a filled network to go on with
    data            X (n, …) numbers, or a tuple of arrays for a network that takes one; y (n,) labels or numbers
    loss            a loss, its name, or None: what suits the targets
    optimizer       an optimizer, or its text: "adam", "momentum(0.1)"; or a solver, which looks at all rows at once and
                    takes one epoch for an iteration: "random" (random search), "newton"
    learning_rate   the optimizer's rate: a number, a schedule or its text, in place of its own
    solver          a solver in place of the optimizer; "exact" is the closed form of a network that is linear in its
                    weights (hidden=()) with the squared error, L2 and weights of rows included
    epochs          passes over the training rows; 0 gives the untrained network
    batch_size      rows in a step; "full" for all (batch gradient descent), 1 for stochastic gradient descent
    validation      share of the rows to judge by (stratified, shuffled), or (X, y) of your own
    early_stopping  a rule, or its patience in epochs, or a list of rules, such as [20, TimeLimit(60), StepLimit(5000),
                    TargetLoss(0.1)]; with validation rows the best weights are kept in any case
    l1, l2          strengths of l1 · Σ|w| and l2/2 · Σw², added to the mean loss; biases are free
    sample_weight   importance of each row: 2 is the row twice, 0 is the row absent
    class_weight    "balanced", or {class: weight}
    metrics         what each epoch's row of the history gets beside the losses: "auc", "accuracy", "rmse" …
    seed            fixes the starting weights, the validation rows, the order of the rows and dropout
    precision       "float32", or "float64" for checks; None is float64 with a solver and float32 otherwise; "bf16x3"
                    and "bf16" are float32 with faster, less exact products in the steps, where the CPU has them
    engine          what computes the steps; "auto" is the fastest one installed
    threads         how many threads a step gets; None: as many as its work is worth. The results do not depend on it
    callbacks       called with every event; one that answers Stop(reason) ends training
    progress        True shows a bar in a terminal and plain lines elsewhere
    strict          False: no warning where network and loss suit each other poorly (PairingWarning)
    restarts        how many random starts to train from (seeds seed, seed + 1, …); the best by validation loss, else by
                    train loss, is returned, and `Fit.restarts` lists them all
    keep_path       True keeps the weights of every epoch in `Fit.path`
    checkpoint      a folder, or Checkpoint(folder, seconds=30): what the run needs to go on after it was killed is
                    written there every so often; `fl.resume(folder, data)` goes on
    raises          ConfigError, DataError; NonFiniteError when not even one epoch stayed finite
    """
    method, dtype = _method(optimizer, learning_rate, solver, precision)
    train, judged, target, chosen = training_rows(
        network, data, loss=loss, validation=validation, sample_weight=sample_weight, class_weight=class_weight,
        precision=dtype, seed=whole_number("seed", seed, least=0))  # fmt: skip
    given = network, train, chosen, target, engine_for(engine, threads, precision)
    first = start_model(*given, seed, strict=strict, by_gradient=method.uses_gradient and epochs != 0)
    trainer = Trainer(first, method, train, judged, _penalties(l1, l2, penalties), keep_path=keep_path,
        epochs=whole_number("epochs", epochs, least=0), batch_size=batch_rows(batch_size, len(train)), shuffle=shuffle,
        seed=seed, early_stopping=as_rule(early_stopping), metrics=_names(metrics), engine=given[-1])  # fmt: skip
    return _trained(trainer, locals(), partial(fill_model, *given))


ARGUMENTS = tuple(inspect.signature(fit).parameters)


def _trained(trainer: Trainer, call: Mapping[str, Any], again: Callable[[int], Model]) -> Fit:
    """The best of all starts, with the progress shown, kept in checkpoints where they are asked for.

    call  the arguments of `fit` by name, and more;  again  the model of another seed
    """
    starts, told = whole_number("restarts", call["restarts"]), _callables("callbacks", call["callbacks"])
    share = call["validation"]
    trainer.sharing = (share, call["seed"]) if share and np.isscalar(share) else None
    asked = {name: call[name] for name in ARGUMENTS}
    run = kept_run(call["checkpoint"], asked, trainer.running.name, trainer.train, trainer.validation)
    with run as trainer.checkpoints, Progress(quiet=not call["progress"]) as show:
        trainer.consumers = [show, *told]
        return best_of_starts(trainer, again, starts, filled=call["network"].is_filled)


def _method(optimizer: Any, rate: Any, solver: Any, precision: str | None) -> tuple[Minimizer, str]:
    """What moves the weights, at its rate, the solver where one is given, and the precision that suits it."""
    if solver is not None and optimizer != "adam":
        given = f"optimizer={optimizer!r} and solver={solver!r}"
        raise ConfigError(f"{given}: a solver takes the optimizer's place; give one of the two")
    method = as_minimizer(optimizer) if solver is None else as_record(solver, Solver)
    _refuse_open(method)
    if rate is not None:
        if not isinstance(method, Optimizer):
            raise ConfigError(f"learning_rate={rate!r}: {method!r} finds its steps itself: leave the rate out")
        method = method.with_rate(rate)
    if not isinstance(method, Solver):
        return method, "float64" if precision == "float64" else "float32"
    if precision in LESS_EXACT:
        raise ConfigError(f"precision={precision!r}: {method!r} needs exact products: leave the precision out")
    return method, precision or "float64"


def engine_for(engine: str | Engine, threads: int | None, precision: str | None) -> Engine:
    """The engine with these options; where one is None, that of an engine which is given with its own."""
    made = get_engine(engine)
    return made.with_options(
        threads=made.threads if threads is None else threads, precision=precision or made.precision
    )


def _refuse_open(given: Any) -> None:
    """ConfigError where a range stands in the place of a value."""
    found = next(open_ranges(given), None)
    if found is not None:
        raise ConfigError(f"{found!r} stands in the place of a value: fl.search chooses one, fl.fit needs it")


def _penalties(l1: float, l2: float, penalties: Any) -> tuple[Any, ...]:
    return (*[L1(l1)] * bool(l1), *[L2(l2)] * bool(l2), *_callables("penalties", penalties))


def _names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    return (metrics,) if isinstance(metrics, str) else tuple(metrics)


def start_model(
    network: Layer,
    train: Examples,
    loss: Loss,
    target: Any,
    engine: str | Engine,
    seed: int,
    *,
    strict: bool = True,
    by_gradient: bool = True,
) -> Model:
    """The model before training, `fill_model`, checked against the loss and its targets; see `check_pairing`."""
    model = fill_model(network, train, loss, target, engine, seed)
    check_pairing(model.network, loss, _some_specs(train), train.y, strict=strict, by_gradient=by_gradient)
    return model


def fill_model(network: Layer, train: Examples, loss: Loss, target: Any, engine: str | Engine, seed: int) -> Model:
    """The model before training: the network filled for these rows by the seed, if it is not filled yet."""
    specs = _some_specs(train)
    filled = network if network.is_filled else network.build(specs, np.random.default_rng(seed))
    filled = _in_precision(filled, train.w.dtype)
    n_outputs = 1 if train.y.ndim == 1 else train.y.shape[1]
    check_scores(filled, loss, specs, loss.n_scores(target.n_classes, n_outputs))
    row = map_leaves(lambda _, spec: spec.with_shape(spec.shape[1:]), specs)
    return Model(filled, loss, target, engine=get_engine(engine).name, feature_names=train.names, row=row)


def _some_specs(examples: Examples) -> Any:
    """The Specs of two rows of inputs."""
    return map_leaves(lambda _, leaf: Spec(leaf.shape, leaf.dtype), take_rows(examples.x, np.s_[:2]))


def _in_precision(network: Layer, dtype: np.dtype) -> Layer:
    """The network with its floats of that dtype, which a layer that reads codes cannot know from its input."""
    return map_leaves(lambda _, leaf: leaf.astype(dtype, copy=False) if leaf.dtype.kind == "f" else leaf, network)


def _is_one_hot(y: np.ndarray) -> bool:
    if y.dtype.kind not in "biuf" or y.shape[1] < 2:
        return False
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def choose_target(y: np.ndarray, loss: Loss | None) -> tuple[ClassTarget | NumberTarget, Loss]:
    """How targets are encoded, and the loss: the given one, or what suits the targets."""
    if y.ndim == 2 and (loss is None or loss.task == "classification") and _is_one_hot(y):
        raise DataError(
            f"y holds one-hot rows, shape {y.shape}: give the classes, y.argmax(axis=1), or loss='mse' for numbers"
        )
    if loss is None:
        kind = "numbers" if y.ndim > 1 else infer_array(y)
        loss = as_record(LOSS_OF[kind], Loss)
    if loss.task == "regression":
        return NumberTarget("y"), loss
    if y.ndim > 1:
        raise DataError(f"y has shape {y.shape}: {type(loss).__name__} takes one label a row, shape ({len(y)},)")
    absent = [] if y.dtype.kind in "biuUS" else [i for i, v in enumerate(y.tolist()) if v is None or v != v]
    if absent:
        raise DataError(f"y is missing in row {absent[0]} ({len(absent)} of {len(y)} rows): leave these rows out")
    try:
        labels = np.unique(y).tolist()
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise DataError(f"y mixes {' and '.join(kinds)}: make all labels text, or all numbers") from None
    if len(labels) < 2:
        raise DataError(f"y is {labels[0]!r} in every row: at least two classes are needed")
    loss.n_scores(len(labels), 1)  # refuses a loss for two classes where there are more
    return ClassTarget("y", tuple(labels)), loss


def batch_rows(batch_size: int | str, n: int) -> int:
    """The batch size in rows; "full" means all."""
    if batch_size == "full":
        return n
    if isinstance(batch_size, str):
        raise ConfigError(f'batch_size={batch_size!r}: pass a number of rows, or "full"')
    return whole_number("batch_size", batch_size)


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """The value as an int; ConfigError for anything but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigError(f"{name}={value!r}: {name} must be a whole number of at least {least}")
    return int(value)


def _callables(name: str, given: Any) -> tuple[Any, ...]:
    each = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    wrong = next((part for part in each if not callable(part)), None)
    if wrong is not None:
        raise ConfigError(f"{name} holds {wrong!r}: give callables, such as functions, in a list")
    return each


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigError(f"{name}={value!r}: {nearest(str(value), known)}")
    return value


def _pair(data: Any, name: str, network: Layer, dtype: np.dtype, names: tuple[str, ...] = ()) -> tuple[Any, np.ndarray]:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DataError(f"{name} must be a pair (X, y), given {type(data).__name__}")
    x, y = as_inputs(in_order(data[0], names), network, dtype), as_targets(data[1])
    if y.ndim == 0 or n_rows(x) != len(y):
        raise DataError(f"{name}: X has {n_rows(x)} rows and y has shape {y.shape}: they must have equally many rows")
    return x, y


def training_rows(
    network: Layer,
    data: Any,
    *,
    loss: Any = None,
    validation: Any = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    precision: str = "float32",
    seed: int = 0,
) -> tuple[Examples, Examples | None, ClassTarget | NumberTarget, Loss]:
    """The rows to train on and to judge by, how their targets are encoded, and the loss."""
    if not isinstance(network, Layer):
        given = type(network).__name__
        raise ConfigError(f"fit trains a layer such as Sequential(Dense(16), ReLU(), Dense(1)), given {given}")
    _refuse_open(network)
    dtype = np.dtype(_one_of("precision", precision, DTYPES))
    x, y = _pair(data, "data", network, dtype)
    target, loss = choose_target(y, None if loss is None else as_record(loss, Loss))
    encoded = encode_targets(loss, target, y, dtype)
    weights = row_weights(sample_weight, class_weight, encoded, target.classes).astype(dtype)
    present = drop_absent(Examples(x, encoded, weights, column_names(data[0])))
    if not isinstance(validation, (tuple, list)):
        return *_share(present, validation, target, seed), target, loss
    x, y = _pair(validation, "validation", network, dtype, present.names)
    encoded = encode_targets(loss, target, y, dtype)
    judged = Examples(x, encoded, row_weights(None, class_weight, encoded, target.classes).astype(dtype))
    return present, judged, target, loss


def _share(present: Examples, validation: float | None, target: Any, seed: int) -> tuple[Examples, Examples | None]:
    """The rows to train on, and the share of them that judges instead (stratified, shuffled)."""
    if not validation:
        return present, None
    split = shared_rows(present.y, target.classes, validation, seed)
    return drop_absent(present.take(split.train)), present.take(split.validation)


def shared_rows(y: np.ndarray, classes: tuple[Any, ...], validation: float, seed: int) -> Split:
    """Which rows train and which judge: of encoded targets, with the share of each class in both parts."""
    return split_rows(len(y), validation=validation, test=0, seed=seed, y=y if classes else None)
