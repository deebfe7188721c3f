"""Programs: tracing, running, trees in and out, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from fallline.core.errors import DtypeError, GraphError, ShapeError
from fallline.core.spec import Spec, spec
from fallline.graph.check import verify
from fallline.graph.op import as_value, new_input
from fallline.graph.program import Program, reachable
from fallline.graph.value import scope
from fallline.ops.transcendental import exp, sin
from tests.strategies import RandomProgram, programs
from tests.tolerance import assert_close


def test_a_function_becomes_its_program() -> None:
    program = verify(Program.of(lambda x, y: exp(x) * y + 1.0, spec((2,), "float64"), spec((), "float64")))
    assert [v.op.name for v in program.calls] == ["exp", "broadcast_to", "multiply", "broadcast_to", "add"]
    assert_close(program.run(np.array([0.0, 1.0]), 2.0)[0], 2.0 * np.exp([0.0, 1.0]) + 1.0)


@given(programs())
def test_random_programs_are_verified(f: RandomProgram) -> None:
    program = verify(Program.of(f, *f.inputs()))
    numbers = [v.number for v in program.order]
    assert numbers == sorted(numbers)
    assert len({id(v) for v in program.order}) == len(program.order)


def test_trees_in_and_out() -> None:
    program = Program.of(lambda p, x: {"y": x * p["W"], "parts": (p["b"], None, 3.0)}, {"W": 2.0, "b": 1.0}, 4.0)
    assert [v.attrs["name"] for v in program.inputs] == ["W", "b", ""]
    found = program({"W": 3.0, "b": 5.0}, 7.0)
    assert found["y"] == 21.0
    assert found["parts"][0] == 5.0
    assert found["parts"][1] is None
    assert found["parts"][2] == 3.0


def test_names_are_prefixes_of_the_paths() -> None:
    program = Program.of(lambda p, x: p["W"] * x, {"W": 1.0}, 1.0, names=("params", "x"))
    assert [v.attrs["name"] for v in program.inputs] == ["params.W", "x"]


def test_specs_and_arrays_trace_alike() -> None:
    by_array = Program.of(sin, np.zeros((2, 3), np.float32))
    assert (
        by_array.outputs[0].spec
        == Program.of(sin, spec((2, 3))).outputs[0].spec
        == Spec.of(np.zeros((2, 3), np.float32))
    )


def test_an_unused_input_is_kept_and_a_constant_result_is_allowed() -> None:
    program = verify(Program.of(lambda x, y: (1.0, y), 2.0, 3.0))
    assert program.run(np.float64(2), np.float64(3)) == [1.0, 3.0]
    assert program.inputs[0] in program.order


def test_results_may_be_written_to() -> None:
    x, held = np.ones(3), np.ones(3)
    program = Program.of(lambda v: (v, v[::-1], v.reshape(3, 1), held), x)
    for out in program.run(x):
        out += 1.0
    np.testing.assert_array_equal(x, np.ones(3))
    np.testing.assert_array_equal(program.run(x)[3], np.ones(3))


def test_arrays_that_do_not_fit_are_refused() -> None:
    program = Program.of(lambda x, k: x * k.astype("float32"), spec((2,)), spec((), "int32"), names=("x", "k"))
    with pytest.raises(ShapeError, match=r"x must be f32\[2\], given float32\[3\]"):
        program.run(np.zeros(3, np.float32), np.int32(1))
    with pytest.raises(ShapeError, match=r"given float64\[2\]"):
        program.run(np.zeros(2), np.int32(1))
    with pytest.raises(ShapeError, match="takes 2 arrays, 1 were given"):
        program(np.zeros(2))
    # called, a program adapts the width of floats, and never cuts a float to an integer
    assert program(np.array([1, 2]), 3).tolist() == [3.0, 6.0]
    with pytest.raises(ShapeError, match=r"k must be i32\[\], given float64"):
        program(np.zeros(2), 1.7)


def test_scopes() -> None:
    x = new_input(spec((2,)))
    with scope("layers.0"):
        a = exp(x)
        with scope(""):
            b = exp(x)
        with scope("layers.0.inner"):
            c = exp(x)
    assert [v.scope for v in (a, b, c, exp(x))] == ["layers.0", "layers.0", "layers.0.inner", ""]


def test_dtypes_outside_programs_are_refused() -> None:
    with pytest.raises(DtypeError, match="float16"):
        as_value(np.zeros(2, np.float16))
    with pytest.raises(DtypeError, match="complex128"):
        Program.of(lambda x: x, np.zeros(2, complex))


def test_a_long_chain_is_built_ordered_and_dropped_without_recursion() -> None:
    x: Any = new_input(spec((), "float64"))
    for _ in range(100_000):
        x = -x
    assert len(reachable([x])) == 100_001
    del x


def test_a_function_of_numpy_is_answered_with_ours():
    with pytest.raises(GraphError, match=r"fl\.sin instead of np\.sin"):
        Program.of(lambda x: np.sin(x), np.ones(3))


def test_whole_numbers_of_python_are_numbers():
    assert exp(0) == 1.0
    assert_close(sin(1), np.sin(1.0))
