"""Modules that torch.nn does not have. This file needs PyTorch; `pytorch.py` loads it where that is installed."""

from __future__ import annotations

import torch
from torch import nn


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


class Exp(nn.Module):
    """e^s: the link of counts."""

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return score.exp()


class Affine(nn.Module):
    """y = scale · s + mean: a standardised target in its own unit."""

    def __init__(self, scale: float, mean: float):
        super().__init__()
        self.scale, self.mean = scale, mean

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        return self.scale * score + self.mean

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, mean={self.mean:g}"


__all__ = ["Affine", "Exp", "Reshape", "Residual"]
