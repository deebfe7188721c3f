"""Schedule-free learning: the average of all steps instead of a rate that falls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.core.select import Where, select
from fallline.ops.arithmetic import astype, maximum
from fallline.ops.composite import lerp
from fallline.ops.transcendental import sqrt
from fallline.optim.average import weight_sum
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer, rate_of
from fallline.optim.schedules import Rate


@record
class ScheduleFreeAdamW(Optimizer):
    """z <- z - lr (g / (sqrt(v̂) + eps) + weight_decay y);  x <- x + c (z - x);  y <- beta1 x + (1-beta1) z

    Trained, and given to the network, is y; judged, kept and saved is x, the average of the z, of which z_t has the
    weight c_t = r_t² / Σ_{i<=t} r_i², r_t the highest rate so far. v̂ is that of Adam. No schedule is needed but a
    warm-up; BatchNorm keeps the running statistics that it had at y.

    where   what decays: None the weights (arrays with two axes or more), path patterns, or a predicate (path, leaf)
    source  Defazio et al. 2024 (arXiv:2405.15682), algorithm 1
    """

    learning_rate: Rate = setting(2.5e-3, at_least=0)
    beta1: float = setting(0.9, above=0, below=1)
    beta2: float = setting(0.999, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)
    weight_decay: float = setting(0.0, at_least=0)
    where: Where = None

    slots: ClassVar[tuple[str, ...]] = ("z", "v", "highest", "total")

    def start(self, param: Any) -> tuple[Any, ...]:
        number = np.zeros((), param.dtype)
        return np.array(param), np.zeros(param.shape, param.dtype), number, number.copy()

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        decaying = select(self.where, params, repr(self)) if self.weight_decay else set()
        new, after = {}, {}
        with np.errstate(all="ignore"):
            for path, y in params.items():
                rate, number = astype(rate_of(lr, path), y.dtype), astype(t, y.dtype)
                z, v, highest, total = (state[f"{slot}:{path}"] for slot in self.slots)
                v = lerp(v, grads[path] * grads[path], 1.0 - self.beta2)
                move = grads[path] / (sqrt((1.0 / weight_sum(self.beta2, number)) * v) + self.eps)
                move = move + self.weight_decay * y if path in decaying else move
                highest = maximum(highest, rate)
                total = total + highest * highest
                share = highest * highest / maximum(total, 1e-30)  # 0 as long as the rates are
                old, z = z, z - rate * move
                x = lerp(self.average(y, old), z, share)
                new[path] = lerp(z, x, self.beta1)
                after.update({f"{s}:{path}": a for s, a in zip(self.slots, (z, v, highest, total), strict=True)})
        return new, after

    def average(self, y: Any, z: Any) -> Any:
        """x, of y = beta1 x + (1-beta1) z."""
        return z + (y - z) / self.beta1

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        return {path: self.average(y, state[f"z:{path}"]) if f"z:{path}" in state else y for path, y in weights.items()}


__all__ = ["ScheduleFreeAdamW"]
