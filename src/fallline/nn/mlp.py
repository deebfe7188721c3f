"""mlp: the multi-layer network, each of its design choices one keyword."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import as_record
from fallline.core.registry import nearest
from fallline.nn.containers import Sequential
from fallline.nn.dense import Dense
from fallline.nn.dropout import Dropout
from fallline.nn.initializers import Initializer
from fallline.nn.layer import Layer
from fallline.nn.norm import BatchNorm, LayerNorm

NORMS = {"batch": BatchNorm, "layer": LayerNorm}


def mlp(
    hidden: int | Sequence[int] = (64,),
    n_outputs: int = 1,
    activation: str | Layer | Callable[..., Any] = "relu",
    *,
    norm: str | None = None,
    dropout: float = 0.0,
    init: str | Initializer = "auto",
    bias_init: str | Initializer = "zeros",
    output_init: str | Initializer | None = None,
    features: str | Layer | None = None,
) -> Sequential:
    """The recipe features, (Dense, norm, activation, dropout) for each hidden layer, Dense(n_outputs).

    The number of inputs is that of the data: it is found when the network is built, in `fl.fit`.
    hidden      units of each hidden layer; () is a linear model, with the loss for it (multinomial) logistic or linear
                regression; a number is one hidden layer
    n_outputs   scores a row: 1 for a number or two classes, else one a class; the loss makes predictions of them
    activation  after each hidden layer: a layer, its name ("tanh", "leaky_relu(0.1)"), or a function of ops
    norm        None, "batch" or "layer", in front of the activation
    dropout     share of the hidden units that is switched off at each step
    init        of all weights; "auto" suits the activation.   output_init  of the last layer's, where it differs
    bias_init   of the hidden biases; "normal(2)" lets units bend at different places from the start
    features    a fixed map of the inputs in front: "poly(3)", "rbf(200)", RadialBasis.from_rows(X, 50)
    """
    if norm is not None and norm not in NORMS:
        raise ConfigError(f"norm={norm!r}: {nearest(str(norm), NORMS)}, or None")
    layers: list[Any] = [] if features is None else [as_record(features, Layer)]
    for units in (hidden,) if isinstance(hidden, (int, np.integer)) else hidden:
        layers.append(Dense(units, init=init, bias_init=bias_init))
        layers += [NORMS[norm]()] if norm else []
        layers.append(_activation(activation))
        layers += [Dropout(dropout)] if dropout else []
    return Sequential(*layers, Dense(n_outputs, init=init if output_init is None else output_init))


def _activation(activation: Any) -> Any:
    """The layer, or the plain function as it is."""
    plain = callable(activation) and not isinstance(activation, (type, Layer))
    return activation if plain else as_record(activation, Layer)


__all__ = ["mlp"]
