"""Lookahead: k steps forward, one step back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import astype, floor
from fallline.ops.compare import less, where
from fallline.ops.composite import lerp
from fallline.optim.adam import Adam
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.wrappers import Inner, Keeper, joined

SLOT = "slow:"


@record
class Lookahead(Keeper):
    """Every k steps of the inner optimizer:  slow <- slow + alpha (w - slow);  w <- slow. Judged are the slow weights.

    The inner optimizer keeps its averages where w goes back.
    source  Zhang et al. 2019 (arXiv:1907.08610), algorithm 1
    """

    optimizer: Optimizer = Adam()
    k: int = setting(5, at_least=1)
    alpha: float = setting(0.5, above=0, at_most=1)

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        return {SLOT + path: np.array(p) for path, p in params.items()}

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        fast, inner = self.optimizer.update(params, grads, Inner(state), lr=lr, t=t, context=context)
        new, own = {}, {}
        for path, w in fast.items():
            number, slow = astype(t, w.dtype), state[SLOT + path]
            due = less(number - self.k * floor(number / self.k), 0.5)
            own[SLOT + path] = where(due, lerp(slow, w, self.alpha), slow)
            new[path] = where(due, own[SLOT + path], w)
        return new, joined(own, inner)

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        slow = {path: state.get(SLOT + path, leaf) for path, leaf in weights.items()}
        return super().evaluated(slow, state)

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(Adam(learning_rate=0.1))


__all__ = ["Lookahead"]
