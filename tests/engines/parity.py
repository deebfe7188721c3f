"""Engines against the reference interpreter: which engines, which programs, how close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.core.tree import leaves
from fallline.engines.engine import ENGINES, Engine
from fallline.graph.program import Program
from tests.tolerance import assert_close

COMPILING: list[Engine] = [e for e in ENGINES.values() if e.name != "numpy" and e.is_available()]
KINDS = {"float32": "f32", "float64": "f64"}


def assert_same(ours: np.ndarray, meant: np.ndarray, kind: str = "", label: Any = "") -> None:
    """Equal shape and dtype; floats within the tolerance of their dtype (or of the kind), anything else exactly."""
    assert (ours.shape, ours.dtype) == (meant.shape, meant.dtype), label
    try:
        assert_close(ours, meant, kind or KINDS.get(ours.dtype.name, "exact"))
    except AssertionError as error:
        raise AssertionError(f"{label}: {error}") from None


def assert_parity(engine: Engine, f: Callable[..., Any], *args: Any, kind: str = "", label: Any = "") -> None:
    """What the engine computes of f is what the interpreter computes."""
    program = Program.of(f, *args)
    arrays = list(leaves(args).values())
    kept = [np.array(a) for a in arrays]
    found = engine.compile(program)(*arrays)
    for k, (ours, meant) in enumerate(zip(found, program.run(*arrays), strict=True)):
        assert_same(ours, meant, kind, f"{label} output {k}")
    for array, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def rms_difference(ours: Sequence[np.ndarray], meant: Sequence[np.ndarray]) -> float:
    """|ours - meant| / |meant| over all entries of all float arrays, in the Euclidean norm; others must be equal."""
    error = size = 0.0
    for a, b in zip(ours, meant, strict=True):
        assert a.shape == b.shape
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
            continue
        error += float(np.sum((a.astype(float) - b.astype(float)) ** 2))
        size += float(np.sum(b.astype(float) ** 2))
    return (error / size) ** 0.5 if size else error
