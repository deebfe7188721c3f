"""Which module of torch.nn does what a layer does, said once for both directions and without PyTorch.

A network becomes a tree of `Module`s, plain data with the arrays of a state_dict; `pytorch.py` makes torch's modules of
it, and the same data of torch's modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.tree import join
from fallline.nn.activations import (
    ELU,
    HardSigmoid,
    HardTanh,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from fallline.nn.containers import Residual, Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.embed import ColumnEmbedding, Embedding, Flatten, Reshape
from fallline.nn.ensemble import Ensemble, Mixture, Together
from fallline.nn.joint import GLU, LogSoftmax, Softmax
from fallline.nn.laplace import LaplaceBasis
from fallline.nn.layer import Layer, recipe_of
from fallline.nn.norm import BatchNorm, LayerNorm
from fallline.nn.outputs import Ascending, CumulativeLogit, Temperature
from fallline.nn.periodic import PeriodicEncoding
from fallline.nn.piecewise import PiecewiseEncoding
from fallline.nn.rectifiers import GELU, SELU, HardSwish, Mish, PReLU, SiLU

CONTAINERS: dict[type[Layer], str] = {
    Sequential: "Sequential",
    Residual: "Residual",
    Ensemble: "Ensemble",
    Together: "Ensemble",  # which it is outside of training
}
EXACT_SOFTPLUS = 40.0  # torch takes ln(1 + e^z) = z from `threshold` on: e^-40 is below the rounding of a float64 40
LEAST_SOFTPLUS = 20.0  # torch's own threshold: e^-20 = 2e-9
Arrays = dict[str, np.ndarray]
Options = dict[str, Any]


@dataclass(frozen=True)
class Module:
    """A module of torch.nn as plain data.

    name      of its class;  options  the arguments that make it;  arrays  its parameters and buffers by torch's names
    children  the modules inside a container, in order
    """

    name: str
    options: Options = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    children: tuple[Module, ...] = ()

    def state(self, path: str = "") -> Arrays:
        """The arrays of the whole tree by the names of a state_dict: "0.weight", "2.0.bias"."""
        found = {join(path, name): array for name, array in self.arrays.items()}
        for i, child in enumerate(self.children):
            found |= child.state(join(path, i))
        return found

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"


@dataclass(frozen=True)
class Counterpart:
    """A layer and the module that computes the same.

    fields      of the layer -> arguments of the module with the same meaning
    needed      argument -> the only value for which the two agree
    arrays      of the layer -> of the module;  transposed  those of the module that lie the other way round
    listed      several arrays in one field of the layer -> the beginning of their names: "table" of table_0, table_1 …
    optional    arrays that may be absent, on both sides;  constants  those that the layer does not need
    arguments   layer -> the module's other arguments;  reads  which of them `settings` looks at
    settings    module -> the layer's other fields
    """

    layer: type[Layer]
    module: str
    fields: Mapping[str, str] = field(default_factory=dict)
    needed: Options = field(default_factory=dict)
    arrays: Mapping[str, str] = field(default_factory=dict)
    transposed: tuple[str, ...] = ()
    listed: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    constants: Arrays = field(default_factory=dict)
    arguments: Callable[[Any], Options] = lambda layer: {}
    reads: tuple[str, ...] = ()
    settings: Callable[[Module], Options] = lambda module: {}

    def write(self, layer: Layer) -> Module:
        """The module that computes what this layer does."""
        options = {argument: getattr(layer, name) for name, argument in self.fields.items()}
        found = {theirs: getattr(layer, name) for name, theirs in self.arrays.items()}
        for name, theirs in self.listed.items():
            found |= {f"{theirs}_{i}": array for i, array in enumerate(getattr(layer, name) or ())}
        arrays = {name: self._turned(name, array) for name, array in found.items() if array is not None}
        return Module(self.module, options | self.needed | self.arguments(layer), arrays | self.constants)

    def read(self, module: Module) -> Layer:
        """The layer that computes what this module does."""
        for argument, value in self.needed.items():
            if module.options[argument] != value:
                raise ConfigError(f"{module} has no counterpart: {self.layer.__name__} is {argument}={value!r}")
        for name, theirs in self.arrays.items():
            if theirs not in module.arrays and theirs not in self.optional:
                raise ConfigError(f"{module} has no {theirs}: {self.layer.__name__} always learns its {name}")
        arrays: dict[str, Any] = {
            name: self._turned(theirs, module.arrays[theirs])
            for name, theirs in self.arrays.items()
            if theirs in module.arrays
        }
        for name, theirs in self.listed.items():
            arrays[name] = tuple(array for key, array in module.arrays.items() if key.startswith(f"{theirs}_"))
        settings = {name: module.options[argument] for name, argument in self.fields.items()}
        return self.layer(**settings, **self.settings(module), **arrays)

    @property
    def read_arguments(self) -> tuple[str, ...]:
        """The arguments of a module that `read` looks at."""
        return (*self.fields.values(), *self.needed, *self.reads)

    def _turned(self, theirs: str, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.T) if theirs in self.transposed else array


def _rows_axis(module: Module) -> Options:
    """Nothing, for a LayerNorm over the last axis; ConfigError over more."""
    shape = module.options["normalized_shape"]
    if len(shape) != 1:
        raise ConfigError(f"{module} has no counterpart: LayerNorm is over the last axis alone")
    return {}


def _straight_from(module: Module) -> Options:
    """Nothing, for a Softplus that is a straight line only where that changes no digit."""
    if module.options["threshold"] < LEAST_SOFTPLUS:
        raise ConfigError(f"{module} has no counterpart: Softplus needs a threshold of at least {LEAST_SOFTPLUS:g}")
    return {}


COUNTERPARTS = (
    Counterpart(
        Dense,
        "Linear",
        arrays={"W": "weight", "b": "bias"},
        transposed=("weight",),
        optional=("bias",),
        arguments=lambda d: {"in_features": d.W.shape[0], "out_features": d.W.shape[1], "bias": d.b is not None},
        settings=lambda m: {"units": m.arrays["weight"].shape[0], "use_bias": "bias" in m.arrays},
    ),
    Counterpart(
        BatchNorm,
        "BatchNorm1d",
        fields={"eps": "eps", "momentum": "momentum"},
        needed={"affine": True, "track_running_stats": True},
        arrays={"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"},
        constants={"num_batches_tracked": np.zeros((), np.int64)},
        arguments=lambda norm: {"num_features": len(norm.gamma)},
    ),
    Counterpart(
        LayerNorm,
        "LayerNorm",
        fields={"eps": "eps"},
        needed={"elementwise_affine": True},
        arrays={"gamma": "weight", "beta": "bias"},
        arguments=lambda norm: {"normalized_shape": norm.gamma.shape},
        reads=("normalized_shape",),
        settings=_rows_axis,
    ),
    Counterpart(
        Embedding,
        "Embedding",
        needed={"padding_idx": None, "max_norm": None, "scale_grad_by_freq": False},
        arrays={"table": "weight"},
        arguments=lambda layer: {"num_embeddings": layer.table.shape[0], "embedding_dim": layer.table.shape[1]},
        settings=lambda m: dict(zip(("n_categories", "units"), m.arrays["weight"].shape, strict=True)),
    ),
    Counterpart(
        PReLU, "PReLU", arrays={"slope": "weight"}, arguments=lambda layer: {"num_parameters": len(layer.slope)}
    ),
    Counterpart(Dropout, "Dropout", fields={"rate": "p"}),
    Counterpart(Flatten, "Flatten", needed={"start_dim": 1, "end_dim": -1}),
    Counterpart(Reshape, "Reshape", fields={"shape": "shape"}),
    Counterpart(
        ColumnEmbedding,
        "ColumnEmbedding",
        fields={"cardinalities": "cardinalities", "units": "units"},
        listed={"tables": "table"},
    ),
    Counterpart(PiecewiseEncoding, "PiecewiseEncoding", fields={"bins": "bins"}, arrays={"A": "A", "c": "c"}),
    Counterpart(
        PeriodicEncoding,
        "PeriodicEncoding",
        fields={name: name for name in ("waves", "scale", "columns")},
        arrays={"f": "f", "c": "c"},
    ),
    Counterpart(
        LaplaceBasis,
        "LaplaceBasis",
        fields={name: name for name in ("units", "width", "norm")},
        arrays={"v": "v", "c": "c"},
    ),
    Counterpart(Mixture, "Mixture", fields={"link": "link"}, arrays={"shares": "shares"}),
    Counterpart(Temperature, "Temperature", arrays={"T": "T"}),
    Counterpart(Ascending, "Ascending"),
    Counterpart(
        CumulativeLogit, "CumulativeLogit", fields={"n_classes": "n_classes"}, arrays={"thresholds": "thresholds"}
    ),
    Counterpart(Linear, "Identity"),
    Counterpart(Sigmoid, "Sigmoid"),
    Counterpart(Tanh, "Tanh"),
    Counterpart(ReLU, "ReLU"),
    Counterpart(LeakyReLU, "LeakyReLU", fields={"slope": "negative_slope"}),
    Counterpart(ELU, "ELU", fields={"alpha": "alpha"}),
    Counterpart(SELU, "SELU"),
    Counterpart(SiLU, "SiLU"),
    Counterpart(
        GELU,
        "GELU",
        arguments=lambda layer: {"approximate": "tanh" if layer.approximate else "none"},
        reads=("approximate",),
        settings=lambda m: {"approximate": m.options["approximate"] == "tanh"},
    ),
    Counterpart(Mish, "Mish"),
    Counterpart(
        Softplus,
        "Softplus",
        needed={"beta": 1.0},
        arguments=lambda layer: {"threshold": EXACT_SOFTPLUS},
        reads=("threshold",),
        settings=_straight_from,
    ),
    Counterpart(Softsign, "Softsign"),
    Counterpart(HardTanh, "Hardtanh", needed={"min_val": -1.0, "max_val": 1.0}),
    Counterpart(HardSigmoid, "Hardsigmoid"),
    Counterpart(HardSwish, "Hardswish"),
    Counterpart(Softmax, "Softmax", fields={"axis": "dim"}),
    Counterpart(LogSoftmax, "LogSoftmax", fields={"axis": "dim"}),
    Counterpart(GLU, "GLU", fields={"axis": "dim"}),
)
BY_LAYER = {pair.layer: pair for pair in COUNTERPARTS}
BY_MODULE = {pair.module: pair for pair in COUNTERPARTS}


def module_of(layer: Any, path: str = "") -> Module:
    """The module that computes what a filled layer does, children and all; ConfigError names the layer that has none.

    path  of the layer inside the network, for the message
    """
    place = f"{path} " if path else ""
    if type(layer) in CONTAINERS:
        children = tuple(module_of(part, join(path, inside)) for inside, part in _inside(layer))
        return Module(CONTAINERS[type(layer)], children=children)
    if not isinstance(layer, Layer):
        name = getattr(layer, "__name__", repr(layer))
        raise ConfigError(f"{place}{name} is a plain function, which has no counterpart: put a layer in its place")
    if type(layer) not in BY_LAYER:
        name = repr(recipe_of(layer))
        raise ConfigError(f"{place}{name} has no counterpart in torch.nn: write that layer as a module of your own")
    if not layer.is_filled:
        raise ConfigError(f"{place}{layer!r} has no weights yet: train it with fl.fit, or build it for an input")
    return BY_LAYER[type(layer)].write(layer)


def _inside(container: Any) -> list[tuple[str, Layer]]:
    """The parts of a container with their paths; an Ensemble ends with what mixes its members."""
    if isinstance(container, Ensemble):
        return [*((f"members.{i}", part) for i, part in enumerate(container.members)), ("mix", container.mix)]
    return [(f"layers.{i}", part) for i, part in enumerate(container.layers)]


def layer_of(module: Module, path: str = "") -> Layer:
    """The filled layer that computes what a module does, children and all.   path  in the state_dict"""
    for container, name in CONTAINERS.items():
        if module.name == name:
            parts: list[Any] = [layer_of(child, join(path, i)) for i, child in enumerate(module.children)]
            return Ensemble(*parts[:-1], mix=parts[-1]) if container is Ensemble else container(*parts)
    try:
        return BY_MODULE[module.name].read(module)
    except ConfigError as error:
        raise ConfigError(f"module {path}: {error}" if path else str(error)) from None


__all__ = ["BY_MODULE", "CONTAINERS", "COUNTERPARTS", "Counterpart", "Module", "layer_of", "module_of"]
