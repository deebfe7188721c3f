"""Modules that torch.nn does not have. This file needs PyTorch; `pytorch.py` loads it where that is installed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fallline.nn.laplace import TINY


class Residual(nn.Sequential):
    """y = x + f_n(… f_1(x))"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Reshape(nn.Module):
    """Each row in another shape.   x (batch, …) -> y (batch, *shape)"""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), *self.shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


class Ensemble(nn.Sequential):
    """y = mix([f_1(x), f_2(x), …]); the last of the modules is the one that mixes.

    Each member gets the floats of x in its own dtype: one may be more exact than the others.
    """

    def forward(self, x: Any) -> torch.Tensor:
        *members, mix = self
        scores = [member(_in_dtype_of(member, x)) for member in members]
        widest = max((score.dtype for score in scores), key=lambda dtype: dtype.itemsize)
        return mix(torch.stack([score.to(widest) for score in scores], dim=1))


class Mixture(nn.Module):
    """The score whose prediction is Σ_k share_k link(s_k).   scores (batch, n, …) -> (batch, …)"""

    def __init__(self, link: str = "identity"):
        super().__init__()
        self.link = link
        self.register_buffer("shares", torch.empty(0))

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        shares = self.shares.reshape(-1, *(1,) * (scores.dim() - 2))
        if self.link == "identity":
            return (shares * scores).sum(1)
        parts = shares.log()
        if self.link == "sigmoid":
            yes, no = (torch.logsumexp(parts + F.logsigmoid(sign * scores), 1) for sign in (1, -1))
            return yes - no
        return torch.logsumexp(parts + (scores.log_softmax(-1) if self.link == "softmax" else scores), 1)

    def extra_repr(self) -> str:
        return f"link={self.link!r}"


class ColumnEmbedding(nn.Module):
    """Numbers and categories as one array.   x a pair: numbers (batch, d), codes (batch, k) -> (batch, d + Σ units)"""

    def __init__(self, cardinalities: tuple[int, ...], units: tuple[int, ...]):
        super().__init__()
        self.cardinalities, self.units = tuple(cardinalities), tuple(units)
        for i, shape in enumerate(zip(self.cardinalities, self.units, strict=True)):
            self.register_parameter(f"table_{i}", nn.Parameter(torch.empty(shape)))

    def forward(self, x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        numbers, codes = x
        return torch.cat([numbers, *(table[codes[:, i].long()] for i, table in enumerate(self.parameters()))], dim=1)

    def extra_repr(self) -> str:
        return f"cardinalities={self.cardinalities}, units={self.units}"


class PiecewiseEncoding(nn.Module):
    """y = [x, clip(x A + c, 0, 1)]"""

    def __init__(self, bins: int):
        super().__init__()
        self.bins = bins
        self.register_buffer("A", torch.empty(0, 0))
        self.register_buffer("c", torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, (x @ self.A + self.c).clamp(0, 1)], dim=-1)

    def extra_repr(self) -> str:
        return f"bins={self.bins}"


class PeriodicEncoding(nn.Module):
    """y = [x, cos(2π (x f + c))], the waves of some columns or of all (None)."""

    def __init__(self, waves: int, scale: float, columns: tuple[int, ...] | None = None):
        super().__init__()
        self.waves, self.scale, self.columns = waves, scale, columns
        self.f, self.c = nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = x if self.columns is None else x[..., list(self.columns)]
        waves = torch.cos(2 * torch.pi * (chosen[..., None] * self.f + self.c))
        return torch.cat([x, waves.flatten(-2)], dim=-1)

    def extra_repr(self) -> str:
        return f"waves={self.waves}, scale={self.scale}, columns={self.columns}"


class LaplaceBasis(nn.Module):
    """y_k = exp(-‖v x - c_k‖), in the norm 1 or 2."""

    def __init__(self, units: int, width: float, norm: int = 1):
        super().__init__()
        self.units, self.width, self.norm = units, width, norm
        self.v, self.c = nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart = (x * self.v)[..., None, :] - self.c
        return torch.exp(-(apart.abs().sum(-1) if self.norm == 1 else (apart.square().sum(-1) + TINY).sqrt()))

    def extra_repr(self) -> str:
        return f"units={self.units}, width={self.width}, norm={self.norm}"


class Temperature(nn.Module):
    """y = x / T"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("T", torch.ones(()))

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return score / self.T


class Ascending(nn.Module):
    """y_0 = x_0, y_j = y_{j-1} + softplus(x_j)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., :1], _softplus(x[..., 1:])], dim=-1).cumsum(-1)


class CumulativeLogit(nn.Module):
    """y_k = log P(k), P(class > k) = σ(x - θ_k), θ_k = θ_{k-1} + softplus(thresholds_k).   x (batch, 1)"""

    def __init__(self, n_classes: int):
        super().__init__()
        self.n_classes = n_classes
        self.thresholds = nn.Parameter(torch.empty(n_classes - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        none = torch.zeros_like(x)
        gaps = _softplus(self.thresholds[1:])
        s = x - torch.cat([self.thresholds[:1], gaps]).cumsum(0)
        above, below = torch.cat([none, F.logsigmoid(s)], -1), torch.cat([F.logsigmoid(-s), none], -1)
        edge = torch.zeros_like(self.thresholds[:1])
        between = [edge, (-torch.expm1(-gaps)).log(), edge] if len(gaps) else [edge, edge]
        return above + below + torch.cat(between)

    def extra_repr(self) -> str:
        return f"n_classes={self.n_classes}"


class Exp(nn.Module):
    """e^s: the link of counts."""

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return score.exp()


class Sorted(nn.Module):
    """The scores of several quantiles in rising order."""

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return score.sort(dim=-1).values


class Means(nn.Module):
    """The first half of the scores, without those of the variances."""

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return score[..., : score.shape[-1] // 2]


class Affine(nn.Module):
    """y = scale · s + mean: standardised targets in their own units, in float64 as `predict` gives them."""

    def __init__(self, scale: float | tuple[float, ...], mean: float | tuple[float, ...]):
        super().__init__()
        self.scale, self.mean = scale, mean

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        wide = score.double()
        return wide.new_tensor(self.scale) * wide + wide.new_tensor(self.mean)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, mean={self.mean}"


def _in_dtype_of(module: nn.Module, x: Any) -> Any:
    """The floats of x, a tensor or a tuple of tensors, in the dtype of the module's arrays."""
    if isinstance(x, tuple):
        return tuple(_in_dtype_of(module, part) for part in x)
    floats = [array for array in (*module.parameters(), *module.buffers()) if array.is_floating_point()]
    return x.to(floats[0].dtype) if floats and x.is_floating_point() else x


def _softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): torch's own is a straight line from 20 on."""
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


__all__ = [
    "Affine", "Ascending", "ColumnEmbedding", "CumulativeLogit", "Ensemble", "Exp", "LaplaceBasis", "Means", "Mixture",
    "PeriodicEncoding", "PiecewiseEncoding", "Reshape", "Residual", "Sorted", "Temperature",
]  # fmt: skip
