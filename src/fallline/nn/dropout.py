"""Dropout: random zeros in training, nothing otherwise."""

from __future__ import annotations

from typing import Any, ClassVar

from fallline.core.record import record, setting
from fallline.nn.layer import Layer
from fallline.nn.run import EVAL, Run
from fallline.ops.compare import less, where


@record
class Dropout(Layer):
    """y = x / (1 - rate) with probability 1 - rate, else 0, each entry by itself; so E[y] = x ("inverted" dropout).

    Outside training, and with rate 0, y = x.   x of any shape -> y of the same shape
    rate    the share of entries that are dropped, 0 <= rate < 1
    source  Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"
    """

    rate: float = setting(0.5, at_least=0, below=1)
    passes_on: ClassVar[bool] = True

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        if not run.training or self.rate == 0:
            return x
        keep = 1.0 - self.rate
        return where(less(run.uniform(x.shape, x.dtype), keep), x * (1.0 / keep), 0.0)


__all__ = ["Dropout"]
