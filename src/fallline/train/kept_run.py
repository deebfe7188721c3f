"""A run of `fit` that is kept: how it was called, as data that a file can hold, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, ModelFileError
from fallline.core.record import from_json, to_json
from fallline.core.tree import fill_leaves, leaves
from fallline.train.checkpoint import Checkpoint, Checkpoints, marks_of

KIND = "fit"
DATA = ("data", "validation", "sample_weight")  # what is data is not kept, but given again
HERE = ("callbacks", "progress", "threads", "checkpoint")  # what changes no result


@contextmanager
def kept_run(
    checkpoint: str | Path | Checkpoint | Checkpoints | None, call: Mapping[str, Any], engine: str, *rows: Any
) -> Iterator[Checkpoints | None]:
    """The checkpoints of a call of `fit`, begun and in the end finished; None where there are to be none.

    call  the arguments by name;  rows  that it trains on and that judge it
    """
    if checkpoint is None:
        yield None
        return
    kept = checkpoint if isinstance(checkpoint, Checkpoints) else Checkpoints(as_checkpoint(checkpoint))
    kept.begin(about_call(call, engine), marks_of(engine, *rows))
    try:
        yield kept
    except BaseException:
        kept.discard()
        raise
    kept.finish()


def as_checkpoint(value: Any) -> Checkpoint:
    """The record from itself, or from the folder."""
    if isinstance(value, Checkpoint):
        return value
    if isinstance(value, (str, Path)) and str(value):
        return Checkpoint(str(value))
    raise ConfigError(f"checkpoint={value!r}: give a folder, or Checkpoint(folder, seconds=30)")


def about_call(call: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """The arguments that a file can hold, the names of those that it cannot, and the weights of a filled network.

    engine  the name of the one that "auto" means here
    """
    settings: dict[str, Any] = {}
    again: dict[str, str] = {}
    for name, value in call.items():
        if name in HERE or name == "data":
            continue
        if name in DATA and value is not None and not isinstance(value, (int, float)):
            again[name] = "the same arrays"
            continue
        try:
            settings[name] = _held(value)
        except ConfigError:
            again[name] = repr(value)
    if isinstance(call["engine"], str):
        settings["engine"] = _held(engine)
    network = {path: np.asarray(leaf) for path, leaf in leaves(call["network"]).items()}
    return {"kind": KIND, "settings": settings, "again": again, "network": network}


def _held(value: Any) -> Any:
    """The argument as JSON; a dict with keys of any kind (class_weight) as pairs."""
    if isinstance(value, Mapping):
        return {"pairs": [[to_json(key), to_json(v)] for key, v in value.items()]}
    return {"value": to_json(value)}


def call_of(kept: Checkpoints, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the call that was kept, with those that are given again; ConfigError where one lacks."""
    about = kept.about
    if about["kind"] != KIND:
        raise ModelFileError(f"{kept.run} was trained by the command line: fallline train --resume {kept.run}")
    lacking = [name for name in about["again"] if name not in given]
    if lacking:
        shown = ", ".join(f"{name} ({about['again'][name]})" for name in lacking)
        words = ", ".join(f"{name}=…" for name in lacking)
        raise ConfigError(f"a file cannot hold {shown}: give it again, fl.resume({str(kept.run)!r}, data, {words})")
    found = {name: _back(held) for name, held in about["settings"].items()}
    if about["network"] and "network" in found:
        found["network"] = fill_leaves(found["network"], about["network"])
    return found | dict(given)


def _back(held: dict[str, Any]) -> Any:
    if "pairs" in held:
        return {from_json(key): from_json(value) for key, value in held["pairs"]}
    return from_json(held["value"])


__all__ = ["as_checkpoint", "call_of", "kept_run"]
