"""Records around an optimizer: clipped gradients, decaying weights, frozen parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fallline.core.record import as_record, record, setting
from fallline.core.select import Where, select
from fallline.ops.arithmetic import astype, maximum
from fallline.ops.composite import clip, dot
from fallline.ops.transcendental import sqrt
from fallline.optim.optimizer import Arrays, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.sgd import SGD


def decayed(params: Mapping[str, Any], lr: Any, weight_decay: float, where: Where, asked_by: str) -> Arrays:
    """w (1 - lr weight_decay) for the parameters that `where` means, the others as they are."""
    if not weight_decay:
        return dict(params)
    chosen = select(where, params, asked_by)
    return {path: p * (1.0 - astype(lr, p.dtype) * weight_decay) if path in chosen else p for path, p in params.items()}


class Wrapper(Optimizer):
    """An optimizer around another: learning rate and state are those of the inner one."""

    optimizer: Optimizer

    def validate(self) -> None:
        """The learning rate is checked by the inner optimizer, which may be given by name."""
        object.__setattr__(self, "optimizer", as_record(self.optimizer, Optimizer))

    @property
    def learning_rate(self) -> Rate:  # type: ignore[override]
        return self.optimizer.learning_rate

    def with_rate(self, learning_rate: Rate) -> Optimizer:
        return self.replace(optimizer=self.optimizer.with_rate(learning_rate))

    def init(self, params: Mapping[str, Any]) -> Arrays:
        return self.optimizer.init(params)

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1))  # type: ignore[call-arg]


@record
class ClipNorm(Wrapper):
    """g <- g min(1, max_norm / ‖g‖), ‖g‖ the norm over the gradients of all parameters together.

    source  Pascanu et al. 2013 (arXiv:1211.5063), algorithm 1; PyTorch divides by ‖g‖ + 1e-6
    """

    optimizer: Optimizer
    max_norm: float = setting(1.0, above=0)

    def update(self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any) -> tuple[Arrays, Arrays]:
        with np.errstate(all="ignore"):
            squares = [dot(grads[path], grads[path]) for path in params]
            scale = self.max_norm / maximum(sqrt(sum(squares[1:], start=squares[0])), self.max_norm) if squares else 1.0
            clipped = {path: grads[path] * scale for path in params}
        return self.optimizer.update(params, clipped, state, lr=lr, t=t)


@record
class ClipValue(Wrapper):
    """g <- min(max(g, -limit), limit), entry by entry; unlike ClipNorm it changes the direction."""

    optimizer: Optimizer
    limit: float = setting(1.0, above=0)

    def update(self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any) -> tuple[Arrays, Arrays]:
        clipped = {path: clip(grads[path], -self.limit, self.limit) for path in params}
        return self.optimizer.update(params, clipped, state, lr=lr, t=t)


@record
class Decay(Wrapper):
    """w <- w (1 - lr weight_decay), then the optimizer's step: `Decay(Adam())` is AdamW.

    where   what decays: None the weights (arrays with two axes or more), a path pattern such as "*.W", a tuple of them,
            or a predicate (path, leaf) -> bool
    source  Loshchilov & Hutter 2019 (arXiv:1711.05101)
    """

    optimizer: Optimizer
    weight_decay: float = setting(0.01, at_least=0)
    where: Where = None

    def update(self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any) -> tuple[Arrays, Arrays]:
        return self.optimizer.update(
            decayed(params, lr, self.weight_decay, self.where, repr(self)), grads, state, lr=lr, t=t
        )


@record
class Freeze(Wrapper):
    """Some parameters stay as they are; the optimizer neither sees them nor keeps slots for them.

    where  what is frozen: a path pattern such as "layers.0.*", a tuple of them, or a predicate (path, leaf) -> bool
    """

    optimizer: Optimizer
    where: Where

    def init(self, params: Mapping[str, Any]) -> Arrays:
        frozen = self._frozen(params)
        return self.optimizer.init({path: p for path, p in params.items() if path not in frozen})

    def update(self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any) -> tuple[Arrays, Arrays]:
        frozen = self._frozen(params)
        moving = {path: p for path, p in params.items() if path not in frozen}
        moved, new_state = self.optimizer.update(moving, grads, state, lr=lr, t=t)
        return {path: moved.get(path, p) for path, p in params.items()}, new_state

    def _frozen(self, params: Mapping[str, Any]) -> set[str]:
        return select(self.where, params, repr(self))

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1), where=())


__all__ = ["ClipNorm", "ClipValue", "Decay", "Freeze"]
