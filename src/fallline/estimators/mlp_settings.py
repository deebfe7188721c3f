"""What scikit-learn's names for the settings of its multi-layer perceptrons mean here, and which values are allowed."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions

from fallline.core.errors import FalllineError
from fallline.core.record import as_record
from fallline.engines.engine import PRECISIONS, Engine, get_engine
from fallline.estimators.mlp_training import Pace
from fallline.losses.loss import Loss
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.layer import Layer
from fallline.nn.norm import BatchNorm
from fallline.optim.adam import AdamHat
from fallline.optim.lbfgs import LBFGS
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.schedules import Schedule
from fallline.optim.sgd import SGD, Velocity
from fallline.optim.solver import as_minimizer
from fallline.train.fit import engine_for

AUTO_BATCH = 200  # rows, as in scikit-learn
FREE = 1 << 20  # products an epoch, in each direction: up to here steps in float64 take hardly longer than in float32
SOLVERS = ("lbfgs", "sgd", "adam")
RATES = ("constant", "invscaling", "adaptive")
LOSSES = {"squared_error": "SquaredError", "poisson": "Poisson", "log_loss": "BinaryCrossEntropy"}

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [str, Layer, type, callable, list, tuple],
    "solver": [str, Minimizer, type],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [str, Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "loss": [str, Loss, type],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
    "validation_data": [tuple, list, None],
    "validation_metric": [str, None],
    "callbacks": [callable, tuple, list],
    "precision": [StrOptions(set(PRECISIONS)), None],
    "engine": [str, Engine],
    "n_jobs": [Integral, None],
    "optimizer": [str, Minimizer, type, None],
}


def invalid(owner: Any, name: str, value: Any, reason: str) -> InvalidParameterError:
    """The error of a parameter whose value means nothing, in scikit-learn's words and type."""
    return InvalidParameterError(
        f"The {name!r} parameter of {type(owner).__name__} is not usable. Got {value!r}: {reason}"
    )


def check_named(owner: Any) -> None:
    """InvalidParameterError where a name, or a text, of a parameter stands for nothing."""
    activations_of(owner)
    minimizer_of(owner)
    if isinstance(owner.learning_rate, str) and owner.learning_rate not in RATES:
        _record_of(owner, "learning_rate", Schedule, RATES)
    if owner.loss not in LOSSES:
        _record_of(owner, "loss", Loss, tuple(LOSSES))


def _record_of(owner: Any, name: str, base: type, also: tuple[str, ...] = ()) -> Any:
    value = getattr(owner, name)
    try:
        return as_minimizer(value) if base is Minimizer else as_record(value, base)
    except FalllineError as error:
        words = f"; scikit-learn's names are {', '.join(also)}" if also else ""
        raise invalid(owner, name, value, f"{error}{words}") from None


def hidden_sizes(owner: Any) -> list[int]:
    """The units of each hidden layer."""
    given = owner.hidden_layer_sizes
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def activations_of(owner: Any) -> list[Any]:
    """The activation of each hidden layer, as layers (or functions of ops)."""
    given, n = owner.activation, len(hidden_sizes(owner))
    each = list(given) if isinstance(given, (list, tuple)) else [given] * n
    if len(each) != n:
        raise invalid(owner, "activation", given, f"give one for all hidden layers, or one for each of the {n}")
    made = []
    for one in each:
        plain = callable(one) and not isinstance(one, (type, Layer))
        try:
            made.append(one if plain else as_record(one, Layer))
        except FalllineError as error:
            raise invalid(owner, "activation", one, str(error)) from None
    return made


def recipe_of(owner: Any, n_scores: int) -> Sequential:
    """(Dense, batch norm, activation, dropout) for each hidden layer, Dense(n_scores)."""
    layers: list[Any] = []
    for units, activation in zip(hidden_sizes(owner), activations_of(owner), strict=True):
        layers += [Dense(units), *[BatchNorm()] * owner.batch_norm, activation]
        layers += [Dropout(float(owner.dropout))] * (owner.dropout > 0)
    return Sequential(*layers, Dense(n_scores))


def start_factor(owner: Any, layer: int) -> float:
    """6, or 2 where the activation is the logistic one: that of the last hidden layer counts for the output too."""
    given = owner.activation
    if isinstance(given, (list, tuple)):
        given = given[min(layer, len(given) - 1)] if given else "relu"
    return 2.0 if isinstance(given, str) and given == "logistic" else 6.0


