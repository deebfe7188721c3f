"""Native training: the same bits whatever the threads and the cache, every family of CPUs, gradients in float32."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import fallline as fl
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.tree import leaves, with_leaves
from fallline.engines.engine import Engine, get_engine
from fallline.engines.llvm import feed, loader
from fallline.engines.llvm.driver import run_steps
from fallline.engines.llvm.engine import LlvmEngine, NativeLoop
from fallline.engines.llvm.loader import compile_object, write_text
from fallline.engines.llvm.objects import verify_object
from fallline.engines.llvm.target import named_target
from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.nn.layer import Layer
from fallline.nn.run import Run
from fallline.ops.random import new_key, step_keys
from fallline.train.step import Step, batch_cost, gradients_of
from tests.engines.llvm.families import ENGINES, planned
from tests.engines.parity import rms_difference
from tests.engines.test_training import network, table, trained
from tests.tolerance import TOL

ROOT = Path(__file__).parents[3]


def deep(n_scores: int) -> Layer:
    """Every kind of kernel: products with and without epilogues, sums over rows and columns, random bits."""
    return fl.Sequential(
        fl.Dense(160),
        fl.Tanh(),
        fl.BatchNorm(),
        fl.Dropout(0.2),
        fl.Dense(64),
        fl.ReLU(),
        fl.LayerNorm(),
        fl.Dense(n_scores),
    )


def classes(dtype: str, rows: int = 300, columns: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = table(columns, dtype, rows)
    return x, (np.arange(rows) % 7).astype("int32"), np.ones(rows, dtype)


def bits(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def results(engine: Engine, dtype: str = "float32", batch: int = 96, steps: int = 5) -> list[np.ndarray]:
    """What a run of the network leaves on an engine."""
    x, y, w = classes(dtype)
    net = network(deep(7), x, dtype)
    step = Step(net, fl.CategoricalCrossEntropy(), fl.ClipNorm(fl.Adam()), (), batch, engine)
    state = step.optimizer.init(leaves(net, "param"))
    rows = np.random.default_rng(5).integers(0, len(w), (steps, batch))
    counted = np.arange(1, steps + 1)
    scanned = [np.full(steps, 0.01, dtype), counted.astype(dtype), step_keys(new_key(1), counted)]
    carry = [np.asarray(a) for a in step.carried(net, state)]
    program = step.program(state, x[rows[0]], y[rows[0]], w[rows[0]])
    run = engine.loop(program, carry=len(carry), scan=3, watch=0)
    assert isinstance(run, NativeLoop)
    result = run(carry, scanned, [x, y, w], rows)
    return [*result.carry, *result.records]


def test_short_calls_leave_the_same_bits_as_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = get_engine("llvm").with_options(threads=1)
    short = results(engine)
    monkeypatch.setattr(feed, "MOST_BYTES", 0)
    assert bits(results(engine)) == bits(short)


def test_records_of_a_short_call_stay_as_they_are() -> None:
    def f(total: Any, x: Any) -> list[Any]:
        return [total + x.sum(), x.sum(), x.max(axis=0)]

    x = np.arange(12.0).reshape(6, 2)
    program = Program.of(f, np.zeros(()), x[:2])
    run = get_engine("llvm").loop(program, carry=1, scan=0, watch=0)
    first = run([np.zeros(())], [], [x], np.array([[0, 1], [2, 3]], "int32"))
    before = [record.copy() for record in first.records]
    run(first.carry, [], [x], np.array([[4, 5], [4, 5]]))
    assert np.array_equal(first.records[0], [6.0, 22.0])
    assert bits(first.records) == bits(before)
    with pytest.raises(IndexError, match=r"must lie in 0 … 5"):
        run([np.zeros(())], [], [x], np.array([[0, 6], [0, 0]]))
    with pytest.raises(ShapeError, match="batches of 2 rows"):
        run([np.zeros(())], [], [x], np.array([[0, 1, 2]]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_leaves_the_same_bits(dtype: str) -> None:
    engine = get_engine("llvm")
    one = results(engine.with_options(threads=1), dtype)
    for threads in (2, 3):
        for _ in range(3):
            found = results(engine.with_options(threads=threads), dtype)
            assert [k for k, (a, b) in enumerate(zip(found, one, strict=True)) if a.tobytes() != b.tobytes()] == []


def test_any_number_of_threads_computes_the_same_bits() -> None:
    def f(x: Any, w: Any) -> list[Any]:
        z = OPS["tanh"](x @ w)
        return [
            z,
            z.sum(),
            z.sum(axis=0),
            z.max(axis=1),
            (x * x).sum(),
            OPS["cumsum"](x, axis=0),
            OPS["argsort"](x, axis=1),
        ]

    x, w = table(130, "float32", 700), table(90, "float32", 130)
    program, engine = Program.of(f, x, w), get_engine("llvm")
    one, *others = (engine.with_options(threads=threads).compile(program)(x, w) for threads in (1, 2, 3))
    for found in others:
        assert [a.tobytes() for a in found] == [a.tobytes() for a in one]
    assert rms_difference(one, program.run(x, w)) < TOL["f32"]


@pytest.mark.parametrize("precision, error", [("bf16x3", TOL["library32"]), ("bf16", TOL["bf16"])])
def test_less_precise_products(precision: str, error: float) -> None:
    engine = get_engine("llvm")
    if reason := engine.precision_refused(precision):
        with pytest.raises(ConfigError, match="precision"):
            engine.with_options(precision=precision)
        pytest.skip(reason)
    exact, found = (results(e, steps=1) for e in (engine, engine.with_options(threads=1, precision=precision)))
    records = slice(-3, None)  # the cost, the loss and the norm of the gradient
    assert 0 < rms_difference(found[records], exact[records]) < error
    again = results(engine.with_options(threads=2, precision=precision), steps=1)
    assert bits(again) == bits(found)


REPORT = """
import sys
sys.path.insert(0, {root!r})
from fallline.engines.engine import Engine, get_engine
from fallline.engines.llvm import feed, loader
from tests.engines.llvm.test_training import bits, results
print(bits(results(get_engine("llvm"))), loader.BUILDS.compiled, loader.BUILDS.loaded)
"""


@pytest.mark.parametrize("verify", ["1", "0"], ids=["code", "code and plans"])
def test_what_is_cached_leaves_the_same_bits_as_what_is_fresh(tmp_path: Path, verify: str) -> None:
    env = {**os.environ, "FALLLINE_CACHE": str(tmp_path), "OPENBLAS_NUM_THREADS": "1", "FALLLINE_VERIFY": verify}

    def report() -> list[str]:
        text = REPORT.format(root=str(ROOT))
        return subprocess.run(
            [sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True
        ).stdout.split()

    fresh, cached = report(), report()
    assert int(fresh[1]) > 0
    assert int(cached[1]) == 0
    assert int(cached[2]) > 0
    assert cached[0] == fresh[0] == bits(results(get_engine("llvm")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_family_of_cpus(engine: LlvmEngine, dtype: str) -> None:
    x, y, w = classes(dtype, 60, 13)
    recipe = fl.Sequential(
        fl.Dense(37), fl.Tanh(), fl.BatchNorm(), fl.Dropout(0.2), fl.Dense(9), fl.Softplus(), fl.Dense(7)
    )
    net = network(recipe, x, dtype)
    ours, meant = trained(engine, net, fl.CategoricalCrossEntropy(), fl.Momentum(), (x, y, w), batch=19)
    assert rms_difference(ours, meant) < {"float32": 1e-5, "float64": 1e-12}[dtype]


def test_code_for_aarch64_can_be_made() -> None:
    target = named_target("aarch64")
    x, y, w = classes("float32")
    step = Step(network(deep(7), x, "float32"), fl.CategoricalCrossEntropy(), fl.Adam(), (), 96, get_engine("llvm"))
    state = step.optimizer.init(leaves(step.network, "param"))
    made = planned(step.program(state, x[:96], y[:96], w[:96]), target)
    kernels = [*made.kernels.values(), run_steps()]
    assert len(kernels) > 5
    assert verify_object(compile_object(write_text(kernels, target), target)) == "ELF AArch64"


def test_other_batch_sizes_need_no_new_code() -> None:
    engine = get_engine("llvm")
    results(engine, batch=96)
    before = loader.BUILDS.compiled + loader.BUILDS.loaded  # whether or not they are on disk already
    for batch in (97, 95, 44, 13, 3):
        results(engine, batch=batch)
    assert loader.BUILDS.compiled + loader.BUILDS.loaded == before


class Workload(NamedTuple):
    """A network, its loss, and the shape of its batches; see the benchmarks of training steps."""

    name: str
    units: tuple[int, ...]
    n_scores: int
    columns: int
    batch: int
    extras: bool = False

    def recipe(self) -> Layer:
        layers: list[Any] = []
        for n in self.units:
            layers += [fl.Dense(n), fl.ReLU(), *([fl.BatchNorm(), fl.Dropout(0.2)] if self.extras else [])]
        return fl.Sequential(*layers, fl.Dense(self.n_scores))


WORKLOADS = [
    Workload("heart", (32, 16), 1, 20, 32),
    Workload("digits", (128, 64), 10, 64, 64),
    Workload("mnist", (256, 128), 10, 784, 128),
    Workload("logreg", (), 1, 100, 256),
    Workload("wide", (1024, 1024), 10, 512, 64),
    Workload("digits with dropout and batch norm", (128, 64), 10, 64, 64, True),
    Workload("mnist with dropout and batch norm", (256, 128), 10, 784, 128, True),
]


@pytest.mark.parametrize("work", WORKLOADS, ids=lambda work: work.name)
def test_gradients_in_float32(work: Workload) -> None:
    """Relative to those in float64 from the same numbers: below 1e-6 in the mean square."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(work.batch, work.columns)).astype("float32")
    y: Any = (rng.random(work.batch) < 0.5).astype("float32")
    loss: Any = fl.BinaryCrossEntropy()
    if work.n_scores > 1:
        y, loss = rng.integers(0, work.n_scores, work.batch).astype("int32"), fl.CategoricalCrossEntropy()
    net = network(work.recipe(), x, "float32")
    key = step_keys(new_key(2), np.array([1]))[0]

    def gradients(params: dict[str, Any], x: Any, y: Any, w: Any) -> Any:
        whole = with_leaves(net, {**leaves(net, "buffer"), **params})
        run = Run.of(whole, training=True, key=key)
        return gradients_of(batch_cost(whole, params, loss, (), work.batch, (x, y, w), run).objective, params)

    found = []
    for dtype in ("float32", "float64"):
        params = {path: p.astype(dtype) for path, p in leaves(net, "param").items()}
        given = [x.astype(dtype), y.astype(dtype) if y.dtype.kind == "f" else y, np.ones(work.batch, dtype)]
        program = Program.of(gradients, params, *given)
        arrays = [*params.values(), *given]
        found.append(get_engine("llvm").compile(program)(*arrays) if dtype == "float32" else program.run(*arrays))
    assert rms_difference(*found) < TOL["gradient32"]
