"""From a table that nobody prepared to a trained model, beside a linear baseline on the same rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DataError
from fallline.core.record import Record, as_record, record, setting, to_json
from fallline.data.columns import Columns
from fallline.data.split import Split, split_rows
from fallline.data.table import Table, column_label
from fallline.data.target import ClassTarget, NumberTarget, find_target, fit_target, infer_target
from fallline.engines.engine import PRECISIONS, Engine
from fallline.losses.loss import Loss
from fallline.losses.penalties import L2
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.embed import ColumnEmbedding
from fallline.nn.initializers import Normal
from fallline.nn.layer import Layer
from fallline.nn.mlp import mlp
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.optim.solver import Solver, as_minimizer
from fallline.train.checkpoint import Checkpoints
from fallline.train.events import Consumer
from fallline.train.examples import Examples, drop_absent
from fallline.train.fit import LESS_EXACT, LOSS_OF, batch_rows, engine_for, start_model
from fallline.train.history import History
from fallline.train.model import Model, measured
from fallline.train.stopping import EarlyStopping, FirstOf, StepLimit, StoppingRule, TargetLoss, TimeLimit
from fallline.train.trainer import Fit, Trainer

FEWEST_ROWS = 10
MOST_WEIGHTS = 200_000_000  # with gradients, two slots of Adam and the best weights so far some 4 GB in float32
DROPOUT = 0.1  # of an optimizer's hidden units, where nothing else is said
PRIOR = 10.0  # λ of the default penalty; heart.csv, ten seeds: test AUC 0.885 without it, 0.894 with it
OUTPUT_INIT = Normal(scale=0.01)  # untrained, it says nearly the same of every row: no early epoch unlearns noise
BASELINE_RATE = 0.01  # a linear model is convex: ten times the network's rate reaches its optimum sooner
SPLITS = ("shuffled", "tail", "group", "time", "column")


@record
class TableOptions(Record):
    """How a table is trained on; every field is a flag of `fallline train`, whose help is this list.

    hidden         units of each hidden layer, or none for a linear model
    activation     function after each hidden layer: "relu", "gelu", "tanh" and others
    dropout        share of the hidden units that is switched off at each step; not given: 0.1, and 0 with a solver,
                   which needs a loss that stays the same
    l2             strength of l2/2 · Σw², added to the mean loss; not given: 10 / m for m training rows, which is the
                   penalty (λ/2m) Σw² with λ = 10, what the weights are believed to be before m rows are seen
    loss           what training makes small, by name; not given: what suits the target
    optimizer      rule of the steps: "adam", "momentum(momentum=0.95)", "ema(adam)" …, or a solver, which looks at all
                   rows at once and takes an epoch for each of its iterations: "lbfgs", "levenberg_marquardt", "random"
    learning_rate  size of the steps; not given: the optimizer's own
    schedule       learning rate that changes with the steps, such as "cosine(0.01)", in place of a fixed one
    batch_size     rows of a step, or "full" for all of them
    epochs         passes over the training rows, at most
    patience       epochs without a better validation loss after which training stops
    time_limit     seconds after which training stops, also inside an epoch; the best weights so far are kept
    step_limit     steps after which training stops, also inside an epoch
    target_loss    training stops as soon as the validation loss is that low
    validation     share (or number) of the rows that decide when to stop and which weights are kept
    test           share (or number) of the rows that judge the result, and nothing else
    split          how rows are shared out: "shuffled" (each class in every part), "tail" (the last rows judge),
                   "group:NAME" (no group in two parts), "time:NAME" (the latest rows judge) or "column:NAME" (a column
                   that says train, validation or test); the named column is no feature
    seed           number that fixes the split, the starting weights, the order of the rows and dropout
    engine         what computes the steps; "auto" is the fastest one installed
    threads        threads of a step; not given: as many as its work is worth, and the results are the same in any case
    precision      "float32" or "float64"; not given: float64 with a solver, else float32; "bf16x3" and "bf16" are
                   float32 with faster, less exact products in the training steps, where the CPU has them
    """

    hidden: tuple[int, ...] = (64, 32)
    activation: str = "relu"
    dropout: float | None = setting(None, at_least=0, below=1)
    l2: float | None = setting(default=None, at_least=0)
    loss: str | None = None
    optimizer: str = "adam"
    learning_rate: float | None = setting(None, above=0)
    schedule: str | None = None
    batch_size: int | str = 64
    epochs: int = setting(200, at_least=1)
    patience: int = setting(20, at_least=1)
    time_limit: float | None = setting(None, above=0)
    step_limit: int | None = setting(None, at_least=1)
    target_loss: float | None = None
    validation: float | int = setting(0.2, above=0)
    test: float | int = setting(0.2, at_least=0)
    split: str = "shuffled"
    seed: int = setting(0, at_least=0)
    engine: str = "auto"
    threads: int | None = setting(None, at_least=1)
    precision: str | None = setting(None, choices=(None, *PRECISIONS))

    def validate(self) -> None:
        if self.schedule is not None and self.learning_rate is not None:
            raise ConfigError(
                f"learning_rate={self.learning_rate:g} and schedule={self.schedule}: a schedule sets the rate itself; "
                "give one of the two"
            )
        method, less = self.made_optimizer(), self.precision in LESS_EXACT
        if isinstance(method, Solver) and (self.dropout or less):
            given = f"precision={self.precision}" if less else f"dropout={self.dropout:g}"
            needs = "exact products" if less else "a loss that stays the same"
            raise ConfigError(f"{given}: optimizer={self.optimizer} is a solver and needs {needs}: leave {given} out")
        batch_rows(self.batch_size, 1)

    @property
    def by_solver(self) -> bool:
        """Whether a solver trains, for which all rows are one batch."""
        return isinstance(self.made_optimizer(), Solver)

    @property
    def dtype(self) -> np.dtype:
        """Of the weights and the inputs."""
        exact = self.by_solver if self.precision is None else self.precision == "float64"
        return np.dtype("float64" if exact else "float32")

    @property
    def dropout_share(self) -> float:
        """The share that is dropped: given, or what suits the optimizer."""
        return (0.0 if self.by_solver else DROPOUT) if self.dropout is None else self.dropout

    def made_engine(self) -> Engine:
        """The engine with its options."""
        return engine_for(self.engine, self.threads, self.precision)

    def made_rule(self, *, target: bool = True) -> StoppingRule:
        """When training stops.   target: whether also at the target loss"""
        rules: list[StoppingRule] = [EarlyStopping(patience=self.patience)]
        if self.time_limit is not None:
            rules.append(TimeLimit(self.time_limit))
        if self.step_limit is not None:
            rules.append(StepLimit(self.step_limit))
        if target and self.target_loss is not None:
            rules.append(TargetLoss(self.target_loss, "validation_loss"))
        return FirstOf(tuple(rules))

    def made_optimizer(self) -> Minimizer:
        """The optimizer with its learning rate or schedule, or the solver, which has none."""
        chosen, rate = as_minimizer(self.optimizer), self.schedule or self.learning_rate
        if rate is None:
            return chosen
        if not isinstance(chosen, Optimizer):
            finds = f"optimizer={self.optimizer} finds the length of its steps itself"
            raise ConfigError(f"{finds}: leave out learning_rate= and schedule=")
        return chosen.with_rate(rate)


@dataclass(frozen=True)
class Prepared:
    """A table made ready: what each column was taken for, what is predicted, who trains, and the untrained model.

    kind, reason  of the target ("binary", "classes", "numbers", "counts") and why
    examples      all rows of the table;  split  which of them train, validate and test
    """

    table: Table
    options: TableOptions
    kind: str
    reason: str
    split: Split
    examples: Examples
    model: Model

    @property
    def task(self) -> str:
        return self.model.loss.task

    def train(self, consumers: Sequence[Consumer] = (), checkpoints: Checkpoints | None = None) -> TableRun:
        """Trains the network and then the linear baseline on the same rows.

        After Ctrl-C the baseline gets no more epochs than the network had; a second Ctrl-C ends it too.
        checkpoints  where what is left of the run is kept, and taken up from
        """
        start, epochs, options = time.perf_counter(), self.options.epochs, self.options
        given = self.model, options.made_optimizer(), epochs, options.made_rule()
        fitted = self._trainer(*given, consumers=consumers, checkpoints=checkpoints, part="network").run()
        if fitted.ended == "interrupted":
            epochs = max(1, fitted.history[-1]["epoch"])
        baseline = self._baseline(epochs, None if fitted.ended == "interrupted" else checkpoints)
        fitted.model = replace(fitted.model, notes={"options": to_json(options), "best_epoch": fitted.best_epoch})
        seconds = time.perf_counter() - start if checkpoints is None else checkpoints.elapsed
        return TableRun(self, fitted, baseline, seconds)

    def _baseline(self, epochs: int, checkpoints: Checkpoints | None = None) -> Fit:
        """The trained linear model."""
        adam = as_record("adam", Optimizer).replace(learning_rate=BASELINE_RATE)
        given = self._linear(), adam, epochs, self.options.made_rule(target=False)
        return self._trainer(*given, checkpoints=checkpoints, part="baseline").run()

    def baseline_metrics(self) -> dict[str, dict[str, float]]:
        """Trains the linear baseline alone, and gives its metrics on each part of the rows."""
        return self.measure(self._baseline(self.options.epochs).model)

    def measure(self, model: Model) -> dict[str, dict[str, float]]:
        """A model's metrics on each part of the rows that has any."""
        parts = {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}
        taken = {name: self.examples.take(rows) for name, rows in parts.items() if len(rows)}
        return {name: measured(model, part.x, part.y, part.w) for name, part in taken.items()}

    def _trainer(self, model: Model, optimizer: Minimizer, epochs: int, rule: StoppingRule, **given: Any) -> Trainer:
        options, train = self.options, drop_absent(self.examples.take(self.split.train))
        strength = PRIOR / len(train) if options.l2 is None else options.l2
        return Trainer(
            model=model,
            optimizer=optimizer,
            train=train,
            validation=self.examples.take(self.split.validation),
            penalties=(L2(strength),) if strength else (),
            epochs=epochs,
            batch_size=batch_rows(options.batch_size, len(train)),
            seed=options.seed,
            early_stopping=rule,
            metrics=("auc",) if self.kind == "binary" else ("accuracy",) if model.classes else ("rmse",),
            engine=options.made_engine(),
            **given,
        )

    def _linear(self) -> Model:
        """The network without hidden layers; an embedded category has one number a level, as one-hot would."""
        units = tuple(1 for _ in self.model.columns.cardinalities) if self.model.columns else ()
        network = Sequential(*_first(self.model.columns, units), Dense(_n_scores(self.model.loss, self.model.target)))
        made = start_model(
            network, self.examples, self.model.loss, self.model.target, self.model.engine, self.options.seed
        )
        return replace(made, columns=self.model.columns)


