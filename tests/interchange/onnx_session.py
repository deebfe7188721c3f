"""ONNX Runtime for the tests: a session that was checked first, and rows as its inputs ask for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import formats

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}


def session(made: Any) -> Any:
    """What ONNX Runtime makes of a model that the checker of onnx has found in order."""
    onnx.checker.check_model(made, full_check=True)
    return running(made.SerializeToString())


def running(source: Any) -> Any:
    """A session on one thread of the bytes, or the file, of a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def fed(running: Any, rows: dict[str, Any]) -> dict[str, np.ndarray]:
    """Each input in its dtype; cells of a table as a column, missing ones as "" and NaN."""
    found = {}
    for port in running.get_inputs():
        cells = rows[port.name]
        listed = isinstance(cells, list)
        found[port.name] = formats.fed(cells, port.type) if listed else cells.astype(DTYPES[port.type])
    return found


def answers(running: Any, rows: dict[str, Any]) -> dict[str, np.ndarray]:
    """The outputs by name."""
    names = [port.name for port in running.get_outputs()]
    return dict(zip(names, running.run(None, fed(running, rows)), strict=True))
