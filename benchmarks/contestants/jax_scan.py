"""JAX: the steps of a call in one jitted scan, Adam written out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contestants import Contestant, Trainer
from benchmarks.workloads import LEARNING_RATE, Workload

Arrays = list[Any]


def start_of(workload: Workload) -> tuple[Arrays, Arrays]:
    """(parameters, running statistics): of each layer (W, b), and gamma and beta where batch norm follows."""
    params, running = [], []
    for k, (W, b) in enumerate(workload.weights()):
        layer = [jnp.asarray(W), jnp.asarray(b)]
        if workload.norm and k < len(workload.hidden):
            n = len(b)
            layer += [jnp.ones(n, jnp.float32), jnp.zeros(n, jnp.float32)]
            running.append([jnp.zeros(n, jnp.float32), jnp.ones(n, jnp.float32)])
        params.append(layer)
    return params, running


def loss_of(workload: Workload, params: Arrays, running: Arrays, x: Any, y: Any, key: Any) -> tuple[Any, Arrays]:
    """The mean loss of a batch, and the running statistics after it."""
    moved = []
    for k, (W, b, *norm) in enumerate(params):
        x = x @ W + b
        if k == len(workload.hidden):
            break
        x = jax.nn.relu(x)
        if norm:
            mean, var = x.mean(axis=0), x.var(axis=0)
            old = running[k]
            moved.append([0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * var * (len(x) / (len(x) - 1))])
            x = (x - mean) * (norm[0] / jnp.sqrt(var + 1e-5)) + norm[1]
        if workload.dropout:
            keep = 1.0 - workload.dropout
            kept = jax.random.bernoulli(jax.random.fold_in(key, k), keep, x.shape)
            x = jnp.where(kept, x * (1.0 / keep), 0.0)
    if workload.outputs == 1:
        z = x[:, 0]
        return jnp.mean(jax.nn.softplus(z) - z * y), moved
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1)), moved


def steps_of(workload: Workload, x: Any, y: Any) -> Any:
    """A jitted function (carry, row numbers (steps, batch)) -> carry."""

    def step(carry: Any, rows: Any) -> Any:
        params, running, m, v, t, key = carry
        t = t + 1
        gradient = jax.grad(lambda p: loss_of(workload, p, running, x[rows], y[rows], jax.random.fold_in(key, t)),
                            has_aux=True)  # fmt: skip
        g, running = gradient(params)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        of_m, of_v = LEARNING_RATE / (1 - 0.9**t), 1 / (1 - 0.999**t)
        params = jax.tree.map(lambda p, m, v: p - of_m * m / (jnp.sqrt(of_v * v) + 1e-8), params, m, v)
        return (params, running, m, v, t, key), None

    return jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0], donate_argnums=0)


def trainer(workload: Workload, contestant: Contestant, threads: int, engine: str) -> Trainer:
    x, y = map(jnp.asarray, workload.data())
    call, rng, w = steps_of(workload, x, y), np.random.default_rng(2), workload
    carry: list[Any] = []

    def reset() -> None:
        params, running = start_of(w)
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        carry[:] = [jax.block_until_ready((params, running, *zeros, jnp.int32(0), jax.random.key(0)))]

    def run() -> None:
        for epochs in w.calls():
            rows = np.concatenate([rng.permutation(w.rows)[: w.full_rows] for _ in epochs])
            carry[0] = call(carry[0], rows.astype(np.int32).reshape(-1, w.batch))
            jax.block_until_ready(carry[0])

    return Trainer(run, w.steps, reset)
