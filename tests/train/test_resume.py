"""Checkpoint and resume: killed wherever it may be, a run ends with the bits of one that nobody killed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError, ModelFileError
from fallline.core.tree import leaves
from fallline.train.checkpoint import Checkpoint, Checkpoints
from fallline.train.events import EpochEnded, Started
from fallline.train.snapshot import read_snapshot, write_snapshot
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(54, 4))
LABELS = np.where(X[:, 0] + RNG.normal(size=54) / 2 > 0, "b", "a")
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0]


class Killed(BaseException):
    """In the place of SIGKILL."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Every step is a call, the disk is not waited for, and what is killed cleans nothing up."""
    monkeypatch.setattr("fallline.train.stepping.SECONDS_PER_CALL", 0.0)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(Checkpoints, "discard", lambda kept: None)


def net(*layers):
    return fl.Sequential(fl.Dense(4), *layers, fl.Tanh(), fl.Dense(1))


def halving(step):
    return 0.1 / (1 + step)


RUNS = {
    "dropout, batch norm, EMA, one-cycle": {
        "network": net(fl.BatchNorm(), fl.Dropout(0.3)),
        "optimizer": fl.EMA(fl.Adam("one_cycle(0.05)"), decay=0.9),
        "validation": 0.3,
        "metrics": "auc",
    },
    "plateau, early stopping, path": {
        "network": net(),
        "optimizer": fl.Adam(fl.Plateau(0.3, patience=0)),
        "validation": 0.3,
        "early_stopping": 2,
        "keep_path": True,
        "class_weight": {"a": 1.0, "b": 2.0},
        "epochs": 5,
    },
    "a function as the rate, no validation": {
        "network": net(),
        "learning_rate": halving,
        "optimizer": "momentum",
        "epochs": 2,
    },
    "all rows in a step, penalties": {"network": net(), "batch_size": "full", "l2": 0.1, "l1": 0.01, "epochs": 4},
    "stopped inside an epoch": {"network": net(), "early_stopping": [9, fl.StepLimit(5)], "validation": 0.3},
    "newton": {"network": fl.Dense(1), "optimizer": "newton", "l2": 0.1, "validation": 0.3},
    "l-bfgs": {"network": net(), "optimizer": "lbfgs", "l2": 0.1, "validation": 0.3},
    "cma-es": {"network": fl.Dense(1), "optimizer": "cmaes", "l2": 0.1},
    "random search": {"network": net(fl.BatchNorm()), "optimizer": fl.RandomSearch(trials=3)},
    "restarts": {"network": net(fl.Dropout(0.3)), "restarts": 3, "epochs": 1, "batch_size": 32},
}


QUICK = ("dropout, batch norm, EMA, one-cycle", "stopped inside an epoch", "newton", "restarts")


def options(name):
    return {"epochs": 3, "batch_size": 16, "engine": "numpy", "seed": 3, **RUNS[name]}


def same(ours, theirs):
    """Bit for bit."""
    assert ours.history == theirs.history
    assert (ours.reason, ours.best_epoch, ours.ended) == (theirs.reason, theirs.best_epoch, theirs.ended)
    found, expected = leaves(ours.model.network), leaves(theirs.model.network)
    assert [a.tobytes() for a in found.values()] == [a.tobytes() for a in expected.values()]
    assert (ours.path is None) == (theirs.path is None)
    assert ours.path is None or ours.path.tobytes() == theirs.path.tobytes()
    assert str(ours.restarts) == str(theirs.restarts)


def started(path, call, killed=None, data=(X, LABELS)):
    """The fit with a checkpoint after every call of the engine; None where `killed`, a consumer, ends it."""
    call = {**call, "callbacks": [killed] if killed else []}
    try:
        return fl.fit(call.pop("network"), data, **call, checkpoint=Checkpoint(str(path), seconds=0))
    except Killed:
        return None


def killer(at):
    seen = []

    def look(event):
        seen.append(event)
        if len(seen) > at:
            raise Killed

    return look


