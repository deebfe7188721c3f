"""Normalisation: over the batch, and over the features of each row."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Array, buffer, param, record, setting
from fallline.nn.layer import Layer, param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops.composite import lerp, mean, square
from fallline.ops.transcendental import sqrt


@record
class BatchNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, per feature.   x (batch, …, n) -> y of the same shape

    Training uses mean and (biased) variance of the batch, over all axes but the last, and moves the running ones:

        mean <- (1 - momentum) mean + momentum · batch mean
        var  <- (1 - momentum) var  + momentum · batch variance · rows / (rows - 1)      (unbiased, as in PyTorch)

    Evaluation uses the running ones. So does training on a batch of one row, which has no variance.
    source  Ioffe & Szegedy 2015 (arXiv:1502.03167), algorithms 1 and 2
    """

    momentum: float = setting(0.1, at_least=0, at_most=1)
    eps: float = setting(1e-5, above=0)
    gamma: Array = param()  # (n,)
    beta: Array = param()  # (n,)
    mean: Array = buffer()  # (n,)
    var: Array = buffer()  # (n,)
    passes_on: ClassVar[bool] = True

    def build(self, x: Any, rng: np.random.Generator) -> BatchNorm:
        dtype, n = param_dtype(x), x.shape[-1]
        learned = {"gamma": np.ones(n, dtype), "beta": np.zeros(n, dtype)}
        return self.replace(**learned, mean=np.zeros(n, dtype), var=np.ones(n, dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        rows = math.prod(x.shape[:-1])
        if not run.training or rows == 1:
            return (x - self.mean) * (self.gamma / sqrt(self.var + self.eps)) + self.beta
        axes = tuple(range(x.ndim - 1))
        batch_mean = mean(x, axis=axes)
        centred = x - batch_mean
        batch_var = mean(square(centred), axis=axes)
        run.update(self, "mean", lerp(self.mean, batch_mean, self.momentum))
        run.update(self, "var", lerp(self.var, batch_var * (rows / (rows - 1)), self.momentum))
        return centred * (self.gamma / sqrt(batch_var + self.eps)) + self.beta


@record
class LayerNorm(Layer):
    """y = gamma (x - mean) / sqrt(var + eps) + beta, mean and (biased) variance over the last axis of each row.

    x (batch, …, n) -> y of the same shape; training and evaluation do the same.
    source  Ba et al. 2016 (arXiv:1607.06450), eq. 4
    """

    eps: float = setting(1e-5, above=0)
    gamma: Array = param()  # (n,)
    beta: Array = param()  # (n,)
    passes_on: ClassVar[bool] = True

    def build(self, x: Any, rng: np.random.Generator) -> LayerNorm:
        dtype, n = param_dtype(x), x.shape[-1]
        return self.replace(gamma=np.ones(n, dtype), beta=np.zeros(n, dtype))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        centred = x - mean(x, axis=-1, keepdims=True)
        return centred / sqrt(mean(square(centred), axis=-1, keepdims=True) + self.eps) * self.gamma + self.beta


__all__ = ["BatchNorm", "LayerNorm"]
