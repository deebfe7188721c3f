"""Accumulation: the gradients of several batches make one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import floor
from fallline.ops.compare import less
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.sgd import SGD
from fallline.optim.wrappers import Inner, Keeper, chosen, joined

SLOT = "sum:"


@record
class Accumulate(Keeper):
    """One step of the inner optimizer with the mean gradient of k batches: a batch k times as large, in pieces.

    In between the weights stand still. The inner optimizer counts its own steps; the rate is that of the last batch.
    Short last batches count by their size. A method that asks for a second gradient goes around it: SAM(Accumulate(…)).
    """

    optimizer: Optimizer = SGD()
    k: int = setting(2, at_least=1)

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        return {SLOT + path: np.zeros(p.shape, p.dtype) for path, p in params.items()}

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        return self.replace(optimizer=self.optimizer.for_run(max(1.0, batches / self.k), epochs))

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        steps = floor(t / self.k)
        due = less(t - self.k * steps, 0.5)
        total = {path: state[SLOT + path] + grads[path] for path in params}
        mean = {path: total[path] / self.k for path in params}
        # Computed in every step and used in every k-th: a program has no branches.
        moved, inner = self.optimizer.update(
            params, mean, Inner(state), lr=lr, t=floor((t - 1.0) / self.k) + 1.0, context=context
        )
        zeros = {path: np.zeros(g.shape, g.dtype) for path, g in total.items()}
        left = {SLOT + path: a for path, a in chosen(due, zeros, total).items()}
        return chosen(due, moved, params), joined(left, chosen(due, inner, Inner(state)))

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.2))


__all__ = ["Accumulate"]
