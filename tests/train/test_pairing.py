"""Pairing: which networks and losses are refused, which are warned of, and that sound ones pass in silence."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import special

import fallline as fl
from fallline.cli.main import run
from fallline.core.errors import ConfigError
from fallline.core.record import as_record, record
from fallline.nn.run import EVAL
from fallline.train.pair import Pair
from fallline.train.pairing import CHECKS, PairingWarning, remarks, wrong_slope
from tests.tolerance import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
TWO = (X[:, 0] > 0).astype(int)
THREE = RNG.integers(0, 3, 60)
NUMBERS = 2 * X[:, 0]
DENSE = fl.Dense(1)


def fit(layers, y, loss=None, **options):
    return fl.fit(fl.Sequential(*layers), (X, y), loss=loss, epochs=1, **options)


def relu_and_more(x):
    return fl.relu(x) + 1.0


@record
class Rounded(fl.Layer):
    """A step function of one's own, which says nothing about itself."""

    def __call__(self, x, run=EVAL):
        return fl.sign(x) + 0.5


def first_half(x):
    assert x.shape[1] == 6  # what a function takes is its own matter
    return x[:, :3]


REFUSED = {
    "a step": ((fl.Dense(4), fl.Heaviside(), DENSE), TWO, None, r"layers\.1 Heaviside\(\) has derivative 0 everywhere"),
    "a step at the end": ((DENSE, fl.Sign()), TWO, "hinge", "Sign"),
    "a step inside": ((fl.Residual(fl.Dense(3), fl.Sign()), DENSE), TWO, None, r"layers\.0\.layers\.1 Sign"),
    "a step that is an op": ((fl.Dense(4), fl.sign, DENSE), TWO, None, r"layers\.1 sign has derivative 0"),
    "a step of one's own": ((fl.Dense(4), Rounded(), DENSE), TWO, None, r"layers\.1 Rounded\(\) has derivative 0"),
    "a step in a function": (
        (fl.Dense(4), lambda x: 2.0 * fl.sign(x), DENSE),
        TWO,
        None,
        "has derivative 0 everywhere",
    ),
    "sigmoid twice": ((DENSE, fl.Sigmoid()), TWO, None, r"applied twice.* from 0\.5 to 0\.731: leave Sigmoid\(\) out"),
    "sigmoid twice, an op": ((DENSE, fl.sigmoid), TWO, None, "sigmoid is applied twice"),
    "sigmoid twice, deeper": ((DENSE, fl.Sequential(fl.Sigmoid(), fl.Dropout(0.1))), TWO, None, "applied twice"),
    "softmax twice": ((fl.Dense(3), fl.Softmax()), THREE, None, r"Softmax\(\) is applied twice"),
    "exp twice": ((DENSE, fl.exp), np.abs(NUMBERS).round(), "poisson", "exp is applied twice"),
    "tanh, two classes": ((DENSE, fl.Tanh()), TWO, "bce", r"between −1 and 1.* probabilities from 0\.269 to 0\.731"),
    "tanh, three classes": ((fl.Dense(3), fl.Tanh()), THREE, None, "CategoricalCrossEntropy leaves probabilities"),
    "relu, two classes": ((DENSE, fl.ReLU()), TWO, None, r"between 0 and ∞.* probabilities from 0\.5 to 1"),
    "elu, two classes": ((DENSE, fl.ELU()), TWO, None, "between −1 and ∞"),
    "a user's function": ((DENSE, relu_and_more), TWO, None, "the outputs of relu_and_more lie between 1 and ∞"),
    "sigmoid, hinge": ((DENSE, fl.Sigmoid()), TWO, "hinge", "Hinge decides for one class only"),
    "softmax of one score": ((DENSE, fl.Softmax()), TWO, None, "gives 1 for every row"),
    "targets far away": ((DENSE, fl.Tanh()), NUMBERS + 100, "mse", "100% of the targets lie beyond"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_the_reason(name):
    layers, y, loss, words = REFUSED[name]
    for strict in (True, False):
        with pytest.raises(ConfigError, match=words):
            fit(layers, y, loss, strict=strict)


WARNED = {
    "squared error on a sigmoid": ((DENSE, fl.Sigmoid()), TWO * 1.0, "mse", "at score −10 for target 1 its slope is"),
    "squared error on a softmax": ((fl.Dense(3), fl.Softmax()), np.eye(3)[THREE], "mse", "CategoricalCrossEntropy"),
    "hidden sigmoid": ((fl.Dense(4), fl.Sigmoid(), DENSE), TWO, None, r"the hidden units of layers\.1 Sigmoid"),
    "hidden sigmoid inside": ((fl.Residual(fl.Dense(3), fl.HardSigmoid()), DENSE), TWO, None, "HardSigmoid"),
    "negative targets": (
        (DENSE, fl.ReLU()),
        NUMBERS,
        None,
        "predictions from 0 to ∞, and .* of the targets lie beyond",
    ),
    "log-softmax": ((fl.Dense(3), fl.LogSoftmax()), THREE, None, "changes nothing in front of CategoricalCross"),
    "one-sided scores": ((fl.Dense(3), fl.ReLU()), THREE, None, "keeps the scores of the classes above 0"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_works_poorly_is_warned_of_and_strict_false_silences_it(name):
    layers, y, loss, words = WARNED[name]
    with pytest.warns(PairingWarning, match=words) as caught:
        fit(layers, y, loss)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(layers, y, loss, strict=False)


def test_the_warning_names_the_line_that_called_fit():
    with pytest.warns(PairingWarning) as caught:
        fl.fit(fl.Sequential(fl.Dense(4), fl.Sigmoid(), DENSE), (X, TWO), epochs=1)
    assert caught[0].filename == __file__


SOUND = {
    "logistic regression": ((DENSE,), TWO, None),
    "relu, dropout and norm": ((fl.Dense(4), fl.BatchNorm(), fl.ReLU(), fl.Dropout(0.2), DENSE), TWO, None),
    "tanh, three classes": ((fl.Dense(4), fl.Tanh(), fl.Dense(3)), THREE, None),
    "sigmoid beside a norm": ((fl.Dense(4), fl.BatchNorm(), fl.Sigmoid(), DENSE), TWO, None),
    "a gate": ((fl.Dense(4), fl.GLU(), DENSE), TWO, None),
    "swish by hand": ((fl.Dense(4), lambda x: x * fl.sigmoid(x), DENSE), TWO, None),
    "softmax inside": ((fl.Dense(4), fl.Softmax(), DENSE), TWO, None),
    "dropout at the end": ((DENSE, fl.Dropout(0.1)), TWO, None),
    "tanh that reaches far": ((DENSE, lambda x: 5.0 * fl.tanh(x)), TWO, None),
    "leaky output": ((DENSE, fl.LeakyReLU()), TWO, None),
    "tanh and hinge": ((DENSE, fl.Tanh()), 2 * TWO - 1, "hinge"),
    "tanh and ±1": ((DENSE, fl.Tanh()), 2.0 * TWO - 1, "mse"),
    "positive numbers": ((DENSE, fl.Softplus()), np.abs(NUMBERS), "mse"),
    "counts": ((DENSE, fl.Softplus()), np.abs(NUMBERS).round(), "poisson"),
    "a step with a stand-in": ((fl.Dense(4), fl.Heaviside(surrogate="sigmoid"), DENSE), TWO, None),
    "a step in front of all weights": ((fl.Heaviside(), DENSE), TWO, None),
    "numbers without bounds": ((DENSE, lambda x: x + fl.sign(x)), NUMBERS, "mse"),
    "weights that are meant to rest": ((fl.Dense(4), lambda x: fl.stop_gradient(x), DENSE), TWO, None),
    "a function of six numbers": ((fl.Dense(6), first_half, DENSE), TWO, None),
    "learned deviation": ((fl.Dense(2), fl.Linear()), NUMBERS, "gaussian"),
    "a residual end": ((fl.Dense(3), fl.Residual(fl.Dense(3), fl.Softmax())), THREE, None),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_passes_in_silence(name):
    layers, y, loss = SOUND[name]
    fit(layers, y, loss)  # a warning is an error


def test_a_method_without_gradients_may_have_a_step_function():
    layers = fl.Dense(4), fl.Heaviside(), DENSE
    fit(layers, TWO, optimizer="random")
    fl.fit(fl.Sequential(*layers), (X, TWO), epochs=0)


def test_the_slope_of_cross_entropy_comes_from_its_graph():
    """d/ds at s = -10 for target 1: σ(s) - 1 of two classes; p - 1 of the softmax of (-10, 0, 0) of three."""
    expected = {"bce": (1, special.expit(-10.0) - 1.0), "cce": (3, special.softmax([-10.0, 0.0, 0.0])[0] - 1.0)}
    for name, (width, slope) in expected.items():
        assert_close(wrong_slope(as_record(name, fl.Loss), lambda z: z, width), slope)
    network = fl.Sequential(fl.Dense(3), fl.Softmax()).build(fl.spec((2, 3)), 0)
    remark = remarks(Pair(network, as_record("mse", fl.Loss), fl.spec((2, 3)), np.eye(3)[THREE]))
    facts = dict(remark["squared error of a probability"].facts)
    assert facts["slope of cross-entropy"] == f"{expected['cce'][1]:.7f}".replace("-", "−")


def test_every_check_has_a_case_here():
    found = set()
    for layers, y, name, _ in [*REFUSED.values(), *WARNED.values()]:
        network = fl.Sequential(*layers).build(fl.spec((2, 3)), 0)
        loss = as_record(name or ("cce" if y is THREE else "bce" if y is TWO else "mse"), fl.Loss)
        found |= set(remarks(Pair(network, loss, fl.spec((2, 3)), y)))
    assert found == set(CHECKS)


def test_the_command_line_prints_a_warning_as_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "iris", "--activation", "sigmoid", "--epochs", "2"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(told) == 1
    assert "hidden units of layers.1 Sigmoid() and 1 more pass on at most a quarter of a gradient" in told[0]
