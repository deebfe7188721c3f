"""The same paths as the implementations that papers are reproduced with: 1000 steps in float64, in PyTorch and Optax.

`make test-bench` installs both; without them these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.optim.optimizer import Context
from tests.tolerance import TOL

torch = pytest.importorskip("torch")
optax = pytest.importorskip("optax")
jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)

STEPS, RATE = 1000, 0.02
RNG = np.random.default_rng(11)
START = {"W": RNG.normal(size=(4, 3)), "b": RNG.normal(size=3)}
TARGET = {path: RNG.normal(size=p.shape) for path, p in START.items()}
NOISE = {path: RNG.normal(size=(STEPS, *p.shape)) for path, p in START.items()}


def gradient(params: dict[str, Any], t: int) -> dict[str, np.ndarray]:
    """That of a bowl with ripples, and the noise of a batch."""
    w = {path: np.asarray(p) for path, p in params.items()}
    return {p: 0.5 * (w[p] - TARGET[p]) + 0.3 * np.cos(3 * w[p]) + 0.5 * NOISE[p][t] for p in w}


def ours(optimizer: Any, rate: Callable[[int], float]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The trained weights after every step, and those that are judged at the end."""
    params, state, path = START, optimizer.init(START), []
    for t in range(STEPS):
        context = Context(gradient_at=lambda at, t=t: gradient(at, t))
        grads = gradient(params, t)
        params, state = optimizer.update(params, grads, state, lr=rate(t), t=t + 1.0, context=context)
        path.append(params)
    return path, optimizer.evaluated(params, state)


