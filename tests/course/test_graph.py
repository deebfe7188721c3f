"""Rows 1-21 of the course: the graph, the chain rule and automatic differentiation, by their numbers.

Expected values are from mathematics, written out; "printed" ones are given with ten decimals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.autodiff.numeric import best_step, numeric_jacobian
from fallline.data.target import ClassTarget
from fallline.graph.op import OPS, Op
from tests.contracts import checks
from tests.tolerance import TOL, assert_close


def J(x: Any) -> Any:
    t = x**2
    u1 = fl.sin(t)
    u2 = 3 * t
    u = u1 + u2
    J = fl.cos(u)
    return J


def log_likelihood(theta: Any, x: Any, target: Any) -> Any:
    a = fl.dot(theta, x)
    y = fl.sigmoid(a)
    J = target * fl.log(y) + (1.0 - target) * fl.log(1.0 - y)
    return J


THETA, ROW = np.array([0.25, 0.5, -1.0]), np.array([1.0, 1.0, 2.0])  # x_0 = 1 is the bias
ALPHA, BETA, X = np.array([[0.1, 0.4], [-0.3, 0.2]]), np.array([0.7, -0.5]), np.array([1.0, 2.0])


def hidden_layer(alpha: Any, beta: Any, x: Any) -> Any:
    """The log-likelihood of target 1 with two hidden units."""
    a = alpha @ x
    z = fl.sigmoid(a)
    b = fl.dot(beta, z)
    y = fl.sigmoid(b)
    J = fl.log(y)
    return J


def loss(W: Any) -> Any:
    """−log σ(W X) for X = 3, as the tables of both modes write it."""
    ξ1 = -3.0 * W
    ξ2 = fl.exp(ξ1)
    ξ3 = 1 + ξ2
    p = 1 / ξ3
    ξ5 = fl.log(p)
    L = -1.0 * ξ5
    return L


@fl.record
class NegativeLog(fl.Layer):
    """−Σ log x: the loss of probabilities of target 1."""

    def __call__(self, x: Any, run: fl.Run = fl.EVAL) -> Any:
        return -fl.sum(fl.log(x))


def five_modules() -> tuple[fl.Layer, np.ndarray]:
    net = fl.Sequential(fl.Dense(2), fl.Sigmoid(), fl.Dense(1), fl.Sigmoid(), NegativeLog())
    return net.build(fl.spec((3, 2), "float64"), 0), np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.3]])


def test_row_001_jacobian_of_a_composition_is_the_product(rng: np.random.Generator) -> None:
    A, B, x = rng.normal(size=(4, 3)), rng.normal(size=(2, 4)), rng.normal(size=3)

    def h(x: Any) -> Any:
        return fl.tanh(fl.matmul(A, x))

    def g(u: Any) -> Any:
        return fl.sin(fl.matmul(B, u))

    product = np.cos(B @ np.tanh(A @ x))[:, None] * B @ ((1 - np.tanh(A @ x) ** 2)[:, None] * A)
    assert_close(fl.jacobian(lambda x: g(h(x)))(x), product)
    assert_close(fl.jacobian(g)(np.tanh(A @ x)) @ fl.jacobian(h)(x), product)


def test_row_002_every_node_has_its_value_and_its_partial_and_is_visited_once() -> None:
    def double(a: Any) -> Any:
        b = a + a
        c = b + b
        return c

    traced = fl.trace(double, 3.0)
    assert [n.name for n in traced] == ["a", "b", "c"]
    assert [float(n.value) for n in traced] == [3.0, 6.0, 12.0]
    assert [float(n.partial) for n in traced] == [4.0, 2.0, 1.0]  # dc/dc = 1 is set first
    assert len(traced.table()) == 1 + 4  # dc/dc = 1, and two contributions to each of b and a
    assert fl.grad(double)(3.0) == 4.0


def chain(n: int, step: float) -> Any:
    def f(x: Any) -> Any:
        for _ in range(n):
            x = x * step
        return x

    return f


def test_row_002_a_chain_of_10_000_nodes_is_traced_and_printed_in_short() -> None:
    traced = fl.trace(chain(10_000, 1.00001), 1.0)
    assert_close(traced["x"].partial, math.exp(10_000 * math.log(1.00001)), "run")
    text = traced.table().text(80)
    assert "rows …" in text
    assert len(text.splitlines()) < 220


@pytest.mark.slow
def test_row_002_a_chain_of_100_000_nodes_does_not_hit_the_recursion_limit() -> None:
    traced = fl.trace(chain(100_000, 1.00001), 1.0)
    slope = math.exp(100_000 * math.log(1.00001))
    for found in (traced["x"].partial, traced.tangents("x")[traced.goal.name], fl.grad(chain(100_000, 1.00001))(1.0)):
        assert_close(found, slope, "run")
    for table in (traced.table(), traced.table("forward"), traced.memory(), traced.chain("x")):
        assert max(map(len, table.text(80).splitlines())) <= 80
    assert len(traced) == 100_001


def test_row_003_scalars_and_tensors_give_the_same_gradients(rng: np.random.Generator) -> None:
    W, v, x = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=2)

    def by_tensors(W: Any, v: Any, x: Any) -> Any:
        return fl.dot(v, fl.tanh(fl.matmul(W, x)))

    def by_scalars(W: Any, v: Any, x: Any) -> Any:
        total = 0.0
        for j in range(3):
            total = total + v[j] * fl.tanh(W[j, 0] * x[0] + W[j, 1] * x[1])
        return total

    for a, b in zip(fl.grad(by_tensors, (0, 1, 2))(W, v, x), fl.grad(by_scalars, (0, 1, 2))(W, v, x), strict=True):
        assert_close(a, b)


SMOOTH = [
    pytest.param(op, k, id=f"{op.name}-{k}")
    for op in OPS.values()
    if op.sample is not None and op.sample.smooth
    for k in range(len(checks.cases_of(op)))
]


@pytest.mark.parametrize("op, k", SMOOTH)
def test_row_004_reverse_mode_equals_central_differences_for_every_operation(op: Op, k: int) -> None:
    at = checks.Smooth.of(op, checks.cases_of(op)[k])
    if at.xs:
        _, u = at.directions()
        assert fl.check_gradients(at.weighted(u), *at.xs, tolerance=1e-6)


@pytest.mark.parametrize(
    "x, value, slope",
    [(1.0, -0.7649205628, 4.5607917907), (0.5, 0.5424849757, -3.3341464144), (2.0, 0.2451003682, 9.0991485448)],
)
def test_row_005_the_users_names_values_and_partials(x: float, value: float, slope: float) -> None:
    traced = fl.trace(J, x)
    assert [n.name for n in traced] == ["x", "t", "u1", "u2", "u", "J"]
    assert_close(traced.goal.value, value, "printed")
    assert_close(traced["x"].partial, slope, "printed")


def test_row_005_both_contributions_to_t_are_there() -> None:
    traced = fl.trace(J, 1.0)
    assert_close(traced["u"].partial, 0.6441246251, "printed")
    assert_close(traced["t"].partial, 2.2803958953, "printed")
    assert [str(s) for s in traced.table().columns["step"]] == [
        "dJ/dJ = 1",
        "dJ/du += dJ/dJ · dJ/du",
        "dJ/du1 += dJ/du · du/du1",
        "dJ/du2 += dJ/du · du/du2",
        "dJ/dt += dJ/du2 · du2/dt",
        "dJ/dt += dJ/du1 · du1/dt",
        "dJ/dx += dJ/dt · dt/dx",
    ]
    partials = [str(p) for p in traced.table().columns["partial"]]
    assert partials[1:] == [
        "dJ/du = −sin(u)",
        "du/du1 = 1",
        "du/du2 = 1",
        "du2/dt = 3",
        "du1/dt = cos(t)",
        "dt/dx = 2 · x",
    ]


def test_row_006_logistic_regression_forward() -> None:
    traced = fl.trace(log_likelihood, THETA, ROW, 1.0)
    assert_close(traced["a"].value, -1.25)
    assert_close(traced["y"].value, 0.2227001388, "printed")
    assert_close(traced["J"].value, -1.5019290813, "printed")
    model = logistic_model()
    assert_close(model.evaluate(ROW[None, 1:], [1])["loss"], 1.5019290813, "printed")  # loss = −J


def logistic_model() -> fl.Model:
    """Row 6 as a network: one Dense unit with bias θ_0."""
    dense = fl.Dense(1).replace(W=THETA[1:, None], b=THETA[:1])
    return fl.Model(fl.Sequential(dense), fl.BinaryCrossEntropy(), ClassTarget("y", (0, 1)))


def test_row_007_the_sign_of_the_log_loss() -> None:
    def likelihood(y: Any, target: float) -> Any:
        return target * fl.log(y) + (1.0 - target) * fl.log(1.0 - y)

    assert_close(fl.grad(likelihood)(0.8, 0.0), -5.0)
    assert_close(fl.grad(lambda y: -likelihood(y, 0.0))(0.8), 5.0)
    assert fl.check_gradients(lambda y: likelihood(y, 0.0), 0.8)


def test_row_008_the_derivative_of_the_sigmoid_never_overflows() -> None:
    y = fl.sigmoid(0.3)
    assert_close(fl.grad(fl.sigmoid)(0.3), y * (1 - y))
    assert_close(fl.grad(fl.sigmoid)(0.3), math.exp(-0.3) / (math.exp(-0.3) + 1) ** 2)
    assert fl.grad(fl.sigmoid)(1000.0) == 0.0
    assert fl.grad(fl.sigmoid)(-1000.0) == 0.0


def test_row_009_the_derivatives_by_weights_and_by_inputs() -> None:
    slope = np.array([-0.7772998612, -0.7772998612, -1.5545997223])
    traced = fl.trace(lambda theta: -log_likelihood(theta, ROW, 1.0), THETA)
    assert_close(traced["theta"].partial, slope, "printed")
    model = logistic_model()
    weights = model.gradients(ROW[None, 1:], [1])
    assert_close(weights["layers.0.b"], slope[:1], "printed")
    assert_close(weights["layers.0.W"][:, 0], slope[1:], "printed")
    inputs = model.gradients(ROW[None, 1:], [1], wrt="inputs")
    assert_close(inputs, slope[:1] * THETA[None, 1:], "printed")  # d(−J)/dx_j = d(−J)/da · θ_j


def test_row_010_one_hidden_layer_in_five_lines() -> None:
    traced = fl.trace(hidden_layer, ALPHA, BETA, X)
    assert_close(traced["z"].value, np.array([0.7109495026, 0.5249791875]), "printed")
    assert_close(traced["y"].value, 0.5585242778, "printed")
    assert_close(traced["J"].value, -0.5824571917, "printed")
    d_b = traced["b"].partial
    z = traced["z"].value
    assert_close(d_b, 1 - traced["y"].value)
    assert_close(traced["beta"].partial, d_b * z)
    assert_close(traced["z"].partial, d_b * BETA)
    assert_close(traced["a"].partial, d_b * BETA * z * (1 - z))
    assert_close(traced["alpha"].partial, np.outer(traced["a"].partial, X))
    numeric = fl.grad(hidden_layer, (0, 1, 2), mode="numeric")(ALPHA, BETA, X)
    for name, slope in zip(("alpha", "beta", "x"), numeric, strict=True):
        assert_close(traced[name].partial, slope, "central")
    assert fl.check_gradients(hidden_layer, ALPHA, BETA, X)


def test_row_011_the_sum_runs_over_both_factors() -> None:
    traced = fl.trace(hidden_layer, ALPHA, BETA, X)
    d_x, d_a = traced["x"].partial, traced["a"].partial
    assert_close(d_x, np.array([0.0228646579, 0.0143932043]), "printed")
    assert_close(d_x, d_a @ ALPHA)  # Σ_j dJ/da_j · α_ji
    assert np.all(np.abs(d_x - d_a * ALPHA.sum(axis=0)) > TOL["fit"])  # the misprinted form


def test_row_012_five_modules_are_five_blocks_and_each_passes_the_gradient_check() -> None:
    net, x = five_modules()
    table = fl.trace(net, x).table(by="module")
    blocks = [g for i, g in enumerate(table.groups) if i == 0 or table.groups[i - 1] != g]
    assert blocks == [f"layers.{i}" for i in (4, 3, 2, 1, 0)]
    headings = [line for line in table.text(80).splitlines() if line.startswith("[")]
    assert headings == [f"[layers.{i}]" for i in (4, 3, 2, 1, 0)]
    for layer in net.layers:
        assert fl.check_gradients(lambda module, v: fl.sum(fl.square(module(v))), layer, x)
        x = layer(x)


def test_row_013_both_functions_of_a_node() -> None:
    traced = fl.trace(J, 1.0)
    assert traced["t"].forward_source == "t = x^2"
    assert traced["t"].partial_source == {"x": "2 · x"}
    assert traced["u1"].partial_source == {"t": "cos(t)"}
    assert traced["u"].partial_source == {"u1": "1", "u2": "1"}
    assert traced.goal.partial_source == {"u": "−sin(u)"}


def test_row_014_the_graph_is_drawn_without_graphviz(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no program can be called
    net, x = five_modules()
    drawing = fl.trace(net, x).draw(tmp_path / "graph.html")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8") == drawing.html
    small = fl.trace(J, 1.0).draw(tmp_path / "graph.svg")
    for number in ("0.644125", "2.2804", "4.56079", "−0.764921"):  # dJ/du, dJ/dt, dJ/dx and J
        assert number in small.svg


def test_row_015_the_modes_agree_and_the_report_counts_the_passes() -> None:
    report = fl.compare_modes(hidden_layer, ALPHA, BETA, X, wrt=0)
    assert report.passes == {"reverse": 1, "forward": 4, "numeric": 8}
    assert report.forward_error <= TOL["f64"]
    assert report.numeric_error <= TOL["central"]
    assert report
    assert "reverse mode suits: it needs 1 pass where forward mode needs 4 passes" in str(report)
    assert_close(fl.grad(hidden_layer, mode="forward")(ALPHA, BETA, X), fl.grad(hidden_layer)(ALPHA, BETA, X))


E9 = math.exp(-9)
P = 1 / (1 + E9)


def test_row_016_the_forward_table_with_the_right_values() -> None:
    traced = fl.trace(loss, 3.0)
    table = traced.table(mode="forward")
    assert list(table.columns) == ["variable", "value", "partial", "its value", "d/dW"]
    rows = dict(zip([n.name for n in traced], zip(*table.columns.values(), strict=True), strict=True))
    wanted = {  # value, partial, running derivative dξ/dW
        "ξ1": (-9.0, -3.0, -3.0),
        "ξ2": (E9, E9, -3 * E9),
        "ξ3": (1 + E9, 1.0, -3 * E9),
        "p": (P, -(P**2), 3 * E9 * P**2),
        "ξ5": (math.log(P), 1 + E9, 3 * E9 * P),
        "L": (-math.log(P), -1.0, -3 * E9 * P),
    }
    for name, (value, partial, running) in wanted.items():
        _, *found = rows[name]
        assert_close(found[0], value)
        assert_close(found[2], partial)
        assert_close(found[3], running)


def test_row_017_the_derivative_has_the_right_sign() -> None:
    slope = -3 / (1 + math.exp(9))
    traced = fl.trace(loss, 3.0)
    for found in (slope, traced["W"].partial):
        assert_close(found * 1e4, -3.7018372796, "printed")  # ten decimals of the number as it is printed
    assert_close(traced.goal.value * 1e4, 1.2340218972, "printed")
    for found in (traced["W"].partial, traced.tangents("W")["L"], fl.grad(loss, mode="forward")(3.0)):
        np.testing.assert_allclose(found, slope, rtol=TOL["f64"])
    assert "dL/dW = −0.000370183728" in traced.table("forward").text(100)


def test_row_018_the_backward_table_is_filled_and_says_what_is_stored() -> None:
    traced = fl.trace(loss, 3.0)
    table = traced.table()
    last = table.columns["sum so far"][-1]
    assert_close(last * 1e4, -3.7018372796, "printed")
    product = np.prod([p for p in table.columns["its value"] if p is not None])
    np.testing.assert_allclose(product, last, rtol=TOL["f64"])
    assert "dL/dW = −0.000370183728" in table.text(100)
    memory = traced.memory()
    assert memory.columns["node"] == ["ξ2", "ξ3", "p"]  # d e^ξ1 = ξ2;  d 1/ξ3 = −p/ξ3;  d log p = 1/p
    assert memory.reverse_bytes == 3 * 8


def test_row_019_the_error_of_central_differences() -> None:
    def cube(x: Any) -> Any:
        return x**3

    report = fl.check_gradients(cube, 2.0, step=1e-4)
    assert report
    assert report.analytic == 12.0
    assert report.numeric - 12.0 == pytest.approx(1.0e-8, rel=TOL["statistics"])
    one_sided = (cube(2.0 + 1e-4) - cube(2.0)) / 1e-4
    assert abs(one_sided - 12.0) == pytest.approx(6.0e-4, rel=TOL["statistics"])


def test_row_019_the_worst_weight_is_named_and_the_step_is_that_of_the_dtype(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    model = fl.fit(fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)), (X, y), epochs=1).model
    report = fl.check_gradients(model, X, y)
    assert report
    assert report.checked == fl.count_parameters(model.network)
    path, _, index = report.where.partition("[")
    assert fl.leaves(model.network)[path][tuple(int(i) for i in index.rstrip("]").split(","))].size == 1
    assert best_step("float64") == pytest.approx((2**-52) ** (1 / 3))
    assert best_step("float32") == pytest.approx((2**-23) ** (1 / 3))


def test_row_021_second_derivatives() -> None:
    assert_close(fl.grad(fl.grad(J))(1.0), 40.7420061554, "printed")
    assert_close(fl.hvp(J, 1.0, 1.0), 40.7420061554, "printed")

    def f(v: Any) -> Any:
        return fl.dot(fl.square(v), fl.stack([v[1], v[0], v[1]]))

    x, d = np.array([0.3, -1.2, 0.7]), np.array([1.0, 2.0, -1.0])
    assert_close(fl.hessian(f)(x), numeric_jacobian(fl.grad(f), x), "central")
    assert_close(fl.hvp(f, x, d), fl.hessian(f)(x) @ d)


def test_row_021_a_newton_step_ends_at_the_minimum_of_a_quadratic() -> None:
    A, b = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([1.0, -2.0])

    def quadratic(w: Any) -> Any:
        return 0.5 * fl.dot(w, A @ w) - fl.dot(b, w)

    w = np.array([5.0, 5.0])
    stepped = w - np.linalg.solve(fl.hessian(quadratic)(w), fl.grad(quadratic)(w))
    assert_close(stepped, np.linalg.solve(A, b))


def test_row_021_the_second_order_solver_takes_that_step(rng: np.random.Generator) -> None:
    X = rng.normal(size=(30, 2))
    y = X @ np.array([2.0, -1.0]) + 0.5 + 0.1 * rng.normal(size=30)
    fit = fl.fit(fl.Sequential(fl.Dense(1)), (X, y), optimizer="newton", epochs=1, precision="float64")
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y, rcond=None)[0]
    dense = fit.model.network.layers[0]
    assert_close(np.append(dense.W[:, 0], dense.b), exact, "step")
