"""The base of all optimizers: it owns the trees, so that an optimizer is a formula for one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Record
from fallline.ops.arithmetic import astype
from fallline.optim.schedules import Rate, checked_rate, rate_at

Arrays = dict[str, Any]  # path -> array or Value


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

    def init(self, params: Mapping[str, Any]) -> Arrays:
        """The state before the first step: "slot:path" -> array."""
        return {
            f"{slot}:{path}": array
            for path, p in params.items()
            for slot, array in zip(self.slots, self.start(p), strict=True)
        }

    def update(
        self, params: Mapping[str, Any], grads: Mapping[str, Any], state: Mapping[str, Any], *, lr: Any, t: Any
    ) -> tuple[Arrays, Arrays]:
        """(new parameters, new state) after step number t at rate lr.

        params, grads  path -> array, or path -> Value while a program is built;  state  as from `init`
        """
        new_params, new_state = {}, {}
        with np.errstate(all="ignore"):  # as in a program: NaN and infinity are the trainer's to report
            for path, p in params.items():
                rate, number = astype(lr, p.dtype), astype(t, p.dtype)
                old = [state[f"{slot}:{path}"] for slot in self.slots]
                delta, slots = self.step(grads[path], *old, lr=rate, t=number)
                new_params[path] = p + delta
                new_state.update({f"{slot}:{path}": array for slot, array in zip(self.slots, slots, strict=True)})
        return new_params, new_state

    def rate_at(self, step: int, *, steps_per_epoch: int, epochs: float, history: Sequence[float] = ()) -> float:
        """The learning rate of a step.   step counts from 0; history: the validation losses of the finished epochs"""
        return rate_at(self.learning_rate, step, steps_per_epoch=steps_per_epoch, epochs=epochs, history=history)

    def with_rate(self, learning_rate: Rate) -> Optimizer:
        """The same optimizer with another learning rate; a training program depends on `with_rate(0.0)` alone."""
        return self.replace(learning_rate=learning_rate)

    @classmethod
    def sample(cls) -> Optimizer:
        """The instance on which the contract tests run: its rate suits functions of curvature about 1."""
        return cls(learning_rate=0.1)  # type: ignore[call-arg]


__all__ = ["Minimizer", "Optimizer"]
