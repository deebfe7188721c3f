"""Whole training steps on every engine: each layer, loss, optimizer and wrapper, against the reference interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.record import records_of
from fallline.core.tree import leaves, map_leaves
from fallline.engines.engine import Engine, get_engine
from fallline.graph.program import Program
from fallline.losses.loss import Loss
from fallline.losses.members import EachMember
from fallline.nn.ensemble import Together
from fallline.nn.layer import Layer
from fallline.nn.run import Run
from fallline.ops.random import new_key, step_keys
from fallline.optim.optimizer import Optimizer
from fallline.train.step import Step, judged, scorer
from tests.engines.parity import COMPILING, assert_same, rms_difference
from tests.tolerance import TOL

LAYERS = {n: c for n, c in records_of(Layer).items() if c.__module__.startswith("fallline.")}
LOSSES = {n: c for n, c in records_of(Loss).items() if c.__module__.startswith("fallline.")}
OPTIMIZERS = {n: c for n, c in records_of(Optimizer).items() if c.__module__.startswith("fallline.")}
RMS = {"float32": 1e-5, "float64": 1e-12}
ROWS = 40

every_engine = pytest.mark.parametrize("engine", COMPILING, ids=lambda e: e.name)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def cast(tree: Any, dtype: str) -> Any:
    return map_leaves(lambda _, a: a.astype(dtype) if a.dtype.kind == "f" else a, tree)


def table(columns: int, dtype: str, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(rows, columns)).astype(dtype)


def network(recipe: Layer, x: Any, dtype: str) -> Layer:
    return cast(recipe.build(x, np.random.default_rng(4)), dtype)


def mlp(n_scores: int = 1) -> Layer:
    return fl.Sequential(fl.Dense(9), fl.Tanh(), fl.Dense(17), fl.Sigmoid(), fl.Dense(n_scores))


def trained(
    engine: Engine,
    net: Layer,
    loss: Loss,
    optimizer: Optimizer,
    data: Sequence[Any],
    *,
    steps: int = 3,
    batch: int = 8,
    penalties: Sequence[Any] = (),
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(carry and records of the engine's loop, those of the interpreter step by step)."""
    x, y, w = data
    dtype = np.dtype(w.dtype)
    step = Step(net, loss, optimizer, tuple(penalties), batch, engine)
    state = optimizer.init(leaves(net, "param"))
    rows = np.random.default_rng(5).integers(0, len(w), (steps, batch))
    taken = lambda at: [map_leaves(lambda _, a: a[at], d) for d in (x, y, w)]  # noqa: E731
    program = step.program(state, *taken(rows[0]))
    counted = np.arange(1, steps + 1)
    scanned = [np.linspace(0.02, 0.01, steps).astype(dtype), counted.astype(dtype), step_keys(new_key(1), counted)]
    carry = [np.asarray(a) for a in step.carried(net, state)]
    run = engine.loop(program, carry=len(carry), scan=3, watch=0)
    assert getattr(getattr(run, "bound", None), "fallbacks", []) == [], "NumPy computes a part of the step"
    result = run(carry, scanned, [*leaves(x).values(), y, w], rows)
    records: list[list[np.ndarray]] = []
    for s, at in enumerate(rows):
        outputs = program.run(
            *carry, *(a[s] for a in scanned), *(leaf for d in taken(at) for leaf in leaves(d).values())
        )
        carry, found = outputs[: len(carry)], outputs[len(carry) :]
        records.append(found)
    assert result.steps == steps
    return [*result.carry, *result.records], [*carry, *(np.array(r) for r in zip(*records, strict=True))]


def assert_trained_alike(dtype: str, ours: Sequence[np.ndarray], meant: Sequence[np.ndarray]) -> None:
    assert rms_difference(ours, meant) < RMS[dtype]
    for k, (a, b) in enumerate(zip(ours, meant, strict=True)):
        assert_same(a, b, "library32" if dtype == "float32" else "run", label=k)


