"""The mapping to torch.nn without PyTorch: its arrays, put through PyTorch's documented formulas in NumPy."""

from __future__ import annotations

import builtins
import re
from math import prod
from pathlib import Path

import numpy as np
import pytest
from scipy import spatial, special

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.interchange.counterparts import BY_MODULE, COUNTERPARTS, Module, layer_of, module_of
from tests.tolerance import assert_close


def relu6(z):
    return np.clip(z, 0, 6)


def negative(z, left):
    return np.where(z > 0, z, left)


def normalised(z, mean, var, m):
    return (z - mean) / np.sqrt(var + m.options["eps"]) * m.arrays["weight"] + m.arrays["bias"]


def halves(z, axis):
    a, b = np.split(z, 2, axis)
    return a * special.expit(b)


def looked_up(table, codes):
    return table[codes]


def mixed(z, shares, link):
    """The score of the mean probability, or count."""
    forward, back = {"softmax": (special.softmax, np.log)}[link]
    return back(np.tensordot(forward(z, -1), shares, (1, 0)))


def ordered(z, thresholds):
    """The probability of each class: differences of those to be above the rising thresholds."""
    edges = np.cumsum([thresholds[0], *np.logaddexp(0, thresholds[1:])])
    above = np.concatenate([np.ones_like(z), special.expit(z - edges), np.zeros_like(z)], 1)
    return above[:, :-1] - above[:, 1:]


SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
TORCH = {
    "Linear": lambda z, m: z @ m.arrays["weight"].T + m.arrays.get("bias", 0.0),
    "BatchNorm1d": lambda z, m: normalised(z, m.arrays["running_mean"], m.arrays["running_var"], m),
    "LayerNorm": lambda z, m: normalised(z, z.mean(-1, keepdims=True), z.var(-1, keepdims=True), m),
    "Embedding": lambda z, m: m.arrays["weight"][z],
    "PReLU": lambda z, m: negative(z, m.arrays["weight"] * z),
    "Dropout": lambda z, m: z,
    "Flatten": lambda z, m: z.reshape(len(z), prod(z.shape[1:])),
    "Reshape": lambda z, m: z.reshape(len(z), *m.options["shape"]),
    "Identity": lambda z, m: z,
    "Sigmoid": lambda z, m: special.expit(z),
    "Tanh": lambda z, m: np.tanh(z),
    "ReLU": lambda z, m: np.maximum(z, 0),
    "LeakyReLU": lambda z, m: negative(z, m.options["negative_slope"] * z),
    "ELU": lambda z, m: negative(z, m.options["alpha"] * (np.exp(np.minimum(z, 0)) - 1)),
    "SELU": lambda z, m: SELU[0] * negative(z, SELU[1] * (np.exp(np.minimum(z, 0)) - 1)),
    "SiLU": lambda z, m: z * special.expit(z),
    "GELU": lambda z, m: z * special.ndtr(z),
    "Mish": lambda z, m: z * np.tanh(np.log1p(np.exp(z))),
    "Softplus": lambda z, m: np.where(z > m.options["threshold"], z, np.log1p(np.exp(z))) / m.options["beta"],
    "Softsign": lambda z, m: z / (1 + np.abs(z)),
    "Hardtanh": lambda z, m: np.clip(z, m.options["min_val"], m.options["max_val"]),
    "Hardsigmoid": lambda z, m: relu6(z + 3) / 6,
    "Hardswish": lambda z, m: z * relu6(z + 3) / 6,
    "Softmax": lambda z, m: special.softmax(z, m.options["dim"]),
    "LogSoftmax": lambda z, m: special.log_softmax(z, m.options["dim"]),
    "GLU": lambda z, m: halves(z, m.options["dim"]),
    "ColumnEmbedding": lambda z, m: np.concatenate([z[0], *map(looked_up, m.arrays.values(), z[1].T)], 1),
    "PiecewiseEncoding": lambda z, m: np.c_[z, np.clip(z @ m.arrays["A"] + m.arrays["c"], 0, 1)],
    "PeriodicEncoding": lambda z, m: np.c_[
        z, np.cos(2 * np.pi * (z[:, m.options["columns"], None] * m.arrays["f"] + m.arrays["c"])).reshape(len(z), -1)
    ],
    "LaplaceBasis": lambda z, m: np.exp(-spatial.distance.cdist(z * m.arrays["v"], m.arrays["c"], "cityblock")),
    "Mixture": lambda z, m: mixed(z, m.arrays["shares"], m.options["link"]),
    "Temperature": lambda z, m: z / m.arrays["T"],
    "Ascending": lambda z, m: np.cumsum(np.concatenate([z[:, :1], np.logaddexp(0, z[:, 1:])], 1), 1),
    "CumulativeLogit": lambda z, m: np.log(ordered(z, m.arrays["thresholds"])),
}


