"""Tabular: what the estimators of tables share, from reading a table to a trained model that is not yet calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fallline.core.errors import ConfigError, DataError
from fallline.core.record import Record, as_record
from fallline.core.registry import nearest
from fallline.core.warn import warn_user
from fallline.data.columns import Columns
from fallline.data.table import Table, column_label
from fallline.engines.engine import Engine
from fallline.estimators.bagging import train_bag
from fallline.estimators.budget import Budget
from fallline.estimators.estimator import Estimator
from fallline.estimators.inputs import checked_weights
from fallline.estimators.plain import Trained, train_plain
from fallline.estimators.recipe import Recipe, recipes_for
from fallline.estimators.tables import table_of, target_of
from fallline.estimators.targets import Encoded, Task
from fallline.losses.loss import Loss
from fallline.nn.containers import Sequential
from fallline.optim.optimizer import Minimizer
from fallline.train.examples import Examples, row_weights
from fallline.train.fit import engine_for, whole_number
from fallline.train.metrics import METRICS
from fallline.train.model import Model
from fallline.train.progress import Progress
from fallline.train.tabular import TableOptions

PRESETS = ("tabular", "plain")
# The parameters that change a field of the preset, where they are given.
OVERRIDES = ("hidden", "activation", "dropout", "learning_rate", "batch_size", "epochs", "patience")
PLAIN_ONLY = {"l2": None, "optimizer": None, "validation": None, "metric": None, "callbacks": ()}
FEWEST_FOLDED = 8  # rows: with fewer, a fold tells nothing
# Of a bag, by its budget; where there are more, the rows that are left out of one network tell as much as all would.
MOST_ROWS = {"fast": 20_000, "default": 50_000, "best": 200_000}
MANY_ROWS = {"hidden": (128, 64), "batch_size": 512, "epochs": 40, "patience": 4}
SHARE = 0.2  # of the rows that the plain preset keeps back
BAG_ONLY = {"budget": "default", "recipe": None, "ensemble": None}


class Tabular(Estimator):
    """What both estimators of tables share.

    X is a data frame (pandas, polars, Arrow), a dict of columns, an array of numbers or objects, or a sparse matrix.
    Columns are numbers, true/false, categories or dates; cells may be missing, and categories unseen at `predict`.

    preset        "tabular": a bag of networks over folds and a linear model, mixed by the rows that they never saw;
                  "plain": one network, as of `fallline train`
    budget        how much the bag may cost: "fast", "default" or "best";  time_limit  seconds after which it ends
    hidden, activation, dropout, learning_rate, batch_size, epochs, patience
                  in place of the preset's own; None leaves them as they are
    recipe        of the bag: a Recipe, or several, in place of its own
    ensemble      networks of the bag that are trained in one program in the place of each
    loss          what training makes small, where the target alone should not decide
    categorical   names (or positions) of columns that are categories, though they hold numbers
    kinds         {column: "number", "boolean", "category", "date" or "ignored"}, where the guess would be wrong
    l2, optimizer, validation, metric, callbacks
                  of the plain preset: strength of the penalty, rule of the steps, the share of the rows that say when
                  to stop (None: 0.2) or (X, y) of your own, what chooses the best epoch, consumers of every event
    random_state  a whole number, None or a RandomState; the same number gives the same model on any number of threads
    engine        what computes;  n_jobs  threads, None is as many as are worth it
    precision     "float32" or "float64"
    verbose       1 shows progress and says what was decided
    attributes    model_ (a Model: `save` writes it, `fl.load` reads it), notes_ (what was decided), n_features_in_,
                  feature_names_in_, members_ (a table of what was trained), fit_ (of the plain preset: the history)
    """

    _families: ClassVar[dict[str, type[Record]]] = {"optimizer": Minimizer, "loss": Loss, "recipe": Recipe}
    dropout: Any  # None, too, where the network of one's own has a number
    batch_size: Any
    epochs: Any
    validation: Any
    learning_rate: Any
    l2: Any
    fit_: Any
    _order: Any = slice(None)  # where each answer stands among the model's

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Tabular:
        """Learns from a table and its targets; a weight of 2 is the row twice, 0 the row absent.

        groups  one label a row: rows of one group are never in the part that learns and in the one that judges
        """
        table = table_of(self, X, reset=True)
        found, names, order = target_of(y, table.n_rows, type(self).__name__)
        weights = checked_weights(sample_weight, table.n_rows)
        together = None if groups is None else target_of(groups, table.n_rows, type(self).__name__)[0]
        if weights is not None and not weights.all():
            kept = np.flatnonzero(weights)
            table, found, weights = table.take(kept), found[kept], weights[kept]
            together = None if together is None else together[kept]
        if table.n_rows < 2:
            raise DataError(f"n_samples = {table.n_rows}: one sample is too few to learn from, give at least 2 rows")
        if self.loss is not None:
            self._loss_for(found)  # refuses one of the other task
        encoded = self._read_target(found, names, order, weights)
        w = row_weights(weights, self._class_weights(encoded), encoded.y, encoded.target.classes)
        plain = None if (w == 1).all() else w
        named = table.ordered(sorted(table.names)) if hasattr(self, "feature_names_in_") else table  # in any order
        scaling = "robust" if self.preset == "tabular" else "standard"
        columns = Columns.fit(named, kinds=self._kinds(table), scaling=scaling, weights=plain)
        task = encoded.task(columns, w, together)
        examples = self._examples(columns, table, encoded.y, w)
        self._tell(table, columns, task)
        trained = self._train(examples, task)
        self.model_ = self._finished(trained, task, examples)
        return self

    def _read_target(self, y: np.ndarray, names: Any, order: Any, weights: np.ndarray | None) -> Encoded:
        raise TypeError(f"{type(self).__name__} must read its target: take fl.TabularClassifier or fl.TabularRegressor")

    def _class_weights(self, encoded: Encoded) -> Any:
        return None

    def _finished(self, trained: Trained, task: Task, examples: Examples) -> Model:
        raise TypeError(
            f"{type(self).__name__} must finish its model: take fl.TabularClassifier or fl.TabularRegressor"
        )

    def _kinds(self, table: Table) -> dict[str, str]:
        """The kinds that were asked for, by name."""
        asked = dict(self.kinds or {}) | dict.fromkeys(self.categorical or (), "category")
        return {self._column(table, name): kind for name, kind in asked.items()}

    def _column(self, table: Table, name: Any) -> str:
        if (
            isinstance(name, (int, np.integer))
            and not isinstance(name, bool)
            and -len(table.names) <= name < len(table.names)
        ):
            return table.names[name]
        if name not in table.names:
            raise ConfigError(f"no column is called {name!r}: {nearest(str(name), table.names)}, or give its position")
        return str(name)

    def _examples(self, columns: Columns, table: Table, y: np.ndarray, w: np.ndarray) -> Examples:
        numbers, codes = columns.transform(table)
        dtype = np.dtype(self.precision or "float32")
        x = numbers.astype(dtype, copy=False)
        y = y.astype(dtype, copy=False) if y.dtype.kind == "f" else y
        return Examples((x, codes) if columns.cardinalities else x, np.ascontiguousarray(y), w.astype(dtype))

    def _tell(self, table: Table, columns: Columns, task: Task) -> None:
        """Notes what was decided, and warns of text columns, which are left out."""
        left = [f"{column_label(k.name)} is left out: {k.reason}" for k in columns.left_out if k.kind != "ignored"]
        self.notes_ = [*task.notes, *left]
        for k in columns.left_out:
            if k.kind == "text":
                warn_user(
                    f"{column_label(k.name)} is left out: {k.reason}. Make columns of it first (sklearn's "
                    f"TfidfVectorizer in a ColumnTransformer), or give kinds={{{k.name!r}: 'category'}} or 'ignored'"
                )
        if self.verbose:
            print("\n".join(self.notes_), end="\n" if self.notes_ else "")

    def _seed(self) -> int:
        given = self.random_state
        if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
            return whole_number("random_state", int(given), least=0)
        return int(check_random_state(given).randint(2**31 - 1))

    def _engine(self) -> Engine:
        threads = None if self.n_jobs in (None, -1) else whole_number("n_jobs", self.n_jobs)
        return engine_for(self.engine, threads, self.precision)

    def _given(self) -> dict[str, Any]:
        """The fields of the preset that were given in place of its own."""
        if self.preset not in PRESETS:
            raise ConfigError(f"preset={self.preset!r}: {nearest(str(self.preset), PRESETS)}")
        other = PLAIN_ONLY if self.preset == "tabular" else BAG_ONLY
        for name, usual in other.items():
            value = getattr(self, name)
            if value is not usual and value != usual:
                belongs = PRESETS[self.preset == "tabular"]
                raise ConfigError(
                    f"{name}={value!r} belongs to preset={belongs!r}, preset={self.preset!r} has no use for it"
                )
        given = {name: getattr(self, name) for name in OVERRIDES if getattr(self, name) is not None}
        if "hidden" in given:
            given["hidden"] = tuple(np.atleast_1d(given["hidden"]).astype(int).tolist())
        if isinstance(given.get("activation"), Record):  # a record is its own text
            given["activation"] = repr(given["activation"])
        return given

    def _train(self, examples: Examples, task: Task) -> Trained:
        given = self._given()
        if self.preset == "plain":
            return self._train_plain(examples, task, given)
        budget, engine, n = Budget(self.budget, self.time_limit), self._engine(), len(examples)
        if not FEWEST_FOLDED <= n <= MOST_ROWS[budget.level]:
            return self._train_one(examples, task, given)
        chosen = [] if self.recipe is None else self.recipe if isinstance(self.recipe, (tuple, list)) else [self.recipe]
        recipes = [as_record(recipe, Recipe) for recipe in chosen] or recipes_for(n, budget.plan(n).tried)
        given |= {} if self.ensemble is None else {"ensemble": self.ensemble}
        given |= {"batch_size": n} if given.get("batch_size") == "full" else {}
        tried = tuple(dict.fromkeys(recipe.replace(**given) for recipe in recipes))
        bag = train_bag(
            examples, task, recipes=tried, budget=budget, seed=self._seed(), engine=engine, threads=engine.threads
        )
        self.members_ = bag.members
        if self.verbose:
            print(bag.members)
        return Trained(bag.network, np.arange(len(examples)), bag.out_of_fold, bag.members, bag.seconds)

    def _train_one(self, examples: Examples, task: Task, given: dict[str, Any]) -> Trained:
        """One network in place of a bag: of so few rows none can be left out, of so many a share tells as much."""
        if len(examples) < FEWEST_FOLDED:
            self.notes_.append(f"{len(examples)} rows are too few for folds: one network, trained for all epochs")
            return self._train_plain(examples, task, {})
        self.notes_.append(f"{len(examples):,} rows need no folds: one network, judged by a share of them")
        return self._train_plain(examples, task, {**MANY_ROWS, **given})

    def _train_plain(self, examples: Examples, task: Task, given: dict[str, Any]) -> Trained:
        own = {"l2": self.l2, "optimizer": None if self.optimizer is None else _text(self.optimizer)}
        fields: dict[str, Any] = given | {name: value for name, value in own.items() if value is not None}
        options = TableOptions(**fields, seed=self._seed(), time_limit=self.time_limit, precision=self.precision)
        with Progress(quiet=not self.verbose) as show:
            trained = train_plain(
                examples, task, options=options, validation=self._validation(task), metric=self._metric(),
                engine=self._engine(), consumers=(show, *self.callbacks),
            )  # fmt: skip
        self.fit_ = trained.fit
        return trained

    def _metric(self) -> str | None:
        if self.metric is not None and self.metric not in METRICS:
            raise ConfigError(f"metric={self.metric!r}: {nearest(str(self.metric), METRICS)}")
        return self.metric

    def _validation(self, task: Task) -> float | Examples:
        """The share, or the rows that were given, encoded as training's."""
        if not isinstance(self.validation, (tuple, list)):
            return SHARE if self.validation is None else self.validation
        if len(self.validation) != 2:
            raise ConfigError(f"validation has {len(self.validation)} parts: give a share of the rows, or (X, y)")
        table = table_of(self, self.validation[0], reset=False)
        y, _, _ = target_of(self.validation[1], table.n_rows, type(self).__name__)
        return self._examples(task.columns, table, self._encode(y, task), np.ones(table.n_rows))

    def _encode(self, y: np.ndarray, task: Task) -> np.ndarray:
        """Further targets, as the loss takes them."""
        return Model(Sequential(), task.loss, task.target).encode(y)

    def _model(self, trained: Trained, task: Task) -> Model:
        names = tuple(map(str, getattr(self, "feature_names_in_", ())))
        notes = {"preset": self.preset, "decided": list(self.notes_)}
        engine = self.engine if isinstance(self.engine, str) else self.engine.name
        return Model(trained.network, task.loss, task.target, task.columns, engine, names, notes)

    def _table(self, X: Any) -> Table:
        check_is_fitted(self)
        return table_of(self, X, reset=False)

    def features(self, X: Any) -> np.ndarray:
        """The learned representation: what the last layer with weights is given.   -> (n, n_features)"""
        table = self._table(X)
        return self.model_.features(table)

    def input_gradients(self, X: Any) -> np.ndarray:
        """d prediction / d column, per unit of the column, in each row; NaN for categories and missing cells.

        -> (n, n_features_in_), of the probability of the second of two classes or of the predicted number;
           (n, n_features_in_, k) of k classes, labels, outputs or quantiles
        """
        table = self._table(X)
        found = self.model_.input_gradients(table, getattr(self, "feature_names_in_", table.names))
        return found if found.ndim == 2 else found[:, :, self._order]

    def save(self, path: str | Path) -> Path:
        """Writes the model file, which `fl.load` and `fallline predict` read."""
        check_is_fitted(self)
        return self.model_.save(path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags


SHARED = (Tabular.__doc__ or "").split("\n", 2)[2].lstrip()  # the parameters that both estimators have


def _text(value: Any) -> str:
    """A record by its name and settings, as text that makes it again."""
    return value if isinstance(value, str) else repr(value)


__all__ = ["SHARED", "Tabular"]
