"""Adam and its relatives: an average of gradients divided by the root of an average of their squares.

In all of them  m <- beta1 m + (1-beta1) g,  v <- beta2 v + (1-beta2) g²,  m̂ = m / (1-beta1^t),  v̂ = v / (1-beta2^t).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fallline.core.record import record, setting
from fallline.core.select import Where
from fallline.ops.arithmetic import maximum
from fallline.ops.compare import less, where
from fallline.ops.composite import lerp
from fallline.ops.transcendental import exp, sqrt
from fallline.optim.average import weight_sum
from fallline.optim.optimizer import ALONE, Arrays, Context, Optimizer
from fallline.optim.schedules import Rate
from fallline.optim.wrappers import decayed


@record
class Adam(Optimizer):
    """w <- w - lr m̂ / (sqrt(v̂) + eps): momentum and RMSProp together, with their bias corrected.

    learning_rate  the one to tune, on a scale of factors 3: 1e-4, 3e-4, 1e-3 …; the first step is lr · sign(g)
    beta1          momentum: how far back the average of gradients reaches, 1 / (1-beta1) steps; seldom changed
    beta2          the same for their squares; nearer 1 for rare or very noisy gradients
    eps            keeps the step finite where gradients vanish; seldom changed
    source         Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1
    """

    learning_rate: Rate = setting(1e-3, at_least=0)
    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.999, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)

    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def step(self, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
        m, v = self.averages(g, m, v)
        return (-lr / weight_sum(self.beta1, t)) * m / self.root(v, t), (m, v)

    def averages(self, g: Any, m: Any, v: Any) -> tuple[Any, Any]:
        """(m, v) after a gradient: the change is added to the old average, as float32 loses digits of v otherwise."""
        return lerp(m, g, 1.0 - self.beta1), lerp(v, g * g, 1.0 - self.beta2)

    def root(self, v: Any, t: Any) -> Any:
        """sqrt(v̂) + eps. As in the steps, single numbers are combined first: fewer passes over the arrays."""
        return sqrt((1.0 / weight_sum(self.beta2, t)) * v) + self.eps


@record
class AdamHat(Adam):
    """w <- w - lr sqrt(1-beta2^t) / (1-beta1^t) m / (sqrt(v) + eps): Adam as scikit-learn and Keras compute it.

    eps     stands beside sqrt(v) before its bias is corrected, so it weighs more in the first steps
    source  Kingma & Ba 2015 (arXiv:1412.6980), the remark behind algorithm 1, where it is ε̂
    """

    def root(self, v: Any, t: Any) -> Any:
        found = 1.0 / weight_sum(self.beta2, t)
        return sqrt(found * v) + self.eps * sqrt(found)


@record
class AdamW(Adam):
    """w <- w (1 - lr weight_decay), then Adam's step: the decay does not pass through the averages.

    where   what decays: None the weights (arrays with two axes or more), a path pattern such as "*.W", a tuple of them,
            or a predicate (path, leaf) -> bool. PyTorch decays biases too: where="*".
    source  Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2; weight_decay is scaled by lr as in PyTorch
    """

    weight_decay: float = setting(0.01, at_least=0)
    where: Where = None

    def update(
        self, params: Any, grads: Any, state: Any, *, lr: Any, t: Any, context: Context = ALONE
    ) -> tuple[Arrays, Arrays]:
        params = decayed(params, lr, self.weight_decay, self.where, repr(self))
        return super().update(params, grads, state, lr=lr, t=t, context=context)


@record
class NAdam(Adam):
    """w <- w - lr (μ_{t+1} m / (1 - Π_{i<=t+1} μ_i) + (1-μ_t) g / (1 - Π_{i<=t} μ_i)) / (sqrt(v̂) + eps)

    with m, v as in Adam and μ_t = beta1 (1 - 0.96^(t momentum_decay) / 2): Adam with Nesterov's momentum.
    source  Dozat 2016, "Incorporating Nesterov momentum into Adam", algorithm 2
    """

    learning_rate: Rate = setting(2e-3, at_least=0)
    momentum_decay: float = setting(4e-3, at_least=0)

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "mu_product")

    def start(self, param: Any) -> tuple[Any, ...]:
        zero = np.zeros(param.shape, param.dtype)
        return zero, zero.copy(), np.ones((), param.dtype)

    def step(self, g: Any, m: Any, v: Any, mu_product: Any, *, lr: Any, t: Any) -> Any:  # type: ignore[override]
        m, v = self.averages(g, m, v)
        mu, mu_next = self._mu(t), self._mu(t + 1.0)
        mu_product = mu_product * mu
        of_m, of_g = lr * mu_next / (1.0 - mu_product * mu_next), lr * (1.0 - mu) / (1.0 - mu_product)
        return -(of_m * m + of_g * g) / self.root(v, t), (m, v, mu_product)

    def _mu(self, t: Any) -> Any:
        return self.beta1 * (1.0 - 0.5 * exp(t * (self.momentum_decay * math.log(0.96))))


@record
class AMSGrad(Adam):
    """w <- w - lr m̂ / (sqrt(top / (1-beta2^t)) + eps),  top <- max(top, v): the rate of a coordinate never rises again.

    source  Reddi et al. 2018 (arXiv:1904.09237), algorithm 2, with Adam's bias corrections as in PyTorch
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "top")

    def step(self, g: Any, m: Any, v: Any, top: Any, *, lr: Any, t: Any) -> Any:  # type: ignore[override]
        m, v = self.averages(g, m, v)
        top = maximum(top, v)
        return (-lr / weight_sum(self.beta1, t)) * m / self.root(top, t), (m, v, top)


