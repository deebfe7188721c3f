"""Subject: a network with its loss and some rows, whatever it was given as: a Fit, a Model or a filled layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fallline.core.cached import cached_property
from fallline.core.errors import ConfigError, DataError
from fallline.core.record import as_record
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.data.columns import Columns
from fallline.data.table import Table, read_table
from fallline.data.target import NumberTarget
from fallline.graph.program import Program
from fallline.losses.loss import Loss
from fallline.losses.penalties import L1
from fallline.nn.layer import Layer
from fallline.nn.run import Run
from fallline.ops.random import new_key
from fallline.train.examples import Examples, as_inputs, as_targets, column_names, n_rows, take_rows
from fallline.train.fit import choose_target, shared_rows
from fallline.train.history import History
from fallline.train.model import Model, encode_targets, mean_loss, score_rows
from fallline.train.objective import TrainingObjective
from fallline.train.pairing import Pair
from fallline.train.step import batch_cost, gradients_of
from fallline.train.trainer import Fit

SAME_LOSS = 1e-3  # relative: float32, summed in another order


@dataclass(frozen=True, eq=False)
class Subject:
    """What is looked at. Whatever was not given is None.

    x  the inputs as the network reads them;  y  the targets as the loss takes them;  model  of the network, or None
    fit    with the history of the training, its penalties and its weights of rows
    names  of the columns of x;  table  what x was made of, where it was one
    held   numbers of the rows that judged the training, where these are the rows of the fit; the others trained
    beside  train losses of the network and of a linear model that was trained beside it
    """

    network: Layer
    loss: Loss | None = None
    x: Any = None
    y: np.ndarray | None = None
    fit: Fit | None = field(default=None, repr=False)
    model: Model | None = None
    names: tuple[str, ...] = ()
    table: Table | None = None
    held: np.ndarray | None = None
    beside: tuple[float, float] | None = None

    @property
    def history(self) -> History | None:
        return None if self.fit is None else self.fit.history

    @property
    def is_trained(self) -> bool:
        """Whether training has given the weights: those of a model or a fit of at least one epoch."""
        return self.model is not None and (self.fit is None or len(self.fit.history) > 1)

    @property
    def classes(self) -> tuple[Any, ...]:
        return () if self.model is None else self.model.classes

    @property
    def engine(self) -> str:
        return "numpy" if self.model is None or self.beside is not None else self.model.engine

    @property
    def fitted(self) -> Columns | None:
        """How a table becomes arrays."""
        return None if self.model is None else self.model.columns

    @cached_property
    def train(self) -> np.ndarray:
        """Numbers of the rows that trained: all, where nothing else is known."""
        rows = np.arange(self.rows)
        return rows if self.held is None else np.setdiff1d(rows, self.held)

    @cached_property
    def rows(self) -> int:
        return 0 if self.x is None else n_rows(self.x)

    @cached_property
    def pair(self) -> Pair | None:
        """The network beside its loss, as fit checks them."""
        if self.loss is None or self.x is None:
            return None
        specs = map_leaves(lambda _, leaf: Spec(leaf.shape, leaf.dtype), take_rows(self.x, np.s_[:2]))
        return Pair(self.network, self.loss, specs, self.y)

    @cached_property
    def objective(self) -> TrainingObjective | None:
        """J as training had it, with the weights of rows and the penalties of the fit, but for L1, which has no
        curvature. None without targets, or where these rows are not those that the weights belong to.
        """
        if self.loss is None or self.y is None:
            return None
        weights, penalties = (None, ()) if self.fit is None else (self.fit.row_weights, self.fit.penalties)
        if weights is not None and len(weights) != len(self.y):
            return None
        model = Model(self.network, self.loss, NumberTarget("y"))
        rows = Examples(self.x, self.y, np.ones(len(self.y), model.dtype) if weights is None else weights)
        return TrainingObjective(model, rows, tuple(p for p in penalties if not isinstance(p, L1)))

    @cached_property
    def gradients(self) -> dict[str, np.ndarray]:
        """dJ/dw by the path of w, J the mean loss of the rows, as the first training step on all of them takes it."""
        if self.loss is None or self.y is None:
            return {}
        params, loss, y = leaves(self.network, "param"), self.loss, self.y
        weights = np.ones(len(y), next((p.dtype for p in params.values()), np.dtype("float32")))

        def build(found: dict[str, Any], x: Any, targets: Any, key: Any) -> Any:
            network = with_leaves(self.network, found)
            run = Run.of(network, training=True, key=key)
            cost = batch_cost(network, found, loss, (), len(y), (x, targets, weights), run)
            return gradients_of(cost.objective, found)

        key = new_key(0)
        return Program.of(build, params, self.x, y, key)(params, self.x, y, key)


def subject_of(given: Any, X: Any = None, y: Any = None, loss: Any = None, asked_by: str = "diagnose") -> Subject:
    """A Fit, a Model or a filled layer, with rows where they are given.

    y     labels or numbers; a table holds its targets itself
    loss  of a layer; None: what suits the targets, as in fit
    """
    fit = given if isinstance(given, Fit) else None
    model = given if fit is None else fit.model
    if isinstance(model, Layer):
        return _of_layer(model, X, y, loss, asked_by)
    if not isinstance(model, Model):
        raise ConfigError(
            f"{asked_by} takes what fl.fit returns, a model or a filled network, given {type(given).__name__}"
        )
    if loss is not None:
        raise ConfigError(f"loss={loss!r}: a fitted model has its own ({model.loss!r}); leave it out")
    if X is None:
        return Subject(model.network, model.loss, fit=fit, model=model)
    table = read_table(X) if model.columns is not None else X
    if y is None and isinstance(table, Table) and model.target.name in table.names:
        y = table
    x = model.inputs(table)
    targets = None if y is None else encode_targets(model.loss, model.target, y, model.dtype)
    targets = _of_the_same_rows(x, targets)
    made = Subject(model.network, model.loss, x, targets, fit, model)
    names = model.feature_names or column_names(X)
    return replace(made, names=names, table=table if isinstance(table, Table) else None, held=_held(fit, x, targets))


def of_parts(fit: Fit, table: Table, examples: Examples, train: np.ndarray, held: np.ndarray) -> Subject:
    """The subject of a table of which some rows trained and others judged."""
    rows = np.concatenate([train, held])
    part, model = examples.take(rows), fit.model
    judged = np.arange(len(train), len(rows)) if len(held) else None
    return Subject(model.network, model.loss, part.x, part.y, fit, model, table=table.take(rows), held=judged)


def _held(fit: Fit | None, x: Any, y: np.ndarray | None) -> np.ndarray | None:
    """The rows that judged the fit; None where these are not its rows, which their loss would tell."""
    if fit is None or fit.sharing is None or y is None:
        return None
    try:
        held = shared_rows(y, fit.model.classes, *fit.sharing).validation
    except DataError:  # fewer rows than the share needs
        return None
    if fit.row_weights is not None:
        return held if len(y) - len(held) == len(fit.row_weights) else None
    row = next(row for row in fit.history if row["epoch"] == fit.best_epoch)
    scores = score_rows(fit.model.network, take_rows(x, held), fit.model.engine)
    loss = mean_loss(fit.model, scores, y[held], np.ones(len(held)))
    return held if np.isclose(loss, row.get("validation_loss", np.nan), rtol=SAME_LOSS) else None


def _of_layer(network: Layer, X: Any, y: Any, loss: Any, asked_by: str) -> Subject:
    if not network.is_filled:
        raise ConfigError(f"{network!r} has no weights yet: {asked_by} needs a filled network, such as fit.model")
    made = None if loss is None else as_record(loss, Loss)
    if X is None:
        return Subject(network, made)
    floats = [leaf.dtype for leaf in leaves(network).values() if leaf.dtype.kind == "f"]
    dtype = floats[0] if floats else np.dtype("float32")
    x, names = as_inputs(X, network, dtype), column_names(X)
    if y is None:
        return Subject(network, made, x, names=names)
    target, made = choose_target(as_targets(y), made)
    return Subject(network, made, x, _of_the_same_rows(x, encode_targets(made, target, y, dtype)), names=names)


def _of_the_same_rows(x: Any, y: np.ndarray | None) -> np.ndarray | None:
    if y is not None and len(y) != n_rows(x):
        raise DataError(f"X has {n_rows(x)} rows and y {len(y)}: they must have equally many")
    return y


__all__ = ["Subject", "of_parts", "subject_of"]
