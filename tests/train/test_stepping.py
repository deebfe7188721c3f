"""Stepping: how long an engine call lasts, what a schedule is told, and engines that keep the arrays to themselves."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.engines.engine import LoopResult
from fallline.engines.numpy import NumpyEngine

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
LABELS = X[:, 0] + X[:, 1] * X[:, 2] > 0
NUMBERS = X[:, 0] * 2 + 1


def mlp():
    return fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1))


class Slow(NumpyEngine):
    """Every step takes its time, as in a large network; a call notices no signal before it ends."""

    name, speed = "slow", -1

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, []

    def loop(self, program, *, carry, scan, watch=None):
        run = super().loop(program, carry=carry, scan=scan, watch=watch)

        def slowed(carried, scanned, data, indices):
            self.calls.append(len(indices))
            time.sleep(self.seconds * len(indices))
            return run(carried, scanned, data, indices)

        return slowed


class Held(Sequence):
    """Carried arrays in an engine's memory: copied when they are read, lost when the engine goes on in them."""

    def __init__(self, arrays):
        self.arrays, self.read = arrays, {}

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, k):
        if k not in self.read:
            assert self.arrays is not None, "read after it was given up"
            self.read[k] = self.arrays[k].copy()
        return self.read[k]


class Keeping(NumpyEngine):
    """A loop that is handed its own carry goes on in its memory."""

    name, speed = "keeping", -1
    given_up = 0

    def loop(self, program, *, carry, scan, watch=None):
        run = super().loop(program, carry=carry, scan=scan, watch=watch)

        def kept(carried, scanned, data, indices):
            arrays = carried
            if isinstance(carried, Held):
                arrays, carried.arrays = carried.arrays, None
                Keeping.given_up += 1
                assert arrays is not None
            result = run(arrays, scanned, data, indices)
            return LoopResult(Held(list(result.carry)), result.records, result.steps)

        return kept


def test_ctrl_c_in_an_engine_call_ends_training_soon_with_the_best_weights():
    engine, sent = Slow(0.003), []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.6, interrupt)
    timer.start()
    fit = fl.fit(mlp(), (X, LABELS), epochs=10**6, batch_size=1, engine=engine, validation=(X[:20], LABELS[:20]))
    assert time.perf_counter() - sent[0] < 0.3
    assert fit.ended == "interrupted"
    assert fit.best_epoch == np.argmin(fit.history["validation_loss"])
    assert engine.calls[0] == 1, "the first call tells how long a step takes"
    assert max(engine.calls) * engine.seconds < 0.2


def test_calls_grow_where_steps_are_fast():
    engine = Slow(0.0)
    fl.fit(mlp(), (X, LABELS), epochs=30, batch_size=2, engine=engine)
    assert engine.calls[-1] == 60


@pytest.mark.parametrize("batch_size", [32, 60])
def test_an_engine_may_keep_the_carried_arrays(batch_size):
    """Bitwise the same fit, although arrays are copied only when they are read."""
    options = {"epochs": 6, "batch_size": batch_size, "validation": 0.25, "seed": 3}
    net = fl.Sequential(fl.Dense(4), fl.BatchNorm(), fl.Tanh(), fl.Dense(1))
    before = Keeping.given_up
    kept, plain = (fl.fit(net, (X, LABELS), engine=e, **options) for e in (Keeping(), "numpy"))
    assert kept.history == plain.history
    for ours, theirs in zip(
        fl.leaves(kept.model.network).values(), fl.leaves(plain.model.network).values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert Keeping.given_up > before


def test_a_failed_step_is_explained_from_arrays_that_the_engine_has_overwritten(monkeypatch):
    monkeypatch.setattr("fallline.train.replay.SHARE", 0.0)  # nothing is read in between: all is run again
    optimizer = fl.SGD(lambda step: 0.1 if step < 12 else 1e30)
    net = fl.Sequential(fl.Dense(4), fl.ReLU(), fl.Dense(1))
    told = []
    for engine in (Keeping(), "numpy"):
        with pytest.warns(RuntimeWarning, match="a value that is not finite appeared in epoch 4"):
            fit = fl.fit(net, (X, NUMBERS), epochs=9, batch_size=32, optimizer=optimizer, engine=engine)
        told.append(fit.reason)
    assert told[0] == told[1]


def test_a_schedule_sees_the_losses_of_the_finished_epochs(monkeypatch):
    seen = {}

    def at(schedule, step, *, steps_per_epoch, epochs, history=()):
        seen[step // steps_per_epoch] = list(history)
        return 0.01

    monkeypatch.setattr(fl.Plateau, "at", at)
    fit = fl.fit(mlp(), (X, LABELS), epochs=3, validation=0.25, optimizer=fl.SGD("plateau(0.01)"))
    assert seen[2] == fit.history["validation_loss"][1:3].tolist()


def test_options_of_the_engine_arrive_there():
    asked = []

    class Able(NumpyEngine):
        name, speed = "able", -1

        def threads_refused(self):
            return ""

        def precision_refused(self, precision):
            return ""

        def loop(self, program, **kw):
            asked.append(("loop", self.threads, self.precision))
            return super().loop(program, **kw)

        def compile(self, program):
            asked.append(("compile", self.threads, self.precision))
            return super().compile(program)

    fl.fit(mlp(), (X, LABELS), epochs=1, engine=Able(), threads=2, precision="bf16", validation=0.25)
    assert {a for a in asked if a[0] == "loop"} == {("loop", 2, "bf16")}
    assert {a for a in asked if a[0] == "compile"} == {("compile", 2, "float32")}, "what judges is exact"
    asked.clear()
    fl.fit(mlp(), (X, LABELS), epochs=1, engine=Able().with_options(threads=3))
    assert {a[1:] for a in asked} == {(3, "float32")}


BAD = {
    "threads": ({"threads": -1}, "threads=-1: threads must be a whole number of at least 1"),
    "precision": ({"precision": "float16"}, "precision='float16': did you mean 'float"),
    "numpy": ({"precision": "bf16", "engine": "numpy"}, "the engine 'numpy' has no products of bf16"),
    "solver": ({"precision": "bf16x3", "solver": "newton"}, "needs exact products: leave the precision out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_told_in_one_line(case):
    options, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        fl.fit(mlp(), (X, LABELS), epochs=1, **options)
