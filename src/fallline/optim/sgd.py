"""Gradient descent: plain, with momentum, with Nesterov's momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from fallline.core.record import record, setting
from fallline.optim.optimizer import Optimizer
from fallline.optim.schedules import Rate


@record
class SGD(Optimizer):
    """w <- w - lr g

    With g from one row it is stochastic, from a few rows mini-batch, from all rows (batch) gradient descent.
    learning_rate  below 2 / (largest curvature) a quadratic falls at every step, above it grows
    source         Cauchy 1847; Robbins & Monro 1951
    """

    learning_rate: Rate = setting(0.01, at_least=0)

    aliases: ClassVar[tuple[str, ...]] = ("gradient_descent", "gd")

    def step(self, g: Any, *, lr: Any, t: Any) -> Any:
        return -lr * g, ()


@record
class Momentum(Optimizer):
    """v <- momentum v + g;  w <- w - lr v

    dampened  v <- momentum v + (1 - momentum) g, an average of gradients instead of a sum. Both go the same way when
              the rate of the first is (1 - momentum) times the rate of the second.
    source    Polyak 1964; the undampened form is PyTorch's and scikit-learn's (PyTorch's dampening spares the first
              gradient)
    """

    learning_rate: Rate = setting(0.01, at_least=0)
    momentum: float = setting(0.9, at_least=0, below=1)
    dampened: bool = False

    slots: ClassVar[tuple[str, ...]] = ("v",)

    def step(self, g: Any, v: Any, *, lr: Any, t: Any) -> Any:
        v = self.momentum * v + ((1.0 - self.momentum) * g if self.dampened else g)
        return -lr * v, (v,)


@record
class Nesterov(Optimizer):
    """v <- momentum v + g;  w <- w - lr (g + momentum v): the gradient is, in effect, taken one step ahead.

    source  Nesterov 1983, in the form of Sutskever et al. 2013 that PyTorch uses
    """

    learning_rate: Rate = setting(0.01, at_least=0)
    momentum: float = setting(0.9, at_least=0, below=1)

    slots: ClassVar[tuple[str, ...]] = ("v",)

    def step(self, g: Any, v: Any, *, lr: Any, t: Any) -> Any:
        v = self.momentum * v + g
        return -lr * (g + self.momentum * v), (v,)


@record
class Velocity(Optimizer):
    """v <- momentum v - lr g;  w <- w + v, or with nesterov w <- w + momentum v - lr g: the rate is in the velocity.

    At a constant rate the steps are those of Momentum and Nesterov; where the rate falls, older gradients keep the rate
    of their own step.
    source  Sutskever et al. 2013, eqs. 1 to 4, in the form that scikit-learn and Keras use
    """

    learning_rate: Rate = setting(0.01, at_least=0)
    momentum: float = setting(0.9, at_least=0, below=1)
    nesterov: bool = True

    slots: ClassVar[tuple[str, ...]] = ("v",)

    def step(self, g: Any, v: Any, *, lr: Any, t: Any) -> Any:
        v = self.momentum * v - lr * g
        return (self.momentum * v - lr * g if self.nesterov else v), (v,)


__all__ = ["SGD", "Momentum", "Nesterov", "Velocity"]
