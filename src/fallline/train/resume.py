"""resume: a run of `fit` that was killed, interrupted or is to be extended goes on from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fallline.core.errors import ConfigError
from fallline.core.warn import warn_user
from fallline.train.checkpoint import Checkpoints
from fallline.train.fit import fit
from fallline.train.kept_run import HERE, call_of
from fallline.train.stopping import EarlyStopping, StoppingRule, as_rule, rules_in
from fallline.train.trainer import Fit

LIMITS = ("epochs", "early_stopping")  # what says when training ends


def resume(path: str | Path, data: tuple[Any, Any], **given: Any) -> Fit:
    """Goes on with a run of `fit(..., checkpoint=path)` and returns its Fit, bit for bit that of an uninterrupted run.

    data   (X, y) as they were given to `fit`: a checkpoint holds everything but the data, and knows them again
    given  what a file cannot hold, such as a function as learning rate, validation=(X, y), sample_weight; callbacks,
           progress, threads, which change no result. And what says when training ends, which may be changed:
           epochs (where the learning rate does not follow the length of the run) and early_stopping
    raises  ModelFileError where there is nothing to go on with; ConfigError for other data, or other options
    """
    kept = Checkpoints.of(path)
    call = call_of(kept, given)
    allowed = {*LIMITS, *HERE, *kept.about["again"]} - {"checkpoint"}
    other = [name for name in given if name not in allowed]
    if other:
        raise ConfigError(
            f"{other[0]}={given[other[0]]!r}: a run goes on as it was called; what may change is {' and '.join(LIMITS)}"
        )
    if any(name in given and name not in kept.about["again"] for name in LIMITS):
        before = call_of(kept, {name: given[name] for name in kept.about["again"]})
        check_extension(before, call)
        kept.extended = True
    found = fit(data=data, **call, checkpoint=kept)
    for note in kept.notes:
        warn_user(note, RuntimeWarning)
    return found


def check_extension(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ConfigError where other limits would have changed what was done already."""
    if now.get("restarts", 1) != 1:
        raise ConfigError(f"restarts={now['restarts']}: a run of several starts cannot be extended")
    judges = [_judge(as_rule(call["early_stopping"])) for call in (before, now)]
    if judges[0] != judges[1]:
        raise ConfigError("early_stopping: another metric would have kept other weights; give rules with the same one")


def _judge(rule: StoppingRule | None) -> tuple[str, str] | None:
    return next(((r.metric, r.mode) for r in rules_in(rule) if isinstance(r, EarlyStopping)), None)


__all__ = ["resume"]
