"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import record, setting
from fallline.core.select import Where, select
from fallline.ops.arithmetic import astype, maximum
from fallline.ops.composite import dot, lerp
from fallline.ops.transcendental import sqrt
from fallline.optim.adam import AdamW
from fallline.optim.optimizer import ALONE, NONE, Arrays, Context, Optimizer, rate_of
from fallline.optim.schedules import Rate
from fallline.optim.wrappers import Inner, inner_optimizer, joined

QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at 0 with singular values kept near 1; Jordan 2024


def orthogonalised(matrix: Any, steps: int) -> Any:
    """About U Vᵀ for the matrix U S Vᵀ: its singular values come to lie between 0.7 and 1.2.

        X <- G / ‖G‖;  X <- a X + (b A + c A²) X,  A = X Xᵀ,  (a, b, c) = QUINTIC,  `steps` times

    matrix  (m, n) -> (m, n)
    source  Jordan 2024, "Muon: an optimizer for hidden layers in neural networks"
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the smaller of the two products
    x = x / maximum(sqrt(dot(x, x)), 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


@record
class Muon(Optimizer):
    """m <- lerp(m, g, 1 - momentum);  U S Vᵀ = lerp(g, m, momentum);  w <- w (1 - lr weight_decay) - lr s U Vᵀ

    for weights with two axes, (n_in, units): every direction of the change is equally long. All else is left to `rest`.

    scale   s: "adamw" 0.2 sqrt(max(n_in, units)), steps as long as AdamW's, so that one rate serves both;
            "shape" sqrt(max(1, units / n_in)), Jordan's own, with rates near 0.02
    where   which weights: None all with two axes, path patterns, or a predicate (path, leaf); others go to `rest`, as
            the last layer's and embeddings may
    rest    the optimizer of everything else; its rate is rest_factor · lr
    source  Jordan 2024, "Muon: an optimizer for hidden layers in neural networks"; scale and decay: Liu et al. 2025
            (arXiv:2502.16982), eq. 4
    """

    learning_rate: Rate = setting(5e-3, at_least=0)
    momentum: float = setting(0.95, at_least=0, below=1)
    nesterov: bool = True
    steps: int = setting(5, at_least=1)
    weight_decay: float = setting(0.0, at_least=0)
    scale: str = setting("adamw", choices=("adamw", "shape"))
    where: Where = None
    rest: Optimizer = AdamW()
    rest_factor: float = setting(1.0, at_least=0)

    slots: ClassVar[tuple[str, ...]] = ("m",)

    def validate(self) -> None:
        super().validate()
        object.__setattr__(self, "rest", inner_optimizer(self.rest, "Muon"))
        if self.rest.members:
            raise ConfigError(f"Muon(rest={self.rest!r}): an ensemble is of whole networks: write Snapshots(Muon())")

    def init(self, params: Mapping[str, Any], buffers: Mapping[str, Any] = NONE) -> Arrays:
        matrices, others = self._parted(params)
        return joined(super().init(matrices), self.rest.init(others, buffers))

    @property
    def looks_again(self) -> bool:
        return self.rest.looks_again

    def for_run(self, batches: float, epochs: float) -> Optimizer:
        return self.replace(rest=self.rest.for_run(batches, epochs))

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        matrices, others = self._parted(params)
        rates = {path: rate_of(lr, path) for path in params}
        new, own = {}, {}
        with np.errstate(all="ignore"):
            for path, w in matrices.items():
                rate = astype(rates[path], w.dtype)
                m = lerp(state[f"m:{path}"], grads[path], 1.0 - self.momentum)
                ahead = lerp(grads[path], m, self.momentum) if self.nesterov else m
                kept = w * (1.0 - rate * self.weight_decay) if self.weight_decay else w
                new[path] = kept - (rate * self._scale(w.shape)) * orthogonalised(ahead, self.steps)
                own[f"m:{path}"] = m
        lower = {path: rates[path] * self.rest_factor for path in others}
        moved, after = self.rest.update(others, grads, Inner(state), lr=lower, t=t, context=context.among(params))
        return {path: (new if path in new else moved)[path] for path in params}, joined(own, after)

    def evaluated(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> Arrays:
        return self.rest.evaluated(weights, Inner(state))

    def _parted(self, params: Mapping[str, Any]) -> tuple[Arrays, Arrays]:
        """The matrices that are made orthogonal, and the others."""
        chosen = select(self.where, params, repr(self))
        matrices = {path: p for path, p in params.items() if path in chosen and len(p.shape) == 2}
        return matrices, {path: p for path, p in params.items() if path not in matrices}

    def _scale(self, shape: tuple[int, ...]) -> float:
        n_in, units = shape
        return 0.2 * max(n_in, units) ** 0.5 if self.scale == "adamw" else max(1.0, units / n_in) ** 0.5


__all__ = ["Muon", "orthogonalised"]