def again(call):
    """What a file cannot hold."""
    return {name: value for name, value in call.items() if callable(value) and name == "learning_rate"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_killed_at_any_event(name, tmp_path):
    """What lies on the disk at an event is what SIGKILL leaves there."""
    call, places = options(name), []

    def copy(event):
        places.append(shutil.copytree(tmp_path / "run", tmp_path / str(len(places))))

    uninterrupted = started(tmp_path / "run", call, copy)
    for place in places:
        same(fl.resume(place, (X, LABELS), **again(call)), uninterrupted)
    assert len(places) > 3


def test_killed_again_and_again(tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle")
    expected = started(tmp_path / "whole", call)
    assert started(tmp_path / "run", call, killer(2)) is None
    for _ in range(100):
        try:
            found = fl.resume(tmp_path / "run", (X, LABELS), callbacks=[killer(2)])
        except Killed:
            continue
        break
    same(found, expected)


def test_killed_at_any_change_of_the_disk(tmp_path, monkeypatch):
    call = options("dropout, batch norm, EMA, one-cycle") | {"epochs": 1, "batch_size": 32}
    run, seen = tmp_path / "run", {}
    expected = started(run, call)  # the next run begins in the folder of one that has ended

    def watched(change):
        def changed(*given, **named):
            for happened in (False, True):
                if str(files(run)) not in seen:
                    seen[str(files(run))] = shutil.copytree(run, tmp_path / str(len(seen)))
                if not happened:
                    change(*given, **named)

        return changed

    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
            patch.setattr(owner, name, watched(getattr(owner, name)))
        started(run, call)
    for place in seen.values():
        same(fl.resume(place, (X, LABELS)), expected)
        assert not [name for name in os.listdir(place / "checkpoints") if name.startswith(".")]
    assert len(seen) > 10


def files(run):
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle")
    expected = started(tmp_path / "whole", call)
    started(tmp_path / "run", call, killer(6))
    before, last = sorted((tmp_path / "run" / "checkpoints").glob("0*"))
    content = last.read_bytes()
    places = [0, 7, 8, len(content) // 2, len(content) - 1, *RNG.integers(len(content), size=6).tolist()]
    damages = [content[:at] for at in places]
    damages += [content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :] for at in places]
    for k, damaged in enumerate([*damages, b""]):
        run = tmp_path / f"damaged {k}"
        shutil.copytree(tmp_path / "run", run)
        (run / "checkpoints" / last.name).write_bytes(damaged)
        with pytest.raises(ModelFileError, match="is damaged"):
            read_snapshot(run / "checkpoints" / last.name)
        if k % 5 == 0:
            with pytest.warns(RuntimeWarning, match=f"{last.stem} .* is damaged: goes on from the one before"):
                same(fl.resume(run, (X, LABELS)), expected)
    assert before.exists()


def test_both_damaged_is_the_beginning(tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle")
    expected = started(tmp_path / "whole", call)
    started(tmp_path / "run", call, killer(6))
    for path in (tmp_path / "run" / "checkpoints").glob("0*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match=r"checkpoints 0+\d and 0+\d of .* are damaged: starts from the beginning"):
        same(fl.resume(tmp_path / "run", (X, LABELS)), expected)


def test_a_damaged_start_is_made_anew_from_a_checkpoint(tmp_path):
    call = options("all rows in a step, penalties")
    started(tmp_path / "run", call, killer(4))
    start = tmp_path / "run" / "checkpoints" / "start.safetensors"
    whole = read_snapshot(start)
    start.write_bytes(b"nothing")
    same(fl.resume(tmp_path / "run", (X, LABELS)), started(tmp_path / "whole", call))
    assert read_snapshot(start)["about"] == whole["about"]
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="its checkpoints are damaged; start it anew"):
        fl.resume(tmp_path / "run", (X, LABELS))


def test_a_finished_run_changes_nothing(tmp_path):
    call = options("plateau, early stopping, path")
    expected = started(tmp_path / "run", call)
    before = files(tmp_path / "run")
    assert set(before) == {"start.safetensors", "last.safetensors"}
    same(fl.resume(tmp_path / "run", (X, LABELS)), expected)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("name", ["all rows in a step, penalties", "newton"])
def test_more_epochs_are_those_of_a_longer_run(name, tmp_path):
    call = options(name)
    started(tmp_path / "run", call | {"epochs": 2})
    expected = started(tmp_path / "whole", call | {"epochs": 4})
    same(fl.resume(tmp_path / "run", (X, LABELS), epochs=4), expected)


def test_another_limit_goes_on_where_a_rule_had_stopped(tmp_path):
    call = options("stopped inside an epoch")
    short = started(tmp_path / "run", call)
    assert short.reason == "the limit of 5 steps is reached"
    assert [row["epoch"] for row in short.history] == [0, 1, 2]  # of 3 steps each: the second is cut short
    expected = started(tmp_path / "whole", call | {"early_stopping": 9})
    same(fl.resume(tmp_path / "run", (X, LABELS), early_stopping=9), expected)


def test_a_rate_that_follows_the_length_cannot_get_another(tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle")
    expected = started(tmp_path / "run", call)
    before = files(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"epochs=9: the learning rate of EMA.* follows the length"):
        fl.resume(tmp_path / "run", (X, LABELS), epochs=9)
    with pytest.raises(ConfigError, match="epochs=2: 3 epochs are done already"):
        fl.resume(tmp_path / "run", (X, LABELS), epochs=2)
    assert files(tmp_path / "run") == before
    same(fl.resume(tmp_path / "run", (X, LABELS)), expected)


def test_after_ctrl_c_it_goes_on(tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle")
    expected = started(tmp_path / "whole", call)

    def interrupt(event):
        if isinstance(event, EpochEnded) and event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    assert started(tmp_path / "run", call, interrupt).ended == "interrupted"
    told = []
    same(fl.resume(tmp_path / "run", (X, LABELS), callbacks=[told.append]), expected)
    assert isinstance(told[0], Started)
    assert told[0].epoch == 2
    assert list(told[0].history) == expected.history[:3]


def test_a_filled_network_begins_from_its_weights(tmp_path):
    filled = started(tmp_path / "first", options("all rows in a step, penalties")).model.network
    call = options("all rows in a step, penalties") | {"network": filled}
    expected = started(tmp_path / "whole", call)
    for at in (1, 4):
        started(tmp_path / str(at), call, killer(at))
        same(fl.resume(tmp_path / str(at), (X, LABELS)), expected)


def test_arrays_of_ones_own_are_given_again_and_known_again(tmp_path):
    own = {"validation": (X[:9], LABELS[:9]), "sample_weight": np.linspace(0.5, 2, len(X))}
    call = options("all rows in a step, penalties") | own
    expected = started(tmp_path / "whole", call)
    started(tmp_path / "run", call, killer(4))
    with pytest.raises(ConfigError, match=r"validation \(the same arrays\).*data, validation=…, sample_weight=…"):
        fl.resume(tmp_path / "run", (X, LABELS))
    other = own | {"sample_weight": np.ones(len(X))}
    with pytest.raises(ConfigError, match="these are not the data of"):
        fl.resume(tmp_path / "run", (X, LABELS), **other)
    same(fl.resume(tmp_path / "run", (X, LABELS), **own), expected)


def test_refusals(tmp_path):
    call = options("a function as the rate, no validation")
    started(tmp_path / "run", call, killer(4))
    given = {"learning_rate": halving}
    with pytest.raises(ModelFileError, match="no run to go on with at"):
        fl.resume(tmp_path / "nothing", (X, LABELS))
    with pytest.raises(ConfigError, match=r"cannot hold learning_rate \(<function halving.*give it again"):
        fl.resume(tmp_path / "run", (X, LABELS))
    with pytest.raises(ConfigError, match=r"not the data of .* \(rows then 54, now 53\)"):
        fl.resume(tmp_path / "run", (X[1:], LABELS[1:]), **given)
    with pytest.raises(ConfigError, match="batch_size=3: a run goes on as it was called; what may change is"):
        fl.resume(tmp_path / "run", (X, LABELS), **given, batch_size=3)
    with pytest.raises(ConfigError, match="another metric would have kept other weights"):
        fl.resume(tmp_path / "run", (X, LABELS), **given, early_stopping=fl.EarlyStopping("train_loss"))
    with pytest.raises(ConfigError, match="holds a run that was killed before its end: go on with it"):
        started(tmp_path / "run", call)
    with pytest.raises(ConfigError, match="give a folder, or Checkpoint"):
        fl.fit(net(), (X, LABELS), checkpoint=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write checkpoints to .*file"):
        fl.fit(net(), (X, LABELS), checkpoint=tmp_path / "file")


def test_another_engine_is_refused(tmp_path):
    started(tmp_path / "run", options("all rows in a step, penalties"), killer(4))
    kept = Checkpoints.of(tmp_path / "run")
    with pytest.raises(ConfigError, match="was computed by the engine 'numpy', which would now be 'llvm'"):
        kept.begin({}, kept.marks | {"engine": "llvm"})


def test_other_versions_are_told(tmp_path):
    started(tmp_path / "run", options("all rows in a step, penalties"), killer(4))
    path = sorted((tmp_path / "run" / "checkpoints").glob("0*"))[-1]
    content = read_snapshot(path)
    content["marks"]["versions"]["numpy"] = "1.0"
    write_snapshot(path, content)
    with pytest.warns(RuntimeWarning, match=r"now with numpy .* \(then 1\.0\): the last digits may differ"):
        fl.resume(tmp_path / "run", (X, LABELS))


@pytest.mark.parametrize("threads", [(1, 2), pytest.param((2, 1), marks=pytest.mark.slow)])
def test_the_native_engine_goes_on_with_other_threads(threads, tmp_path):
    call = options("dropout, batch norm, EMA, one-cycle") | {"engine": "llvm", "threads": threads[0]}
    expected = started(tmp_path / "whole", call)
    started(tmp_path / "run", call, killer(6))
    same(fl.resume(tmp_path / "run", (X, LABELS), threads=threads[1]), expected)


def test_a_full_disk_costs_the_checkpoints_and_not_the_training(tmp_path, monkeypatch):
    call = options("all rows in a step, penalties")
    expected = started(tmp_path / "whole", call)

    def full(path, tree):
        if path.name != "start.safetensors":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("fallline.train.checkpoint.write_snapshot", full)
    with pytest.warns(RuntimeWarning, match=r"cannot write .*: No space left on device; training goes on"):
        same(started(tmp_path / "run", call), expected)


def test_the_default_writes_beside_the_training_and_keeps_two(tmp_path, monkeypatch):
    call = options("all rows in a step, penalties") | {"epochs": 30}
    written: list[str] = []
    monkeypatch.setattr("fallline.train.checkpoint.SHARE", 1e9)  # however dear they are
    monkeypatch.setattr(
        "fallline.train.checkpoint.write_snapshot",
        lambda path, tree: written.append(path.name) or write_snapshot(path, tree),
    )
    offer = Checkpoints.offer  # on a busy machine one is still being written when the next is due: then it is left out
    monkeypatch.setattr(Checkpoints, "offer", lambda kept, *part: (kept.wait(), offer(kept, *part)))
    fl.fit(data=(X, LABELS), **call, checkpoint=Checkpoint(str(tmp_path), seconds=1e-9))
    assert written[0] == "start.safetensors"
    assert written[-1] == "last.safetensors"
    assert written[1:-1] == [f"{number:06}.safetensors" for number in range(1, len(written) - 1)]
    assert len(written) > 10
    same(
        fl.resume(tmp_path, (X, LABELS)),
        started(tmp_path / "whole", options("all rows in a step, penalties") | {"epochs": 30}),
    )


def test_checkpoints_that_are_dear_become_rare(tmp_path, monkeypatch):
    kept = Checkpoints(Checkpoint(str(tmp_path), seconds=1.0))
    kept.begin({}, {"rows": 0, "data": "", "engine": "numpy"})
    now, written = [100.0], []
    monkeypatch.setattr("fallline.train.checkpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoints, "_write_or_fail", lambda kept, content: written.append(now[0]))
    kept._written = now[0]

    def take():
        now[0] += 0.1
        return {}

    for _ in range(400):
        now[0] += 0.05
        kept.offer("fit", take)
        kept.wait()
    assert_close(np.diff(written), np.full(len(written) - 1, 0.1 / 0.02), "run")
    assert len(written) > 2
