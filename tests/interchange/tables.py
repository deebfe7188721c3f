"""Packaged tables with what real ones have: missing cells, categories, and cells that training never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fallline as fl
from benchmarks.formats import spoilt
from fallline.data.datasets import dataset_names, load_dataset
from fallline.data.multiple import LabelsTarget, NumbersTarget
from fallline.data.target import ClassTarget, NumberTarget, fit_target
from tests.tolerance import assert_close

NAMES = dataset_names()
BINARY, CATEGORICAL, SQUARED = fl.BinaryCrossEntropy(), fl.CategoricalCrossEntropy(), fl.SquaredError()
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Case:
    """A model, and rows that it has not seen: a dict of lists, or arrays."""

    model: fl.Model
    rows: Any


def case(name: str) -> Case:
    """The model of a packaged table after two epochs on two thirds of it, and the last third."""
    packed = load_dataset(name)
    order = np.random.default_rng(0).permutation(len(packed.columns[packed.target]))[:600]
    columns = {key: np.asarray(cells, object)[order].tolist() for key, cells in packed.columns.items()}
    targets, cut = columns.pop(packed.target), 2 * len(order) // 3
    train = spoilt({key: cells[:cut] for key, cells in columns.items()}, 1, unseen=False)
    table = fl.read_table(train | {packed.target: targets[:cut]})
    fitted, target = fl.Columns.fit(table, target=packed.target), fit_target(table, packed.target)
    n_scores = len(target.classes) if len(target.classes) > 2 else 1
    loss = (BINARY if n_scores == 1 else CATEGORICAL) if target.classes else SQUARED
    units = tuple(3 for _ in fitted.cardinalities)
    network = fl.Sequential(fl.ColumnEmbedding(fitted.cardinalities, units), fl.mlp(hidden=(16,), n_outputs=n_scores))
    made = fl.fit(network, (fitted.transform(table), target.encode(table)), loss=loss, epochs=2).model
    model = replace(made, columns=fitted, target=target)
    return Case(model, spoilt({key: cells[cut:] for key, cells in columns.items()}, 2, unseen=True))


N, D = 40, 5
# Everything that a model may be made of: network, loss, target.
KINDS: dict[str, Any] = {
    "two classes": (fl.Dense(1), BINARY, ClassTarget("y", ("no", "yes"))),
    "true and false": (fl.Dense(1), BINARY, ClassTarget("y", (False, True))),
    "whole numbers": (fl.Dense(3), CATEGORICAL, ClassTarget("y", (-1, 4, 7))),
    "fractions": (fl.Dense(3), CATEGORICAL, ClassTarget("y", (0.5, 1.0, 1.5))),
    "no probabilities": (fl.Dense(1), fl.Hinge(), ClassTarget("y", ("no", "yes"))),
    "ordered": (fl.Sequential(fl.Dense(1), fl.CumulativeLogit(3)), CATEGORICAL, ClassTarget("y", (1, 2, 3))),
    "labels": (fl.Dense(4), BINARY, LabelsTarget(("a", "b", "c", "d"))),
    "scaled": (fl.Dense(1), SQUARED, NumberTarget("y", mean=1e6, scale=2e3)),
    "counts": (fl.Dense(1), fl.Poisson(), NumberTarget("y", kind="counts")),
    "positive": (fl.Dense(1), fl.Gamma(), NumberTarget("y", scale=30.0)),
    "normal": (fl.Dense(2), fl.GaussianNLL(), NumberTarget("y", mean=5.0, scale=2.0)),
    "quantiles": (fl.Sequential(fl.Dense(3), fl.Ascending()), fl.Quantile((0.1, 0.5, 0.9)), NumberTarget("y")),
    "several numbers": (fl.Dense(2), SQUARED, NumbersTarget(("a", "b"), (1.0, -2.0), (3.0, 40.0))),
}  # fmt: skip
THRESHOLDS = {"two classes": (0.7, 0.3), "whole numbers": (0.2, 0.5, 0.3), "labels": (0.2, 0.5, 0.5, 0.9)}


def bag(output: fl.Layer, loss: fl.Loss) -> fl.Layer:
    """What the estimators train: members of different kinds, mixed by shares, with a temperature."""
    link = loss.link if type(loss).predict is fl.Loss.predict else "identity"
    members = (
        fl.Sequential(fl.Dense(6), fl.BatchNorm(), fl.SiLU(), fl.Dropout(0.1), output),
        fl.Sequential(fl.Dense(4), fl.LayerNorm(), fl.SELU(), fl.Residual(fl.Dense(4), fl.Mish()), output),
        fl.Sequential(output),
    )
    return fl.Sequential(fl.Ensemble(*members, link=link), fl.Temperature())


def kind(name: str, precision: str = "float32") -> Case:
    """An untrained model on arrays, with the shares of its members and its temperature changed."""
    output, loss, target = KINDS[name]
    x = np.random.default_rng(3).normal(size=(N, D)).astype(precision)
    network = bag(output, loss).build(x, 0)
    changed = {"layers.0.mix.shares": np.array([0.5, 0.2, 0.3], precision), "layers.1.T": np.array(1.7, precision)}
    row = fl.Spec((D,), np.dtype(precision))
    thresholds = THRESHOLDS.get(name, ())
    model = fl.Model(fl.with_leaves(network, changed), loss, target, engine="numpy", row=row, thresholds=thresholds)
    return Case(model, x)


def of_table(columns: Columns, kinds: dict[str, str] | None = None) -> fl.Model:
    """An untrained model of a table, codes embedded."""
    table = fl.read_table(columns)
    fitted = fl.Columns.fit(table, kinds=kinds)
    numbers, codes = fitted.transform(table)
    first = [fl.ColumnEmbedding(fitted.cardinalities, (2,) * len(fitted.cardinalities))] if fitted.cardinalities else []
    network = fl.Sequential(*first, fl.Dense(5), fl.GELU(), fl.Dense(1))
    filled = network.build((numbers, codes) if first else numbers, 0)
    return fl.Model(filled, SQUARED, NumberTarget("y", mean=3.0, scale=2.0), fitted, "numpy")


def assert_answers(model: fl.Model, found: dict[str, np.ndarray], rows: Any, kind: str = "library") -> None:
    """What a reader found is what predict and predict_proba give; numbers in units of the target's own scale.

    found  "label" as labels, "probabilities" or "scores", "variable"; of the first rows, or of rows again and again
    """
    n = len(next(iter(found.values())))

    def meant(given: np.ndarray) -> np.ndarray:
        return np.resize(given, (n, *given.shape[1:]))

    if not model.classes:
        scale, numbers = np.asarray(model.target.scale), meant(model.predict(rows))
        assert_close(found["variable"].reshape(numbers.shape) / scale, numbers / scale, kind)
        return
    scores = model.scores(rows)
    assert found["label"].tolist() == meant(model.predicted(scores)).tolist()
    if model.loss.probabilistic:
        assert_close(found["probabilities"], meant(model.probabilities(scores)), kind)
    else:
        assert_close(found["scores"].reshape(n), meant(scores), kind)
