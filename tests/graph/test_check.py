"""The verifier: a right program passes, and each broken rule is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fallline.core.errors import GraphError
from fallline.core.spec import spec
from fallline.graph.check import verify
from fallline.graph.op import OPS, new_input
from fallline.graph.program import Program
from fallline.graph.value import Value
from fallline.ops.transcendental import exp

F2 = spec((2,), "float64")


def broken(node: Value, x: Value) -> Program:
    return Program([x], [node])


def x_and_exp() -> tuple[Value, Value]:
    x = new_input(F2, "x")
    return x, exp(x)


def test_a_right_program_is_returned() -> None:
    program = Program.of(lambda x: exp(x)[:1], F2)
    assert verify(program) is program


def test_an_input_that_computes() -> None:
    _, y = x_and_exp()
    with pytest.raises(GraphError, match="listed as an input and computes"):
        verify(Program([y], [exp(y)]))


def test_an_input_listed_twice() -> None:
    x, y = x_and_exp()
    with pytest.raises(GraphError, match="'x' is listed twice"):
        verify(Program([x, x], [y]))


def test_an_input_that_is_not_listed() -> None:
    _, y = x_and_exp()
    with pytest.raises(GraphError, match=r"uses the input 'x' f64\[2\], which it does not list"):
        verify(Program([], [y]))
    with pytest.raises(GraphError, match="'x' was given no array"):
        Program([], [y]).run()


def test_an_op_that_is_not_the_registered_one() -> None:
    x, _ = x_and_exp()
    with pytest.raises(GraphError, match="not the registered 'exp'"):
        verify(broken(Value(replace(OPS["exp"]), (x,), {}, F2), x))


def test_a_node_before_its_argument() -> None:
    x, y = x_and_exp()
    z = exp(y)
    y.number, z.number = z.number, y.number
    with pytest.raises(GraphError, match="stands before its argument"):
        verify(broken(z, x))


def test_a_wrong_spec() -> None:
    x, _ = x_and_exp()
    with pytest.raises(GraphError, match=r"infers f64\[2\]"):
        verify(broken(Value(OPS["exp"], (x,), {}, spec((3,), "float64")), x))


@pytest.mark.parametrize("shape", [[2, 1], ([2], 1)], ids=["list", "tuple of a list"])
def test_an_attribute_that_is_not_hashable(shape: Any) -> None:
    x, _ = x_and_exp()
    with pytest.raises(GraphError, match="attribute shape is not hashable"):
        verify(broken(Value(OPS["reshape"], (x,), {"shape": shape}, spec((2, 1), "float64")), x))


def test_a_constant_of_another_shape() -> None:
    wrong = Value(OPS["constant"], (), {"value": np.zeros(3)}, F2)
    with pytest.raises(GraphError, match=r"holds an array of float64 \(3,\)"):
        verify(Program([], [wrong]))


def test_operands_that_were_not_aligned() -> None:
    x = new_input(F2)
    with pytest.raises(GraphError, match="operands must have been aligned"):
        OPS["add"].apply(x, new_input(spec((2,), "float32")))
    with pytest.raises(GraphError, match="operands must have been aligned"):
        OPS["where"].apply(x, x, x)
