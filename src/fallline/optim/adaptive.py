"""Rates that adapt to the size of each gradient: AdaGrad, RMSProp."""

from __future__ import annotations

from typing import Any, ClassVar

from fallline.core.record import record, setting
from fallline.ops.composite import lerp
from fallline.ops.transcendental import sqrt
from fallline.optim.optimizer import Optimizer
from fallline.optim.schedules import Rate


@record
class AdaGrad(Optimizer):
    """s <- s + g²;  w <- w - lr g / (sqrt(s) + eps)

    The first step is lr in every coordinate, and steps shrink like 1 / sqrt(t).
    source  Duchi et al. 2011
    """

    learning_rate: Rate = setting(0.01, at_least=0)
    eps: float = setting(1e-10, above=0)

    slots: ClassVar[tuple[str, ...]] = ("s",)

    def step(self, g: Any, s: Any, *, lr: Any, t: Any) -> Any:
        s = s + g * g
        return -lr * g / (sqrt(s) + self.eps), (s,)


@record
class RMSProp(Optimizer):
    """s <- beta2 s + (1 - beta2) g²;  w <- w - lr g / (sqrt(s) + eps)

    The first step is lr / sqrt(1 - beta2) in every coordinate whatever the size of the gradient: 3.1623 lr for 0.9.
    source  Hinton 2012, lecture 6e of "Neural networks for machine learning" (unpublished)
    """

    learning_rate: Rate = setting(1e-3, at_least=0)
    beta2: float = setting(0.9, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)

    slots: ClassVar[tuple[str, ...]] = ("s",)

    def step(self, g: Any, s: Any, *, lr: Any, t: Any) -> Any:
        s = lerp(s, g * g, 1.0 - self.beta2)
        return -lr * g / (sqrt(s) + self.eps), (s,)


__all__ = ["AdaGrad", "RMSProp"]
