"""Every optimizer against its paper's formula, written again here for single numbers in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fallline.core.spec import spec
from fallline.graph.program import Program
from fallline.optim.adam import Adam, AdamHat, AdamW, AMSGrad, NAdam, OptimisticAdam, RAdam
from fallline.optim.adaptive import AdaGrad, RMSProp
from fallline.optim.lion import Lion
from fallline.optim.muon import Muon, orthogonalised
from fallline.optim.sgd import SGD, Momentum, Nesterov, Velocity
from tests.tolerance import assert_close

RATE, B1, B2, EPS = 0.1, 0.8, 0.95, 1e-8


def sgd(w, gradients):
    for g in gradients:
        w -= RATE * g
        yield w


def momentum(w, gradients, dampening=0.0):
    v = 0.0
    for g in gradients:
        v = B1 * v + (1 - dampening) * g
        w -= RATE * v
        yield w


def nesterov(w, gradients):
    v = 0.0
    for g in gradients:
        v = B1 * v + g
        w -= RATE * (g + B1 * v)
        yield w


def adagrad(w, gradients):
    s = 0.0
    for g in gradients:
        s += g**2
        w -= RATE * g / (math.sqrt(s) + 1e-10)
        yield w


def rmsprop(w, gradients):
    s = 0.0
    for g in gradients:
        s = B2 * s + (1 - B2) * g**2
        w -= RATE * g / (math.sqrt(s) + EPS)
        yield w


def adam(w, gradients, decay=0.0, amsgrad=False):
    m = v = top = 0.0
    for t, g in enumerate(gradients, start=1):
        w *= 1 - RATE * decay
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        top = max(top, v)
        v_hat = (top if amsgrad else v) / (1 - B2**t)
        w -= RATE * (m / (1 - B1**t)) / (math.sqrt(v_hat) + EPS)
        yield w


def adam_hat(w, gradients):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        w -= RATE * math.sqrt(1 - B2**t) / (1 - B1**t) * m / (math.sqrt(v) + 0.1)
        yield w


def nadam(w, gradients):
    mu = lambda t: B1 * (1 - 0.5 * 0.96 ** (t * 0.004))  # noqa: E731
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        until_now = math.prod(mu(i) for i in range(1, t + 1))
        m_bar = mu(t + 1) * m / (1 - until_now * mu(t + 1)) + (1 - mu(t)) * g / (1 - until_now)
        w -= RATE * m_bar / (math.sqrt(v / (1 - B2**t)) + EPS)
        yield w


def radam(w, gradients):
    m = v = 0.0
    limit = 2 / (1 - B2) - 1
    for t, g in enumerate(gradients, start=1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        m_hat, rho = m / (1 - B1**t), limit - 2 * t * B2**t / (1 - B2**t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
            w -= RATE * m_hat * r * math.sqrt(1 - B2**t) / (math.sqrt(v) + EPS)
        else:
            w -= RATE * m_hat
        yield w


def optimistic(w, gradients):
    m = v = 0.0
    before = None
    for t, g in enumerate(gradients, start=1):
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        u = (m / (1 - B1**t)) / (math.sqrt(v / (1 - B2**t)) + EPS)
        w -= RATE * (2 * u - (u if before is None else before))
        before = u
        yield w


def lion(w, gradients, decay=0.0):
    m = 0.0
    for g in gradients:
        direction = B1 * m + (1 - B1) * g
        w -= RATE * (math.copysign(1.0, direction) + decay * w)
        m = B2 * m + (1 - B2) * g
        yield w


CASES = {
    "SGD": (SGD(), sgd),
    "Momentum": (Momentum(momentum=B1), momentum),
    "Momentum, dampened": (Momentum(momentum=B1, dampened=True), lambda w, g: momentum(w, g, dampening=B1)),
    "Nesterov": (Nesterov(momentum=B1), nesterov),
    "Velocity": (Velocity(momentum=B1), nesterov),
    "Velocity without a look ahead": (Velocity(momentum=B1, nesterov=False), momentum),
    "AdaGrad": (AdaGrad(), adagrad),
    "RMSProp": (RMSProp(beta2=B2), rmsprop),
    "Adam": (Adam(beta1=B1, beta2=B2), adam),
    "AdamW": (AdamW(beta1=B1, beta2=B2, weight_decay=0.3), lambda w, g: adam(w, g, decay=0.3)),
    "AdamHat": (AdamHat(beta1=B1, beta2=B2, eps=0.1), adam_hat),
    "AMSGrad": (AMSGrad(beta1=B1, beta2=B2), lambda w, g: adam(w, g, amsgrad=True)),
    "NAdam": (NAdam(beta1=B1, beta2=B2), nadam),
    "RAdam": (RAdam(beta1=B1, beta2=B2), radam),
    "OptimisticAdam": (OptimisticAdam(beta1=B1, beta2=B2), optimistic),
    "Lion": (Lion(beta1=B1, beta2=B2), lion),
    "Lion with decay": (Lion(beta1=B1, beta2=B2, weight_decay=0.3), lambda w, g: lion(w, g, decay=0.3)),
}


def path_of(optimizer, start, gradients, dtype="float64"):
    """The parameters after each step, with a traced update."""
    params = {"W": np.asarray(start, dtype)}
    state, number = optimizer.init(params), spec((), dtype)
    update = lambda p, g, s, lr, t: optimizer.update(p, g, s, lr=lr, t=t)  # noqa: E731
    program, found = Program.of(update, params, params, state, number, number), []
    for t, g in enumerate(gradients, start=1):
        params, state = program(params, {"W": g}, state, RATE, float(t))
        found.append(params["W"])
    return np.array(found)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype, kind", [("float64", "f64"), ("float32", "library32")])
def test_same_path_as_the_formula(name, dtype, kind, rng):
    optimizer, formula = CASES[name]
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(100, 2, 3))
    gradients = gradients.astype(dtype).astype("float64")
    found = path_of(optimizer, start, gradients, dtype)
    for i in np.ndindex(2, 3):
        expected = list(formula(float(start[i]), [float(g[i]) for g in gradients]))
        assert_close(found[:, *i], np.array(expected), kind)


def test_gradient_descent_of_the_course():
    """(w - 3)², w0 = 0, rate .1: .6, 1.08, 1.464."""
    w, seen = {"w": np.zeros(())}, []
    for t in range(1, 4):
        w, _ = SGD().update(w, {"w": 2 * (w["w"] - 3)}, {}, lr=0.1, t=t)
        seen.append(float(w["w"]))
    assert_close(np.array(seen), np.array([0.6, 1.08, 1.464]))


def test_both_conventions_of_momentum_go_the_same_way(rng):
    """V = bV + (1-b) dW at rate a, and V = bV + dW at rate a (1-b)."""
    params = {"W": rng.normal(size=(2, 3))}
    beta, one, two = 0.9, params, params
    first, second = Momentum(momentum=beta, dampened=True), Momentum(momentum=beta)
    state_1, state_2 = first.init(params), second.init(params)
    for t in range(1, 200):
        g = {"W": rng.normal(size=(2, 3))}
        one, state_1 = first.update(one, g, state_1, lr=0.1, t=t)
        two, state_2 = second.update(two, g, state_2, lr=0.1 * (1 - beta), t=t)
        assert_close(one["W"], two["W"])


SIZES = np.array([[1e-3, 1.0, -1e3, -30.0]])


def first_step(optimizer, g, dtype="float64"):
    params = {"W": np.zeros_like(g, dtype=dtype)}
    return optimizer.update(params, {"W": g.astype(dtype)}, optimizer.init(params), lr=0.01, t=1)[0]["W"]


@pytest.mark.parametrize("dtype, kind", [("float64", "f64"), ("float32", "f32")])
def test_first_steps_do_not_depend_on_the_size_of_the_gradient(dtype, kind):
    """RMSProp: 3.1623 times the rate for beta2 = .9; Adam, AdaGrad, Lion: the rate itself (eps too small to show)."""
    down = -np.sign(SIZES)
    assert_close(first_step(RMSProp(eps=1e-30), SIZES, dtype) / 0.01, down / np.sqrt(0.1), kind)
    for optimizer in (Adam(eps=1e-30), AMSGrad(eps=1e-30), AdaGrad(eps=1e-30), Lion()):
        assert_close(first_step(optimizer, SIZES, dtype) / 0.01, down, kind)


def test_first_steps_with_the_usual_eps():
    usual = np.array([[0.1, 1.0, -1e3, -30.0]])
    assert_close(first_step(Adam(), usual) / 0.01, -np.sign(usual), "library")
    assert_close(first_step(RMSProp(), usual) / 0.01, -np.sign(usual) / np.sqrt(0.1), "library")


def test_plain_descent_falls_below_the_largest_rate_and_grows_above_it():
    """On w²/2 · curvature the bound is 2 / curvature."""
    sizes = {}
    for part in (0.9, 1.1):
        w = {"w": np.ones(())}
        for t in range(1, 50):
            before = w["w"]
            w, _ = SGD().update(w, {"w": 4.0 * w["w"]}, {}, lr=part * 2 / 4.0, t=t)
            assert (abs(w["w"]) < abs(before)) == (part < 1)
        sizes[part] = abs(w["w"])
    assert sizes[0.9] < 1 < sizes[1.1]


def test_defaults_are_those_of_the_papers():
    assert (Adam().beta1, Adam().beta2, Adam().eps, Adam().learning_rate) == (0.9, 0.999, 1e-8, 1e-3)
    assert (Lion().beta1, Lion().beta2) == (0.9, 0.99)
    assert (Momentum().momentum, RMSProp().beta2, AdamW().weight_decay) == (0.9, 0.9, 0.01)


def p(s):
    """Five times 3.4445 s - 4.775 s³ + 2.0315 s⁵, the quintic of Muon."""
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)])
def test_muon_keeps_the_directions_of_a_matrix_and_evens_out_its_singular_values(shape, rng):
    G = rng.normal(size=shape)
    U, S, V = np.linalg.svd(G, full_matrices=False)
    assert_close(orthogonalised(G, 5), (U * p(S / np.linalg.norm(G))) @ V, "run")
    # The first step: m = 0.05 g, so that 0.95 m + 0.05 g points along g itself; n_in by units, AdamW's length.
    w = {"W": rng.normal(size=shape)}
    for scale, factor in (("adamw", 0.2 * math.sqrt(max(shape))), ("shape", math.sqrt(max(1, shape[1] / shape[0])))):
        optimizer = Muon(scale=scale, weight_decay=0.1)
        new, _ = optimizer.update(w, {"W": G}, optimizer.init(w), lr=RATE, t=1)
        assert_close(new["W"], w["W"] * (1 - RATE * 0.1) - RATE * factor * orthogonalised(G, 5), "run")


def test_muon_leaves_all_else_to_its_rest(rng):
    params = {
        "layers.0.W": rng.normal(size=(3, 2)),
        "layers.0.b": rng.normal(size=2),
        "layers.1.W": rng.normal(size=(2, 1)),
    }
    grads = {path: rng.normal(size=leaf.shape) for path, leaf in params.items()}
    optimizer = Muon(where="layers.0.W", rest="sgd", rest_factor=0.5)
    new, state = optimizer.update(params, grads, optimizer.init(params), lr=RATE, t=1)
    assert list(new) == list(params)
    for path in ("layers.0.b", "layers.1.W"):
        assert_close(new[path], params[path] - 0.5 * RATE * grads[path])
    assert list(state) == ["m:layers.0.W"]


def test_radam_with_a_short_memory_is_plain_momentum(rng):
    """rho never exceeds 5 for beta2 <= 2/3."""
    gradients = rng.normal(size=(20, 1, 1))
    found = path_of(RAdam(beta1=0.0, beta2=0.6), np.zeros((1, 1)), gradients)
    assert_close(found, -RATE * np.cumsum(gradients, axis=0))