@record
class RAdam(Adam):
    """w <- w - lr r m̂ / (sqrt(v̂) + eps) once ρ > 5, before that w <- w - lr m̂: Adam with its warm-up built in.

        ρ∞ = 2 / (1-beta2) - 1      ρ = ρ∞ - 2 t beta2^t / (1-beta2^t)
        r² = (ρ-4)(ρ-2) ρ∞ / ((ρ∞-4)(ρ∞-2) ρ)

    With beta2 of 2/3 or less ρ never exceeds 5. In float32 r is right to 1e-4 in the first few steps.
    source  Liu et al. 2020 (arXiv:1908.03265), algorithm 2; eps is added to sqrt(v) uncorrected, as in PyTorch
    """

    def step(self, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
        m, v = self.averages(g, m, v)
        rate, gathered = lr / weight_sum(self.beta1, t), weight_sum(self.beta2, t)
        limit = 2.0 / (1.0 - self.beta2) - 1.0
        if limit <= 5.0:
            return -rate * m, (m, v)
        rho = limit - 2.0 * t * (1.0 - gathered) / gathered
        used = maximum(rho, 5.0)  # below 5 r is not used, and would be the root of a negative number
        r = sqrt((used - 4.0) * (used - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * used))
        rectified = (rate * r * sqrt(gathered)) * m / (sqrt(v) + self.eps)
        return -where(less(5.0, rho), rectified, rate * m), (m, v)


@record
class OptimisticAdam(Adam):
    """w <- w - lr (2 u - u'),  u = m̂ / (sqrt(v̂) + eps) Adam's step and u' that of the step before (at first u itself).

    It counts on the next gradient to differ from this one as this one did from the last. Made for games of two players,
    min over x and max over y, in which plain steps circle around the saddle.
    source  Daskalakis et al. 2018 (arXiv:1711.00141), algorithm 1; the first step is lr u, as in Optax
    """

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "previous")

    def step(self, g: Any, m: Any, v: Any, previous: Any, *, lr: Any, t: Any) -> Any:  # type: ignore[override]
        m, v = self.averages(g, m, v)
        u = (1.0 / weight_sum(self.beta1, t)) * m / self.root(v, t)
        return -lr * (2.0 * u - where(less(t, 1.5), u, previous)), (m, v, u)


__all__ = ["AMSGrad", "Adam", "AdamHat", "AdamW", "NAdam", "OptimisticAdam", "RAdam"]
