"""The protocol: choice of an engine, the compile cache, rules, and the completeness matrix op × engine."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.core.errors import ConfigError, GraphError, ShapeError, UnknownNameError
from fallline.core.settings import settings
from fallline.engines.engine import ENGINES, CompileCache, Engine, get_engine
from fallline.engines.numpy import NumpyEngine
from fallline.graph.op import OPS
from fallline.graph.program import Program
from fallline.ops.transcendental import sin
from tests.tolerance import assert_close

X = np.linspace(-1, 1, 12).reshape(3, 4)


def engines() -> list[Engine]:
    return [e for e in ENGINES.values() if e.is_available()]


def test_auto_is_the_fastest_available():
    assert get_engine("auto").speed == max(e.speed for e in engines())
    assert get_engine(get_engine("numpy")).name == "numpy"


def test_the_environment_chooses_what_auto_means(monkeypatch):
    monkeypatch.setattr(settings, "engine", "numpy")
    assert get_engine().name == "numpy"


def test_a_misspelt_engine_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'numpy'"):
        get_engine("nunpy")


def test_a_wrong_engine_in_the_environment_is_called_so(monkeypatch):
    monkeypatch.setattr(settings, "engine", "gpu")
    with pytest.raises(UnknownNameError, match=r"FALLLINE_ENGINE in the environment: no engine is .*or auto"):
        get_engine()
    monkeypatch.setattr(settings, "engine", "")  # as good as not set
    assert get_engine().speed == max(e.speed for e in engines())


@pytest.mark.parametrize("given", [None, 3])
def test_what_is_no_engine_is_refused(given):
    with pytest.raises(ConfigError, match=f"engine={given}: give a name"):
        get_engine(given)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
@pytest.mark.parametrize("name", sorted(set(OPS) - {"input", "constant"}))
def test_every_engine_runs_every_op_as_the_interpreter_does(engine, name):
    """The completeness matrix: parity on the sample of each op."""
    op = OPS[name]
    for args, attrs in op.sample.draw(np.random.default_rng(0)):
        program = Program.of(lambda *xs, op=op, attrs=attrs: op(*xs, **attrs), *args)
        arrays = [a for arg in args for a in (arg if isinstance(arg, list) else [arg])]
        for ours, meant in zip(engine.compile(program)(*arrays), program.run(*arrays), strict=True):
            assert ours.dtype == meant.dtype
            assert_close(ours, meant)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
def test_what_a_compiled_program_returns_is_the_callers(engine):
    call = engine.compile(Program.of(lambda x: x * 2.0, X))
    first = call(X)[0]
    second = call(X + 1.0)[0]
    assert_close(first, X * 2.0)
    assert_close(second, (X + 1.0) * 2.0)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
def test_a_wrong_array_is_refused(engine):
    call = engine.compile(Program.of(lambda x: x * 2.0, X))
    with pytest.raises(ShapeError, match=r"must be f64\[3,4\], given float32\[3,4\]"):
        call(X.astype("float32"))


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
def test_a_loop_gathers_batches_carries_state_and_records(engine):
    table = np.arange(20.0).reshape(10, 2)

    def step(total, rate, rows):
        moved = total + rate * rows.sum()
        return moved, moved

    program = Program.of(step, np.zeros(()), np.zeros(()), table[:3])
    run = engine.loop(program, carry=1, scan=1)
    indices = np.array([[0, 1, 2], [9, 9, 9], [3, 4, 5]])
    rates = np.array([1.0, 0.5, 2.0])
    result = run([np.zeros(())], [rates], [table], indices)
    expected = np.cumsum([r * table[i].sum() for r, i in zip(rates, indices, strict=True)])
    assert_close(result.records[0], expected)
    assert_close(result.carry[0], expected[-1])
    assert result.steps == 3


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
def test_a_loop_ends_after_the_first_step_that_is_not_finite(engine):
    table = np.array([[1.0], [np.inf], [1.0]])
    program = Program.of(lambda total, rows: (total + rows.sum(), total + rows.sum()), np.zeros(()), table[:1])
    result = engine.loop(program, carry=1, scan=0, watch=0)([np.zeros(())], [], [table], np.array([[0], [1], [2]]))
    assert result.steps == 2
    assert result.records[0].shape == (2,)


def test_options_make_a_copy_that_shares_no_compiled_program():
    class Able(NumpyEngine):
        name = "able"

        def threads_refused(self):
            return ""

        def precision_refused(self, precision):
            return ""

    engine = Able()
    made = engine.with_options(threads=np.int64(2), precision="bf16")  # type: ignore[arg-type]
    assert (engine.threads, engine.precision) == (None, "float32")
    assert (made.threads, made.precision) == (2, "bf16")
    assert len({engine.key, made.key, engine.with_options(threads=2).key}) == 3
    assert engine.with_options(precision="float64").key == engine.key, "both leave products as they are"
    assert made.with_options().key == engine.key


REFUSED = {
    "threads": ({"threads": 2}, "threads=2: the engine 'numpy' has the threads of NumPy's own library"),
    "precision": ({"precision": "bf16"}, "precision='bf16': the engine 'numpy' has no products of bf16"),
    "no number": ({"threads": 0}, "threads=0: threads must be a whole number of at least 1"),
    "a truth": ({"threads": True}, "threads=True: threads must be a whole number of at least 1"),
    "misspelt": ({"precision": "bf16x4"}, "precision='bf16x4': did you mean 'bf16x3'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_an_engine_cannot_do_is_refused_with_the_reason(case):
    options, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        get_engine("numpy").with_options(**options)


def test_an_op_without_a_rule_says_what_to_do():
    class Poor(Engine):
        name, speed = "poor", -1

        def is_available(self):
            return True

        def compile(self, program):
            return [self.rule(v.op) for v in program.calls]

        def loop(self, program, *, carry, scan, watch=None):
            return self.compile(program)

    with pytest.raises(GraphError, match="engine 'poor' has no rule for the op 'sin'"):
        Poor().compile(Program.of(sin, X))


def test_the_cache_builds_once_and_forgets_the_oldest():
    cache, built = CompileCache(capacity=2), []
    for key in "aabab":
        cache.get(key, lambda key=key: built.append(key))
    assert built == ["a", "b"]
    cache.get("c", lambda: built.append("c"))
    cache.get("a", lambda: built.append("a"))
    assert built == ["a", "b", "c", "a"]
