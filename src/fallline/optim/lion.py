"""Lion: the sign of a momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from fallline.core.record import record, setting
from fallline.core.select import Where
from fallline.ops.arithmetic import sign
from fallline.ops.composite import lerp
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.wrappers import decayed


@record
class Lion(Optimizer):
    """w <- w - lr (sign(beta1 m + (1-beta1) g) + weight_decay w);  m <- beta2 m + (1-beta2) g

    Every coordinate moves by lr, so lr is 3 to 10 times smaller than Adam's and weight_decay as much larger.
    where   what decays: None the weights (two axes or more), path patterns, or a predicate (path, leaf) -> bool
    source  Chen et al. 2023 (arXiv:2302.06675), algorithm 2
    """

    learning_rate: Rate = setting(1e-4, at_least=0)
    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.99, at_least=0, below=1)
    weight_decay: float = setting(0.0, at_least=0)
    where: Where = None

    slots: ClassVar[tuple[str, ...]] = ("m",)

    def step(self, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        return -lr * sign(lerp(m, g, 1.0 - self.beta1)), (lerp(m, g, 1.0 - self.beta2),)

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        params = decayed(params, lr, self.weight_decay, self.where, repr(self))
        return super().update(params, grads, state, lr=lr, t=t, context=context)


__all__ = ["Lion"]
