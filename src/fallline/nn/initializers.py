"""Initializers: how the first values of parameters are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fallline.core.errors import ConfigError
from fallline.core.record import Record, as_record, record, setting


class Initializer(Record):
    """The distribution from which the first values of a parameter are drawn."""

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        """The values, float64.   n_in, n_out: how many numbers each output sums over, and each input feeds"""
        raise ConfigError(
            f"{type(self).__name__} does not say what it draws: write draw(self, shape, n_in, n_out, rng)"
        )


@record
class Glorot(Initializer):
    """Uniform on ±sqrt(6 / (n_in + n_out)), of variance 2 / (n_in + n_out): suits tanh, sigmoid and linear units.

    source  Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16
    """

    aliases = ("xavier",)

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        limit = math.sqrt(6.0 / max(1, n_in + n_out))
        return rng.uniform(-limit, limit, shape)


@record
class He(Initializer):
    """Normal with variance 2 / n_in: suits ReLU and its relatives, which pass half of their input on.

    source  He et al. 2015 (arXiv:1502.01852), eq. 10
    """

    aliases = ("kaiming",)

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, math.sqrt(2.0 / max(1, n_in)), shape)


@record
class LeCun(Initializer):
    """Normal with variance 1 / n_in: keeps the variance of a linear unit, as SELU needs it.

    source  LeCun et al. 1998, "Efficient BackProp", section 4.6; Klambauer et al. 2017 (arXiv:1706.02515)
    """

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, math.sqrt(1.0 / max(1, n_in)), shape)


@record
class Orthogonal(Initializer):
    """gain · Q with orthonormal columns (rows, where there are more columns than rows), uniform among all such Q.

    An array of more than two axes is drawn as the matrix of all axes but the last against the last.
    source  Saxe et al. 2014 (arXiv:1312.6120)
    """

    gain: float = setting(1.0, above=0)

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # without it QR's choice of signs would not be uniform
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@record
class Zeros(Initializer):
    """0 everywhere. Units that start equal stay equal, so it suits biases, not hidden weights."""

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(shape)


@record
class Normal(Initializer):
    """Normal with mean 0 and standard deviation `scale`, whatever the number of inputs."""

    scale: float = setting(0.05, above=0)

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(0.0, self.scale, shape)


@record
class Values(Initializer):
    """The same values at every draw: one for all entries, or one for each along the last axis; for biases."""

    values: tuple[float, ...] = (0.0,)

    def draw(self, shape: tuple[int, ...], n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
        if len(self.values) not in (1, shape[-1]):
            raise ConfigError(
                f"{self!r} has {len(self.values)} values for {shape[-1]} units: give one, or one for each"
            )
        return np.broadcast_to(np.array(self.values), shape).copy()


def initializer(init: Any, auto: str | Initializer = "glorot") -> Initializer:
    """The initializer of a layer's `init` field: a record, a name, or "auto" for what suits the place."""
    chosen = auto if isinstance(init, str) and init == "auto" else init
    return (_NAMED.get(chosen) if isinstance(chosen, str) else None) or as_record(chosen, Initializer)


# By the names that layers have as defaults, so that no text has to be read for them.
_NAMED = {"glorot": Glorot(), "he": He(), "lecun": LeCun(), "zeros": Zeros()}


__all__ = ["Glorot", "He", "Initializer", "LeCun", "Normal", "Orthogonal", "Values", "Zeros", "initializer"]
