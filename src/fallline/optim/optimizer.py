"""The base of all optimizers: it owns the trees, so that an optimizer is a formula for one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import Record
from fallline.ops.arithmetic import astype
from fallline.optim.schedules import Rate, checked_rate, rate_at

Arrays = dict[str, Any]  # path -> array or Value
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Context:
    """What an optimizer may ask for in a step besides the gradients.

    gradient_at  parameters by path -> dJ/dw there, on the same batch and with the same random numbers; what is asked
                 for becomes part of the step's program, and nothing else does
    buffers      the buffers of the network after this step (running statistics) by path
    key          the step's random key, uint32 (2,)
    """

    gradient_at: Callable[[Mapping[str, Any]], Arrays] | None = None
    buffers: Mapping[str, Any] = field(default_factory=lambda: NONE)
    key: Any = None

    def gradient(self, params: Mapping[str, Any], asked_by: Optimizer) -> Arrays:
        """dJ/dw at these parameters."""
        if self.gradient_at is None:
            raise ConfigError(f"{asked_by!r} needs the gradient at a second point: pass context=Context(gradient_at=…)")
        return self.gradient_at(params)

    def among(self, params: Mapping[str, Any]) -> Context:
        """The same for an optimizer that is told of some of these parameters alone: the others stay where they are."""
        ask = self.gradient_at
        return self if ask is None else replace(self, gradient_at=lambda some: ask({**params, **some}))

    def through(self, change: Callable[[Arrays], Arrays]) -> Context:
        """The same with every gradient changed, as a wrapper changes the one that it was given."""
        ask = self.gradient_at
        return self if ask is None else replace(self, gradient_at=lambda params: change(ask(params)))


ALONE = Context()


def rate_of(lr: Any, path: str) -> Any:
    """The learning rate of one parameter, of a rate for all of them or one for each."""
    return lr[path] if isinstance(lr, Mapping) else lr


class Minimizer(Record):
    """What `fit(optimizer=...)` takes: an Optimizer, a formula for a step from the gradient of one batch, or a Solver,
    a method that asks for the whole objective J(w) (optim/solver.py).

    uses_gradient  whether it needs dJ/dw; a network with a step function has none
    """

    uses_gradient: ClassVar[bool] = True


class Optimizer(Minimizer):
    """w <- w + delta,  (delta, slots) = step(gradient, *slots, lr=rate, t=step number).

    learning_rate  a number, a Schedule, its text ("cosine(0.1)"), or a function step -> rate. `step` does not read it:
                   the rate arrives there as data, so a schedule changes no program.
    slots          names of the arrays that are kept for each parameter, of its shape and dtype and 0 at first
                   (`start` says otherwise)

    A subclass writes `slots` and `step`. `step` is a pure function of one array, written in ops: it runs at once on
    arrays and becomes part of the training program on Values. lr and t have shape () and the parameter's dtype;
    t counts from 1.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    learning_rate: Rate

    step: ClassVar[Callable[..., tuple[Any, tuple[Any, ...]]]]  # (self, g, *slots, lr, t) -> (delta, new slots)

    def validate(self) -> None:
        object.__setattr__(self, "learning_rate", checked_rate(self.learning_rate, type(self).__name__))

    def start(self, param: Any) -> tuple[Any, ...]:
        """The slots of a parameter before the first step.   param: anything with shape and dtype"""
        return tuple(np.zeros(param.shape, param.dtype) for _ in self.slots)

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        """The same optimizer with everything that it counts in epochs, or in parts of the run, in steps.

        batches  steps to an epoch, a short last one counted by its size;  epochs  length of the run
        """
        return self

    def init(self, params: Mapping[str, Any], buffers: Mapping[str, Any] = NONE) -> Arrays:
        """The state before the first step: "slot:path" -> array.   params, buffers: of the network, by path"""
        return {
            f"{slot}:{path}": array
            for path, p in params.items()
            for slot, array in zip(self.slots, self.start(p), strict=True)
        }

    def update(
        self, params: Mapping[str, Any], grads: Mapping[str, Any], state: Mapping[str, Any], *, lr: Any, t: Any,
        context: Context = ALONE,
    ) -> tuple[Arrays, Arrays]:  # fmt: skip
        """(new parameters, new state) after step number t at rate lr.

        params, grads  path -> array, or path -> Value while a program is built;  state  as from `init`
        lr             one number, or path -> number
        """
        new_params, new_state = {}, {}
        with np.errstate(all="ignore"):  # as in a program: NaN and infinity are the trainer's to report
            for path, p in params.items():
                rate, number = astype(rate_of(lr, path), p.dtype), astype(t, p.dtype)
                old = [state[f"{slot}:{path}"] for slot in self.slots]
                delta, slots = self.step(grads[path], *old, lr=rate, t=number)
                new_params[path] = p + delta
                new_state.update({f"{slot}:{path}": array for slot, array in zip(self.slots, slots, strict=True)})
        return new_params, new_state

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        """The leaves that are judged, kept and saved: a method may train some weights and be judged by others.

        weights  the leaves of the trained network by path, parameters and buffers;  state  of the same step
        returns  the same paths, or with `members` those of an ensemble
        """
        return dict(weights)

    @property
    def members(self) -> tuple[int, ...]:
        """How many networks are judged together, "members.0" to "members.n-1", each of which may be an ensemble again.

        () is the one network itself.
        """
        return ()

    @property
    def looks_again(self) -> bool:
        """Whether `update` asks its context for gradients."""
        return False

    @property
    def schedule(self) -> Rate:
        """What the rate follows: `learning_rate`, unless a wrapper lays a curve of its own over it."""
        return self.learning_rate

    def rate_at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        """The learning rate of a step.   step counts from 0; history: the validation losses of the finished epochs"""
        return rate_at(self.schedule, step, steps_per_epoch=steps_per_epoch, epochs=epochs, history=history)

    def with_rate(self, learning_rate: Rate) -> Optimizer:
        """The same optimizer with another learning rate; a training program depends on `with_rate(0.0)` alone."""
        return self.replace(learning_rate=learning_rate)

    @classmethod
    def sample(cls) -> Optimizer:
        """The instance on which the contract tests run: its rate suits functions of curvature about 1."""
        return cls(learning_rate=0.1)  # type: ignore[call-arg]


__all__ = ["ALONE", "Arrays", "Context", "Minimizer", "Optimizer", "rate_of"]