def regression(dtype: str, columns: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = table(columns, dtype)
    w = np.random.default_rng(6).uniform(0.5, 1.5, ROWS).astype(dtype)
    return x, np.sin(x[:, 0]), w


@every_engine
@every_dtype
@pytest.mark.parametrize("cls", LOSSES.values(), ids=LOSSES)
def test_every_loss(engine: Engine, cls: type[Loss], dtype: str) -> None:
    loss = cls.sample()
    score, y = loss.draw(np.random.default_rng(3), ROWS)
    y = y if loss.target_dtype == "int32" else y.astype(dtype)
    x, _, w = regression(dtype)
    net = network(mlp(score.shape[1] if score.ndim == 2 else 1), x, dtype)
    assert_trained_alike(dtype, *trained(engine, net, loss, fl.SGD(), (x, y, w)))


@every_engine
@every_dtype
@pytest.mark.parametrize("cls", LAYERS.values(), ids=LAYERS)
def test_every_layer(engine: Engine, cls: type[Layer], dtype: str) -> None:
    recipe, x = cls.sample(np.random.default_rng(7))
    x = cast(x, dtype)
    n = len(next(iter(leaves(x).values())))
    y, w = np.linspace(-1, 1, n).astype(dtype), np.linspace(0.5, 1.5, n).astype(dtype)
    loss: Loss = fl.SquaredError()
    if cls is Together:  # in training it gives the scores of all members, for a loss of its own
        loss, y, behind = EachMember(loss, members=2, scores=2), np.stack([y, -y], axis=1), ()
    else:
        behind = (fl.Flatten(), fl.Dense(3), fl.Tanh(), fl.Dense(1))
    net = network(fl.Sequential(recipe, *behind), x, dtype)
    assert_trained_alike(dtype, *trained(engine, net, loss, fl.SGD(), (x, y, w)))


@every_engine
@every_dtype
@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer(engine: Engine, cls: type[Optimizer], dtype: str) -> None:
    x, y, w = regression(dtype)
    net = network(mlp(), x, dtype)
    assert_trained_alike(dtype, *trained(engine, net, fl.SquaredError(), cls.sample(), (x, y, w), steps=5))


@every_engine
@every_dtype
def test_penalties_normalisation_and_wrappers_together(engine: Engine, dtype: str) -> None:
    x = table(12, dtype)
    y = (np.arange(ROWS) % 4).astype("int32")
    w = np.random.default_rng(6).uniform(0.5, 1.5, ROWS).astype(dtype)
    recipe = fl.Sequential(
        fl.Dense(33), fl.Tanh(), fl.BatchNorm(), fl.Dropout(0.3), fl.Residual(fl.Dense(33)), fl.LayerNorm(), fl.Dense(4)
    )
    # Adam would blow up what is left of the gradients that cancel behind a normalisation.
    optimizer = fl.ClipNorm(fl.Decay(fl.Momentum(), 0.01), 1.0)
    net = network(recipe, x, dtype)
    for batch in (8, 1, 37):
        ours, meant = trained(
            engine,
            net,
            fl.CategoricalCrossEntropy(),
            optimizer,
            (x, y, w),
            batch=batch,
            penalties=(fl.L2(0.1), fl.L1(0.01)),
        )
        assert_trained_alike(dtype, ours, meant)


@every_engine
def test_a_longer_run_stays_with_the_reference(engine: Engine) -> None:
    x, y, w = regression("float64", 13)
    net = network(mlp(), x, "float64")
    ours, meant = trained(engine, net, fl.SquaredError(), fl.Adam(), (x, y, w), steps=300)
    assert rms_difference(ours, meant) < TOL["engines"]


@every_engine
@every_dtype
def test_dropout_masks_are_the_same_bits(engine: Engine, dtype: str) -> None:
    net = network(fl.Dropout(0.37), table(50, dtype), dtype)
    ones = np.ones((64, 50), dtype)
    program = Program.of(lambda x, key: net(x, Run.of(net, training=True, key=key)), ones, new_key(0))
    call = engine.compile(program)
    for seed in range(4):
        key = step_keys(new_key(seed), np.array([seed + 1]))[0]
        found, meant = call(ones, key)[0], program.run(ones, key)[0]
        np.testing.assert_array_equal(found, meant)
        assert 0.3 < (found == 0).mean() < 0.44


@every_engine
@every_dtype
def test_scores_and_validation(engine: Engine, dtype: str) -> None:
    x = table(11, dtype, rows=130)
    y = (np.arange(130) % 5).astype("int32")
    net = network(fl.Sequential(fl.Dense(21), fl.BatchNorm(), fl.ReLU(), fl.Dropout(0.5), fl.Dense(5)), x, dtype)
    loss, found, reference = fl.CategoricalCrossEntropy(), leaves(net), get_engine("numpy")
    for rows in (130, 17, 1):
        given = [*found.values(), x[:rows]]
        assert_same(scorer(net, x[:rows], engine)(*given)[0], scorer(net, x[:rows], reference)(*given)[0])
        pairs = zip(
            *(judged(net, loss, x[:rows], y[:rows], e)(*given, y[:rows]) for e in (engine, reference)), strict=True
        )
        for ours, meant in pairs:
            assert_same(ours, meant)


@every_engine
def test_models_fit_as_on_the_reference(engine: Engine) -> None:
    x, y, w = regression("float32")
    runs: list[list[Any]] = []
    for name in (engine, "numpy"):
        fit = fl.fit(
            fl.Sequential(fl.Dense(9), fl.Tanh(), fl.Dense(17), fl.Tanh(), fl.Dense(1)),
            (x, y),
            epochs=3,
            batch_size=16,
            learning_rate=0.01,
            engine=name,
            sample_weight=w,
            validation=0.25,
        )
        runs.append([fit.history["train_loss"], fit.history["validation_loss"], fit.model.predict(x[:1])])
    for ours, meant in zip(*runs, strict=True):
        np.testing.assert_allclose(
            np.asarray(ours, float), np.asarray(meant, float), rtol=TOL["library32"], atol=TOL["f32"]
        )
