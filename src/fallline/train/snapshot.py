"""Snapshot: a tree of plain data and arrays as one safetensors file that tells whether it is whole.

The arrays are numbered; the metadata hold the tree as JSON, with a number in the place of each array, and a checksum of
both. Reading it makes plain data and arrays; nothing is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fallline.core.errors import ModelFileError
from fallline.core.files import write_whole
from fallline.train.model_file import checksum

KIND = "snapshot 1"


def write_snapshot(path: Path, tree: Any) -> None:
    """Writes the file whole or not at all; OSError where that fails.

    tree  dicts with text as keys, lists, tuples, text, numbers, truth values, None and arrays of numbers
    """
    arrays: list[np.ndarray] = []
    about = json.dumps(_parted(tree, arrays), separators=(",", ":"))
    metadata = {"fallline": KIND, "about": about, "checksum": _checksum(about, arrays)}
    write_whole(path, [save({str(k): array for k, array in enumerate(arrays)}, metadata)])


def read_snapshot(path: Path) -> Any:
    """The tree that was written; ModelFileError for anything but a whole file."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = [file.get_tensor(str(k)) for k in range(len(list(file.keys())))]
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from None
    if metadata.get("fallline") != KIND:
        raise ModelFileError(f"{path} is damaged, or of another version of fallline: go on with the one that wrote it")
    about = metadata.get("about", "")
    if metadata.get("checksum") != _checksum(about, arrays):
        raise ModelFileError(f"{path} is damaged: what it holds does not match its checksum")
    return _joined(json.loads(about), arrays)


def digest(tree: Any) -> str:
    """SHA-256 of a tree: equal for trees with the same data and the same bits in their arrays."""
    arrays: list[np.ndarray] = []
    return _checksum(json.dumps(_parted(tree, arrays)), arrays)


def _checksum(about: str, arrays: Sequence[np.ndarray]) -> str:
    of_arrays = checksum({str(k): array for k, array in enumerate(arrays)})
    return hashlib.sha256(f"{about}{of_arrays}".encode()).hexdigest()


def _parted(tree: Any, arrays: list[np.ndarray]) -> Any:
    """The tree with {"~array": k} in the place of each array, which is put at the end of `arrays`."""
    if isinstance(tree, (np.ndarray, np.generic)):
        arrays.append(np.ascontiguousarray(tree).reshape(np.shape(tree)))
        return {"~array": len(arrays) - 1}
    if isinstance(tree, Mapping):
        return {str(name): _parted(part, arrays) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return {"~tuple": [_parted(part, arrays) for part in tree]}
    if isinstance(tree, list):
        return [_parted(part, arrays) for part in tree]
    return tree


def _joined(tree: Any, arrays: Sequence[np.ndarray]) -> Any:
    """`_parted` undone."""
    if isinstance(tree, dict):
        if "~array" in tree:
            return arrays[tree["~array"]]
        if "~tuple" in tree:
            return tuple(_joined(part, arrays) for part in tree["~tuple"])
        return {name: _joined(part, arrays) for name, part in tree.items()}
    return [_joined(part, arrays) for part in tree] if isinstance(tree, list) else tree


__all__ = ["digest", "read_snapshot", "write_snapshot"]
