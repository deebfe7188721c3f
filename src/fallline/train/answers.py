"""What a model answers, from the cells of a row to class and probability, as one program for any number of rows.

It is what `Model.predict` and `predict_proba` do, written in ops: the model file keeps it for readers that know no
layer, and other formats (ONNX) are made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves, with_leaves
from fallline.data.encoders import CategoryColumn
from fallline.data.multiple import LabelsTarget
from fallline.graph.program import Program
from fallline.nn.run import EVAL
from fallline.ops.arithmetic import astype
from fallline.ops.compare import less
from fallline.ops.reduce import argmax
from fallline.ops.shape import stack
from fallline.passes.rows import RowProgram, Size
from fallline.train.step import row_scores


@dataclass(frozen=True, eq=False)
class Answers:
    """The program, and what its inputs are.

    weights  path -> array, for the first inputs;  inputs  name -> Spec of one row, for those after them
    outputs  "label" int32 (n,), the code of the class, or "labels" int64 (n, k) of 0 and 1, with "probabilities"
            float64, or "scores" of a loss that has none; "variable" float64 (n,) or (n, k) of numbers, in their unit
    """

    program: RowProgram
    weights: dict[str, np.ndarray]
    inputs: dict[str, Spec]

    @classmethod
    def of(cls, model: Any, row: Any = None) -> Answers:
        """The program of a `Model`.

        row     Spec of one row of the input (or a tree of them), where the model does not know it
        raises  ConfigError where it must be known, and for a network that cannot answer any number of rows
        """
        weights, given = leaves(model.network), row_inputs(model, row)
        listed = leaves(given)

        def build(n: int) -> Program:
            def answer(found: dict[str, Any], *rows: Any) -> dict[str, Any]:
                it = iter(rows)
                return answered(model, found, map_leaves(lambda *_: next(it), given))

            specs = [spec.with_shape((n, *spec.shape)) for spec in listed.values()]
            return Program.of(answer, weights, *specs, names=("", *names))

        names = list(listed) if isinstance(given, dict) else [path or "X" for path in listed]
        return cls(RowProgram.of(build), weights, dict(zip(names, listed.values(), strict=True)))

    def to_json(self) -> dict[str, Any]:
        """The program as JSON: nodes [op, positions of the arguments, attributes], arguments first.

        An "input" and a "weight" are named, a "constant" holds its value; a size that depends on the number n of rows
        is text, such as "n" and "3n+1".
        """
        nodes = []
        for k, call in enumerate(self.program.calls):
            attrs = {name: _plain(value) for name, value in call.attrs.items()}
            if call.op in ("input", "constant"):
                attrs["dtype"] = str(call.dtype)
            nodes.append(["weight" if k < len(self.weights) else call.op, list(call.args), attrs])
        return {"nodes": nodes, "outputs": self.program.outputs}


def _plain(value: Any) -> Any:
    """An attribute as JSON; numbers beside one that is not finite as text, which NumPy reads."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray):
        whole = value.dtype.kind != "f" or bool(np.isfinite(value).all())
        return value.tolist() if whole else value.astype(str).tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, (Size, np.dtype)) else value


def row_inputs(model: Any, row: Any = None) -> Any:
    """Spec of one row of each input: of the columns by name, or of the arrays that the network was trained on."""
    if model.columns is not None:
        return {c.name: _cell(c) for c in model.columns.fitted}
    known = model.row if row is None else row
    if known is None and model.feature_names:
        known = Spec((len(model.feature_names),), model.dtype)
    if known is None:
        raise ConfigError("the shape of a row is not known from this model: pass example=X[:1], rows that it can read")
    return known


def _cell(column: Any) -> Spec:
    """Of the one cell of a column: a code of a category, or a number."""
    return Spec((1,), np.dtype("int64" if isinstance(column, CategoryColumn) else "float64"))


def answered(model: Any, weights: dict[str, Any], given: Any) -> dict[str, Any]:
    """The outputs for the weights and the rows, arrays or Values."""
    x = given
    if model.columns is not None:
        numbers, codes = model.columns.encoded([given[c.name] for c in model.columns.fitted])
        numbers = astype(numbers, model.dtype)
        x = numbers if codes is None else (numbers, codes)
    scores = row_scores(with_leaves(model.network, weights), x, EVAL)
    wide = astype(scores, "float64")
    if not model.classes:
        linked = model.loss.predict(wide)
        return {"variable": linked * np.asarray(model.target.scale) + np.asarray(model.target.mean)}
    if not model.loss.probabilistic:
        return {"label": model.loss.decide(scores), "scores": wide}
    linked = model.loss.predict(wide)
    shares = stack([1.0 - linked, linked], axis=1) if linked.ndim == 1 else linked
    codes = decided(shares, model.thresholds, model.target) if model.thresholds else model.loss.decide(scores)
    name = "labels" if isinstance(model.target, LabelsTarget) else "label"
    return {name: astype(codes, "int64" if name == "labels" else "int32"), "probabilities": shares}


def decided(probabilities: Any, thresholds: Sequence[float], target: Any) -> Any:
    """The codes that thresholds decide for: of classes (n,), of labels (n, labels) of 0 and 1."""
    relative = probabilities / np.asarray(thresholds)
    return less(1.0, relative) if isinstance(target, LabelsTarget) else argmax(relative, axis=1)


__all__ = ["Answers", "answered", "decided", "row_inputs"]
