"""Reverse and forward mode as walks over the graph: every node once, iteratively, into the same graph."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fallline.autodiff.forward import pushforward
from fallline.autodiff.functions import grad, jvp
from fallline.autodiff.reverse import depends_on, pullback
from fallline.core.errors import GraphError
from fallline.core.spec import spec
from fallline.graph.check import verify
from fallline.graph.op import OPS, Op, as_value, new_input, primitive
from fallline.graph.program import Program, reachable
from fallline.graph.value import Value, scope
from fallline.ops.transcendental import sin
from tests.tolerance import assert_close


def test_every_node_is_pulled_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[int] = Counter()

    def counting(op: Op) -> Any:
        rule = op.vjp
        assert rule is not None

        def vjp(g: Any, y: Value, *args: Any, **attrs: Any) -> Any:
            calls[id(y)] += 1
            return rule(g, y, *args, **attrs)

        return vjp

    for name in ("add", "multiply"):
        monkeypatch.setattr(OPS[name], "vjp", counting(OPS[name]))
    x = new_input(spec((), "float64"), "x")
    out = x
    for _ in range(20):  # 2^20 paths from the output to x
        out = out + out
    (slope,) = pullback([out], [np.ones(())], [x])
    assert max(calls.values()) == 1
    assert len(calls) == 20
    assert Program([x], [slope]).run(1.0)[0] == 2.0**20


@pytest.mark.parametrize("derivative", [grad, lambda f: lambda x: jvp(f, (x,), (1.0,))[1]], ids=["reverse", "forward"])
def test_a_chain_of_100_000_nodes(derivative: Any) -> None:
    n = 100_000

    def chain(x: Any) -> Any:
        for _ in range(n):
            x = sin(x)
        return x

    start = time.process_time()
    slope = derivative(chain)(0.3)
    seconds = time.process_time() - start
    x, expected = 0.3, 1.0
    for _ in range(n):
        expected *= np.cos(x)
        x = np.sin(x)
    assert_close(slope / expected, 1.0, "library")
    assert seconds < 60  # a few seconds alone; recursion or quadratic work would take minutes or fail


def test_untouched_inputs_get_zeros() -> None:
    x, y = new_input(spec((2,), "float64")), new_input(spec((3,), "float32"))
    found = pullback([x * 2.0], [np.ones(2)], [x, y])
    assert (found[1].shape, found[1].dtype) == ((3,), np.float32)
    assert not Program([x, y], found).run(np.zeros(2), np.zeros(3, np.float32))[1].any()
    moved = pushforward([x * 2.0], [y], [np.ones(3, np.float32)])
    assert not Program([x, y], moved).run(np.zeros(2), np.zeros(3, np.float32))[0].any()


def test_an_output_that_is_the_input() -> None:
    x = new_input(spec((2,), "float64"))
    (g,) = pullback([x, x], [np.ones(2), np.array([1.0, 2.0])], [x])
    np.testing.assert_array_equal(Program([x], [g]).run(np.zeros(2))[0], [2.0, 3.0])


def test_derivatives_by_a_node_and_by_what_it_depends_on() -> None:
    """out = y², y = x²: d out/dy = 2 y, d out/dx = 4 x³; a node that is asked about passes its share on too."""
    x = new_input(spec((), "float64"))
    y = x * x
    found = pullback([y * y], [np.ones(())], [y, x])
    assert Program([x], found).run(3.0) == [18.0, 108.0]


def test_derivative_nodes_carry_the_scope_of_their_value() -> None:
    x = new_input(spec((2,), "float64"))
    with scope("layers.0"):
        y = sin(x)
    (g,) = pullback([y], [np.ones(2)], [x])
    made = [v for v in reachable([g]) if v.op.name in ("cos", "multiply")]
    assert {v.scope for v in made} == {"layers.0"}
    verify(Program([x], [g]))


def test_only_floats_are_active() -> None:
    x = new_input(spec((2,), "float64"))
    y = (x < 0.5).astype("float64") * x
    names = {v.op.name for v in reachable([y]) if id(v) in depends_on(reachable([y]), [x])}
    assert names == {"input", "multiply"}


@pytest.mark.parametrize(
    "rule, message",
    [
        (lambda g, y, x: (g, g), "2 cotangents for 1"),
        (lambda g, y, x: (OPS["sum"](g),), r"shape \(\) for an argument of \(2,\)"),
    ],
)
def test_a_wrong_vjp_is_named(rule: Any, message: str) -> None:
    op = primitive("toy", lambda x: x, lambda x, out=None: x, vjp=rule, jvp=lambda t, y, x: t[0])
    try:
        with pytest.raises(GraphError, match=f"the vjp of toy gives {message}"):
            grad(lambda x: OPS["sum"](op(x)))(np.ones(2))
    finally:
        OPS.remove("toy")


def test_an_op_without_rules_stops_the_gradient() -> None:
    op = replace(OPS["stop_gradient"])
    assert op.vjp is None
    assert as_value(grad(lambda x: OPS["stop_gradient"](x) + 0.0)(1.0)).shape == ()
    assert grad(lambda x: OPS["stop_gradient"](x) + 0.0)(1.0) == 0.0