def assert_same_path(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    worst = max(np.abs(np.asarray(a[p]) - b[p]).max() for a, b in zip(found, expected, strict=True) for p in START)
    assert worst < TOL["library"]
    assert np.abs(expected[-1]["W"] - START["W"]).max() > 0.1  # it went somewhere


def falling(t: int) -> float:
    return RATE / (1 + t / 200)


def constant(t: int) -> float:
    return RATE


def of_torch(make: Callable[..., Any], rate: Callable[[int], float]) -> list[dict[str, Any]]:
    params = {path: torch.tensor(p.copy(), requires_grad=True) for path, p in START.items()}
    optimizer, path = make(list(params.values())), []
    for t in range(STEPS):
        found = gradient({name: p.detach().numpy() for name, p in params.items()}, t)
        for name, p in params.items():
            p.grad = torch.tensor(found[name])
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        optimizer.step()
        path.append({name: p.detach().numpy().copy() for name, p in params.items()})
    return path


T = torch.optim
TORCH: dict[str, tuple[Any, Callable[..., Any]]] = {
    "SGD": (fl.SGD(), lambda p: T.SGD(p, RATE)),
    "Momentum": (fl.Momentum(momentum=0.8), lambda p: T.SGD(p, RATE, momentum=0.8)),
    "Nesterov": (fl.Nesterov(momentum=0.8), lambda p: T.SGD(p, RATE, momentum=0.8, nesterov=True)),
    "AdaGrad": (fl.AdaGrad(), lambda p: T.Adagrad(p, RATE)),
    "RMSProp": (fl.RMSProp(beta2=0.95), lambda p: T.RMSprop(p, RATE, alpha=0.95)),
    "Adam": (fl.Adam(), lambda p: T.Adam(p, RATE)),
    "AdamW": (fl.AdamW(weight_decay=0.1, where="*"), lambda p: T.AdamW(p, RATE, weight_decay=0.1)),
    "AMSGrad": (fl.AMSGrad(), lambda p: T.Adam(p, RATE, amsgrad=True)),
    "NAdam": (fl.NAdam(), lambda p: T.NAdam(p, RATE)),
    "RAdam": (fl.RAdam(), lambda p: T.RAdam(p, RATE)),
    "Decay": (fl.Decay(fl.NAdam(), 0.1, "*"),
              lambda p: T.NAdam(p, RATE, weight_decay=0.1, decoupled_weight_decay=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("rate", [constant, falling])
def test_pytorch(name: str, rate: Callable[[int], float]) -> None:
    optimizer, make = TORCH[name]
    assert_same_path(ours(optimizer, rate)[0], of_torch(make, rate))


@pytest.mark.parametrize("scale, theirs", [("shape", "original"), ("adamw", "match_rms_adamw")])
def test_muon_of_pytorch(scale: str, theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch multiplies in bfloat16, which is kept from it here, and has W with its axes the other way round."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    W = torch.tensor(START["W"].T.copy(), requires_grad=True)
    peer = T.Muon([W], RATE, weight_decay=0.1, momentum=0.9, adjust_lr_fn=theirs)
    optimizer = fl.Muon(weight_decay=0.1, momentum=0.9, scale=scale)
    params = {"W": START["W"]}
    state = optimizer.init(params)
    for t in range(STEPS):
        W.grad = torch.tensor(gradient({"W": W.detach().numpy().T}, t)["W"].T.copy())
        peer.param_groups[0]["lr"] = falling(t)
        peer.step()
        params, state = optimizer.update(params, gradient(params, t), state, lr=falling(t), t=t + 1.0)
        assert np.abs(params["W"] - W.detach().numpy().T).max() < TOL["library"]


@pytest.mark.parametrize("every, after", [(1, 1), (5, 500)])
def test_averaged_models_of_pytorch(every: int, after: int) -> None:
    path, judged = ours(fl.SWA(fl.Momentum(), after=after, every=every, unit="step"), constant)
    modules = torch.nn.Linear(4, 3, bias=False).double()
    averaged = torch.optim.swa_utils.AveragedModel(modules)
    for t in range(after - 1, STEPS, every):
        modules.weight.data = torch.tensor(path[t]["W"].T.copy())
        averaged.update_parameters(modules)
    assert np.abs(averaged.module.weight.detach().numpy().T - judged["W"]).max() < TOL["library"]


def of_optax(make: Callable[..., Any], rate: Callable[[int], float]) -> tuple[list[dict[str, Any]], Any, Any]:
    optimizer = make(lambda step: RATE / (1 + step / 200) if rate is falling else RATE)
    params, path = {p: jax.numpy.array(a) for p, a in START.items()}, []
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for t in range(STEPS):
        grads = {p: jax.numpy.array(g) for p, g in gradient(getattr(params, "fast", params), t).items()}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append({p: np.asarray(a) for p, a in params.items()})
    return path, params, state


def chain(*parts: Any) -> Callable[[Any], Any]:
    """Optax parts with plain gradient steps behind them."""
    return lambda rate: optax.chain(*parts, optax.sgd(rate))


OPTAX: dict[str, tuple[Any, Callable[..., Any]]] = {
    "Adam": (fl.Adam(), optax.adam),
    "Lion": (fl.Lion(weight_decay=0.1, where="*"), lambda rate: optax.lion(rate, weight_decay=0.1)),
    "OptimisticAdam": (fl.OptimisticAdam(), lambda rate: optax.chain(
        optax.scale_by_adam(), optax.scale_by_optimistic_gradient(), optax.scale_by_learning_rate(rate))),
    "SGD, clipped together": (fl.ClipNorm(fl.SGD(), 1.5), chain(optax.clip_by_global_norm(1.5))),
    "SGD, entries clipped": (fl.ClipValue(fl.SGD(), 0.4), chain(optax.clip(0.4))),
    "Accumulate": (fl.Accumulate(fl.Adam(), k=4), lambda rate: optax.MultiSteps(optax.adam(RATE), 4)),
    "Freeze": (fl.Freeze(fl.Adam(), "b"), lambda rate: optax.multi_transform(
        {"move": optax.adam(rate), "stay": optax.set_to_zero()}, {"W": "move", "b": "stay"})),
    "PathRate": (fl.PathRate(fl.Adam(), 0.1, "b"), lambda rate: optax.multi_transform(
        {"W": optax.adam(rate), "b": optax.chain(optax.adam(rate), optax.scale(0.1))}, {"W": "W", "b": "b"})),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
@pytest.mark.parametrize("rate", [constant, falling])
def test_optax(name: str, rate: Callable[[int], float]) -> None:
    if name == "Accumulate" and rate is falling:
        pytest.skip("Optax counts the schedule in its own steps")
    optimizer, make = OPTAX[name]
    assert_same_path(ours(optimizer, rate)[0], of_optax(make, rate)[0])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_schedule_free_adamw_of_optax(decay: float) -> None:
    optimizer = fl.ScheduleFreeAdamW(beta1=0.9, weight_decay=decay, where="*")
    path, judged = ours(optimizer, constant)
    expected, params, state = of_optax(
        lambda rate: optax.contrib.schedule_free_adamw(RATE, b1=0.9, weight_decay=decay), constant
    )
    assert_same_path(path, expected)
    for p, x in optax.contrib.schedule_free_eval_params(state, params).items():
        assert np.abs(np.asarray(x) - judged[p]).max() < TOL["library"]


def test_ema_of_optax() -> None:
    path, judged = ours(fl.EMA(fl.Adam(), decay=0.99), constant)
    ema = optax.ema(0.99, debias=True)
    state = ema.init({p: jax.numpy.array(a) for p, a in START.items()})
    update = jax.jit(ema.update)
    for w in path:
        averaged, state = update({p: jax.numpy.array(a) for p, a in w.items()}, state)
    for p, a in averaged.items():
        assert np.abs(np.asarray(a) - judged[p]).max() < TOL["library"]


def test_lookahead_of_optax() -> None:
    path, judged = ours(fl.Lookahead(fl.Adam(), k=5, alpha=0.5), constant)
    optimizer = optax.lookahead(optax.adam(RATE), sync_period=5, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced({p: jax.numpy.array(a) for p, a in START.items()})
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for t in range(STEPS):
        grads = {p: jax.numpy.array(g) for p, g in gradient(params.fast, t).items()}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        assert all(np.abs(np.asarray(params.fast[p]) - path[t][p]).max() < TOL["library"] for p in START)
    assert all(np.abs(np.asarray(params.slow[p]) - judged[p]).max() < TOL["library"] for p in START)


def test_sam_of_optax() -> None:
    """Theirs takes two steps for one: up with the gradient here, then from here with the gradient there."""
    path, _ = ours(fl.SAM(fl.Momentum(momentum=0.9), rho=0.05), constant)
    up = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    optimizer = optax.contrib.sam(optax.sgd(RATE, momentum=0.9), up, sync_period=2)
    params = {p: jax.numpy.array(a) for p, a in START.items()}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for t in range(STEPS):
        for _ in range(2):
            grads = {p: jax.numpy.array(g) for p, g in gradient(params, t).items()}
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
        assert all(np.abs(np.asarray(params[p]) - path[t][p]).max() < TOL["library"] for p in START)


def test_every_optimizer_has_its_peer() -> None:
    """Or a reason why there is none: then single numbers from the paper's formula stand in the other tests."""
    alone = {
        "AdamHat": "scikit-learn's, which MLPClassifier is compared with",
        "Velocity": "scikit-learn's, which MLPClassifier is compared with",
        "SVRG": "neither library has it",
        "Snapshots": "the schedule and the kept weights are checked step by step",
        "GradientNoise": "their random numbers are others",
        "ClipEach": "Optax clips by the root mean square of a block",
    }
    compared = set(TORCH) | set(OPTAX) | {"Muon", "SWA", "EMA", "Lookahead", "SAM", "ScheduleFreeAdamW"}
    compared |= {"ClipNorm", "ClipValue"}
    known = {n for n, c in fl.core.record.records_of(fl.Optimizer).items() if c.__module__.startswith("fallline.")}
    assert known - compared - set(alone) == set()
