"""What every registered layer keeps, generated from the registry; `Layer.sample` gives recipe and input."""

from __future__ import annotations

import numpy as np
import pytest

from fallline.autodiff.functions import grad
from fallline.core.record import from_json, records_of, to_json
from fallline.core.spec import Spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.program import Program
from fallline.nn.layer import Layer, count_parameters, output_spec, recipe_of, summary
from fallline.nn.run import Run
from fallline.ops.random import new_key
from tests.tolerance import assert_close

LAYERS = {n: c for n, c in records_of(Layer).items() if c.__module__.startswith("fallline.")}
every_layer = pytest.mark.parametrize("cls", LAYERS.values(), ids=LAYERS)


def cast(x, dtype):
    return map_leaves(lambda _, a: a.astype(dtype) if a.dtype.kind == "f" else a, x)


def floats(x):
    return [a for a in leaves(x).values() if a.dtype.kind == "f"]


def drawn(cls, dtype="float64"):
    recipe, x = cls.sample(np.random.default_rng(7))
    x = cast(x, dtype)
    return recipe, cast(recipe.build(x, np.random.default_rng(8)), dtype), x


@every_layer
def test_building_fills_and_changes_no_setting(cls):
    recipe, model, x = drawn(cls)
    assert model.is_filled
    assert recipe_of(model) == recipe
    assert to_json(model) == to_json(recipe)
    again = recipe.build(x, np.random.default_rng(8))
    assert cast(again, "float64") == model
    assert count_parameters(model) == sum(a.size for a in leaves(model, "param").values())


@every_layer
def test_json_round_trip(cls):
    recipe = drawn(cls)[0]
    assert from_json(to_json(recipe)) == recipe


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_output_spec_is_that_of_the_output(cls, dtype):
    recipe, model, x = drawn(cls, dtype)
    y = model(x)
    assert output_spec(model, x) == Spec.of(y)
    if floats(x):
        assert y.dtype == dtype
        assert output_spec(recipe, x) == Spec.of(y)
    rows = summary(model, x)
    assert sum(row.n_parameters for row in rows) == count_parameters(model)
    assert rows[-1].output == y.shape


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_program_equals_eager_call(cls, dtype):
    _, model, x = drawn(cls, dtype)
    program = Program.of(lambda m, v: m(v), model, x)
    assert_close(program(model, x), model(x), {"float32": "f32", "float64": "f64"}[dtype])


@every_layer
def test_gradients_agree_with_central_differences(cls):
    _, model, x = drawn(cls)
    g = np.random.default_rng(9).normal(size=model(x).shape)
    by_model = lambda m: (m(x) * g).sum()  # noqa: E731
    if leaves(model):
        exact, numeric = (leaves(grad(by_model, mode=mode)(model)) for mode in ("reverse", "numeric"))
        for path in leaves(model, "param"):
            assert_close(exact[path], numeric[path], "central")
    if len(floats(x)) == len(leaves(x)):
        by_input = lambda v: (model(v) * g).sum()  # noqa: E731
        assert_close(grad(by_input)(x), grad(by_input, mode="numeric")(x), "central")


@every_layer
def test_calls_are_deterministic(cls):
    _, model, x = drawn(cls)
    np.testing.assert_array_equal(model(x), model(x))
    first, second = (model(x, Run.of(model, training=True, key=new_key(3))) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@every_layer
def test_training_leaves_only_buffers_behind(cls):
    _, model, x = drawn(cls)
    run = Run.of(model, training=True, key=new_key(3))
    model(x, run)
    assert set(run.updates) <= set(leaves(model, "buffer"))  # a buffer may also stay as it is
    for path, value in run.updates.items():
        assert Spec.of(value) == Spec.of(leaves(model)[path])


@every_layer
def test_one_row_and_many_rows_agree(cls):
    _, model, x = drawn(cls)
    rows = [model(map_leaves(lambda _, a, i=i: a[i : i + 1], x)) for i in range(len(model(x)))]
    assert_close(np.concatenate(rows), model(x))
