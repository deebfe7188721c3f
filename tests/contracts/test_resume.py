"""Every optimizer and every solver goes on from a checkpoint with the bits of a run that was not killed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import fallline as fl
from fallline.core.record import records_of
from fallline.core.tree import leaves
from fallline.optim.optimizer import Minimizer, Optimizer
from fallline.train.events import EpochEnded

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 2))
Y = X @ [1.0, -2.0] + 0.3
METHODS = {name: cls for name, cls in records_of(Minimizer).items() if cls.__module__.startswith("fallline.")}
EPOCHS = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_goes_on_with_the_same_bits(name, tmp_path):
    method, places = METHODS[name].sample(), []

    def copy(event):
        if isinstance(event, EpochEnded) and event.row["epoch"]:
            places.append(shutil.copytree(tmp_path / "run", tmp_path / str(len(places))))

    where = fl.Checkpoint(str(tmp_path / "run"), seconds=0)
    call = {"optimizer": method, "epochs": EPOCHS, "batch_size": 10, "loss": "mse", "engine": "numpy"}
    if not isinstance(method, Optimizer):
        call.pop("batch_size")
    whole = fl.fit(fl.Dense(1), (X, Y), **call, checkpoint=where, callbacks=[copy])
    resumed = fl.resume(places[len(places) // 2], (X, Y))
    assert resumed.history == whole.history
    ours, theirs = leaves(resumed.model.network), leaves(whole.model.network)
    assert [a.tobytes() for a in ours.values()] == [a.tobytes() for a in theirs.values()]
