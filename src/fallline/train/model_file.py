"""The model file: one safetensors file with the arrays, and the recipe, columns, link and format version as JSON.

Reading it makes registered records from JSON and arrays from bytes; nothing is executed. Beside the recipe stands the
program of what the model answers, for readers that know no layer: docs/model_file.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fallline.core.errors import FalllineError, ModelFileError
from fallline.core.files import write_whole
from fallline.core.record import from_json, to_json
from fallline.core.spec import Spec, as_dtype
from fallline.core.tree import fill_leaves, leaves
from fallline.train.answers import Answers

FORMAT = 1
FILE_NAME = "model.safetensors"
TABLES = (".csv", ".tsv", ".txt", ".gz", ".parquet")  # given where the model belongs
_PARTS = ("network", "loss", "target", "columns", "feature_names")
_OPTIONAL = {"thresholds": (), "intervals": None}  # written where they differ from this; older files have none


def write_model(model: Any, path: Path) -> Path:
    """Writes the file under a temporary name first, so that a killed process leaves the old file or the new one."""
    target = path / FILE_NAME if path.is_dir() or not path.suffix else path
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves(model.network).items()}
    about = {name: to_json(getattr(model, name)) for name in _PARTS}
    about |= {n: to_json(getattr(model, n)) for n, usual in _OPTIONAL.items() if getattr(model, n) != usual}
    about |= {"format": FORMAT, "notes": model.notes, "checksum": checksum(arrays)}
    about |= {"row": _row_json(model.row), "program": _program(model)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, [save(arrays, {"fallline": json.dumps(about, sort_keys=True)})])
    except OSError as error:
        raise ModelFileError(f"cannot write {target}: {error.strerror or error}") from None
    return target


def read_model(path: Path) -> dict[str, Any]:
    """The parts of a Model; ModelFileError for anything but a whole Fallline model file."""
    source = path / FILE_NAME if path.is_dir() else path
    if not source.exists():
        raise ModelFileError(f"no model at {path}: give the file, or the folder of a run that holds {FILE_NAME}")
    about, arrays = _read(source)
    if about.get("format") != FORMAT:
        raise ModelFileError(
            f"{source} has model format {about.get('format')}, this version reads {FORMAT}: update fallline"
        )
    if about.get("checksum") != checksum(arrays):
        raise ModelFileError(f"{source} is damaged: its arrays do not match their checksum; copy or train it again")
    try:
        parts = {name: from_json(about[name]) for name in _PARTS}
        parts |= {name: from_json(about[name]) if name in about else usual for name, usual in _OPTIONAL.items()}
        parts["network"] = fill_leaves(parts["network"], arrays)
    except (FalllineError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{source} cannot be rebuilt: {error} (import the module that defines your own records first)"
        ) from None
    if set(leaves(parts["network"])) != set(arrays):
        raise ModelFileError(f"{source} is damaged: its arrays do not fit its network; copy or train it again")
    return {**parts, "notes": about.get("notes", {}), "row": _row(about.get("row"))}


def _program(model: Any) -> dict[str, Any]:
    """What readers without this library run; the reason where it cannot be written for any number of rows."""
    try:
        return Answers.of(model).to_json()
    except FalllineError as error:
        return {"missing": str(error)}


def _row_json(row: Any) -> Any:
    """Specs as [dtype, *shape], in lists or objects where there are several."""
    if isinstance(row, Spec):
        return [str(row.dtype), *row.shape]
    if isinstance(row, dict):
        return {name: _row_json(part) for name, part in row.items()}
    return None if row is None else [_row_json(part) for part in row]


def _row(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _row(part) for name, part in data.items()}
    if data is None or not isinstance(data[0], str):
        return None if data is None else tuple(_row(part) for part in data)
    return Spec(tuple(data[1:]), as_dtype(data[0]))


def _read(source: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(source, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        cure = "the model comes first, then the table" if source.suffix in TABLES else "copy or train it again"
        raise ModelFileError(f"{source} is not a whole Fallline model file ({error}): {cure}") from None
    if "fallline" not in metadata:
        raise ModelFileError(f"{source} is a safetensors file of another program: it holds no Fallline recipe")
    try:
        about = json.loads(metadata["fallline"])
    except json.JSONDecodeError:
        raise ModelFileError(f"{source} is damaged: its recipe cannot be read; copy or train it again") from None
    return about, arrays


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}:{arrays[name].dtype}:{arrays[name].shape}:".encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
