"""Relatives of ReLU: nearly 0 on the left, nearly a straight line on the right."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fallline.core.record import Array, param, record
from fallline.nn.activations import Activation, hard_sigmoid
from fallline.nn.layer import param_dtype
from fallline.nn.run import EVAL, Run
from fallline.ops import composite as f
from fallline.ops.compare import less_equal, where
from fallline.ops.transcendental import sigmoid, tanh


@record
class PReLU(Activation):
    """z (z > 0), slope · z (z <= 0).   x (batch, …, n)

    The slope of each feature is learned; the derivative with respect to it is min(z, 0).
    derivative  1 (z > 0), slope (z <= 0)
    special     -1 -> -1/4, 0 -> 0, 2 -> 2; before the slope has learned
    slopes      -1 -> 1/4, 0 -> 1/4, 1 -> 1
    stable      the formula itself
    source      He et al. 2015 (arXiv:1502.01852), eq. 1, channel-wise, starting at 0.25
    """

    initial: float = 0.25
    slope: Array = param()  # (n,)
    suits: ClassVar[str | None] = "he"

    def build(self, x: Any, rng: np.random.Generator) -> PReLU:
        return self.replace(slope=np.full(x.shape[-1], self.initial, param_dtype(x)))

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return where(less_equal(x, 0.0), self.slope * x, x)


@record
class SELU(Activation):
    """λ z (z > 0), λ α (e^z - 1) (z <= 0); λ = 1.0507009873554805, α = 1.6732632423543772

    derivative  λ (z > 0), λ α e^z (z <= 0); λ = 1.0507009873554805, α = 1.6732632423543772
    special     0 -> 0, 1 -> 1.0507009874, -1000 -> -1.7580993408
    slopes      0 -> 1.7580993408, 1 -> 1.0507009874, -1000 -> 0
    stable      λ z (z > 0), λ α expm1(min(z, 0)) (z <= 0); λ = 1.0507009873554805, α = 1.6732632423543772
    source      Klambauer et al. 2017 (arXiv:1706.02515), eq. 2: mean 0 and variance 1 are then kept from layer to layer
    """

    suits: ClassVar[str | None] = "lecun"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return 1.0507009873554805 * f.elu(x, 1.6732632423543772)


@record
class ESwish(Activation):
    """beta · z σ(z)

    derivative  beta (σ(z) + z σ(z) (1 - σ(z))); SiLU has beta = 1
    special     0 -> 0, 1 -> 1.0965878679, -1000 -> 0, 1000 -> 1500
    slopes      0 -> 3/4, -1000 -> 0, 1000 -> 3/2
    stable      the formula with the stable σ
    source      Alcaide 2018 (arXiv:1801.07145), beta between 1 and 2
    """

    beta: float = 1.5
    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return self.beta * (x * sigmoid(x))


@record
class SiLU(Activation):
    """z σ(z)

    derivative  σ(z) + z σ(z) (1 - σ(z))
    special     0 -> 0, 1 -> 0.7310585786, -1000 -> 0, 1000 -> 1000
    slopes      0 -> 1/2, -1000 -> 0, 1000 -> 1
    stable      the formula with the stable σ
    source      Elfwing, Uchibe & Doya 2018 (arXiv:1702.03118); Ramachandran et al. 2017 (arXiv:1710.05941) as swish
    """

    aliases = ("swish",)
    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.silu(x)


@record
class GELU(Activation):
    """z Φ(z)

    Φ is the normal distribution function. `approximate` is z/2 (1 + tanh(sqrt(2/π) (z + 0.044715 z³))).
    derivative  Φ(z) + z e^(-z²/2) / sqrt(2π)
    special     0 -> 0, 1 -> 0.8413447461, -1000 -> 0, 1000 -> 1000
    slopes      0 -> 1/2, -1000 -> 0, 1000 -> 1
    stable      z/2 (1 + erf(z / sqrt(2)))
    source      Hendrycks & Gimpel 2016 (arXiv:1606.08415)
    """

    approximate: bool = False
    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return f.gelu(x, self.approximate)


@record
class Mish(Activation):
    """z tanh(ln(1 + e^z))

    derivative  t + z (1 - t²) σ(z); t = tanh(ln(1 + e^z))
    special     0 -> 0, 1 -> 0.8650983883, -1000 -> 0, 1000 -> 1000
    slopes      0 -> 3/5, -1000 -> 0, 1000 -> 1
    stable      z tanh(max(z, 0) + ln(1 + e^-|z|))
    source      Misra 2020 (arXiv:1908.08681)
    """

    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return x * tanh(f.softplus(x))


@record
class HardSwish(Activation):
    """z · min(max(z + 3, 0), 6) / 6

    derivative  0 (z <= -3), z/3 + 1/2 (-3 < z < 3), 1 (z >= 3)
    special     -3 -> 0, 0 -> 0, 1 -> 2/3, 3 -> 3
    slopes      -3 -> 0, 0 -> 1/2, 3 -> 1
    stable      the formula itself
    source      Howard et al. 2019 (arXiv:1905.02244), section 5.2
    """

    suits: ClassVar[str | None] = "he"

    def __call__(self, x: Any, run: Run = EVAL) -> Any:
        return x * hard_sigmoid(x)


__all__ = [
    "ESwish",
    "GELU",
    "HardSwish",
    "Mish",
    "PReLU",
    "SELU",
    "SiLU",
]