def is_stochastic(owner: Any) -> bool:
    """Whether training goes from batch to batch."""
    given = owner.solver if owner.optimizer is None else owner.optimizer
    if isinstance(given, str) and given in SOLVERS:
        return given != "lbfgs"
    return isinstance(minimizer_of(owner), Optimizer)


def minimizer_of(owner: Any, factor: float = 1.0, rate: Any = None) -> Minimizer:
    """What moves the weights.

    factor  scikit-learn's objective is this times the one that is trained on: rates and tolerances are scaled by it
    rate    what the rate follows, in place of learning_rate_init
    """
    name = "solver" if owner.optimizer is None else "optimizer"
    given = getattr(owner, name)
    start = float(owner.learning_rate_init)
    if isinstance(given, str) and given == "adam":
        return AdamHat(
            start if rate is None else rate, float(owner.beta_1), float(owner.beta_2), eps=float(owner.epsilon) / factor
        )
    if isinstance(given, str) and given == "lbfgs":
        return LBFGS(tolerance=owner.tol / factor, norm="max")
    if isinstance(given, str) and given == "sgd":
        momentum = min(float(owner.momentum), 1 - 2**-24)  # in float32 still below 1
        pace = start * factor if rate is None else rate
        if not momentum:
            return SGD(pace)
        return Velocity(pace, momentum, bool(owner.nesterovs_momentum))
    made = _record_of(owner, name, Minimizer, SOLVERS)
    if isinstance(made, Optimizer) and made.members:
        raise invalid(owner, name, given, "it makes several networks of one: take fl.Classifier or fl.Regressor")
    if isinstance(given, str) and "(" not in given and isinstance(made, Optimizer):
        return made.with_rate(start if rate is None else rate)
    return made


def loss_of(owner: Any, kind: str) -> Loss:
    """The loss for targets of a kind: "binary", "multilabel", "multiclass" or "numbers"."""
    if kind != "numbers" and isinstance(owner.loss, str) and owner.loss == "log_loss":
        return as_record("CategoricalCrossEntropy" if kind == "multiclass" else "BinaryCrossEntropy", Loss)
    loss = as_record(LOSSES.get(owner.loss, owner.loss) if isinstance(owner.loss, str) else owner.loss, Loss)
    if (loss.task == "regression") != (kind == "numbers"):
        other = "MLPRegressor" if loss.task == "regression" else "MLPClassifier"
        raise invalid(owner, "loss", owner.loss, f"it is one of {loss.task}: take fl.{other}, or leave the loss out")
    return loss


def factor_of(owner: Any, n_outputs: int, kind: str) -> float:
    """What scikit-learn's objective is of ours: it takes half the squared error, and sums over outputs."""
    if owner.loss == "squared_error":
        return 0.5 * n_outputs
    summed = owner.loss == "poisson" or (owner.loss == "log_loss" and kind == "multilabel")
    return float(n_outputs) if summed else 1.0


def engine_of(owner: Any) -> Engine:
    """The engine that computes the steps, with its threads and precision."""
    threads = owner.n_jobs
    if threads == 0:
        raise invalid(owner, "n_jobs", threads, "give a number of threads, -1 for all cores, or None")
    if threads is not None and threads < 0:
        threads = max(1, (os.cpu_count() or 1) + 1 + threads)
    return engine_for(get_engine(owner.engine), None if threads is None else int(threads), owner.precision)


def dtype_of(owner: Any, X: Any) -> np.dtype:
    """In which the weights are trained, where it is not said: float64 with a solver, and where it costs nothing."""
    if owner.precision is not None:
        return np.dtype("float64" if owner.precision == "float64" else "float32")
    work = X.shape[0] * sum(W.size for W in owner.coefs_)
    small = X.dtype == np.float64 and work <= FREE
    return np.dtype("float64" if small or not is_stochastic(owner) else "float32")


def pace_of(owner: Any, factor: float) -> Any:
    """What the rate follows: a schedule, or for "sgd" a Pace; None for learning_rate_init."""
    if owner.learning_rate not in RATES:
        return (
            owner.learning_rate
            if isinstance(owner.learning_rate, Schedule)
            else as_record(owner.learning_rate, Schedule)
        )
    if owner.solver != "sgd" or owner.optimizer is not None or owner.learning_rate == "constant":
        return None
    return Pace(owner.learning_rate, owner.learning_rate_init, owner.power_t, factor)


def batch_rows(owner: Any, n: int) -> int:
    """Rows in a batch of n rows."""
    return min(AUTO_BATCH, n) if owner.batch_size == "auto" else int(min(owner.batch_size, n))
