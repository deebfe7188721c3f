"""Fallline: gradient descent done right, from the derivative on the board to a trained network.

Public names are loaded on first use, so importing the package costs next to nothing:

    fl.fit, fl.Model, fl.load                            training and what comes out of it
    fl.Dense, fl.Adam, fl.BinaryCrossEntropy, …          every registered record
    fl.grad, fl.jvp, fl.vjp, fl.jacobian, fl.hessian …   derivatives
    fl.exp, fl.where, fl.softmax, …                      ops and functions of ops
"""

from __future__ import annotations

import importlib
from typing import Any

from fallline.core.registry import nearest

__version__ = "0.1.0"

# Functions and plain classes by home; records and ops need no entry, their registries know them.
_HOMES = {
    "fallline.autodiff.functions": ("grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"),
    "fallline.autodiff.check": ("GradientReport", "check_gradients"),
    "fallline.autodiff.modes": ("ModeReport", "compare_modes"),
    "fallline.core.record": ("Record", "buffer", "from_json", "param", "record", "setting", "to_json"),
    "fallline.core.spec": ("Spec", "spec"),
    "fallline.core.errors": ("FalllineError",),
    "fallline.core.tree": ("leaves", "map_leaves", "with_leaves"),
    "fallline.data.batches": ("Batches", "batches"),
    "fallline.data.table": ("Table", "read_table"),
    "fallline.engines.engine": ("get_engine",),
    "fallline.estimators.estimator": ("Classifier", "Estimator", "Regressor"),
    "fallline.estimators.mlp": ("MLPClassifier", "MLPRegressor"),
    "fallline.estimators.tabular": ("TabularClassifier", "TabularRegressor"),
    "fallline.explain.figures.boundary": ("plot_boundary",),
    "fallline.explain.figures.descents": ("plot_descent",),
    "fallline.explain.figures.functions": ("plot_function", "plot_functions"),
    "fallline.explain.figures.slope": ("plot_slope",),
    "fallline.explain.figures.surface": ("plot_loss",),
    "fallline.explain.figures.hidden_units": ("plot_units",),
    "fallline.explain.tracing.trace": ("trace",),
    "fallline.explain.reports.compiled": ("explain_compile",),
    "fallline.explain.reports.step": ("explain_step",),
    "fallline.explain.reports.row": ("explain_row",),
    "fallline.explain.diagnosis.diagnose": ("Diagnosis", "diagnose"),
    "fallline.explain.diagnosis.layers": ("layer_report",),
    "fallline.explain.diagnosis.shares": ("weight_shares",),
    "fallline.graph.program": ("Program",),
    "fallline.interchange.onnx": ("to_onnx",),
    "fallline.interchange.pytorch": ("from_torch", "to_torch", "torch_state"),
    "fallline.graph.value": ("Value",),
    "fallline.nn.layer": ("Layer", "count_parameters", "summary"),
    "fallline.nn.activations": ("Activation", "activations"),
    "fallline.nn.initializers": ("Initializer",),
    "fallline.nn.run": ("EVAL", "Run"),
    "fallline.nn.mlp": ("mlp",),
    "fallline.nn.collapse": ("collapse",),
    "fallline.losses": ("losses",),
    "fallline.losses.loss": ("Loss",),
    "fallline.losses.links": ("links",),
    "fallline.optim.optimizer": ("Optimizer",),
    "fallline.optim.solver": ("Move", "Objective", "Solver"),
    "fallline.optim.schedules": ("Schedule",),
    "fallline.optim.average": ("ewa", "ewa_window"),
    "fallline.train.events": ("Stop",),
    "fallline.train.history": ("History",),
    "fallline.train.model": ("Model", "load"),
    "fallline.train.fit": ("fit",),
    "fallline.train.pairing": ("PairingWarning",),
    "fallline.train.descend": ("descend",),
    "fallline.train.minimize": ("Minimum", "minimize"),
    "fallline.train.descent": ("Descent",),
    "fallline.train.learning_rate": ("RateReport", "find_learning_rate"),
    "fallline.train.trainer": ("Fit",),
    "fallline.train.resume": ("resume",),
    "fallline.train.presets": ("preset", "presets"),
    "fallline.train.compare": ("compare",),
    "fallline.train.comparison": ("Comparison",),
    "fallline.train.search": ("Search", "search"),
}
_FILES = {"demo": "fallline.explain.demo"}  # whole files that are a name
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("composite", "compare", "index", "random", "shape")  # of fallline.ops: they hold more than primitives


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    found = _find(name)
    if found is None:
        raise AttributeError(f"fallline has no {name!r}: {nearest(name, __dir__())}")
    globals()[name] = found
    return found


def _find(name: str) -> Any:
    if name in _FILES:
        return importlib.import_module(_FILES[name])
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    records = importlib.import_module("fallline.core.record").RECORDS
    if name[0].isupper():
        return records[name] if name in records and records[name].__name__ == name else None
    for module in _MODULES:
        functions = importlib.import_module(f"fallline.ops.{module}")
        if name in functions.__all__:
            return getattr(functions, name)
    ops = importlib.import_module("fallline.graph.value").OPS
    return ops[name] if name in ops and ops[name].name == name else None


def __dir__() -> list[str]:
    records = importlib.import_module("fallline.core.record").RECORDS
    ops = importlib.import_module("fallline.graph.value").OPS
    functions = [n for m in _MODULES for n in importlib.import_module(f"fallline.ops.{m}").__all__]
    return sorted({"__version__", *_FILES, *_HOME_OF, *records, *ops, *functions} - {"input", "constant"})
