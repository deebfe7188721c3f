"""The reference engine: nothing is allocated per op, threads do not disturb each other."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np

from fallline.autodiff.functions import value_and_grad
from fallline.engines.engine import get_engine
from fallline.engines.numpy import BoundProgram
from fallline.graph.program import Program
from fallline.ops.composite import lerp, mean, relu, softplus
from fallline.ops.transcendental import expm1, sqrt
from fallline.passes.optimize import optimize
from tests.engines.threads import in_threads
from tests.tolerance import assert_close


def adam_step(batch: int, d: int, units: int) -> tuple[Program, list[np.ndarray]]:
    """One Adam step of a network with one hidden layer, written out; carries 12 arrays."""
    rng = np.random.default_rng(0)
    params = [rng.normal(size=s).astype("f4") for s in ((d, units), (units,), (units, 1), (1,))]
    zeros = [np.zeros_like(p) for p in params]

    def step(params, m, v, t, x, y):
        def loss(p):
            score = (relu(x @ p[0] + p[1]) @ p[2] + p[3]).reshape(-1)
            return mean(softplus(score) - score * y)

        value, g = value_and_grad(loss)(params)
        m = [lerp(gi, mi, 0.9) for gi, mi in zip(g, m, strict=True)]
        v = [lerp(gi * gi, vi, 0.999) for gi, vi in zip(g, v, strict=True)]
        c1, c2 = -expm1(t * math.log(0.9)), -expm1(t * math.log(0.999))
        new = [p - 1e-3 * (mi / c1) / (sqrt(vi / c2) + 1e-8) for p, mi, vi in zip(params, m, v, strict=True)]
        return new, m, v, value

    x, y = rng.normal(size=(batch, d)).astype("f4"), (rng.random(batch) < 0.5).astype("f4")
    arrays = [*params, *zeros, *zeros, np.float32(1.0), x, y]
    return Program.of(step, params, zeros, zeros, np.float32(1.0), x, y), arrays


def test_a_training_step_allocates_no_arrays():
    program, arrays = adam_step(batch=256, d=64, units=64)
    bound = BoundProgram(optimize(program), {k: k for k in range(12)})
    for buffer, array in zip(bound.inputs, arrays, strict=True):
        np.copyto(buffer, array)
    bound.step()
    smallest = 256 * 64 * 4  # one activation in float32
    tracemalloc.start()
    for _ in range(3):
        bound.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < smallest


def test_weights_and_slots_are_updated_in_place():
    program, _ = adam_step(batch=8, d=4, units=5)
    bound = BoundProgram(optimize(program), {k: k for k in range(12)})
    for out, buffer in zip(bound.outputs[:12], bound.inputs[:12], strict=True):
        assert np.shares_memory(out, buffer)


def test_buffers_are_reused():
    program, _ = adam_step(batch=256, d=64, units=64)
    optimized = optimize(program)
    every_value_by_itself = sum(v.spec.nbytes for v in optimized.order)
    assert BoundProgram(optimized, {k: k for k in range(12)}).nbytes < every_value_by_itself / 2


def test_a_loop_of_steps_equals_the_interpreter():
    program, arrays = adam_step(batch=8, d=4, units=5)
    x, y = np.random.default_rng(1).normal(size=(50, 4)).astype("f4"), np.ones(50, "f4")
    indices = np.random.default_rng(2).integers(0, 50, (5, 8))
    t = np.arange(1, 6, dtype="f4")
    result = get_engine("numpy").loop(program, carry=12, scan=1)(arrays[:12], [t], [x, y], indices)
    carry = arrays[:12]
    for s in range(5):
        *carry, value = program.run(*carry, t[s], x[indices[s]], y[indices[s]])
        assert_close(result.records[0][s], value, "f32")
    for ours, meant in zip(result.carry, carry, strict=True):
        assert_close(ours, meant, "f32")


def test_threads_share_a_compiled_program():
    call = get_engine("numpy").compile(Program.of(lambda x: (x * 2.0).sum(), np.zeros(2000)))

    def work(k: float) -> list[float]:
        return [call(np.full(2000, k))[0] for _ in range(50)]

    found = in_threads(*(lambda k=float(k): work(k) for k in range(4)))
    assert found == [[4000.0 * k] * 50 for k in range(4)]
