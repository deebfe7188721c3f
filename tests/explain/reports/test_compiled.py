"""A compilation explained: every node in one call, honest sums, what NumPy computes with the reason, and the times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import CompileError, ConfigError
from fallline.core.lines import columns_of
from fallline.engines.engine import ENGINES, Engine
from fallline.engines.report import flops_of
from fallline.explain.reports.compiled import Compilation
from fallline.graph.op import OPS, elementwise
from fallline.graph.sample import reals
from tests.tolerance import assert_close

ENGINE_NAMES = ("numpy", "llvm")


@pytest.fixture(scope="module", autouse=True)
def cube() -> Iterator[Any]:
    """An op that no native kernel knows."""
    pytest.importorskip("llvmlite")
    yield elementwise(
        "cube", lambda x, out=None: np.power(x, 3, out=out), (lambda y, x: 3.0 * x * x,), sample=reals(-1, 1)
    )
    OPS.remove("cube")


def rows(n: int = 100, width: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, width)), rng.integers(0, classes, n)


def plain() -> Any:
    return fl.Sequential(fl.Dense(8), fl.ReLU(), fl.Dense(3))


def rich() -> Any:
    return fl.Sequential(fl.Dense(16), fl.BatchNorm(), fl.ReLU(), fl.Dropout(0.2), fl.Dense(3))


def many_ops(x: Any, y: Any) -> Any:
    """Views, parts, sums over everything in several units, calls and a product of a stack."""
    z = fl.concatenate([x[1:], x[:1] * 2.0], axis=0)
    ranked = fl.argsort(x, axis=1)
    stack = x.reshape(4, 50, 100) @ y
    return (
        fl.exp(z).sum(),
        (x * x).sum(axis=0),
        fl.log(fl.absolute(z) + 1.0).max(),
        ranked,
        stack.sum(axis=1),
        x.T.reshape(-1),
    )


def with_fallbacks(x: Any, k: Any) -> Any:
    return OPS["cube"](fl.exp(x)).sum(axis=0), k @ k


def made(name: str, engine: str, **more: Any) -> Compilation:
    rng = np.random.default_rng(0)
    if name == "many_ops":
        return fl.explain_compile(
            many_ops, rng.normal(size=(200, 100)), rng.normal(size=(100, 9)), engine=engine, **more
        )
    if name == "with_fallbacks":
        return fl.explain_compile(
            with_fallbacks, rng.normal(size=(5, 4)), np.arange(4).reshape(2, 2), engine=engine, **more
        )
    if name == "predict":
        return fl.explain_compile(rich(), rows()[0], program="predict", engine=engine, **more)
    if name == "wide":
        return fl.explain_compile(fl.Dense(3), rows(3000, 200), batch_size="full", l2=0.1, engine=engine, **more)
    network = {"plain": plain, "rich": rich}[name]()
    return fl.explain_compile(network, rows(), batch_size=32, engine=engine, **more)


NAMES = ("plain", "rich", "wide", "predict", "many_ops", "with_fallbacks")


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_calls_compute_every_node_once(name, engine):
    facts = made(name, engine).facts
    computed = Counter(id(node) for call in facts.calls for node in call.nodes)
    assert set(computed.values()) == {1}
    needed = {id(node) for node in facts.optimized.calls if not node.op.view}
    assert needed <= set(computed)
    assert set(computed) <= {id(node) for node in facts.optimized.calls}


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_sums_are_those_of_the_calls_and_of_the_program(name, engine):
    found = made(name, engine)
    flops = sum(flops_of(node) for node in found.facts.optimized.calls)
    assert sum(call.flops for call in found) == flops > 0
    memory = found.facts.memory
    assert memory.places <= memory.arrays
    assert memory.block <= memory.separate
    assert len(found.table) == len(found) + 1
    assert found.table.columns["call"][-1] == "all"
    assert found.table.columns["nodes"][-1] == sum(len(call.nodes) for call in found)


def test_both_engines_agree_on_what_there_is_to_compute():
    native, reference = made("rich", "llvm").facts, made("rich", "numpy").facts
    assert len(native.optimized.calls) == len(reference.optimized.calls)
    assert len(native.calls) < len(reference.calls)
    assert max(len(call.nodes) for call in reference.calls) == 1
    assert sum(c.flops for c in native.calls) == sum(c.flops for c in reference.calls)


def test_flops_and_bytes_of_a_product_by_hand():
    x, y = np.ones((6, 5), np.float32), np.ones((5, 40), np.float32)
    found = fl.explain_compile(lambda x, y: fl.exp(x @ y), x, y, engine="llvm")
    assert [call.label for call in found] == ["product 6×5·5×40 + exp"]
    assert found[0].flops == 2 * 6 * 5 * 40 + 6 * 40
    assert (found[0].read, found[0].written) == (x.nbytes + y.nbytes, 6 * 40 * 4)
    assert found.facts.memory.arrays == 1  # the product itself is never stored


def test_sums_in_units_are_joined_by_a_call_of_their_own():
    x = np.ones(100_000)
    found = fl.explain_compile(lambda x: (x * x).sum(), x, engine="llvm")
    first, second = found
    assert (first.label, second.label) == ("loop multiply, sum", "join sum")
    assert first.units > 1
    assert first.written == second.read == first.units * 8
    assert (first.read, second.written, second.nodes) == (x.nbytes, 8, ())


def test_what_numpy_computes_is_named_with_its_reason():
    found = made("with_fallbacks", "llvm")
    reasons = {call.nodes[0].op.name: call.reason for call in found.facts.fallbacks}
    assert reasons == {
        "cube": "no rule for the op 'cube'",
        "matmul": "products are of float32 or float64, not of int64",
    }
    text = found.text(100)
    assert "Left to NumPy" in text
    assert "NumPy      computes 2 nodes, see below" in text
    assert all(reason in text for reason in reasons.values())
    assert not made("plain", "llvm").facts.fallbacks
    assert "Left to NumPy" not in made("plain", "llvm").text()


def test_an_array_without_entries_is_a_reason_too():
    found = fl.explain_compile(lambda x: fl.exp(x), np.zeros((0, 3)), engine="llvm")
    assert [call.reason for call in found] == ["an array without entries"]


def test_a_step_names_its_batch_its_records_and_its_layers():
    found = made("rich", "llvm")
    labels = [call.label for call in found]
    assert labels[:6] == [
        "take the step's lr", "take the step's t", "take the step's key",
        "take the batch's rows of x", "take the batch's rows of y", "take the batch's rows of w",
    ]  # fmt: skip
    assert labels[-2:] == ["record the loss", "record the gradient's norm"]
    first = next(call for call in found if call.label.startswith("product"))
    assert first.label.startswith("product 32×12·12×16")
    assert "layers.0" in first.scopes
    assert found.title == "One training step of 32 rows, compiled by the engine 'llvm'"
    paths = {f"layers.0.{w}" for w in "Wb"}
    assert paths <= set(found.facts.in_place)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_the_layer_with_the_most_work_is_named_first(engine):
    """A product's own, and the optimizer before the gradient's norm, which is computed in the same pass."""
    found = made("rich", engine)
    for call in found:
        if call.label.startswith("product"):
            assert call.scopes[0] == next(node.scope for node in call.nodes if node.op.name == "matmul")
    steps = [call for call in found if any(node.op.name == "sqrt" and node.scope == "optimizer" for node in call.nodes)]
    assert steps
    assert all(call.scopes[0] == "optimizer" for call in steps if not call.label.startswith("product"))


def test_kernels_are_counted_and_shared():
    found = made("plain", "llvm")
    used = {name for call in found for name in call.kernels}
    assert used == set(found.facts.kernels)
    assert sum("gemm_f32" in call.kernels for call in found) == 5
    assert "gemm_f32" in found.text(100).split("Kernels that serve more than one call")[1]


def test_a_second_compilation_finds_every_kernel_in_memory():
    made("plain", "llvm")
    code = made("plain", "llvm").facts.code
    assert code is not None
    assert (code.compiled, code.loaded) == (0, 0)
    assert code.reused > 0


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("name", ["plain", "predict", "with_fallbacks"])
def test_measured_times_stand_in_the_table(name, engine):
    found = made(name, engine, measure=True)
    assert all(call.seconds is not None and 0 < call.seconds < 1 for call in found)
    assert found.facts.run_seconds is not None
    products = [call for call in found if call.label.startswith(("product", "matmul")) and call.flops]
    for call in products:
        assert_close(call.gflops, call.flops / (call.seconds or np.nan) / 1e9)
    for width in (60, 80, 300):
        headings = found.table.text(width).splitlines()[2].split()
        assert {"time", "share"} <= set(headings)
    assert "GF/s" in found.text(80)
    assert "100%" in found.text(80)
    assert "measured" in found.text(80)


def test_sorted_by_time_the_slowest_comes_first():
    found = made("plain", "llvm", measure=True, sort="time")
    numbers = found.table.columns[""][:-1]
    times = [found[k].seconds or 0.0 for k in numbers]
    assert times == sorted(times, reverse=True)
    assert sorted(numbers) == list(range(len(found)))


def test_measuring_changes_nothing_of_the_users():
    X, y = rows()
    fit = fl.fit(plain(), (X, y), epochs=2, engine="llvm")
    before = {path: leaf.copy() for path, leaf in fl.leaves(fit.model.network).items()}
    x, target = X.copy(), y.copy()
    fl.explain_compile(fit, (X, y), measure=True, engine="llvm")
    assert all(np.array_equal(before[path], leaf) for path, leaf in fl.leaves(fit.model.network).items())
    assert np.array_equal(X, x)
    assert np.array_equal(y, target)


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_text_fits_and_a_page_and_a_frame_are_there(engine, tmp_path):
    found = made("rich", engine, measure=True)
    for width in (60, 80, 120, 400):
        assert max(map(columns_of, found.text(width).splitlines())) <= width
    assert "<table>" in found.save(tmp_path / "step.html").read_text(encoding="utf-8")
    frame = found.frame()
    assert frame["flops"].sum() == sum(call.flops for call in found)
    assert frame["seconds"].dtype.is_float()


def test_numbers_have_units():
    text = made("plain", "numpy").text(100)
    assert "kB" in text
    assert "kflop" in text
    assert "units" not in text  # NumPy's calls have none


def test_precision_is_told():
    assert "products in the arrays' own dtype" in made("plain", "llvm").text(100)
    double = fl.explain_compile(plain(), rows(), precision="float64", engine="llvm")
    assert any("gemm_f64" in call.kernels for call in double)


def test_a_model_has_its_own_loss_and_dtype():
    fit = fl.fit(plain(), rows(), epochs=1)
    assert len(fl.explain_compile(fit.model, rows(), engine="llvm")) > 10
    with pytest.raises(ConfigError, match="a fitted model has its own"):
        fl.explain_compile(fit, rows(), loss="mse")
    with pytest.raises(ConfigError, match="the model's weights are float32"):
        fl.explain_compile(fit, rows(), precision="float64")


def test_where_no_code_can_be_made_the_reference_is_shown_with_the_reason(monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise CompileError("LLVM refuses")

    monkeypatch.setattr("fallline.engines.llvm.report.NativeLoop", refuse)
    found = made("plain", "llvm")
    assert found.facts.engine == "numpy"
    assert "No native code could be made, so NumPy computes: LLVM refuses." in found.text(100)


class Other(Engine):
    """An engine that tells nothing."""

    name, speed = "other", -2

    def is_available(self) -> bool:
        return True

    compile = loop = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((3,), {}, "takes a network, a model or a function, given int"),
        ((plain(),), {}, "takes one batch"),
        ((plain(), *rows()), {}, "2 were given"),
        ((plain(), rows()), {"program": "training"}, "did you mean 'train'"),
        ((plain(), rows()), {"sort": "time"}, "add measure=True"),
        ((plain(), rows()), {"sort": "speed"}, "sort='speed'"),
        ((plain(), rows()), {"optimizer": "newton"}, "is a solver"),
        ((plain(), rows()), {"batch_size": -1}, "batch_size=-1"),
        ((plain(), rows()), {"batch_size": 0}, "batch_size=0"),
        ((plain(), rows()[0]), {"program": "predict", "batch_size": 0}, "batch_size=0"),
        ((many_ops, np.ones(3)), {"program": "train"}, "has neither program nor loss"),
        ((fl.exp, fl.Spec((2,), np.dtype("float64"))), {"measure": True}, "give arrays in place of Specs"),
    ],
)
def test_errors_say_what_to_do(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        fl.explain_compile(*arguments, **options)


def test_an_engine_that_tells_nothing_is_an_error():
    ENGINES.add("other", Other())
    try:
        with pytest.raises(ConfigError, match="'other' does not tell how it compiles: use engine='llvm'"):
            fl.explain_compile(plain(), rows(), engine="other")
    finally:
        ENGINES.remove("other")


def test_specs_do_where_nothing_is_measured():
    spec = fl.Spec((4, 5), np.dtype("float32"))
    for engine in ENGINE_NAMES:
        assert fl.explain_compile(fl.exp, spec, engine=engine)[0].flops == 20
