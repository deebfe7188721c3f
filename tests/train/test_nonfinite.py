"""The first value that is not finite is found where it is made."""

from __future__ import annotations

import numpy as np

from fallline.graph.program import Program
from fallline.graph.value import scope
from fallline.ops.transcendental import exp, log
from fallline.train.nonfinite import first_nonfinite


def test_the_op_and_the_layer_are_named():
    def f(x):
        with scope("layers.3"):
            y = log(x)
        return exp(y) * 2.0

    program = Program.of(f, np.ones(3), names=["x"])
    culprit = first_nonfinite(program, [np.array([1.0, 0.0, 2.0])], program.outputs[0])
    assert (culprit.op, culprit.where, culprit.backward) == ("log", "layers.3", False)
    assert "keep its argument away from 0" in culprit.cause


def test_a_finite_program_has_no_culprit():
    program = Program.of(exp, np.ones(3))
    assert first_nonfinite(program, [np.ones(3)], program.outputs[0]) is None


def test_a_bad_input_is_named_by_itself():
    program = Program.of(exp, np.ones(3), names=["x"])
    culprit = first_nonfinite(program, [np.array([1.0, np.nan, 0.0])], program.outputs[0])
    assert "x, which was given" in str(culprit)


def test_the_backward_part_is_told_from_the_forward_part():
    program = Program.of(lambda x: ((x * 2.0).sum(), exp(x * 1000.0)), np.ones(3))
    culprit = first_nonfinite(program, [np.ones(3)], program.outputs[0])
    assert culprit.op == "exp"
    assert culprit.backward
    assert culprit.largest == 1000.0
