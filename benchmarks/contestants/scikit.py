"""scikit-learn: MLPClassifier, and SGDClassifier where there are no hidden layers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier

from benchmarks.contestants import WHOLE_FITS, Contestant, Trainer, Unsuited
from benchmarks.workloads import LEARNING_RATE, Workload


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    if not workload.is_plain:
        raise Unsuited("it has neither batch norm nor dropout")
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = workload.data()
    x, y = np.ascontiguousarray(x[: workload.full_rows]), y[: workload.full_rows].astype(np.int64)
    model: Any
    if not workload.hidden:
        model = SGDClassifier(loss="log_loss", max_iter=workload.epochs, tol=None)
        return Trainer(lambda: model.fit(x, y), workload.steps)
    epochs = WHOLE_FITS * workload.epochs
    model = MLPClassifier(
        workload.hidden,
        alpha=0.0,
        batch_size=workload.batch,
        learning_rate_init=LEARNING_RATE,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**6,
    )
    return Trainer(lambda: model.fit(x, y), epochs * workload.steps_per_epoch)
