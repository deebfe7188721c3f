"""The public surface: frozen where it is listed, complete where it is registered, light to import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fallline as fl
from fallline.core.record import RECORDS
from fallline.graph.op import OPS

LISTED = {
    *(
        "Activation",
        "EVAL",
        "FalllineError",
        "Fit",
        "GradientReport",
        "History",
        "Initializer",
        "Layer",
        "Loss",
        "Model",
    ),
    *("Optimizer", "Program", "Record", "Run", "Schedule", "Spec", "Stop", "Table", "Value", "activations", "buffer"),
    *("explain_compile", "explain_row", "explain_step"),
    *("check_gradients", "count_parameters", "ewa", "ewa_window", "fit", "from_json", "get_engine", "grad", "hessian"),
    *("hvp", "jacobian", "jvp", "leaves", "load", "map_leaves", "param", "read_table", "record", "setting", "spec"),
    *("links", "losses", "plot_boundary", "plot_descent", "plot_function", "plot_functions", "plot_loss", "plot_slope"),
    *("plot_units",),
    *("Diagnosis", "PairingWarning", "diagnose", "layer_report", "weight_shares"),
    *("ModeReport", "compare_modes"),
    *("summary", "to_json", "trace", "value_and_grad", "vjp", "with_leaves"),
    *("Descent", "Move", "Objective", "RateReport", "Solver", "descend", "find_learning_rate"),
    *("Classifier", "Estimator", "Regressor"),
    *("MLPClassifier", "MLPRegressor"),
    *("TabularClassifier", "TabularRegressor"),
    *("Comparison", "Search", "collapse", "compare", "mlp", "preset", "presets", "resume", "search"),
    *("from_torch", "to_onnx", "to_torch", "torch_state"),
    *("Batches", "batches"),
    *("Minimum", "minimize"),
}

HEAVY = (
    "jax",
    "llvmlite",
    "matplotlib",
    "narwhals",
    "onnx",
    "pandas",
    "polars",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "typer",
)


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_listed_names_are_these():
    assert set(fl._HOME_OF) == LISTED


@pytest.mark.parametrize("name", sorted(LISTED))
def test_every_listed_name_is_there_and_documented(name):
    assert getattr(fl, name) is not None
    assert name in dir(fl)


def test_every_record_and_every_op_is_public():
    for name in RECORDS:
        if RECORDS[name].__module__.startswith("fallline."):
            assert getattr(fl, name) is RECORDS[name]
    for name in set(OPS) - {"input", "constant", "slice"}:
        assert callable(getattr(fl, name))


def test_every_record_is_documented():
    for name in RECORDS:
        if not RECORDS[name].__module__.startswith("fallline."):
            continue  # those of other tests
        words = (RECORDS[name].__doc__ or "").strip()
        assert words, f"{name} has no docstring"
        assert not words.startswith(f"{name}("), f"{name} has the docstring that dataclasses write"


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match=r"fallline has no 'Dens': did you mean 'Dense'"):
        fl.Dens  # noqa: B018


def test_importing_loads_none_of_the_heavy_packages():
    code = f"import fallline, sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(python(code)) == []


def test_layers_and_derivatives_load_none_of_the_heavy_packages():
    code = (
        "import fallline as fl, sys, json; fl.Dense(3); fl.Adam(); fl.BinaryCrossEntropy();"
        "fl.grad(lambda x: fl.sin(x))(1.0);"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    assert json.loads(python(code)) == []


NEW_FILES = {
    "ops": """
from fallline.graph.op import elementwise
from fallline.graph.sample import reals
import numpy as np
def forward(x, out=None):
    return np.power(x, 3, out=out)
cube = elementwise("cube", forward, (lambda y, x: 3.0 * x * x,), sample=reals(-1, 1))
""",
    "nn": """
from fallline.core.record import record
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL
@record
class Cubed(Layer):
    "x³"
    def __call__(self, x, run=EVAL):
        return x * x * x
""",
    "losses": """
from fallline.core.record import record
from fallline.losses.loss import Loss
@record
class Quartic(Loss):
    "(score - target)⁴"
    def formula(self, score, target):
        return (score - target) ** 4.0
""",
    "optim": """
from fallline.core.record import record, setting
from fallline.optim.optimizer import Optimizer
from fallline.ops.arithmetic import sign
@record
class SignDescent(Optimizer):
    "w <- w - lr sign(g)"
    learning_rate: float = setting(default=0.01, at_least=0)
    def step(self, g, *, lr, t):
        return -lr * sign(g), ()
""",
}


def test_adding_an_op_a_layer_a_loss_or_an_optimizer_touches_one_file(tmp_path):
    """Four files in the four folders, nothing else: they are found by name, public, trained with and saved."""
    for package, text in NEW_FILES.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / f"new_{package}.py").write_text(text)
    code = f"""
import importlib, numpy as np
for package in {list(NEW_FILES)!r}:
    importlib.import_module("fallline." + package).__path__.append({str(tmp_path)!r} + "/" + package)
import fallline as fl
assert fl.grad(fl.cube)(2.0) == 12.0
X = np.random.default_rng(0).normal(size=(60, 3))
net = fl.Sequential(fl.Dense(4), fl.Cubed(), fl.Dense(1))
fit = fl.fit(net, (X, X[:, 0]), loss="quartic", optimizer="sign_descent(learning_rate=0.01)", epochs=3)
fit.save("m.safetensors")
assert fl.load("m.safetensors").predict(X).shape == (60,)
print(type(fit.model.loss).__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "Quartic\n"


def test_importing_is_light():
    """Under 0.15 s beyond NumPy's own import: the best of five, so that a busy machine does not decide."""
    code = "import time, numpy; t = time.perf_counter(); import fallline; print(time.perf_counter() - t)"
    assert min(float(python(code)) for _ in range(5)) < 0.15
