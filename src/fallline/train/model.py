"""Model: a trained network with what it needs to read rows and to answer in the user's terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fallline.autodiff.reverse import pullback
from fallline.core.errors import ConfigError, DataError
from fallline.core.registry import nearest
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.core.views import VIEWS
from fallline.data.columns import Columns
from fallline.data.multiple import LabelsTarget, Target
from fallline.data.table import Table, read_table
from fallline.data.target import ClassTarget
from fallline.engines.engine import get_engine
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.losses.loss import Loss
from fallline.nn.containers import Sequential
from fallline.nn.ensemble import Ensemble
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL
from fallline.ops.composite import mean
from fallline.ops.transcendental import sigmoid
from fallline.train.answers import decided
from fallline.train.examples import (
    Examples,
    as_inputs,
    class_codes,
    finite_targets,
    in_order,
    n_rows,
    row_weights,
    take_rows,
)
from fallline.train.intervals import Intervals, deviation
from fallline.train.judging import CHUNK, Judging
from fallline.train.metrics import (
    CLASS_METRICS,
    METRICS,
    NUMBER_METRICS,
    classification_metrics,
    regression_metrics,
)
from fallline.train.model_file import read_model, write_model
from fallline.train.slopes import in_own_units, prediction_slopes
from fallline.train.step import loss_of, row_losses, scorer


@dataclass(frozen=True)
class Model:
    """What `fit` returns and what a model file holds.

    network  the filled network;  loss  with the link from scores to predictions
    target   how targets are encoded: classes, labels, or mean and scale of numbers
    columns  how a table becomes arrays; None when the network was trained on arrays
    feature_names  the columns of the data frame that the network was trained on; empty for arrays
    notes    facts about the run, kept in the file (JSON)
    thresholds  one for each class, or label: answered is the class with the largest p_k / threshold_k, and every label
                with p_k > threshold_k; empty: what the loss decides for
    intervals   what `predict_interval` needs; None where no rows were kept back for it
    row         Spec of one row of the arrays that the network was trained on (a tree of Specs for several)
    """

    network: Layer
    loss: Loss
    target: Target
    columns: Columns | None = None
    engine: str = "auto"
    feature_names: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, ...] = ()
    intervals: Intervals | None = None
    row: Any = None

    @property
    def classes(self) -> tuple[Any, ...]:
        """The class labels in the order of `predict_proba`'s columns; empty for regression."""
        return self.target.classes

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the parameters, in which inputs are computed."""
        floats = [leaf.dtype for leaf in leaves(self.network).values() if leaf.dtype.kind == "f"]
        return floats[0] if floats else np.dtype("float32")

    def inputs(self, X: Any) -> Any:
        """The arrays that the network reads, from a table (when it was trained on one) or from arrays."""
        if self.columns is None:
            return as_inputs(in_order(X, self.feature_names), self.network, self.dtype)
        numbers, codes = self.columns.transform(read_table(X))
        numbers = numbers.astype(self.dtype, copy=False)
        return (numbers, codes) if self.columns.cardinalities else numbers

    def scores(self, X: Any) -> np.ndarray:
        """The network's raw scores.   X (n, …) -> (n,) for one score a row, else (n, n_scores)"""
        return score_rows(self.network, self.inputs(X), self.engine)

    def features(self, X: Any) -> np.ndarray:
        """φ(x): what the last layer with weights is given; its W and b make the scores of φ.   -> (n, n_features)

        A linear model of φ does what the network does; scikit-learn's work on it. Without hidden layers φ(x) = x.
        Of an Ensemble the features of its members stand side by side.
        """
        x = self.inputs(X)
        found = [score_rows(body, x, self.engine) for body in _bodies(self.network)]
        return np.concatenate([part.reshape(len(part), -1) for part in found], axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities.   X (n, …) -> (n, n_classes), rows sum to 1; of labels one of each -> (n, labels)"""
        return self.probabilities(self.scores(X))

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row that the loss decides for, or the predicted number in the target's unit."""
        return self.predicted(self.scores(X))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Scores as class probabilities.   -> (n, n_classes)"""
        if not (self.classes and self.loss.probabilistic):
            kind = "classes without probabilities" if self.classes else "numbers, not classes"
            raise ConfigError(f"{type(self.loss).__name__} predicts {kind}: use predict")
        linked = self._linked(scores)
        return np.stack([1.0 - linked, linked], axis=1) if linked.ndim == 1 else linked

    def predicted(self, scores: np.ndarray) -> np.ndarray:
        """Scores as class labels (at a tie the first class), or as numbers in the target's unit."""
        if not self.classes:
            return self.target.decode(self._linked(scores))
        if not self.thresholds:
            return self.target.decode(np.asarray(self.loss.decide(scores)))
        return self.target.decode(decided(self.probabilities(scores), self.thresholds, self.target))

    def predict_interval(self, X: Any, alpha: float = 0.1) -> np.ndarray:
        """Lower and upper end of an interval that holds the target with a probability of at least 1 - alpha.

        -> (n, 2), or (n, 2, k) of k outputs; see `train/intervals.py`
        raises  ConfigError where no rows outside training have told how wide it must be, or too few for this alpha
        """
        if self.intervals is None:
            raise ConfigError("no rows outside training have told how far off predictions are: fl.TabularRegressor "
                              "keeps such rows, and its model file holds what they say")  # fmt: skip
        return self.intervals_of(self.scores(X), alpha)

    def intervals_of(self, scores: np.ndarray, alpha: float = 0.1) -> np.ndarray:
        """The intervals of rows with these scores, where the model has what they need."""
        assert self.intervals is not None
        return self.intervals.around(self.loss, self.target, scores, alpha)

    def deviation(self, X: Any) -> np.ndarray:
        """σ of each prediction in the target's unit, where the loss learns it (distribution="normal").   -> like y"""
        return self.deviations(self.scores(X))

    def deviations(self, scores: np.ndarray) -> np.ndarray:
        """σ of predictions from scores."""
        return deviation(self.loss, self.target, scores)

    def _linked(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(self.loss.predict(scores.astype(np.float64)))

    def evaluate(self, X: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """The mean loss and the usual metrics on rows with known targets; a table holds its targets itself."""
        x, encoded = self.rows(X, y)
        return measured(self, x, encoded, row_weights(sample_weight, None, encoded, self.classes))

    def gradients(self, X: Any, y: Any = None, wrt: str = "weights") -> Any:
        """The derivatives of J, the mean loss of the rows in evaluation mode and without penalties.

        wrt  "weights": {"layers.0.W": array, …};
             "inputs": dJ/dX, an array like the input that the network reads; of several inputs a tuple, None for codes
        """
        if wrt not in ("weights", "inputs"):
            raise ConfigError(f"wrt={wrt!r}: {nearest(str(wrt), ('weights', 'inputs'))}")
        x, encoded = self.rows(X, y)
        found = leaves(self.network)

        def derivatives(params: dict[str, Any], rows: Any, targets: Any) -> dict[str, Any]:
            _, losses = row_losses(with_leaves(self.network, params), self.loss, rows, targets, EVAL)
            by_path = {p: params[p] for p in leaves(self.network, "param")} if wrt == "weights" else leaves(rows)
            floats = {path: leaf for path, leaf in by_path.items() if leaf.spec.is_float}
            given = np.ones((), losses.dtype)
            return dict(zip(floats, pullback([mean(losses)], [given], list(floats.values())), strict=True))

        program = Program.of(derivatives, found, x, encoded)
        run = get_engine(self.engine).compile(program)
        arrays = program.restore(run(*found.values(), *leaves(x).values(), encoded))
        return arrays if wrt == "weights" else map_leaves(lambda path, _: arrays.get(path), x)

    def input_gradients(self, X: Any, names: Sequence[str] = ()) -> np.ndarray:
        """d prediction / d input of each row, per unit of the input and of the target.

        -> (n, columns) of the predicted number or of the probability of the second of two classes; (n, columns, k) of
        k classes, labels, outputs or quantiles. Of a table the columns are `names` (those of training without), with
        NaN for categories and missing cells
        """
        if self.columns is None:
            found = prediction_slopes(self.network, self.loss, self.inputs(X), self.engine)
        else:
            table = read_table(X)
            found = prediction_slopes(self.network, self.loss, self.inputs(table), self.engine)
            found = in_own_units(found, self.columns, table, tuple(names) or self.feature_names or table.names)
        return found if self.classes else found * np.asarray(self.target.scale)

    def explain_step(self, batch: Any, **settings: Any) -> Any:
        """One step of gradient descent on a batch, every number under its heading; `fl.explain_step` has the settings.

        batch  (X, y), or a table with its target;  settings  optimizer=, learning_rate=, steps=, l2= …
        """
        return VIEWS["step"](self, batch, **settings)

    def objective(self, X: Any, y: Any = None) -> tuple[Callable[[Layer], Any], Layer]:
        """(J, network): the function that gives the mean loss of these rows for a network, and the network to put in.

        Everything is in float64, so that derivatives of J can be checked sharply (`fl.check_gradients(model, X, y)`);
        evaluation mode, without penalties.
        """

        def wide(_: str, leaf: Any) -> Any:
            return leaf.astype(np.float64) if leaf.dtype.kind == "f" else leaf

        x, encoded = (map_leaves(wide, part) for part in self.rows(X, y))
        network = map_leaves(wide, self.network)

        def cost(changed: Layer) -> Any:
            return mean(row_losses(changed, self.loss, x, encoded, EVAL)[1])

        program = Program.of(cost, network)

        def J(changed: Layer) -> Any:
            made = any(isinstance(leaf, Value) for leaf in leaves(changed).values())
            return cost(changed) if made else program(changed)

        return J, network

    def encode(self, y: Any) -> np.ndarray:
        """Targets, an array or the table that holds them, as the loss takes them."""
        return encode_targets(self.loss, self.target, y, self.dtype)

    def rows(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """The arrays that the network reads and the encoded targets; a table holds its targets itself."""
        if y is None and self.columns is None:
            raise DataError("the targets are needed: pass X and y")
        x = self.inputs(X)
        encoded = self.encode(read_table(X) if y is None else y)
        if n_rows(x) != len(encoded):
            raise DataError(f"X has {n_rows(x)} rows and y {len(encoded)}: they must have equally many")
        return x, encoded

    def save(self, path: str | Path) -> Path:
        """Writes one safetensors file with everything that `fl.load` needs."""
        return write_model(self, Path(path))


def _bodies(network: Layer) -> list[Layer]:
    """The parts of a network that make its features; ConfigError for one whose layers are not in a row."""
    if isinstance(network, Ensemble):
        return [body for member in network.members for body in _bodies(member)]
    if isinstance(network, Sequential) and network.layers and isinstance(network.layers[0], Ensemble):
        return _bodies(network.layers[0])
    if isinstance(network, Sequential):
        return [network.body()]
    name = type(network).__name__
    raise ConfigError(f"features needs layers in a row, given {name}: write Sequential({name}(…), Dense(…))")


def load(path: str | Path, engine: str = "auto") -> Model:
    """The model in a file written by `save`, or in the folder of a run. Nothing in the file is executed.

    raises  ModelFileError for a missing, damaged or foreign file
    """
    return Model(**read_model(Path(path)), engine=engine)


def score_rows(network: Layer, x: Any, engine: str) -> np.ndarray:
    """The scores of all rows, in chunks.   -> (n,) or (n, n_scores)"""
    total, parts, running = n_rows(x), [], get_engine(engine)
    found, call, size = list(leaves(network).values()), None, 0
    for start in range(0, total, CHUNK):
        part = take_rows(x, np.s_[start : start + CHUNK])
        if call is None or n_rows(part) != size:
            call, size = scorer(network, part, running), n_rows(part)
        parts.append(call(*found, *leaves(part).values())[0])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def encode_targets(loss: Loss, target: Target, y: Any, dtype: Any) -> np.ndarray:
    """Targets as the loss takes them: class codes as integers or floats, numbers on the training scale."""
    if isinstance(y, Table):
        encoded = target.encode(y)
    elif isinstance(target, ClassTarget):
        encoded = class_codes(target.classes, y)
    else:
        encoded = (finite_targets(y) - np.asarray(target.mean)) / np.asarray(target.scale)
    loss.check_target(encoded)
    return np.ascontiguousarray(encoded, dtype=np.int32 if loss.target_dtype == "int32" else dtype)


def mean_loss(model: Model, scores: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
    """Σ w L / Σ w over the rows, without penalties."""
    losses = [
        loss_of(model.loss, scores[s : s + CHUNK], encoded[s : s + CHUNK], get_engine(model.engine))
        for s in range(0, len(scores), CHUNK)
    ]
    return float(np.average(np.concatenate(losses).astype(np.float64), weights=weights))


def measured(model: Model, x: Any, encoded: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The mean loss of rows and the usual metrics, numbers in the target's unit."""
    judging = Judging(model.network, model.loss, Examples(x, encoded, weights), get_engine(model.engine))
    judged = judging.look(leaves(model.network))
    assert judged is not None  # nothing stops it
    return {"loss": judged.loss, **metrics_of(model, judged.scores, encoded, weights)}


def metrics_of(
    model: Model, scores: np.ndarray, encoded: np.ndarray, weights: np.ndarray, names: Sequence[str] | None = None
) -> dict[str, float]:
    """The metrics of scored rows, numbers in the target's unit; without names the usual ones; of labels their means."""
    if isinstance(model.target, LabelsTarget):
        return _label_metrics(model.probabilities(scores), encoded, weights, CLASS_METRICS if names is None else names)
    if model.classes and model.loss.probabilistic:
        chosen = CLASS_METRICS if names is None else names
        return classification_metrics(model.probabilities(scores), encoded.astype(np.int64), weights, names=chosen)
    if model.classes:  # a score without a probability still decides, and ranks the rows
        _need_no_probabilities(model, names or ())
        ranks = np.asarray(sigmoid(scores.astype(np.float64)))
        chosen = CLASS_METRICS[:2] if names is None else names
        return classification_metrics(ranks, encoded.astype(np.int64), weights, names=chosen)
    answers, targets = model.predicted(scores), model.target.decode(encoded.astype(np.float64))
    if answers.shape != targets.shape and not names:  # several quantiles of one target have a loss, and no one error
        return {}
    return regression_metrics(answers, targets, weights, names=NUMBER_METRICS if names is None else names)


def _label_metrics(
    probabilities: np.ndarray, encoded: np.ndarray, weights: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """The means of the metrics of every label."""
    pairs = zip(probabilities.T, encoded.T.astype(np.int64), strict=True)
    found = [classification_metrics(p, codes, weights, names=names) for p, codes in pairs]
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def _need_no_probabilities(model: Model, names: Sequence[str]) -> None:
    for name in names:
        if METRICS[name].name in ("log_loss", "brier"):
            raise ConfigError(
                f"metric {name!r} needs probabilities, {type(model.loss).__name__} gives none: use accuracy or auc"
            )
