"""Wrappers around wrappers, in any order: on the native engine as on the reference, with nothing compiled again."""

from __future__ import annotations

import numpy as np
import pytest

import fallline as fl
from fallline.core.record import as_record, from_json, records_of, to_json
from fallline.engines.engine import COMPILED, get_engine
from fallline.optim.optimizer import Optimizer
from fallline.optim.wrappers import Wrapper
from tests.engines.parity import COMPILING
from tests.engines.test_training import assert_trained_alike, network, regression, table, trained

WRAPPERS = {n: c for n, c in records_of(Optimizer).items() if issubclass(c, Wrapper) and c.__module__[:8] == "fallline"}
BASES = [fl.Momentum(0.02), fl.Adam(0.02), fl.Muon(0.02), fl.ScheduleFreeAdamW(0.02)]
SETTINGS = {"Freeze": {"where": "layers.0.b"}, "GradientNoise": {"eta": 1e-4}, "Snapshots": {"cycles": 2}}


def composed(seed: int) -> Optimizer:
    """An optimizer with a quarter of the wrappers around it, in an order drawn by chance; four seeds have them all."""
    shares = np.array_split(np.random.default_rng(seed // 4).permutation(list(WRAPPERS)), 4)
    made = BASES[seed % len(BASES)]
    for name in shares[seed % 4]:
        made = WRAPPERS[name](made, **SETTINGS.get(name, {}))
    return made


def recipe():
    return fl.Sequential(fl.Dense(5), fl.Tanh(), fl.BatchNorm(), fl.Dropout(0.2), fl.Dense(1))


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 16))])
@pytest.mark.parametrize("engine", COMPILING, ids=lambda e: e.name)
def test_any_order_runs_as_on_the_reference(engine, seed):
    """Whole steps with batch norm and dropout, in float64, at a rate of each step's own; the state is arrays."""
    optimizer, (x, y, w) = composed(seed), regression("float64")
    net = network(recipe(), x, "float64")
    state = optimizer.init(fl.leaves(net, "param"), fl.leaves(net, "buffer"))
    assert all(isinstance(array, (np.ndarray, np.generic)) for array in state.values())
    assert_trained_alike("float64", *trained(engine, net, fl.SquaredError(), optimizer, (x, y, w), steps=6))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_compiled_again_over_a_schedule(seed):
    """Neither by another rate or schedule nor by a run from another start."""
    x, y, _ = regression("float32")
    optimizer = composed(seed)
    given = {"epochs": 4, "batch_size": 16, "engine": get_engine("numpy")}
    fl.fit(recipe(), (x, y), optimizer=optimizer, **given)
    before = COMPILED.builds
    for k, rate in enumerate((0.5, fl.Exponential(0.1, unit="step"), lambda step: 0.1 / (step + 1))):
        fl.fit(recipe(), (x, y), optimizer=optimizer.with_rate(rate), seed=k + 1, **given)
    assert COMPILED.builds == before


@pytest.mark.parametrize("seed", range(3))
def test_a_composition_survives_json_and_its_model_the_file(seed, tmp_path):
    optimizer = composed(seed)
    assert from_json(to_json(optimizer)) == optimizer
    x = table(7, "float32")
    fit = fl.fit(recipe(), (x, x[:, 0]), optimizer=optimizer, epochs=3, batch_size=16, validation=0.3, engine="numpy")
    again = fl.load(fit.save(tmp_path / "model.safetensors"), engine="numpy")
    np.testing.assert_array_equal(again.predict(x), fit.model.predict(x))


@pytest.mark.parametrize("text, optimizer", [
    ("ema(adam(0.01), 0.99)", fl.EMA(fl.Adam(0.01), 0.99)),
    ("ema", fl.EMA()),
    ("swa(sgd(cyclic(0.1, half=2)), after=10)", fl.SWA(fl.SGD(fl.Cyclic(0.1, half=2)), after=10)),
    ("sam(clip-norm(adam, max_norm=2.0), rho=0.1)", fl.SAM(fl.ClipNorm(fl.Adam(), 2.0), 0.1)),
    ("freeze(lookahead('adam(0.1)'), where=('*.b', '*.W'))", fl.Freeze(fl.Lookahead(fl.Adam(0.1)), ("*.b", "*.W"))),
    ("muon(rest=adamw(weight_decay=0.1))", fl.Muon(rest=fl.AdamW(weight_decay=0.1))),
    ("sgd(chained((constant(0.1), cosine(0.1)), lengths=(5,)))",
     fl.SGD(fl.Chained((fl.Constant(0.1), fl.Cosine(0.1)), lengths=(5,)))),
    ("swa(sgd, unit=step)", fl.SWA(fl.SGD(), unit="step")),
])  # fmt: skip
def test_compositions_as_text(text, optimizer):
    assert as_record(text, Optimizer) == optimizer


@pytest.mark.parametrize("text, message", [
    ("ema(adm(0.01))", "no optimizer is called 'adm': did you mean 'Adam'"),
    ("ema(adam(0.01), 2)", r"EMA\(decay=2\): decay must be below 1"),
    ("ema(adam(decay=0.9))", "Adam has no field 'decay'"),
    ("ema(newton)", r"EMA\(Newton\(\)\): a solver looks at all rows at once"),
    ("ema(adam(0.01)", "cannot read"),
    ("ema(1 + 2)", "cannot read"),
])  # fmt: skip
def test_errors_in_a_text_are_one_line(text, message):
    with pytest.raises(fl.FalllineError, match=message) as caught:
        fl.fit(recipe(), (np.zeros((4, 2)), np.arange(4.0)), optimizer=text)
    assert "\n" not in str(caught.value)
