"""Random programs, forward and backward, on every engine against the reference interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fallline.autodiff.functions import grad
from fallline.engines.engine import Engine
from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.ops.composite import dot
from tests.engines.parity import COMPILING, assert_same
from tests.strategies import RandomProgram, programs

every_engine = pytest.mark.parametrize("engine", COMPILING, ids=lambda e: e.name)
PROGRAMS = 200  # of each dtype


def with_gradients(random: RandomProgram, xs: list[np.ndarray]) -> Program:
    """(x …) -> (y, d⟨u, y⟩/dx …) for a fixed u."""
    shape = Program.of(random, *xs).outputs[0].shape
    u = np.random.default_rng(5).normal(size=shape).astype(xs[0].dtype)
    gradients = grad(lambda *v: dot(u, random(*v)), tuple(range(len(xs))))
    return Program.of(lambda *v: (random(*v), *gradients(*v)), *xs)


@every_engine
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_programs(engine: Engine, dtype: str) -> None:
    @settings(
        max_examples=PROGRAMS, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(programs(), st.integers(0, 3), st.sampled_from([1, 7]))
    def run(small: RandomProgram, seed: int, times: int) -> None:
        random = RandomProgram(small.steps, tuple(tuple(times * d for d in shape) for shape in small.shapes))
        xs = random.inputs(seed, dtype)
        program = with_gradients(random, xs)
        found, meant = engine.compile(program)(*xs), program.run(*xs)
        exact: list[Any] = meant
        if dtype == "float32":  # rounding errors of the reference count too: both against float64
            wide = [x.astype("float64") for x in xs]
            exact = with_gradients(random, wide).run(*wide)
        for k, (ours, theirs, right) in enumerate(zip(found, meant, exact, strict=True)):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            if dtype == "float64":
                scale = 1 + np.abs(right).max(initial=0)
                assert_same(ours / scale, theirs / scale, label=k)
                continue
            size = 1 + np.abs(right).max(initial=0)
            allowed = 1e-5 * size + 2 * np.abs(theirs - right)
            assert (np.abs(ours - right) <= allowed).all(), (k, ours, theirs, right)

    run()


def values_of(random: RandomProgram, xs: tuple[Any, ...]) -> list[Any]:
    """Every value of a random program: the arguments, and what each of its steps makes."""
    return [*xs, *(RandomProgram(random.steps[: k + 1], random.shapes)(*xs) for k in range(len(random.steps)))]


@every_engine
def test_random_carries(engine: Engine) -> None:
    """Any values of the right shapes carried on: swapped, kept, overwritten while others still read them."""

    @settings(
        max_examples=PROGRAMS, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(programs(max_steps=6), st.lists(st.integers(0, 20), min_size=3, max_size=3), st.sampled_from([1, 6]))
    def run(small: RandomProgram, picks: list[int], times: int) -> None:
        shapes = tuple(tuple(times * d for d in shape) for shape in small.shapes)
        shapes = (*shapes, shapes[0])  # two of one shape, which may be swapped
        random = RandomProgram(small.steps, shapes)

        def step(*given: Any) -> list[Any]:
            *xs, rows = given
            values = values_of(random, tuple(xs))
            slopes = grad(lambda *v: dot(random(*v), random(*v)), tuple(range(len(xs))))(*xs)
            moved = [x * 0.9 - 0.01 * OPS["tanh"](g) for x, g in zip(xs, slopes, strict=True)]
            carried = []
            for k, shape in enumerate(shapes):
                fitting = [moved[k], *(v for v in values[::-1] if v.shape == shape)]
                carried.append(fitting[picks[k % 3] % len(fitting)])
            return [*carried, values[-1], carried[0], xs[0], rows]

        xs, table = random.inputs(1), np.linspace(0, 1, 12).reshape(6, 2)
        program = Program.of(step, *xs, table[:2])
        rows = np.array([[0, 1], [2, 3], [5, 4]])
        result = engine.loop(program, carry=len(xs), scan=0)(xs, [], [table], rows)
        carry, size = xs, 1.0
        for s, at in enumerate(rows):
            *carry, last, first, old, taken = program.run(*carry, table[at])
            size = max([size, *(np.abs(v).max(initial=0) for v in (*carry, last) if v.size)])
            if not np.isfinite(size) or size > 1e8:
                return
            for ours, meant in zip(result.records, (last, first, old, taken), strict=True):
                assert_same(ours[s] / size, meant / size, "run")
        for ours, meant in zip(result.carry, carry, strict=True):
            assert_same(ours / size, meant / size, "run")

    run()
