"""Every pass keeps the function and does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad, value_and_grad
from fallline.core.errors import GraphError
from fallline.graph.check import verify
from fallline.graph.op import OPS, as_value
from fallline.graph.program import Program
from fallline.ops.arithmetic import negative
from fallline.ops.composite import relu, softmax, softplus
from fallline.ops.transcendental import exp, sin
from fallline.passes.fold import fold
from fallline.passes.optimize import optimize
from fallline.passes.rewrite import run_passes
from fallline.passes.share import share
from fallline.passes.simplify import simplify
from tests.tolerance import assert_close

X = np.random.default_rng(1).normal(size=(3, 4))


def ops_of(program: Program) -> list[str]:
    return [v.op.name for v in program.calls]


FUNCTIONS = {
    "softmax": lambda x: softmax(x * 2.0 + 0.0),
    "gradient": lambda x: grad(lambda v: (relu(v @ X.T) ** 2).sum())(x),
    "second derivative": lambda x: grad(lambda v: (grad(lambda u: softplus(u).sum())(v) * v).sum())(x),
    "shapes": lambda x: x.reshape(4, 3).T.T.reshape(2, 6)[:, ::2].reshape(-1),
    "double negation": lambda x: negative(negative(x)) - negative(x),
    "powers": lambda x: x**2 + abs(x) ** 1.0,
    "constants": lambda x: x * (exp(as_value(np.ones(4))) * 2.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("one", [simplify, fold, share, optimize])
def test_a_pass_keeps_the_function(name, one):
    program = Program.of(FUNCTIONS[name], X)
    assert_close(verify(one(program)).run(X)[0], program.run(X)[0])
    assert len(one(program).order) <= len(program.order)


@pytest.mark.parametrize(
    "f, left",
    [
        (lambda x: x * 1.0 + 0.0, []),
        (lambda x: negative(negative(x)), []),
        (lambda x: x.T.T, []),
        (lambda x: x.reshape(2, 6).reshape(12).reshape(3, 4), []),
        (lambda x: OPS["identity"](x), []),
        (lambda x: x - (-x), ["add"]),
        (lambda x: x**2, ["multiply"]),
        (lambda x: x * -1.0, ["negative"]),
    ],
)
def test_simplify_leaves_what_is_needed(f, left):
    assert ops_of(optimize(Program.of(f, X))) == left


def test_zero_times_x_stays_because_x_may_be_infinite():
    program = optimize(Program.of(lambda x: x * 0.0, X))
    with np.errstate(invalid="ignore"):
        assert np.isnan(program.run(np.full((3, 4), np.inf))[0]).all()


def test_fold_computes_constants_and_leaves_large_ones():
    small = fold(Program.of(lambda x: x + sin(as_value(np.ones(4))), X))
    assert "sin" not in ops_of(small)
    big = np.ones(5000)
    large = fold(Program.of(lambda x: x + sin(as_value(big)), big))
    assert "sin" in ops_of(large)


def test_share_computes_equal_nodes_once():
    program = share(Program.of(lambda x: sin(x) * sin(x) + sin(x), X))
    assert ops_of(program).count("sin") == 1


def test_dead_nodes_are_gone_by_construction():
    program = Program.of(lambda x: (sin(x), x * 2.0)[1], X)
    assert ops_of(program) == ["broadcast_to", "multiply"]


def test_a_pass_that_breaks_a_program_is_caught():
    def broken(program):
        node = program.outputs[0]
        node.spec = node.spec.with_shape((7,))
        return program

    with pytest.raises(GraphError, match="infers"):
        run_passes(Program.of(lambda x: sin(x), X), [broken])


def test_optimizing_a_training_step_keeps_its_numbers():
    w = np.random.default_rng(2).normal(size=(4, 2))

    def step(w, x):
        value, g = value_and_grad(lambda v: softplus(x @ v).mean())(w)
        return value, w - 0.1 * g

    program = Program.of(step, w, X)
    for a, b in zip(optimize(program).run(w, X), program.run(w, X), strict=True):
        assert_close(a, b)
