"""Keras: Model.fit on the JAX backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"  # read when keras is imported

import keras
import numpy as np

from benchmarks.contestants import WHOLE_FITS, Contestant, Trainer
from benchmarks.workloads import LEARNING_RATE, Workload


def model_of(workload: Workload) -> keras.Model:
    layers = [keras.Input((workload.inputs,))]
    for units in workload.hidden:
        layers.append(keras.layers.Dense(units, workload.activation))
        layers += [keras.layers.BatchNormalization(momentum=0.9)] if workload.norm else []
        layers += [keras.layers.Dropout(workload.dropout)] if workload.dropout else []
    model = keras.Sequential([*layers, keras.layers.Dense(workload.outputs)])
    binary = workload.outputs == 1
    loss = keras.losses.BinaryCrossentropy if binary else keras.losses.SparseCategoricalCrossentropy
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss(from_logits=True))
    return model


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    x, y = workload.data()
    x, y = np.ascontiguousarray(x[: workload.full_rows]), y[: workload.full_rows]
    model = model_of(workload)
    epochs = WHOLE_FITS * workload.epochs if workload.epochs > 1 else 1
    start = model.get_weights()

    def run() -> None:
        model.fit(x, y, batch_size=workload.batch, epochs=epochs, shuffle=True, verbose=0)

    return Trainer(run, epochs * workload.steps_per_epoch, lambda: model.set_weights(start))