@dataclass(frozen=True)
class TableRun:
    """A trained table: the fit, the baseline's fit, and the seconds that both took together, interruptions left out."""

    prepared: Prepared
    fit: Fit
    baseline: Fit
    seconds: float

    @property
    def history(self) -> History:
        return self.fit.history

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The network's metrics on each part of the rows."""
        return self.prepared.measure(self.fit.model)

    @cached_property
    def baseline_metrics(self) -> dict[str, dict[str, float]]:
        """The linear baseline's metrics on each part of the rows."""
        return self.prepared.measure(self.baseline.model)


def prepare(table: Table, target: str | int | None, options: TableOptions) -> Prepared:
    """Decides what is predicted and how, splits the rows, fits the columns on the training rows, builds the network.

    raises  DataError, ConfigError: everything the user can mend, in one line
    """
    if table.n_rows < FEWEST_ROWS:
        raise DataError(
            f"{table.name} has {table.n_rows} rows, too few to train, validate and test: give at least {FEWEST_ROWS}"
        )
    name = find_target(table, target)
    wanted = None if options.loss is None else as_record(options.loss, Loss)
    kind, reason = infer_target(table, name, wanted.task if wanted else None)
    loss = wanted or as_record(LOSS_OF[kind], Loss)
    coded = fit_target(table, name, task=loss.task, scaled=False)
    codes = coded.encode(table) if isinstance(coded, ClassTarget) else None
    split, ignored = _split(table, options, codes)
    fitted = fit_target(table, name, task=loss.task, rows=split.train, scaled=_takes_any_number(loss))
    columns = Columns.fit(table, target=name, rows=split.train, kinds=dict.fromkeys(ignored, "ignored"))
    if not columns.fitted:
        raise DataError(f"{table.name} has no column to learn from beside {name!r}: all others were left out")
    numbers, categories = columns.transform(table)
    y = fitted.encode(table)
    _check_loss(loss, fitted, y, table)
    numbers, dtype = numbers.astype(options.dtype, copy=False), options.dtype
    x = (numbers, categories) if columns.cardinalities else numbers
    encoded = np.ascontiguousarray(y, np.int32 if loss.target_dtype == "int32" else dtype)
    examples = Examples(x, encoded, np.ones(len(y), dtype))
    if loss.task == "regression" and _n_scores(loss, fitted) > 1:
        raise ConfigError(
            f"{loss!r} predicts several numbers a row: train it with fl.fit, or choose a loss for one number"
        )
    network = tabular_network(columns, options, _n_scores(loss, fitted))
    engine = options.made_engine()
    model = replace(start_model(network, examples, loss, fitted, engine, options.seed), columns=columns)
    return Prepared(table, options, kind, reason, split, examples, model)


