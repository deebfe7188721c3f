"""to_onnx: a trained model, its columns included, as a graph that ONNX Runtime and others answer with."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.files import write_file, write_whole
from fallline.core.spec import Spec
from fallline.core.tree import map_leaves
from fallline.data.cells import MISSING_MARKERS
from fallline.data.encoders import CategoryColumn, NumberColumn
from fallline.data.frames import ARRAY_COLUMN
from fallline.data.target import NumberTarget
from fallline.interchange.onnx_graph import Graph, Node
from fallline.interchange.onnx_ops import add_program
from fallline.interchange.onnx_proto import ML, Port, proto
from fallline.losses.regression import SquaredError
from fallline.nn.layer import Layer
from fallline.passes.rows import RowProgram, Size
from fallline.train.answers import Answers
from fallline.train.examples import as_inputs
from fallline.train.model import Model

FLOATS = ("float32", "float64")
NAMELESS = "nameless"  # a name in a graph has letters


def to_onnx(model: Any, path: str | Path | None = None, *, dtype: Any = None, example: Any = None) -> Any:
    """The model as an onnx.ModelProto, written to `path` where one is given.

        fl.to_onnx(fit, "model.onnx")
        session = onnxruntime.InferenceSession("model.onnx")
        label, probabilities = session.run(None, {"X": X.astype("float32")})

    model    what `fit` returns, its Model, or a fitted estimator; of a filled network the scores are "variable"
    inputs   a model that was trained on a table has an input (n, 1) for each of its columns, by name: numbers (missing:
             NaN), true/false as 1 and 0, dates as days since 1970-01-01, categories as text (missing: ""). Where that
             table was an array of numbers it is "X" (n, d). Otherwise they are the arrays that the network reads, "X"
    outputs  classes: "label" (n,), text or int64, and "probabilities" (n, n_classes), or "scores" of a loss that has no
             probabilities; numbers: "variable" (n, k) in the target's unit
    dtype    of the numbers that go in and come out. None: float64 for tables, whose columns are scaled in it, and else
             that of the weights. float32 has 7 digits: a date or an amount may need more
    example  rows that the model can read, where the shape of its input is not known from its file
    raises   ConfigError without the package onnx, and for a network that cannot answer any number of rows
    """
    onnx = _onnx()
    found = _model(model)
    number = _dtype(dtype, found)
    row = None if example is None else map_leaves(_row_spec, as_inputs(example, found.network, found.dtype))
    answers = Answers.of(found, row)
    width = _width(found)
    listed = [_port(found, name, spec, number) for name, spec in answers.inputs.items()]
    listed = [Port("X", number, (Size(1), width))] if width else listed
    graph = Graph({port.name for port in listed})
    weights = [graph.weight(path, array) for path, array in answers.weights.items()]
    if width:
        inside = _taken_apart(graph, found, listed[0])
    else:
        inside = [
            _entered(graph, found, port, spec) for port, spec in zip(listed, answers.inputs.values(), strict=True)
        ]
    names = add_program(graph, answers.program, [*weights, *inside])
    classes = _classes(model, found)
    names = {name: _in_order(graph, found.classes, classes, name, made) for name, made in names.items()}
    outputs = [_output(graph, found, answers.program, name, made, number) for name, made in names.items()]
    graph.nodes.insert(0, Node("Shape", (listed[0].name,), (graph.rows,), {"start": 0, "end": 1}, "rows"))
    made = proto(onnx, graph, listed, outputs, _about(found, classes))
    if path is not None:
        write_file(path, (".onnx",), lambda file: write_whole(file, [made.SerializeToString()]))
    return made


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ConfigError("fl.to_onnx needs the package onnx, which is not installed here: pip install onnx") from None
    return onnx


def _model(model: Any) -> Model:
    """The Model of what was given; a network by itself gives its scores."""
    found = getattr(model, "model_", model)
    found = getattr(found, "model", found)
    if isinstance(found, Model):
        return found
    if isinstance(found, Layer) and found.is_filled:
        return Model(found, SquaredError(), NumberTarget("scores"))
    raise ConfigError(f"to_onnx writes a trained model or a filled network, given {type(model).__name__}: fit it first")


def _dtype(dtype: Any, model: Model) -> str:
    if dtype is None:
        return "float64" if model.columns is not None else str(model.dtype)
    if str(np.dtype(dtype)) not in FLOATS:
        raise ConfigError(f"dtype={dtype!r}: give float32 or float64")
    return str(np.dtype(dtype))


def _row_spec(_: str, rows: np.ndarray) -> Spec:
    return Spec(rows.shape[1:], rows.dtype)


def _column(model: Model, name: str) -> Any:
    """The category of that name; None for anything else."""
    fitted = model.columns.fitted if model.columns is not None else ()
    return next((c for c in fitted if c.name == name and isinstance(c, CategoryColumn)), None)


def _port(model: Model, name: str, spec: Spec, number: str) -> Port:
    dtype = "text" if _column(model, name) is not None else number if spec.is_float else "int64"
    return Port(name or NAMELESS, dtype, (Size(1), *spec.shape))


def _width(model: Model) -> int:
    """How many columns the array had that a table of numbers came as; 0 for any other table, and without one."""
    if model.columns is None or not all(isinstance(c, NumberColumn) for c in model.columns.fitted):
        return 0
    names = {c.name for c in (*model.columns.fitted, *model.columns.left_out)}
    return len(names) if names == {ARRAY_COLUMN.format(k + 1) for k in range(len(names))} else 0


def _taken_apart(g: Graph, model: Model, port: Port) -> list[str]:
    """The columns of an array, which the program reads one by one."""
    x, one = g.cast(port.name, port.dtype, "float64"), g.array([1], np.int64)
    places = [int(c.name.rpartition("_")[2]) for c in model.columns.fitted] if model.columns is not None else []
    return [g.node("Slice", x, g.array([k - 1], np.int64), g.array([k], np.int64), one) for k in places]


def _entered(g: Graph, model: Model, port: Port, spec: Spec) -> str:
    """What the program reads, from what the graph is given: text as codes, numbers in the dtype of the program."""
    column = _column(model, "" if port.name == NAMELESS else port.name)
    if column is None:
        return g.cast(port.name, port.dtype, spec.dtype)
    codes = cell_codes(column)
    return g.node(
        "LabelEncoder", port.name, domain=ML, keys_strings=list(codes), values_int64s=list(codes.values()),
        default_int64=0,
    )  # fmt: skip


def cell_codes(column: CategoryColumn) -> dict[str, int]:
    """Text of a cell -> its code, as `CategoryColumn.cell_codes` has them; an unseen one is 0."""
    found = {level: k for k, level in enumerate(column.levels, start=1)}
    if {level.lower() for level in column.levels} <= {"true", "false"}:  # in any case
        for level, code in tuple(found.items()):
            found |= {text: found.get(text, code) for text in _spellings(level)}
    missing = len(column.levels) + 1
    return found | {text: missing for marker in MISSING_MARKERS for text in _spellings(marker)}


def _spellings(word: str) -> list[str]:
    """The word in every mix of small and large letters."""
    return ["".join(letters) for letters in itertools.product(*(sorted({c.lower(), c.upper()}) for c in word))]


def _output(g: Graph, model: Model, program: RowProgram, name: str, made: str, number: str) -> Port:
    """An output of the graph: class codes as labels, numbers in the dtype that was asked for."""
    call, free = program.calls[program.outputs[name]], g.free("label" if name == "labels" else name)
    if name == "labels":
        g.nodes.append(Node("Identity", (made,), (free,), {}, free))
        return Port(free, "int64", call.shape)
    if name != "label":
        shape = call.shape if len(call.shape) > 1 else (*call.shape, 1)
        column = made if shape == call.shape else g.node("Reshape", made, g.array([-1, 1], np.int64))
        g.nodes.append(Node("Cast", (column,), (free,), {"to": np.dtype(number)}, free))
        return Port(free, number, shape)
    labels = _labels(model.classes)
    g.nodes.append(Node("Gather", (g.array(labels), made), (free,), {"axis": 0}, free))
    return Port(free, "text" if labels.dtype.kind == "U" else str(labels.dtype), call.shape)


def _labels(classes: tuple[Any, ...]) -> np.ndarray:
    """The classes as int64 (also false and true), as float64, or as text."""
    if all(isinstance(c, (bool, int)) for c in classes):
        return np.array(classes, np.int64)
    return np.array(classes) if all(isinstance(c, float) for c in classes) else np.array([str(c) for c in classes])


def _classes(model: Any, found: Model) -> tuple[Any, ...]:
    """The classes in the order of `predict_proba`: an estimator has its own."""
    own = getattr(model, "classes_", None)
    listed = tuple(own.tolist()) if isinstance(own, np.ndarray) and own.ndim == 1 else found.classes
    return listed if len(listed) == len(found.classes) and set(listed) == set(found.classes) else found.classes


def _in_order(g: Graph, known: tuple[Any, ...], wanted: tuple[Any, ...], name: str, made: str) -> str:
    """An output with its columns in the order of the classes that are wanted."""
    if known == wanted or name != "probabilities":
        return made
    return g.node("Gather", made, g.array([known.index(c) for c in wanted], np.int64), axis=1)


def _about(model: Model, classes: tuple[Any, ...]) -> dict[str, str]:
    """The facts that the file holds beside the graph."""
    columns = model.columns
    names = list(model.feature_names) if columns is None else [c.name for c in columns.fitted]
    facts = {"features": names, "classes": [str(c) for c in classes], "target": model.target.name}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items() if value}


__all__ = ["cell_codes", "to_onnx"]
