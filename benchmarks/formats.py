"""formats: how far the answers of other readers are from those of the model, on every packaged table.

The table estimators' default is trained on two thirds of a table with missing cells, two columns of categories and one
of dates; the last third has categories and numbers that training did not see. Readers: the one of NumPy in examples/,
ONNX Runtime with what fl.to_onnx wrote, PyTorch with what fl.to_torch made (which gets the encoded arrays), each where
it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fallline as fl
from benchmarks.report import Report, duration
from fallline.core.tree import records_in
from fallline.data.datasets import dataset_names, load_dataset
from fallline.train.model import Model

BAR = 1e-6
READER = Path(__file__).parents[1] / "examples" / "read_model.py"
QUICK = ("iris", "diabetes")
Columns = dict[str, list[Any]]


class Rows(NamedTuple):
    """A table in two parts: columns and targets to train on, columns to answer."""

    name: str
    train: Columns
    targets: np.ndarray
    test: Columns
    classes: bool


def main(asked: argparse.Namespace) -> None:
    report = Report(asked.json)
    readers = {name: read for name, (package, read) in READERS.items() if importlib.util.find_spec(package)}
    report.open({})
    report.say("not installed: " + ", ".join(READERS.keys() - readers) if len(readers) < len(READERS) else "")
    names = asked.tables or (QUICK if asked.quick else dataset_names())
    found = [_measured(rows_of(name), readers, asked) for name in names]
    lines = [[entry["table"], str(entry["members"]), *(_cell(entry, name) for name in readers)] for entry in found]
    title = (
        "largest difference of a probability, or of a number in units of the target's deviation; time to write and read"
    )
    report.table(title, ("table", "members", *readers), lines)
    worst = max(entry["difference"][name] for entry in found for name in readers)
    report.say(f"worst {worst:.1e}, bar {BAR:g}")
    report.write(found)


def rows_of(name: str) -> Rows:
    """A packaged table with further columns and missing cells; the rows to answer have unseen ones too."""
    packed = load_dataset(name)
    n = len(packed.columns[packed.target])
    order = np.random.default_rng(0).permutation(n)
    columns = {key: np.asarray(cells, object)[order].tolist() for key, cells in packed.columns.items()}
    days = np.datetime64("2019-01-01") + np.random.default_rng(1).integers(0, 1500, n)
    targets, cut = np.array(columns.pop(packed.target)), 2 * n // 3
    columns["day"] = days.astype(str).tolist()
    train, test = ({key: cells[part] for key, cells in columns.items()} for part in (np.s_[:cut], np.s_[cut:]))
    return Rows(
        name, spoilt(train, 1, unseen=False), targets[:cut], spoilt(test, 2, unseen=True),
        packed.task == "classification",
    )  # fmt: skip


def spoilt(columns: Columns, seed: int, *, unseen: bool) -> Columns:
    """With two more columns of text, and a tenth of all cells missing; `unseen` also puts in levels of its own."""
    rng, n = np.random.default_rng(seed), len(next(iter(columns.values())))
    made = {name: list(cells) for name, cells in columns.items()}
    made["colour"] = rng.choice(["red", "green", "deep blue", "Ω"], n).tolist()  # as many features
    made["town"] = [f"town {k}" for k in rng.integers(0, 60, n)]  # a code for an embedding
    if unseen:
        for name in (name for name in made if name != "day"):
            for row in np.flatnonzero(rng.random(n) < 0.05).tolist():
                made[name][row] = f"new {name}" if isinstance(made[name][row], str) else 1e6
    for cells in made.values():
        for row in np.flatnonzero(rng.random(n) < 0.1).tolist():
            cells[row] = None
    return made


def _measured(rows: Rows, readers: dict[str, Reader], asked: argparse.Namespace) -> dict[str, Any]:
    kind = fl.TabularClassifier if rows.classes else fl.TabularRegressor
    made = kind(budget="fast" if asked.quick else "default", engine=asked.engine, random_state=0)
    model = made.fit(rows.train, rows.targets).model_
    meant = model.predict_proba(rows.test) if rows.classes else model.predict(rows.test)
    members = sum(len(part.members) for _, part in records_in(model.network) if isinstance(part, fl.Ensemble))
    entry: dict[str, Any] = {"table": rows.name, "members": members, "difference": {}, "seconds": {}}
    for name, read in readers.items():
        start = time.perf_counter()
        answers = read(model, rows.test)
        entry["seconds"][name] = time.perf_counter() - start
        scale = 1.0 if rows.classes else model.target.scale
        entry["difference"][name] = float(np.abs(answers.reshape(meant.shape) - meant).max() / scale)
    return entry


def _cell(entry: dict[str, Any], name: str) -> str:
    return f"{entry['difference'][name]:.1e} {duration(entry['seconds'][name]):>8}"


Reader = Callable[[Model, Columns], np.ndarray]


def _numpy(model: Model, rows: Columns) -> np.ndarray:
    reader = runpy.run_path(str(READER))
    with tempfile.TemporaryDirectory() as folder:
        found = reader["answer"](reader["read"](model.save(Path(folder) / "model.safetensors")), rows)
    return found["probabilities" if model.classes else "variable"]


def _onnx(model: Model, rows: Columns) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(fl.to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    given = {port.name: fed(rows[port.name], port.type) for port in session.get_inputs()}
    return session.run(["probabilities" if model.classes else "variable"], given)[0]


def fed(cells: list[Any], kind: str) -> np.ndarray:
    """Cells of a column as an input of the graph asks for them: text, or numbers; dates as days."""
    if kind == "tensor(string)":
        return np.array([["" if cell is None else cell] for cell in cells], dtype=object)
    days = [np.datetime64(cell, "s").astype(int) / 86_400 if isinstance(cell, str) else cell for cell in cells]
    return np.array([[np.nan if day is None else day] for day in days], np.float32 if "float" in kind else np.float64)


def _torch(model: Model, rows: Columns) -> np.ndarray:
    import torch

    encoded = model.inputs(rows)
    given = tuple(map(torch.from_numpy, encoded)) if isinstance(encoded, tuple) else torch.from_numpy(encoded)
    with torch.no_grad():
        found = fl.to_torch(model, link=True)(given).numpy()
    return np.concatenate([1 - found, found], axis=1) if len(model.classes) == 2 and found.shape[1] == 1 else found


READERS: dict[str, tuple[str, Reader]] = {
    "NumPy": ("numpy", _numpy),
    "ONNX Runtime": ("onnxruntime", _onnx),
    "PyTorch": ("torch", _torch),
}
