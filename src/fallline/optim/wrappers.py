"""Records around an optimizer: the bases of all of them; clipped gradients, decaying weights, frozen parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.core.select import Where, select
from fallline.ops.arithmetic import astype, maximum
from fallline.ops.compare import where
from fallline.ops.composite import clip, dot
from fallline.ops.transcendental import sqrt
from fallline.optim.optimizer import ALONE, NONE, Arrays, Context, Optimizer, rate_of
from fallline.optim.schedules import Rate
from fallline.optim.sgd import SGD
from fallline.optim.solver import as_minimizer


def decayed(params: Mapping[str, Any], lr: Any, weight_decay: float, where: Where, asked_by: str) -> Arrays:
    """w (1 - lr weight_decay) for the parameters that `where` means, the others as they are."""
    if not weight_decay:
        return dict(params)
    decaying = select(where, params, asked_by)
    keep = {path: 1.0 - astype(rate_of(lr, path), params[path].dtype) * weight_decay for path in decaying}
    return {path: p * keep[path] if path in keep else p for path, p in params.items()}


def inner_optimizer(given: Any, owner: str) -> Optimizer:
    """What a wrapper is put around, which may be given by name; ConfigError for a solver."""
    found = as_minimizer(given)
    if isinstance(found, Optimizer):
        return found
    raise ConfigError(
        f"{owner}({found!r}): a solver looks at all rows at once: give an optimizer of steps, such as adam"
    )


class Wrapper(Optimizer):
    """An optimizer around another: learning rate, state and evaluated weights are those of the inner one.

    A subclass that keeps arrays of its own is a `Keeper`, one that changes gradients a `GradientWrapper`.
    """

    optimizer: Optimizer

    def validate(self) -> None:
        """The learning rate is checked by the inner optimizer, which may be given by name."""
        object.__setattr__(self, "optimizer", inner_optimizer(self.optimizer, type(self).__name__))

    @property
    def learning_rate(self) -> Rate:  # type: ignore[override]
        return self.optimizer.learning_rate

    @property
    def schedule(self) -> Rate:
        return self.optimizer.schedule

    @property
    def looks_again(self) -> bool:
        return self.optimizer.looks_again

    def with_rate(self, learning_rate: Rate) -> Optimizer:
        return self.replace(optimizer=self.optimizer.with_rate(learning_rate))

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        return self.replace(optimizer=self.optimizer.for_run(batches, epochs))

    def init(self, params: Mapping[str, Any], buffers: Mapping[str, Any] = NONE) -> Arrays:
        return self.optimizer.init(params, buffers)

    @property
    def members(self) -> tuple[int, ...]:
        return self.optimizer.members

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        return self.optimizer.evaluated(weights, state)

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1))  # type: ignore[call-arg]


INNER = "inner."


class Inner(Mapping[str, Any]):
    """The part of a Keeper's state that is the inner optimizer's, under the names that it gave; nothing is read."""

    def __init__(self, state: Mapping[str, Any]):
        self._state = state

    def __getitem__(self, name: str) -> Any:
        return self._state[INNER + name]

    def __iter__(self) -> Iterator[str]:
        return (name[len(INNER) :] for name in self._state if name.startswith(INNER))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Keeper(Wrapper):
    """A wrapper with arrays of its own in the state: those of the inner optimizer are called "inner.slot:path"."""

    def begin(self, params: Mapping[str, Any], shown: Mapping[str, Any]) -> Arrays:
        """Its own arrays before the first step, "slot:path" -> array.   shown: what the inner optimizer evaluates"""
        raise TypeError(f"{type(self).__name__} must define begin(params, shown)")

    def init(self, params: Mapping[str, Any], buffers: Mapping[str, Any] = NONE) -> Arrays:
        inner = self.optimizer.init(params, buffers)
        shown = self.optimizer.evaluated({**params, **buffers}, inner)
        return joined(self.begin(params, shown), inner)

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        return self.optimizer.evaluated(weights, Inner(state))


def joined(own: Mapping[str, Any], inner: Mapping[str, Any]) -> Arrays:
    """The state of a Keeper from its own arrays and the inner optimizer's."""
    return {**own, **{INNER + name: array for name, array in inner.items()}}


def chosen(condition: Any, new: Mapping[str, Any], old: Mapping[str, Any]) -> Arrays:
    """The new arrays where the condition, one truth value, holds, else the old ones."""
    return {name: where(condition, new[name], array) for name, array in old.items()}


