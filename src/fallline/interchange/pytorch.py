"""to_torch and from_torch: a network as a module of PyTorch, and back."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.interchange.counterparts import BY_MODULE, CONTAINERS, Module, layer_of, module_of
from fallline.losses.loss import Loss
from fallline.losses.regression import GaussianNLL, Quantile
from fallline.nn.layer import Layer, network_of
from fallline.train.model import Model

LINK_MODULES: dict[str, Module | None] = {
    "identity": None,
    "sigmoid": Module("Sigmoid"),
    "softmax": Module("Softmax", {"dim": -1}),
    "exp": Module("Exp"),
}
PRECISIONS = ("float32", "float64")


def to_torch(model: Any, *, link: bool = False) -> Any:
    """The network as a torch.nn.Module in evaluation mode, with its own copy of the weights, in their precision.

        net = fl.to_torch(fit.model);  net(torch.from_numpy(X)) == fit.model.scores(X)

    model   a filled layer, what `fit` returns, or a fitted estimator. Sequential becomes nn.Sequential, Dense nn.Linear
            (weight = Wᵀ), BatchNorm nn.BatchNorm1d, and so on; momentum, eps and the running statistics mean the same
            in both. What torch.nn does not have (Ensemble, ColumnEmbedding …) is a module of `fallline.interchange`.
    link    True puts the link of the model's loss behind the network (sigmoid, softmax, exp) and a standardised target
            back into its unit, so that it gives what predict and predict_proba are made of. It is left out otherwise:
            torch's losses take scores too.
    The module reads what the network reads: rows (batch, n_in), as floats of the weights' dtype; of a model that was
    trained on a table what `model.inputs(table)` gives, which with embedded categories is a pair (numbers, codes). A
    batch (b,) is a column only here: give torch (b, 1). nn.BatchNorm1d and nn.PReLU have their features on axis 1,
    which is the last one of rows.
    raises  ConfigError for a layer that torch.nn does not have, by its path, and without PyTorch
    """
    described = _with_link(model) if link else module_of(_network(model))
    return _made(described, _torch("to_torch")).eval()


def torch_state(model: Any) -> dict[str, np.ndarray]:
    """The arrays of `to_torch(model).state_dict()` by their names there ("0.weight"); PyTorch is not needed."""
    return module_of(_network(model)).state()


def from_torch(module: Any) -> Layer:
    """The filled network that computes what a module of PyTorch does: nn.Sequential of nn.Linear and the like.

    The weights are copied, in float32 or float64; `fl.fit` goes on training them, and a loss makes a model of it. The
    network ends with the scores: leave a closing nn.Softmax or nn.Sigmoid out where fit's loss has that link. A module
    that stands in two places becomes two layers.
    raises  ConfigError for a module that no layer computes, by its name in the state_dict, and without PyTorch
    """
    torch = _torch("from_torch")
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"from_torch reads a torch.nn.Module, given {type(module).__name__}")
    return layer_of(_described(module, torch, ""))


def _network(model: Any) -> Layer:
    network = network_of(model)
    if not isinstance(network, Layer):
        raise ConfigError(f"expected a network or a trained model, given {type(model).__name__}")
    return network


def _torch(caller: str) -> Any:
    try:
        import torch
    except ImportError:
        raise ConfigError(f"fl.{caller} needs PyTorch, which is not installed here: pip install torch") from None
    return torch


def _own_modules() -> Any:
    """The file of the modules that torch.nn does not have, which cannot be loaded without PyTorch."""
    return importlib.import_module("fallline.interchange.modules")


def _with_link(model: Any) -> Module:
    """The network, its link, and the unit of the target."""
    model = getattr(model, "model_", model)
    model = getattr(model, "model", model)
    if not isinstance(model, Model):
        raise ConfigError(f"link=True needs a trained model, given {type(model).__name__}: a network has no link")
    parts = [module_of(model.network), _link(model.loss)]
    if not model.classes and (np.any(np.not_equal(model.target.scale, 1.0)) or np.any(model.target.mean)):
        parts.append(Module("Affine", {"scale": model.target.scale, "mean": model.target.mean}))
    return Module("Sequential", children=tuple(part for part in parts if part is not None))


def _link(loss: Loss) -> Module | None:
    """The module that makes predictions of scores; None where they are the scores."""
    if type(loss).predict is Loss.predict:
        return LINK_MODULES[loss.link]
    if isinstance(loss, Quantile):
        return Module("Sorted") if isinstance(loss.q, tuple) else None
    if isinstance(loss, GaussianNLL):
        return Module("Means") if loss.sigma is None else None
    name = type(loss).__name__
    raise ConfigError(f"{name} makes its predictions in a way of its own: leave link=True out, and use loss.predict")


def _made(described: Module, torch: Any) -> Any:
    """The module of PyTorch, its arrays in place."""
    make = getattr(torch.nn, described.name, None) or getattr(_own_modules(), described.name)
    module = make(*(_made(child, torch) for child in described.children), **described.options)
    for name, array in described.arrays.items():
        tensor = torch.tensor(array)
        known = getattr(module, name)
        setattr(module, name, torch.nn.Parameter(tensor) if isinstance(known, torch.nn.Parameter) else tensor)
    return module


def _described(module: Any, torch: Any, path: str) -> Module:
    """The module as plain data; ConfigError for one that is not known, or has no weights that can be read."""
    name = _known_name(module, torch)
    place = f"module {path}: " if path else ""
    if name is None:
        what = type(module).__name__
        raise ConfigError(f"{place}no layer computes what {what} does: from_torch reads nn.Sequential of {_readable()}")
    if name in CONTAINERS.values():
        inside = enumerate(module)
        children = tuple(_described(child, torch, f"{path}.{i}" if path else str(i)) for i, child in inside)
        return Module(name, children=children)
    options = {argument: getattr(module, argument) for argument in BY_MODULE[name].read_arguments}
    tensors = dict([*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)])
    return Module(name, options, {key: _array(tensor, f"{place}{name}.{key}") for key, tensor in tensors.items()})


def _known_name(module: Any, torch: Any) -> str | None:
    """The module of the table that this one is, or derives from without another `forward`."""
    for cls in type(module).__mro__:
        home = torch.nn if cls.__module__.startswith("torch.nn.") else _own_modules()
        known = cls.__name__ in BY_MODULE or cls.__name__ in CONTAINERS.values()
        if known and getattr(home, cls.__name__, None) is cls:
            return cls.__name__ if type(module).forward is cls.forward else None
    return None


def _readable() -> str:
    return ", ".join(name for name in BY_MODULE if name not in _own_modules().__all__)


def _array(tensor: Any, name: str) -> np.ndarray:
    """A copy of a tensor's numbers."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if type(tensor).__name__.startswith("Uninitialized"):
        raise ConfigError(f"{name} has no numbers yet: call the lazy module once on a batch")
    if tensor.is_floating_point() and kind not in PRECISIONS:
        raise ConfigError(f"{name} is {kind}: give module.float() or module.double()")
    return tensor.detach().cpu().numpy().copy()


__all__ = ["from_torch", "to_torch", "torch_state"]
