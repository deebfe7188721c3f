"""Sharpness-aware minimisation: the gradient of the worst point nearby."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fallline.core.record import record, setting
from fallline.ops.arithmetic import maximum
from fallline.ops.composite import dot
from fallline.ops.transcendental import sqrt
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.sgd import SGD
from fallline.optim.wrappers import Wrapper


@record
class SAM(Wrapper):
    """g <- dJ/dw at w + rho g / ‖g‖, then the inner optimizer's step: it looks for flat valleys, at twice the work.

    ‖g‖ is the norm over the gradients of all parameters together. Both gradients are of the same batch with the same
    random numbers (dropout); the running statistics of BatchNorm move once, by the first one.

    source  Foret et al. 2021 (arXiv:2010.01412), algorithm 1
    """

    optimizer: Optimizer = SGD()
    rho: float = setting(0.05, above=0)

    @property
    def looks_again(self) -> bool:
        return True

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        def sharp(w: Mapping[str, Any], g: Mapping[str, Any]) -> Arrays:
            return context.gradient(self.worst(w, g), self)

        here = {path: grads[path] for path in params}
        inside = replace(context, gradient_at=lambda w: sharp(w, context.gradient(w, self)))
        return self.optimizer.update(params, sharp(params, here), state, lr=lr, t=t, context=inside)

    def worst(self, params: Mapping[str, Any], grads: Mapping[str, Any]) -> Arrays:
        """w + rho g / ‖g‖: where J is highest in the ball of radius rho, to first order."""
        if not params:
            return {}
        with np.errstate(all="ignore"):
            squares = [dot(grads[path], grads[path]) for path in params]
            norm = sqrt(sum(squares[1:], start=squares[0]))
            scale = self.rho / maximum(norm, 1e-12)
            return {path: p + scale * grads[path] for path, p in params.items()}


__all__ = ["SAM"]
