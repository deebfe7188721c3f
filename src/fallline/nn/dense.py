"""Dense: the layer in which every output depends on every input."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.errors import ShapeError
from fallline.core.record import Array, param, record, setting
from fallline.nn.initializers import Initializer, initializer
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.linalg import matmul
from fallline.ops.shape import reshape


@record
class Dense(Layer):
    """y = x W + b.   x (batch, n_in) -> y (batch, units)

    Further axes between batch and n_in are kept. A batch (b,) is read as b rows of one number, (b, 1).
    init       an initializer of W or its name; "auto" is glorot, and in a container what suits the activation after it
    bias_init  that of b; spread biases ("normal(2)") let units bend at different places from the start
    """

    units: int = setting(at_least=1)
    use_bias: bool = True
    init: str | Initializer = "auto"
    bias_init: str | Initializer = "zeros"
    W: Array = param()  # (n_in, units)
    b: Array = param()  # (units,)

    def validate(self) -> None:
        initializer(self.init)
        initializer(self.bias_init)

    def build(self, x: Any, rng: np.random.Generator) -> Dense:
        dtype, n_in = param_dtype(x), features_of(x, "Dense")
        W = initializer(self.init).draw((n_in, self.units), n_in, self.units, rng)
        if not self.use_bias:
            return self.replace(W=W.astype(dtype))
        b = initializer(self.bias_init, "zeros").draw((self.units,), n_in, self.units, rng)
        return self.replace(W=W.astype(dtype), b=b.astype(dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        y = matmul(as_rows(x, self.W), self.W)
        return y if self.b is None else y + self.b

    @classmethod
    def sample(cls, rng: np.random.Generator) -> tuple[Layer, Any]:
        return cls(units=3), rng.normal(size=(4, 5))


def features_of(x: Any, name: str) -> int:
    """The length of the last axis; 1 for a batch of single numbers."""
    if not x.shape:
        raise ShapeError(f"{name} takes (batch, n_in), given a single number: put it in an array of shape (1, 1)")
    return 1 if x.ndim == 1 else x.shape[-1]


def as_rows(x: Any, W: Any) -> Any:
    """x, with a batch of single numbers (b,) as the column (b, 1)."""
    if isinstance(x, tuple):
        raise ShapeError(
            f"one array is read, given a tuple of {len(x)}: give X and y apart, or a layer that joins arrays"
        )
    if x.ndim != 1:
        return x
    if W.shape[0] != 1:
        n = x.shape[0]
        raise ShapeError(
            f"one axis is read as {n} rows of one number, the weights take {W.shape[0]}: for one row give x[None, :]"
        )
    return reshape(x, (x.shape[0], 1))


__all__ = ["Dense"]
