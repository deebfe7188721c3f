"""Averaged weights: training goes on as before, and the average along the way is what is judged, kept and saved.

The running statistics of BatchNorm are averaged in the same way as the weights, as in PyTorch's AveragedModel with
use_buffers=True; no pass over the data is needed for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import astype, floor, maximum
from fallline.ops.compare import less, where
from fallline.ops.composite import lerp
from fallline.optim.adam import Adam
from fallline.optim.average import weight_sum
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.schedules import UNITS
from fallline.optim.sgd import SGD
from fallline.optim.wrappers import Inner, Keeper, joined

SLOT = "average:"


def floats(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Those that can be averaged."""
    return {path: array for path, array in arrays.items() if array.dtype.kind == "f"}


class Averaging(Keeper):
    """Keeps "average:path" of what the inner optimizer evaluates; before the first step it is that itself."""

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        return {SLOT + path: np.array(array) for path, array in floats(shown).items()}

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        new, inner = self.optimizer.update(params, grads, Inner(state), lr=lr, t=t, context=context)
        shown = self.optimizer.evaluated({**new, **context.buffers}, inner)
        own = {name: a for name, a in state.items() if name.startswith(SLOT)}
        own |= {SLOT + p: self.moved(own[SLOT + p], a, astype(t, a.dtype)) for p, a in shown.items() if SLOT + p in own}
        return new, joined(own, inner)

    def moved(self, average: Any, w: Any, t: Any) -> Any:
        """The average after step t has led to w."""
        raise TypeError(f"{type(self).__name__} must define moved(average, w, t)")

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        shown = super().evaluated(weights, state)
        return {path: state.get(SLOT + path, leaf) for path, leaf in shown.items()}


@record
class EMA(Averaging):
    """average <- average + (w - average) (1 - decay) / (1 - decay^t): judged and saved is the average, not w.

    The exponentially weighted average of w_1 … w_t with its bias corrected, as Adam's: a young average does not hang on
    to the starting weights. It reaches about 1 / (1 - decay) steps back.

    source  Polyak & Juditsky 1992; the correction: Kingma & Ba 2015 (arXiv:1412.6980), section 7.2
    """

    optimizer: Optimizer = Adam()
    decay: float = setting(0.999, at_least=0, below=1)

    def moved(self, average: Any, w: Any, t: Any) -> Any:
        return lerp(average, w, (1.0 - self.decay) / weight_sum(self.decay, t))

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1), decay=0.9)


@record
class SWA(Averaging):
    """average <- average + (w - average) / n for the n-th weights that are averaged: judged is their plain mean.

    after   when averaging begins: below 1 a part of the run, otherwise a number of units; until then w itself is judged
    every   units from one averaged w to the next
    unit    "epoch" or "step"
    A rate that stays high, constant or cyclic, lets the weights wander around the valley whose middle is wanted.
    source  Izmailov et al. 2018 (arXiv:1803.05407), algorithm 1
    """

    optimizer: Optimizer = SGD()
    after: float = setting(0.75, at_least=0)
    every: int = setting(1, at_least=1)
    unit: str = setting("epoch", choices=UNITS)

    aliases: ClassVar[tuple[str, ...]] = ("stochastic_weight_averaging",)

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        steps, each = math.ceil(batches) * epochs, math.ceil(batches) if self.unit == "epoch" else 1
        after = self.after * (steps if self.after < 1 else each)
        made = super().for_run(batches, epochs)
        return made.replace(after=float(max(1, round(after))), every=self.every * each, unit="step")

    def moved(self, average: Any, w: Any, t: Any) -> Any:
        since = t - math.ceil(self.after)
        turn = floor(since / self.every)
        due = less(since - self.every * turn, 0.5)
        share = where(less(since, 0.5), 1.0, where(due, 1.0 / (maximum(turn, 0.0) + 1.0), 0.0))
        return (1.0 - share) * average + share * w  # exactly w at 1, the old average at 0


__all__ = ["EMA", "SWA", "Averaging"]
