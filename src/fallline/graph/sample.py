"""Test inputs, stated beside each op; the contract tests are generated from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Case = tuple[tuple[Any, ...], dict[str, Any]]  # arguments (arrays) and attributes


@dataclass(frozen=True)
class Sample:
    """Inputs on which an op is tested.

    draw     rng -> cases of (arguments, attributes), floats in float64
    special  argument (or tuple of arguments) -> the exact result, from mathematics
    smooth   False: the function jumps or has kinks between the drawn points, only values are compared
    """

    draw: Callable[[np.random.Generator], list[Case]]
    special: dict[Any, Any] = field(default_factory=dict)
    smooth: bool = True


def reals(
    *bounds: float, special: dict[Any, Any] | None = None, smooth: bool = True, shape: tuple[int, ...] = (3, 4)
) -> Sample:
    """Uniform reals; bounds are low, high of each argument: reals(-4, 4, 0.5, 2) draws two arguments."""
    pairs = list(zip(bounds[::2], bounds[1::2], strict=True))
    return Sample(lambda rng: [(tuple(rng.uniform(a, b, shape) for a, b in pairs), {})], special or {}, smooth)


def integers(n_args: int, low: int, high: int, dtype: str, special: dict[Any, Any] | None = None) -> Sample:
    """Uniform integers low <= i < high for each argument."""

    def draw(rng: np.random.Generator) -> list[Case]:
        return [(tuple(rng.integers(low, high, (3, 4)).astype(dtype) for _ in range(n_args)), {})]

    return Sample(draw, special or {}, smooth=False)


def mirrored(sample: Sample) -> Sample:
    """The same cases, and each again with all its arguments negated: both sides of a kink."""

    def draw(rng: np.random.Generator) -> list[Case]:
        drawn = sample.draw(rng)
        return drawn + [(tuple(-a for a in args), attrs) for args, attrs in drawn]

    return Sample(draw, sample.special, sample.smooth)


def cases(*listed: Callable[[np.random.Generator], Case], smooth: bool = True) -> Sample:
    """Cases written out, each a function of the random generator."""
    return Sample(lambda rng: [case(rng) for case in listed], smooth=smooth)
