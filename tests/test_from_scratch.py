"""docs/from_scratch.py, the library in small: its derivatives and its training against the library itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fallline as fl
from tests.tolerance import assert_close

FILE = Path(__file__).parents[1] / "docs" / "from_scratch.py"


@pytest.fixture(scope="module")
def scratch():
    spec = importlib.util.spec_from_file_location("from_scratch", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def case(scratch, rng):
    """Weights of a 3-4-1 network, twenty patients, and the library's network with the same weights."""
    w, (x, y) = scratch.new_weights((3, 4, 1), rng), scratch.patients(20, rng)
    network = fl.Sequential(fl.Dense(4), fl.Tanh(), fl.Dense(1)).build(fl.spec(x.shape, "float64"), 0)
    paths = {"layers.0.W": "1.W", "layers.0.b": "1.b", "layers.2.W": "2.W", "layers.2.b": "2.b"}
    return w, x, y, fl.with_leaves(network, {path: w[name] for path, name in paths.items()}), paths


def library_loss(network, x, y):
    return fl.mean(fl.BinaryCrossEntropy()(network(x)[:, 0], y[:, 0]))


def test_it_imports_nothing_but_numpy_and_fits_a_lecture():
    text = FILE.read_text(encoding="utf-8")
    assert "fallline" not in text.replace("Fallline", "")
    assert len(text.splitlines()) <= 350


def test_loss_and_gradient_are_the_librarys(scratch, case):
    w, x, y, network, paths = case
    value, gradient = scratch.loss_and_gradient(w, x, y)
    expected, slopes = fl.value_and_grad(lambda n: library_loss(n, x, y))(network)
    assert_close(value, float(expected))
    for path, slope in fl.leaves(slopes).items():
        assert_close(gradient[paths[path]], slope)


def test_forward_mode_and_the_board_tell_the_same_derivatives(scratch):
    goal = scratch.one_patient()
    inputs = {n.name: n for n in scratch.order(goal) if n.op is None and n.name}
    partials = scratch.reverse(goal)
    w, b = fl.grad(lambda wb: fl.softplus(wb[0] * -1.2 + wb[1]) - (wb[0] * -1.2 + wb[1]))((-0.8, 0.3))
    for name, expected in {"w": w, "b": b}.items():
        assert_close(float(scratch.forward(goal, inputs[name])), float(expected))
        assert_close(float(partials[id(inputs[name])]), float(expected))
        assert any(f"dJ/d{name} +=" in line and f"{expected:.10f}" in line for line in scratch.board(goal).splitlines())


def test_a_value_used_twice_gets_both_contributions_and_a_long_chain_is_no_trouble(scratch):
    a = scratch.Node(1.0)
    b = a + a
    assert scratch.reverse(b + b)[id(a)] == 4.0
    long = a
    for _ in range(20_000):
        long = long + 0.0
    assert scratch.reverse(long)[id(a)] == 1.0


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (1, 3), (1, 1), (3,), (1,), ()])
def test_a_stretched_operand_gets_a_gradient_of_its_own_shape(scratch, shape, rng):
    a, b = scratch.Node(rng.normal(size=shape)), scratch.Node(rng.normal(size=(4, 3)))
    gradient = scratch.reverse(scratch.apply(scratch.MEAN, a * b))[id(a)]
    expected = scratch.numeric(lambda w: float(np.mean(w * b.value)), a.value)
    assert np.shape(gradient) == shape
    assert_close(gradient, expected, "central")


def test_targets_of_another_shape_and_inputs_of_many_numbers_are_refused(scratch, case):
    w, x, y, *_ = case
    with pytest.raises(AssertionError, match="y has shape"):
        scratch.loss(w, x, y[:, 0])
    many = scratch.Node(np.ones(3))
    with pytest.raises(AssertionError):
        scratch.forward(many + 1.0, many)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_optimizers_take_the_librarys_steps(scratch, name, rng):
    ours, theirs = getattr(scratch, name), {"adam": fl.Adam(0.1), "sgd": fl.SGD(0.1)}[name]
    w, slots = np.array([3.0, -2.0]), ()
    expected, state = {"w": w}, theirs.init({"w": w})
    for t in range(1, 6):
        g = rng.normal(size=2)
        w, slots = ours(w, g, slots, 0.1, t)
        expected, state = theirs.update(expected, {"w": g}, state, lr=0.1, t=t)
        assert_close(w, expected["w"])


def test_run_as_a_script_it_learns(tmp_path):
    done = subprocess.run([sys.executable, FILE], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines if line.startswith("epoch")]
    assert losses == sorted(losses, reverse=True)
    right = [float(line.rsplit(" ", 1)[1].rstrip("%")) for line in lines if "right for" in line]
    untrained, trained, line = right[0], right[-2], right[-1]
    assert trained > line + 5 > untrained + 10