def _check_loss(loss: Loss, target: ClassTarget | NumberTarget, y: np.ndarray, table: Table) -> None:
    """DataError in the words of the table where the loss does not take these targets."""
    _n_scores(loss, target)  # refuses a loss for two classes where there are more
    taken = loss.allowed(y)
    if not taken.all():
        row = int(np.argmin(taken))
        raise DataError(
            f"the target {column_label(target.name)} is {target.decode(y)[row]:g} in {table.place(row)}, "
            f"{type(loss).__name__} takes {loss.takes}: leave out loss=, or choose another"
        )


def _split(table: Table, options: TableOptions, codes: np.ndarray | None) -> tuple[Split, tuple[str, ...]]:
    """The parts of the rows, and the column that decided them, which is no feature."""
    way, colon, name = options.split.partition(":")
    if way not in SPLITS or bool(colon) != (way in SPLITS[2:]):
        raise ConfigError(f"split={options.split!r}: give shuffled, tail, group:NAME, time:NAME or column:NAME")
    chosen: dict[str, Any] = {"y": codes} if way == "shuffled" else {"tail": True}
    if colon:
        absent = table.column(name).is_null()
        if absent.any():
            place = table.place(int(absent.arg_max() or 0))
            raise DataError(f"{column_label(name)} is missing in {place}: split={options.split} needs it in every row")
        chosen = {{"group": "groups"}.get(way, way): table.column(name).to_numpy()}
    validation, test = options.validation, options.test
    split = split_rows(table.n_rows, validation=validation, test=test, seed=options.seed, **chosen)
    return split, (name,) if colon else ()


