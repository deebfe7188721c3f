"""Containers: layers made of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ConfigError, ShapeError
from fallline.core.record import record
from fallline.nn.dense import Dense
from fallline.nn.layer import Layer, count_parameters
from fallline.nn.run import EVAL, Run


class Chain(Layer):
    """What containers share: layers that are called one after the other, each on the output of the one before."""

    layers: tuple[Any, ...]

    def __init__(self, *args: Any, layers: tuple[Any, ...] = ()):
        object.__setattr__(self, "layers", (*args, *layers))
        self.__post_init__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(_text, self.layers))})"

    def validate(self) -> None:
        name = type(self).__name__
        for i, layer in enumerate(self.layers):
            if isinstance(layer, type):
                raise ConfigError(f"{name}: layer {i} is the class {layer.__name__}: write {layer.__name__}()")
            if not callable(layer):
                raise ConfigError(f"{name}: layer {i} is {layer!r}, expected a layer or a function: {name}(a, b, …)")

    def through(self, x: Any, run: Run) -> Any:
        """x after all layers."""
        if run.building is not None:
            self._note_hints(run.building.hints)
        for layer in self.layers:
            x = layer(x, run) if isinstance(layer, Layer) else layer(x)
        return x

    def _note_hints(self, hints: dict[int, str | None]) -> None:
        """For each layer the initializer that suits the activation after it, looking past norm and dropout."""
        suits = hints.get(id(self))
        for layer in reversed(self.layers):
            hints[id(layer)] = suits
            if not getattr(layer, "passes_on", False):
                suits = getattr(layer, "suits", None)


def _text(layer: Any) -> str:
    return getattr(layer, "__name__", repr(layer)) if not isinstance(layer, Layer) else repr(layer)


@record
class Sequential(Chain):
    """y = f_n(… f_2(f_1(x))): the layers one after the other; without layers y = x.

    A plain function of ops may stand among the layers; such a model trains, but cannot be written to a file.
    """

    layers: tuple[Any, ...] = ()
    __init__ = Chain.__init__

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return self.through(x, run)

    def features(self, x: Any) -> Any:
        """φ(x): what the last layer with parameters is given; the network is a linear (or other simple) model of it."""
        return self.body()(x)

    def body(self) -> Sequential:
        """The layers that make the features: those before the last layer with parameters, also inside a Sequential."""
        weighted = [i for i, layer in enumerate(self.layers) if count_parameters(layer)]
        # Ordered thresholds after the last Dense shape its scores: what that Dense is given are the features.
        weighted = [i for i in weighted if not getattr(self.layers[i], "passes_on", False)] or weighted
        if not weighted:
            raise ConfigError(
                f"{self!r} has no weights yet: build it first with layer.build(spec, rng), or train it with fl.fit"
            )
        last = self.layers[weighted[-1]]
        return Sequential(*self.layers[: weighted[-1]], *(last.body().layers if isinstance(last, Sequential) else ()))

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(Dense(units=4), cls(Dense(units=2))), rng.normal(size=(4, 3))


@record
class Residual(Chain):
    """y = x + f_n(… f_1(x)): the layers learn what to add to their input; both must have the same shape.

    source  He et al. 2016 (arXiv:1512.03385), eq. 1
    """

    layers: tuple[Any, ...] = ()
    __init__ = Chain.__init__

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        added = self.through(x, run)
        if added.shape != x.shape:
            raise ShapeError(
                f"the layers give {added.shape}, which cannot be added to {x.shape}: end with as many units as come in"
            )
        return x + added

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(Dense(units=3)), rng.normal(size=(4, 3))


__all__ = ["Residual", "Sequential"]
