"""Snapshot ensembles: one run visits several minima, and their networks answer together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import astype, floor, maximum, minimum
from fallline.ops.compare import less, where
from fallline.optim.curves import CosineCycles
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.sgd import SGD, Nesterov
from fallline.optim.wrappers import Inner, Keeper, joined

TAKEN = "taken:"


@record
class Snapshots(Keeper):
    """Keeps the weights at the end of each of `cycles` cycles of the rate, and judges and saves their mean prediction.

    A rate that is a plain number falls along a cosine in each cycle and starts again from the top (`CosineCycles`);
    a schedule of one's own is taken as it is. Until the first cycle ends the present weights are judged. The model is
    an `Ensemble` of the networks so far: of probabilities the mean is taken, not of scores.

    period  steps of a cycle; None is the run in equal parts
    source  Huang et al. 2017 (arXiv:1704.00109), section 3
    """

    optimizer: Optimizer = Nesterov(0.1)
    cycles: int = setting(5, at_least=1)
    period: int | None = setting(None, at_least=1)

    aliases: ClassVar[tuple[str, ...]] = ("snapshot_ensemble",)

    @property
    def schedule(self) -> Rate:
        rate = self.optimizer.schedule
        return CosineCycles(rate, self.cycles) if isinstance(rate, (int, float)) else rate

    @property
    def members(self) -> tuple[int, ...]:
        return (self.cycles, *self.optimizer.members)

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        made = super().for_run(batches, epochs)
        steps = int(np.ceil(batches) * epochs)
        return made if self.period else made.replace(period=max(1, steps // self.cycles))

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        kept = {f"member{k}:{path}": np.array(leaf) for path, leaf in shown.items() for k in range(self.cycles)}
        return {TAKEN + path: np.zeros((), leaf.dtype) for path, leaf in params.items()} | kept

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        new, inner = self.optimizer.update(params, grads, Inner(state), lr=lr, t=t, context=context)
        shown = self.optimizer.evaluated({**new, **context.buffers}, inner)
        period = self.period or 1
        own = {}
        for name, old in state.items():
            slot, _, path = name.partition(":")
            if slot == "taken":
                own[name] = minimum(floor(astype(t, old.dtype) / period), float(self.cycles))
            elif slot.startswith("member"):
                over = less(period * (int(slot[len("member") :]) + 1) + 0.5, t)  # its cycle ended before this step
                own[name] = where(over, old, shown.get(path, old))
        return new, joined(own, inner)

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        shown = super().evaluated(weights, state)
        taken = next((array for name, array in state.items() if name.startswith(TAKEN)), np.zeros(()))
        dtype = next((leaf.dtype for leaf in shown.values() if leaf.dtype.kind == "f"), np.dtype("float64"))
        count = maximum(astype(taken, dtype), 1.0)
        shares = where(less(np.arange(self.cycles).astype(dtype), count), 1.0 / count, 0.0)
        kept = {
            f"members.{k}.{path}": state.get(f"member{k}:{path}", leaf)
            for k in range(self.cycles)
            for path, leaf in shown.items()
        }
        return kept | {"mix.shares": shares}

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.5), cycles=2)


__all__ = ["Snapshots"]
