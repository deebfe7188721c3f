"""Layers written by a user: building by parts, paths, errors, summary."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.autodiff.functions import value_and_grad
from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import from_json, param, record, setting, to_json
from fallline.core.spec import spec
from fallline.core.tree import leaves, map_leaves
from fallline.graph.program import Program
from fallline.nn.activations import ReLU, Tanh
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.layer import Layer, count_parameters, output_spec, recipe_of, summary
from fallline.nn.run import EVAL, Run
from fallline.ops.random import new_key
from fallline.ops.shape import concatenate
from fallline.ops.transcendental import tanh
from tests.tolerance import assert_close


@record
class Skip(Layer):
    """y = [tanh(x V), x] W: the input goes past the hidden layer."""

    hidden: Dense = Dense(units=4)
    out: Dense = Dense(units=1)

    def __call__(self, x, run=EVAL):
        return self.out(concatenate([tanh(self.hidden(x, run)), x], axis=1), run)


@record
class Twice(Layer):
    """y = f(f(x)): one layer in two places."""

    inner: Layer = Dense(units=3)

    def __call__(self, x, run=EVAL):
        return self.inner(self.inner(x, run), run)


@record
class Scaled(Layer):
    """y = s · f(x): a parameter of its own beside a layer inside."""

    inner: Layer = Dense(units=2)
    scale: np.ndarray = param()

    def build(self, x, rng):
        return Layer.build(self.replace(scale=np.full((), 2.0, x.dtype)), x, rng)

    def __call__(self, x, run=EVAL):
        return self.inner(x, run) * self.scale


@record
class Forgetful(Layer):
    """A layer that does not pass `run` on."""

    inner: Layer = Dropout(rate=0.5)

    def __call__(self, x, run=EVAL):
        return self.inner(x)


@record
class Idle(Layer):
    """A layer that never calls its part."""

    part: Dense = Dense(units=1)

    def __call__(self, x, run=EVAL):
        return x


@record
class Improvised(Layer):
    """A layer that makes another one while it is called."""

    units: int = setting(2)

    def __call__(self, x, run=EVAL):
        return Dense(units=self.units)(x, run)


@record
class Mute(Layer):
    """A layer without a call."""


@record
class Unbuilt(Layer):
    """A layer with a parameter that nothing fills."""

    w: np.ndarray = param()

    def __call__(self, x, run=EVAL):
        return x * self.w


def test_a_skip_connection_is_a_record_with_a_call(rng):
    x = rng.normal(size=(6, 3))
    model = Skip().build(x, rng)
    assert {p: a.shape for p, a in leaves(model).items()} == {
        "hidden.W": (3, 4), "hidden.b": (4,), "out.W": (7, 1), "out.b": (1,),
    }  # fmt: skip
    assert_close(model(x), np.hstack([np.tanh(x @ model.hidden.W), x]) @ model.out.W)
    assert from_json(to_json(model)) == Skip() == recipe_of(model)


def test_it_trains(rng):
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    model = Skip().build(x, rng)
    step = value_and_grad(lambda m: ((m(x) - y) ** 2).mean())
    first, g = step(model)
    for _ in range(20):
        slopes = leaves(g)
        model = map_leaves(lambda path, leaf, slopes=slopes: leaf - 0.1 * slopes[path], model)
        loss, g = step(model)
    assert loss < first


def test_values_carry_the_path_of_their_layer(rng):
    net = Sequential(Skip(), Tanh()).build(spec((5, 3)), rng)
    found = [(v.op.name, v.scope) for v in Program.of(net, spec((5, 3))).calls]
    assert ("matmul", "layers.0.hidden") in found
    assert ("concatenate", "layers.0") in found
    assert found[-1] == ("tanh", "layers.1")


def test_parts_inside_containers_and_containers_inside_parts(rng):
    x = rng.normal(size=(5, 3))
    net = Sequential(Dense(units=3), Twice(inner=Sequential(Dense(units=3), ReLU())), Scaled(), Skip()).build(x, rng)
    assert net.is_filled
    assert net(x).shape == (5, 1)
    assert "layers.2.inner.W" in leaves(net)


def test_a_layer_called_twice_has_one_set_of_weights(rng):
    x = rng.normal(size=(5, 3))
    model = Twice().build(x, rng)
    assert list(leaves(model)) == ["inner.W", "inner.b"]
    assert_close(model(x), x @ model.inner.W @ model.inner.W)


def test_own_parameters_and_parts(rng):
    x = rng.normal(size=(5, 3))
    model = Scaled().build(x, rng)
    assert_close(model(x), 2 * (x @ model.inner.W))
    assert count_parameters(model) == 1 + 3 * 2 + 2


@pytest.mark.parametrize(
    "layer, message",
    [
        (Idle(), r"part: Idle never calls Dense\(units=1\), so its input has no shape: call it or drop it"),
        (Sequential(Improvised()), r"Dense\(units=2\) is made inside __call__"),
        (Unbuilt(), r"has fields without an array \(w\): write build"),
        (Sequential(Unbuilt()), r"has fields without an array \(w\): write build"),
        (Forgetful(), r"Dropout was called without run inside another layer: pass it on, layer\(x, run\)"),
        (Mute(), "does not say what it computes"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_recipes_that_cannot_be_built(layer, message):
    with pytest.raises(ConfigError, match=message):
        layer.build(spec((5, 3)), 0)(np.ones((5, 3)))


def test_a_run_that_is_not_passed_on_is_noticed_in_training_too():
    layer = Forgetful()
    assert layer(np.ones((2, 2))).shape == (2, 2)
    with pytest.raises(ConfigError, match="pass it on"):
        layer(np.ones((2, 2)), Run.of(layer, training=True, key=new_key(0)))
    assert layer(np.ones((2, 2))).shape == (2, 2)  # the failed call left nothing behind


def test_a_call_without_run_is_refused_when_it_is_written():
    with pytest.raises(ConfigError, match=r"Bad.__call__ must be written `def __call__\(self, x, run=EVAL\)`"):

        class Bad(Layer):
            def __call__(self, x):
                return x


def test_an_explicit_eval_holds_inside_training():
    @record
    class Frozen(Layer):
        """A part that never trains."""

        inner: Layer = Dropout(rate=0.5)

        def __call__(self, x, run=EVAL):
            return self.inner(x, EVAL)

    layer = Frozen()
    np.testing.assert_array_equal(layer(np.ones((9, 9)), Run.of(layer, training=True, key=new_key(0))), np.ones((9, 9)))


def test_an_error_of_shapes_names_the_layer_once(rng):
    net = Sequential(Dense(units=4), Sequential(Dense(units=2))).build(spec((5, 3)), rng)
    broken = Sequential(net.layers[0], Sequential(Dense(units=2).build(spec((5, 9)), rng)))
    with pytest.raises(
        ShapeError, match=r"^layers.1.layers.0 Dense\(units=2, W=float32\[9,2\].*given f32\[5,4\]: matmul"
    ) as e:
        broken(np.ones((5, 3), "float32"))
    assert str(e.value).count("given") == 1


def test_summary(rng):
    net = Sequential(Dense(units=4), ReLU(), Twice(inner=Dense(units=4)), Skip())
    rows = summary(net, spec((8, 3)))
    assert [(r.path, r.layer, r.output, r.n_parameters) for r in rows] == [
        ("layers.0", "Dense(units=4)", (8, 4), 16),
        ("layers.1", "ReLU()", (8, 4), 0),
        ("layers.2.inner", "Dense(units=4)", (8, 4), 20),
        ("layers.2.inner", "Dense(units=4)", (8, 4), 0),
        ("layers.3.hidden", "Dense(units=4)", (8, 4), 20),
        ("layers.3.out", "Dense(units=1)", (8, 1), 9),
    ]
    assert sum(r.n_parameters for r in rows) == count_parameters(net.build(spec((8, 3)), rng))


def test_output_spec_of_recipes():
    assert output_spec(Sequential(Dense(units=7)), spec((5, 3), "float64")) == spec((5, 7), "float64")


def test_a_fitted_models_network_is_counted_and_summarised():
    X = np.random.default_rng(0).normal(size=(30, 2))
    fit = fl.fit(fl.mlp((3,)), (X, X[:, 0]), epochs=1)
    assert fl.count_parameters(fit) == fl.count_parameters(fit.model) == 3 * 3 + 4
    assert len(fl.summary(fit.model, X)) == 3