def forward(module, z):
    """What PyTorch computes of z in evaluation mode."""
    if module.name == "Ensemble":
        *members, mix = module.children
        return forward(mix, np.stack([forward(member, z) for member in members], 1))
    if module.children:
        out = z
        for child in module.children:
            out = forward(child, out)
        return z + out if module.name == "Residual" else out
    return TORCH[module.name](z, module)


def filled(network, x, rng):
    """The network built for x, each of its arrays other than at the start, so that none may be left out."""
    return fl.map_leaves(lambda _, w: w + 0.1 * rng.uniform(size=w.shape), network.build(x, rng))


def deep(rng):
    x = rng.normal(size=(12, 6))
    return filled(fl.Sequential(fl.Dense(8), fl.BatchNorm(), fl.ReLU(), fl.Residual(fl.Dense(8), fl.Tanh()),
                                fl.LayerNorm(), fl.Dropout(0.3), fl.Dense(3, use_bias=False)), x, rng), x  # fmt: skip


def test_row_108_the_arrays_of_a_network_give_its_predictions_by_the_formulas_of_pytorch(rng):
    network, x = deep(rng)
    made = module_of(network)
    assert_close(forward(made, x), network(x))
    state = fl.torch_state(network)
    assert list(state) == [*("0.weight", "0.bias"), *(f"1.{name}" for name in (
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        *("3.0.weight", "3.0.bias", "4.weight", "4.bias", "6.weight")]  # fmt: skip
    assert state["0.weight"].shape == (8, 6), "(out, in), where Dense has W as (in, out)"
    assert_close(layer_of(made)(x), network(x), "exact")


@pytest.mark.parametrize("pair", COUNTERPARTS, ids=lambda pair: pair.module)
def test_every_counterpart_computes_what_its_layer_does_and_comes_back_as_that_layer(pair, rng):
    recipe, x = pair.layer.sample(rng)
    layer = filled(recipe, x, rng)
    module = pair.write(layer)
    assert_close(forward(module, x if isinstance(x, tuple) else np.asarray(x)), layer(x))
    back = pair.read(module)
    assert repr(back) == repr(layer)
    assert_close(back(x), layer(x), "exact")
    assert set(pair.read_arguments) <= set(module.options), "what is read back has to be written"


def test_networks_that_were_trained_together_are_an_ensemble(rng):
    x = rng.normal(size=(5, 3))
    network = filled(fl.Together(fl.Dense(2), fl.Dense(2), link="softmax"), x, rng)
    made = module_of(network)
    assert made.name == "Ensemble"
    assert_close(forward(made, x), network(x))
    assert isinstance(layer_of(made), fl.Ensemble)


def test_the_tanh_form_of_gelu_is_named_as_torch_names_it(rng):
    assert module_of(fl.GELU(approximate=True)).options == {"approximate": "tanh"}
    assert layer_of(module_of(fl.GELU(approximate=True))) == fl.GELU(approximate=True)


def test_a_fitted_model_and_a_fit_are_taken_too(rng):
    x = rng.normal(size=(40, 3))
    fit = fl.fit(fl.mlp(hidden=(4,)), (x, x[:, 0] > 0), epochs=1)
    for given in (fit, fit.model, fit.model.network):
        assert list(fl.torch_state(given)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert fl.torch_state(fit)["0.weight"].dtype == np.float32


@pytest.mark.parametrize(
    "layers, message",
    [
        (
            (fl.Dense(2), fl.Maxout(3)),
            r"^layers\.1 Maxout\(units=3\) has no counterpart in torch\.nn: write that layer",
        ),
        ((fl.Residual(fl.Dense(4), fl.Sparsemax()),), r"^layers\.0\.layers\.1 Sparsemax\(\) has no counterpart"),
        ((fl.Dense(2), fl.relu), r"^layers\.1 relu is a plain function, .*: put a layer in its place"),
    ],
)
def test_what_torch_does_not_have_is_named_with_its_place(layers, message, rng):
    with pytest.raises(ConfigError, match=message):
        fl.torch_state(fl.Sequential(*layers).build(rng.normal(size=(3, 4)), rng))


def test_a_recipe_and_what_is_no_network_are_refused():
    with pytest.raises(ConfigError, match=r"layers\.0 Dense\(units=3\) has no weights yet: train it with fl\.fit"):
        fl.torch_state(fl.Sequential(fl.Dense(3)))
    with pytest.raises(ConfigError, match="expected a network or a trained model, given int"):
        fl.torch_state(3)


@pytest.mark.parametrize(
    "module, message",
    [
        (Module("Hardtanh", {"min_val": 0.0, "max_val": 6.0}), r"HardTanh is min_val=-1\.0"),
        (Module("Softplus", {"beta": 1.0, "threshold": 3.0}), "needs a threshold of at least 20"),
        (Module("BatchNorm1d", {"eps": 1e-5, "momentum": 0.1, "affine": False, "track_running_stats": True}),
         "BatchNorm is affine=True"),
        (Module("LayerNorm", {"eps": 1e-5, "elementwise_affine": True, "normalized_shape": (2,)},
                {"weight": np.ones(2)}), "has no bias: LayerNorm always learns its beta"),
        (Module("LayerNorm", {"eps": 1e-5, "elementwise_affine": True, "normalized_shape": (2, 3)},
                {"weight": np.ones((2, 3)), "bias": np.ones((2, 3))}), "is over the last axis alone"),
    ],
)  # fmt: skip
def test_a_module_that_computes_something_else_is_refused_with_its_place(module, message):
    with pytest.raises(ConfigError, match=rf"^module 1: {module.name}\(.*{message}"):
        layer_of(Module("Sequential", children=(Module("ReLU"), module)))


def test_the_table_names_each_layer_and_each_module_once():
    assert len(BY_MODULE) == len(COUNTERPARTS) == len({pair.layer for pair in COUNTERPARTS})


def test_the_page_names_every_counterpart():
    page = (Path(__file__).parents[2] / "docs" / "pytorch.md").read_text(encoding="utf-8")
    table = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    ours, theirs = (set(re.findall(r"`(\w+)`", " ".join(cells))) for cells in zip(*table, strict=True))
    assert ours == {pair.layer.__name__ for pair in COUNTERPARTS} | {"Sequential", "Residual", "Ensemble"}
    same = {pair.module for pair in COUNTERPARTS if pair.module == pair.layer.__name__}
    assert theirs >= {pair.module for pair in COUNTERPARTS} - same


@pytest.mark.parametrize("name", ["to_torch", "from_torch"])
def test_without_pytorch_the_message_says_how_to_get_it(name, rng, monkeypatch):
    real = builtins.__import__

    def no_torch(module, *rest):
        if module == "torch":
            raise ImportError(module)
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(
        ConfigError, match=rf"^fl\.{name} needs PyTorch, which is not installed here: pip install torch$"
    ):
        getattr(fl, name)(deep(rng)[0])