class GradientWrapper(Wrapper):
    """A wrapper that changes gradients, also those that an optimizer inside it asks for."""

    change: ClassVar[Callable[..., Arrays]]  # (self, grads, *, t, context) -> grads

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        def changed(found: Mapping[str, Any]) -> Arrays:
            with np.errstate(all="ignore"):
                return self.change(found, t=t, context=context)

        mine = changed({path: grads[path] for path in params})
        return self.optimizer.update(params, mine, state, lr=lr, t=t, context=context.through(changed))


@record
class ClipNorm(GradientWrapper):
    """g <- g min(1, max_norm / ‖g‖), ‖g‖ the norm over the gradients of all parameters together.

    source  Pascanu et al. 2013 (arXiv:1211.5063), algorithm 1; PyTorch divides by ‖g‖ + 1e-6
    """

    optimizer: Optimizer
    max_norm: float = setting(1.0, above=0)

    def change(self, grads: Arrays, *, t: Any, context: Context) -> Arrays:
        if not grads:
            return {}
        squares = [dot(g, g) for g in grads.values()]
        scale = self.max_norm / maximum(sqrt(sum(squares[1:], start=squares[0])), self.max_norm)
        return {path: g * scale for path, g in grads.items()}


@record
class ClipEach(GradientWrapper):
    """g <- g min(1, max_norm / ‖g‖) for the gradient of each parameter by itself.

    source  Yu et al. 2017 (arXiv:1707.04822): each block of gradients has a scale of its own
    """

    optimizer: Optimizer
    max_norm: float = setting(1.0, above=0)

    def change(self, grads: Arrays, *, t: Any, context: Context) -> Arrays:
        return {path: g * (self.max_norm / maximum(sqrt(dot(g, g)), self.max_norm)) for path, g in grads.items()}


@record
class ClipValue(GradientWrapper):
    """g <- min(max(g, -limit), limit), entry by entry; unlike ClipNorm it changes the direction."""

    optimizer: Optimizer
    limit: float = setting(1.0, above=0)

    def change(self, grads: Arrays, *, t: Any, context: Context) -> Arrays:
        return {path: clip(g, -self.limit, self.limit) for path, g in grads.items()}


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

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        params = decayed(params, lr, self.weight_decay, self.where, repr(self))
        return self.optimizer.update(params, grads, state, lr=lr, t=t, context=context)


@record
class PathRate(Wrapper):
    """lr <- factor · lr for some parameters, as in fine-tuning: a smaller rate for the layers that are good already.

    where  which ones: None the weights (two axes or more), a path pattern such as "layers.0.*", a tuple of them, or a
           predicate (path, leaf) -> bool
    """

    optimizer: Optimizer
    factor: float = setting(0.1, at_least=0)
    where: Where = None

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        scaled = select(self.where, params, repr(self))
        rates = {path: rate_of(lr, path) * self.factor if path in scaled else rate_of(lr, path) for path in params}
        return self.optimizer.update(params, grads, state, lr=rates, t=t, context=context)


@record
class Freeze(Wrapper):
    """Some parameters stay as they are; the optimizer neither sees them nor keeps slots for them.

    where  what is frozen: a path pattern such as "layers.0.*", a tuple of them, or a predicate (path, leaf) -> bool
    """

    optimizer: Optimizer
    where: Where

    def init(self, params: Mapping[str, Any], buffers: Mapping[str, Any] = NONE) -> Arrays:
        frozen = self._frozen(params)
        return self.optimizer.init({path: p for path, p in params.items() if path not in frozen}, buffers)

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        frozen = self._frozen(params)
        moving = {path: p for path, p in params.items() if path not in frozen}
        moved, new_state = self.optimizer.update(moving, grads, state, lr=lr, t=t, context=context.among(params))
        return {path: moved.get(path, p) for path, p in params.items()}, new_state

    def _frozen(self, params: Mapping[str, Any]) -> set[str]:
        return select(self.where, params, repr(self))

    @classmethod
    def sample(cls) -> Optimizer:
        return cls(SGD(learning_rate=0.1), where=())


__all__ = [
    "ClipEach",
    "ClipNorm",
    "ClipValue",
    "Decay",
    "Freeze",
    "GradientWrapper",
    "Inner",
    "Keeper",
    "PathRate",
    "Wrapper",
    "joined",
]
