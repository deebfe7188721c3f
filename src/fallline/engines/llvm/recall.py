"""Recall: plans kept on disk between processes, found again by what a program says, so that no pass has to run.

A plan is kept like object code, checked before it is used (`objects`), and names the objects that its kernels are in.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.settings import settings
from fallline.engines.llvm.loader import bring_objects, objects_of
from fallline.engines.llvm.objects import load_object, store_object
from fallline.engines.llvm.plan import Plan
from fallline.engines.llvm.target import Target
from fallline.graph.program import Program

FOLDERS = ("core", "graph", "ops", "passes", "engines", "engines/llvm")  # of the package: what plans depend on
MOST_CONSTANTS = 1 << 16  # bytes; a program with more of them is planned anew
_IMPORTED = time.time_ns()
_PLAIN = (int, float, bool, str, type(None), np.dtype, np.number, np.bool_)


def plan_key(program: Program, target: Target, *facts: Any) -> str | None:
    """What the plan of a program is kept under; None for one that is not kept.

    facts  what it depends on beside the program and the CPU, as plain values
    """
    stamp = None if settings.verify else _source_stamp()
    words = None if stamp is None else program_words(program)
    if words is None:
        return None
    import llvmlite

    versions = llvmlite.__version__, np.__version__
    return hashlib.sha256(repr((stamp, versions, target, facts, words)).encode()).hexdigest()


def program_words(program: Program) -> list[Any] | None:
    """Everything that a program says, in plain values; None where an attribute is none, or constants are large."""
    position = {id(node): k for k, node in enumerate(program.order)}
    words: list[Any] = []
    constant = 0
    for node in program.order:
        op, spec, attrs = node.op, node.spec, node.attrs
        if op.name == "constant":
            constant += spec.nbytes
            if constant > MOST_CONSTANTS:
                return None
            said: Any = attrs["value"].tobytes()
        elif op.name == "input":
            said = None
        else:
            said = tuple(attrs.items())
            if said and not _is_plain(said):
                return None
        args = [position[id(a)] for a in node.args]
        words.append((op.name, op.scalar.get("llvm"), args, said, spec.shape, spec.dtype.str))
    return [words, [position[id(v)] for v in program.inputs], [position[id(v)] for v in program.outputs]]


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, (tuple, list)) else isinstance(value, _PLAIN)


@cache
def _source_stamp() -> str | None:
    """Sizes and times of the files that make plans, as Python's caches have it; None if one is newer than imported."""
    root = Path(__file__).parents[2]
    found = []
    try:
        for folder in FOLDERS:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".py"):
                        facts = entry.stat()
                        found.append((folder, entry.name, facts.st_mtime_ns, facts.st_size))
    except OSError:
        return None
    if max(modified for _, _, modified, _ in found) > _IMPORTED:
        return None
    found.sort()
    return hashlib.sha256(repr(found).encode()).hexdigest()


def recall_plan(key: str | None, target: Target) -> Plan | None:
    """The plan kept under a key, with its kernels in memory; None where anything is missing."""
    kept = None if key is None else load_object(key)
    if kept is None:
        return None
    try:
        head, _, text = kept.partition(b"\n")
        objects: Mapping[str, Sequence[str]] = json.loads(head)
        return Plan.from_json(text) if bring_objects(objects, target) else None
    except (KeyError, TypeError, ValueError):
        return None


def keep_plan(key: str | None, plan: Plan, target: Target) -> None:
    """Keeps a plan without NumPy's part in it, whose kernels are all on disk."""
    if key is None or not plan.is_native:
        return
    objects = objects_of(plan.kernels, target)
    if objects is not None:
        store_object(key, json.dumps(objects).encode() + b"\n" + plan.to_json().encode())


__all__ = ["keep_plan", "plan_key", "program_words", "recall_plan"]
