"""Snapshot: a tree of plain data and arrays as one safetensors file that tells whether it is whole.

    about     the tree as JSON, with a number in the place of each array
    0, 1 …    the arrays
    checksum  SHA-256 of all bytes of the file before it

Reading it makes plain data and arrays; nothing is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ModelFileError
from fallline.core.files import write_whole

KIND = "snapshot 1"
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_NAMES = {code: name for name, code in _DTYPES.items()}
_DIGEST = 32  # bytes


def write_snapshot(path: Path, tree: Any) -> None:
    """Writes the file whole or not at all; OSError where that fails.

    tree  dicts with text as keys, lists, tuples, text, numbers, truth values, None and arrays of numbers
    """
    write_whole(path, _pieces(tree))


def read_snapshot(path: Path) -> Any:
    """The tree that was written; ModelFileError for anything but a whole file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    body = memoryview(content)[:-_DIGEST]
    if len(content) <= _DIGEST or hashlib.sha256(body).digest() != content[-_DIGEST:]:
        raise ModelFileError(f"{path} is damaged: its bytes do not match their checksum")
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    if header.pop("__metadata__", {}).get("fallline") != KIND:
        raise ModelFileError(f"{path} is of another version of fallline: go on with the one that wrote it")
    arrays = {name: _array(body[start:], entry) for name, entry in header.items() if name != "checksum"}
    return _joined(json.loads(arrays.pop("about").tobytes()), arrays)


def digest(tree: Any) -> str:
    """SHA-256 of a tree: equal for trees with the same data and the same bits in their arrays."""
    found = hashlib.sha256()
    for piece in _pieces(tree):
        found.update(piece)
    return found.hexdigest()


def _pieces(tree: Any) -> Iterator[Any]:
    """The bytes of the file, piece after piece: large arrays are not copied."""
    arrays: list[np.ndarray] = []
    about = json.dumps(_parted(tree, arrays), separators=(",", ":")).encode()
    about += b" " * (-len(about) % 8)
    given = {"about": np.frombuffer(about, np.uint8), **{str(k): array for k, array in enumerate(arrays)}}
    header: dict[str, Any] = {"__metadata__": {"fallline": KIND}}
    end = 0
    for name, array in given.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
    header["checksum"] = {"dtype": "U8", "shape": (_DIGEST,), "data_offsets": (end, end + _DIGEST)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    found = hashlib.sha256()
    for piece in (len(text).to_bytes(8, "little"), text, *map(_bytes_of, given.values())):
        found.update(piece)
        yield piece
    yield found.digest()


def _bytes_of(array: np.ndarray) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _array(data: memoryview, entry: dict[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[begin:end], np.uint8).copy().view(_NAMES[entry["dtype"]]).reshape(entry["shape"])


def _parted(tree: Any, arrays: list[np.ndarray]) -> Any:
    """The tree with {"~array": k} in the place of each array, which is put at the end of `arrays`."""
    if isinstance(tree, (np.ndarray, np.generic)):
        arrays.append(np.asarray(tree))
        return {"~array": len(arrays) - 1}
    if isinstance(tree, Mapping):
        return {str(name): _parted(part, arrays) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return {"~tuple": [_parted(part, arrays) for part in tree]}
    if isinstance(tree, list):
        return [_parted(part, arrays) for part in tree]
    return tree


def _joined(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """`_parted` undone."""
    if isinstance(tree, dict):
        if "~array" in tree:
            return arrays[str(tree["~array"])]
        if "~tuple" in tree:
            return tuple(_joined(part, arrays) for part in tree["~tuple"])
        return {name: _joined(part, arrays) for name, part in tree.items()}
    return [_joined(part, arrays) for part in tree] if isinstance(tree, list) else tree


__all__ = ["digest", "read_snapshot", "write_snapshot"]
