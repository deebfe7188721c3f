"""Noise in the gradients, which dies away."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from fallline.core.record import record, setting
from fallline.ops.arithmetic import astype
from fallline.ops.random import fold_in, new_key, normal
from fallline.optim.optimizer import Arrays, Context, Optimizer
from fallline.optim.sgd import SGD
from fallline.optim.wrappers import GradientWrapper

STREAM = 0x6E6F6973  # a number of its own, so that no layer draws the same random numbers


@record
class GradientNoise(GradientWrapper):
    """g <- g + N(0, σ²),  σ² = eta / (1 + t)^gamma,  t the steps so far: it helps out of shallow local minima.

    The numbers follow from the run's seed and the step, so a repeated run has the same ones.
    source  Neelakantan et al. 2015 (arXiv:1511.06807), eq. 1
    """

    optimizer: Optimizer = SGD()
    eta: float = setting(0.01, at_least=0)
    gamma: float = setting(0.55, at_least=0)

    def change(self, grads: Arrays, *, t: Any, context: Context) -> Arrays:
        key = fold_in(new_key(0), astype(t, "uint32")) if context.key is None else context.key
        own, noisy = fold_in(key, STREAM), {}
        for path, g in grads.items():
            deviation = (self.eta / astype(t, g.dtype) ** self.gamma) ** 0.5
            noisy[path] = g + deviation * normal(own, g.shape, crc32(path.encode()), g.dtype)
        return noisy

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1), eta=1e-12)


__all__ = ["GradientNoise"]
