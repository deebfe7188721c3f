"""The memory plan: no two values that are needed at one time share a buffer, and donation writes in place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fallline.engines.numpy import BoundProgram
from fallline.graph.program import Program
from fallline.ops.composite import softmax
from fallline.ops.transcendental import exp, sin, tanh
from fallline.passes.memory import plan_memory
from tests.tolerance import assert_close

X = np.random.default_rng(0).normal(size=(4, 4))


def run_in_place(program: Program, *arrays, donate=None):
    bound = BoundProgram(program, donate)
    for buffer, array in zip(bound.inputs, arrays, strict=True):
        np.copyto(buffer, array)
    bound.step()
    return bound


def test_a_chain_of_elementwise_ops_needs_one_buffer_besides_the_input():
    def chain(x):
        for _ in range(20):
            x = tanh(x)
        return x

    plan = plan_memory(Program.of(chain, X))
    assert len(plan.sizes) == 2
    assert plan.nbytes == 2 * X.nbytes


def test_views_take_no_memory():
    plan = plan_memory(Program.of(lambda x: x.T.reshape(2, 8)[0] * 1.5, X))
    program = Program.of(lambda x: x.T[0].reshape(4, 1), X)
    assert (
        len(plan_memory(program).sizes) == 2
    )  # a reshape of a column needs a copy, the transpose and the slice do not
    assert len(plan.sizes) <= 4


def test_a_donated_output_is_written_over_its_input():
    program = Program.of(lambda w, g: ((w * w).sum(), w - 0.1 * g)[::-1], X, X)
    plan = plan_memory(program, {0: 0})
    assert plan.copies == []
    bound = run_in_place(program, X, X, donate={0: 0})
    assert bound.outputs[0] is not bound.inputs[0]
    assert np.shares_memory(bound.outputs[0], bound.inputs[0])
    assert_close(bound.inputs[0], X - 0.1 * X)


def test_an_input_that_is_read_after_the_output_is_made_is_copied():
    program = Program.of(lambda w: (w.T * 2.0, w + 1.0), X)
    assert plan_memory(program, {0: 0}).copies == [(0, 0)]
    bound = run_in_place(program, X, donate={0: 0})
    assert_close(bound.outputs[1], X + 1.0)
    assert_close(bound.inputs[0], X.T * 2.0)


def test_carried_arrays_may_be_swapped():
    program = Program.of(lambda a, b: (b, a), X, X)
    bound = run_in_place(program, X, X + 1.0, donate={0: 0, 1: 1})
    assert_close(bound.inputs[0], X + 1.0)
    assert_close(bound.inputs[1], X)


def test_an_output_that_reads_an_overwritten_input_keeps_what_it_read():
    program = Program.of(lambda w: (0.5 * w, w, w.T[0]), X)
    bound = run_in_place(program, X, donate={0: 0})
    assert_close(bound.inputs[0], 0.5 * X)
    assert_close(bound.outputs[1], X)
    assert_close(bound.outputs[2], X[:, 0])


def test_one_output_for_two_carried_arrays():
    program = Program.of(lambda a, b: (a + b, a + b), X, X)
    bound = run_in_place(program, X, X, donate={0: 0, 1: 1})
    assert_close(bound.inputs[0], 2 * X)
    assert_close(bound.inputs[1], 2 * X)


STEPS = {
    "tanh": tanh,
    "sin": sin,
    "exp(-x²)": lambda x: exp(-x * x),
    "transpose": lambda x: x.T,
    "product": lambda x: x @ x.T * 0.1,
    "softmax": softmax,
    "shift": lambda x: x - x.mean(axis=0),
    "flip": lambda x: x[::-1],
    "add transposed": lambda x: x + x.T,
    "regroup": lambda x: x.T.reshape(2, 8).reshape(4, 4),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 5)), min_size=1, max_size=12), st.booleans())
def test_random_programs_run_in_place_as_the_interpreter_says(chosen, donate):
    def f(x):
        made = [x]
        for name, back in chosen:
            made.append(STEPS[name](made[-1 - back % len(made)]) + made[0] * 0.5)
        return made[-1], sum(m.sum() for m in made)

    program = Program.of(f, X)
    expected = program.run(X)
    bound = run_in_place(program, X, donate={0: 0} if donate else None)
    assert_close(bound.outputs[1], expected[1])
    assert_close(bound.inputs[0] if donate else bound.outputs[0], expected[0])
