"""SVRG: stochastic gradients whose noise vanishes at the minimum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import floor, maximum
from fallline.ops.compare import less, where
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.sgd import SGD
from fallline.optim.wrappers import Inner, Keeper, chosen, joined

SNAPSHOT, FULL = "snapshot:", "full:"


@record
class SVRG(Keeper):
    """g <- dJ_B(w) - dJ_B(s) + dJ(s),  dJ_B the gradient on the batch, dJ on all rows, s weights of some epochs ago.

    Every (inner + 1)-th epoch, the first one included, w stands still: the epoch gathers dJ(s) at s = w. In the `inner`
    epochs after it the inner optimizer takes its steps. Near the minimum g is nearly free of noise, so that a constant
    rate arrives there; a step costs two gradients.

    batches  steps of an epoch; `fit` fills it in
    source   Johnson & Zhang 2013, "Accelerating stochastic gradient descent using predictive variance reduction"
    """

    optimizer: Optimizer = SGD()
    inner: int = setting(2, at_least=1)
    batches: float = setting(1.0, above=0)

    @property
    def looks_again(self) -> bool:
        return True

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        moving = self.inner / (1.0 + self.inner)
        return self.replace(optimizer=self.optimizer.for_run(batches, epochs * moving), batches=float(batches))

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        snapshot = {SNAPSHOT + path: np.array(p) for path, p in params.items()}
        return snapshot | {FULL + path: np.zeros(p.shape, p.dtype) for path, p in params.items()}

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        steps = math.ceil(self.batches)  # of one epoch
        rounds = floor((t - 1.0) / (steps * (1 + self.inner)))
        place = t - 1.0 - rounds * (steps * (1 + self.inner))
        first, gathering = less(place, 0.5), less(place, steps - 0.5)
        snapshot = {path: where(first, p, state[SNAPSHOT + path]) for path, p in params.items()}
        full = {path: where(first, 0.0, state[FULL + path]) for path in params}
        full = {path: where(gathering, full[path] + grads[path] / self.batches, full[path]) for path in params}
        there = context.gradient(snapshot, self)

        def reduced(g: Mapping[str, Any]) -> Arrays:
            return {path: g[path] - there[path] + full[path] for path in g}

        number = maximum(t - steps * (rounds + 1.0), 1.0)  # of the steps that move
        moved, inner = self.optimizer.update(
            params, reduced({path: grads[path] for path in params}), Inner(state), lr=lr, t=number,
            context=context.through(reduced),
        )  # fmt: skip
        own = {SNAPSHOT + path: a for path, a in snapshot.items()} | {FULL + path: a for path, a in full.items()}
        return chosen(gathering, params, moved), joined(own, chosen(gathering, Inner(state), inner))


__all__ = ["SVRG"]