def tabular_network(columns: Columns, options: TableOptions, n_scores: int) -> Sequential:
    """Embeddings of categories with many levels, then (Dense, activation, Dropout) for each hidden layer."""
    units = tuple(embedding_units(c) for c in columns.cardinalities)
    _refuse_beyond_memory((len(columns.feature_names) + sum(units), *options.hidden, n_scores), options.hidden)
    body = mlp(options.hidden, n_scores, options.activation, dropout=options.dropout_share, output_init=OUTPUT_INIT)
    return Sequential(*_first(columns, units), *body.layers)


def _refuse_beyond_memory(widths: Sequence[int], hidden: tuple[int, ...]) -> None:
    """ConfigError for a network that would not fit, before the system ends the process for it."""
    weights = sum(max(a, 1) * max(b, 1) for a, b in pairwise(widths))
    if weights > MOST_WEIGHTS:
        raise ConfigError(
            f"hidden={','.join(map(str, hidden))} makes {weights:,} weights, more than {MOST_WEIGHTS:,}: "
            "give fewer units"
        )


def embedding_units(cardinality: int) -> int:
    """The width of an embedding: 1.6 · levels^0.56, at most 16.   source: the rule of thumb of fastai"""
    return min(16, max(2, round(1.6 * cardinality**0.56)))


def _first(columns: Columns | None, units: tuple[int, ...]) -> list[Layer]:
    return [ColumnEmbedding(columns.cardinalities, units)] if columns is not None and units else []


def _n_scores(loss: Loss, target: ClassTarget | NumberTarget) -> int:
    return loss.n_scores(len(target.classes), 1)


def _takes_any_number(loss: Loss) -> bool:
    """Whether targets may be shifted and scaled; a loss for counts or positive numbers needs them as they are."""
    return bool(loss.allowed(np.array([-1.0])).all())
