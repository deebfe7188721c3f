"""What every registered optimizer keeps, generated from the registry; `Optimizer.sample` gives the instance."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fallline.autodiff.functions import value_and_grad
from fallline.core.errors import ConfigError
from fallline.core.record import from_json, records_of, to_json
from fallline.core.spec import spec
from fallline.graph.check import verify
from fallline.graph.program import Program
from fallline.ops.reduce import sum as asum
from fallline.optim.optimizer import Context, Optimizer
from fallline.optim.schedules import Exponential
from fallline.train.descend import descend
from tests.tolerance import TOL, assert_close

OPTIMIZERS = {n: c for n, c in records_of(Optimizer).items() if c.__module__.startswith("fallline.")}
every_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def arrays(rng, dtype="float64", scale=1.0):
    """Parameters, or gradients of the same shapes; small, so that nothing is clipped."""
    shapes = {"layers.0.W": (3, 2), "layers.0.b": (2,), "scale": ()}
    return {path: np.asarray(scale * rng.normal(size=shape), dtype) for path, shape in shapes.items()}


def told(gradients):
    """The context of a step whose gradients are the same everywhere."""
    return Context(gradient_at=lambda params: {path: gradients[path] for path in params})


def judged(f, optimizer, params, state):
    """f where the optimizer wants to be judged; of an ensemble the mean."""
    shown = optimizer.evaluated(params, state)
    if not optimizer.members:
        return f(shown)
    parts = [{path: shown[f"members.{k}.{path}"] for path in params} for k in range(optimizer.members[0])]
    return sum(shown["mix.shares"][k] * f(part) for k, part in enumerate(parts))


def minimise(f, start, optimizer, steps):
    """f at the start and where the optimizer wants to be judged after each step, with a rate that falls to 0 along a
    line; one program for all steps."""

    def step(params, state, lr, t):
        grads = value_and_grad(f)(params)[1]
        context = Context(gradient_at=lambda point: value_and_grad(f)(point)[1])
        new, after = optimizer.update(params, grads, state, lr=lr, t=t, context=context)
        return judged(f, optimizer, params, state), new, after

    optimizer = optimizer.for_run(batches=1, epochs=steps)
    params, state = start, optimizer.init(start)
    number = spec((), "float64")
    program = Program.of(step, params, state, number, number)
    values = []
    for t in range(1, steps + 1):
        rate = optimizer.rate_at(t - 1, steps_per_epoch=steps, epochs=1) * (1 - t / steps)
        value, params, state = program(params, state, rate, float(t))
        values.append(float(value))
    return values


def quadratic(params):
    return 0.5 * asum(params["w"] * params["w"] * np.array([1.0, 0.3]))


def rosenbrock(params):
    """Scaled so that the largest curvature on the way is about 1."""
    w = params["w"]
    x, y = w[0], w[1]
    return (100.0 * (y - x * x) * (y - x * x) + (1.0 - x) * (1.0 - x)) * 1e-3


@every_optimizer
def test_json_round_trip(cls):
    optimizer = cls.sample()
    assert from_json(to_json(optimizer)) == optimizer


@every_optimizer
def test_it_minimises_a_quadratic(cls):
    values = minimise(quadratic, {"w": np.array([1.0, -1.0])}, cls.sample(), 300)
    assert values[-1] < TOL["fit"] * values[0]


@every_optimizer
def test_a_function_of_ones_own_is_walked_down_by_it(cls):
    """Where it wants to be judged; a method that ends in several networks says that f has one place."""
    f = lambda w: (w[0] - 3.0) ** 2 + 0.5 * (w[1] + 1.0) ** 2  # noqa: E731
    if cls.sample().members:
        with pytest.raises(ConfigError, match="ends in several networks"):
            descend(f, [0.0, 0.0], optimizer=cls.sample())
        return
    found = descend(f, [0.0, 0.0], optimizer=cls.sample(), steps=120)
    assert found.lowest < f([0.0, 0.0]) / 4


@every_optimizer
def test_it_makes_progress_on_rosenbrock(cls):
    values = minimise(rosenbrock, {"w": np.array([-1.2, 1.0])}, cls.sample(), 500)
    assert_close(values[0], 0.0242)
    assert values[-1] < values[0] / 4


@every_optimizer
@every_dtype
def test_one_program_serves_a_whole_schedule(cls, dtype, rng):
    """Traced once; at every rate and step number it gives exactly what the eager call gives."""
    optimizer = cls.sample().with_rate(Exponential(0.1, factor=0.8, unit="step"))
    traces = []

    def update(params, grads, state, lr, t):
        traces.append(t)
        return optimizer.update(params, grads, state, lr=lr, t=t, context=told(grads))

    params = arrays(rng, dtype)
    state, number = optimizer.init(params), spec((), dtype)
    program = verify(Program.of(update, params, params, state, number, number))
    for step in range(20):
        grads = arrays(rng, dtype, scale=0.1)
        rate = optimizer.rate_at(step, steps_per_epoch=5, epochs=4)
        expected = optimizer.update(params, grads, state, lr=rate, t=step + 1.0, context=told(grads))
        params, state = program(params, grads, state, rate, step + 1.0)
        for found, wanted in zip((params, state), expected, strict=True):
            assert list(found) == list(wanted)
            for path in found:
                assert_close(found[path], wanted[path], "exact")
    assert len(traces) == 1


@every_optimizer
@every_dtype
def test_shapes_dtypes_and_names_stay(cls, dtype, rng):
    optimizer, params = cls.sample(), arrays(rng, dtype)
    before = {path: p.copy() for path, p in params.items()}
    state = optimizer.init(params)
    grads = arrays(rng, dtype)
    new_params, new_state = optimizer.update(params, grads, state, lr=0.1, t=1, context=told(grads))
    assert list(new_params) == list(params)
    assert list(new_state) == list(state)
    for old, new in ((params, new_params), (state, new_state)):
        for path in old:
            assert (new[path].shape, new[path].dtype) == (old[path].shape, np.dtype(dtype))
    for name in state:
        assert name.partition(":")[2] in params
    for path, p in params.items():  # nothing is changed in place
        assert_close(p, before[path], "exact")


@every_optimizer
def test_each_array_is_updated_on_its_own(cls, rng):
    optimizer, params, grads = cls.sample(), arrays(rng), arrays(rng, scale=0.1)
    step = {"lr": 0.1, "t": 1.0, "context": told(grads)}
    together, _ = optimizer.update(params, grads, optimizer.init(params), **step)
    for path, p in params.items():
        alone, _ = optimizer.update({path: p}, {path: grads[path]}, optimizer.init({path: p}), **step)
        assert_close(together[path], alone[path])


@every_optimizer
def test_the_rate_is_data(cls, rng):
    """The record's own rate does not enter the update; `with_rate` changes nothing else."""
    optimizer, params, grads = cls.sample(), arrays(rng), arrays(rng)
    other = optimizer.with_rate(7.0)
    assert other.rate_at(0, steps_per_epoch=1, epochs=1) == 7.0
    assert other.with_rate(optimizer.learning_rate) == optimizer
    step = {"lr": 0.1, "t": 1.0, "context": told(grads)}
    results = [o.update(params, grads, o.init(params), **step)[0] for o in (optimizer, other)]
    for path in params:
        assert_close(results[0][path], results[1][path], "exact")


@every_optimizer
def test_what_is_judged_before_the_first_step_is_the_start(cls, rng):
    """And its shapes and dtypes are those of the trained weights, buffers included, in every later step."""
    optimizer, params = cls.sample(), arrays(rng, "float32")
    buffers = {"norm.mean": np.float32(rng.normal(size=3)), "codes": np.arange(3)}
    weights, state = {**params, **buffers}, optimizer.init(params, buffers)
    own = lambda shown: {path: leaf for path, leaf in shown.items() if path != "mix.shares"}  # noqa: E731
    plain = lambda path: re.sub(r"^members\.\d+\.", "", path)  # noqa: E731
    for path, leaf in own(optimizer.evaluated(weights, state)).items():
        assert_close(leaf, weights[plain(path)], "f32")
    grads = arrays(rng, "float32", scale=0.1)
    context = Context(told(grads).gradient_at, buffers)
    new, state = optimizer.update(params, grads, state, lr=0.1, t=1, context=context)
    shown = own(optimizer.evaluated({**new, **buffers}, state))
    assert list(dict.fromkeys(map(plain, shown))) == list(weights)
    for path, leaf in shown.items():
        assert (leaf.shape, leaf.dtype) == (weights[plain(path)].shape, weights[plain(path)].dtype)
