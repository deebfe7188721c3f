"""mlpack: its Python package trains no networks, but logistic regression by minibatch SGD."""

from __future__ import annotations

import mlpack
import numpy as np

from benchmarks.contestants import Contestant, Trainer, Unsuited
from benchmarks.workloads import LEARNING_RATE, Workload


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    if workload.hidden or workload.outputs > 1:
        raise Unsuited("its Python package trains logistic regression only")
    x, y = workload.data()
    x, y = x[: workload.full_rows].astype(np.float64), y[: workload.full_rows].astype(np.int64)
    model = mlpack.LogisticRegression(
        optimizer="sgd",
        batch_size=workload.batch,
        step_size=LEARNING_RATE,
        max_iterations=workload.epochs * workload.full_rows,
        tolerance=0.0,
        lambda_=0.0,
    )
    return Trainer(lambda: model.fit(training=x, labels=y), workload.steps)
