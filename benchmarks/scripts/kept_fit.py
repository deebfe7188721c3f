"""kept_fit ARRAYS EPOCHS: a fit with checkpoints in run/, or what is left of one; model and history go there too."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fallline as fl

RUN = Path("run")


def main(arrays: str, epochs: str) -> None:
    with np.load(arrays) as given:
        data = given["x"], given["y"]
    if (RUN / "checkpoints").exists():
        fit = fl.resume(RUN, data)
    else:
        net = fl.Sequential(
            fl.Dense(64), fl.ReLU(), fl.Dropout(0.3), fl.Dense(32), fl.ReLU(), fl.Dropout(0.3), fl.Dense(1)
        )
        fit = fl.fit(net, data, optimizer=fl.EMA(fl.Adam("one_cycle(0.01)")), epochs=int(epochs), validation=0.2,
                     metrics="auc", checkpoint=fl.Checkpoint(str(RUN), seconds=0))  # fmt: skip
    fit.save(RUN / "model.safetensors")
    fit.history.to_csv(RUN / "history.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
